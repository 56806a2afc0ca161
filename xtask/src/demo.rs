//! `cargo xtask demo`: the main job, for the eye. A real container under runc where there is one and we are root,
//! else a command under `tracer run`. The container part is a program of the tests' harness.

use crate::{prepare, sh};
use anyhow::{Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask one container everything, with a line of why before each question
    #[arg(long)]
    tour: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    prepare::build()?;
    if prepare::runc() {
        let mut demo = sh::cargo([
            "run",
            "--quiet",
            "--release",
            "--package",
            "tracer-tests",
            "--bin",
            "demo",
        ]);
        if args.tour {
            demo.args(["--", "--tour"]);
        }
        return sh::run(&mut demo);
    }
    ensure!(!args.tour, "the tour needs root and runc");
    println!("no root or no runc: tracing a command without a container runtime");
    let tracer = sh::target().join("release/tracer");
    sh::run(std::process::Command::new(tracer).args(["run", "--", "/bin/ls", "/"]))
}
