//! `cargo xtask demo`: the main job, for the eye. A real container under runc where there is one and we are root,
//! else a command under `tracer run`. The container part is a program of the tests' harness.

use crate::{prepare, sh};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    prepare::build()?;
    if prepare::runc() {
        return sh::run(&mut sh::cargo([
            "run",
            "--quiet",
            "--release",
            "--package",
            "tracer-tests",
            "--bin",
            "demo",
        ]));
    }
    println!("no root or no runc: tracing a command without a container runtime");
    let tracer = sh::target().join("release/tracer");
    sh::run(std::process::Command::new(tracer).args(["run", "--", "/bin/ls", "/"]))
}
