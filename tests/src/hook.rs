//! The hook, run as a runtime runs it, and a container's init that needs no runtime.

use crate::{process::children, programs, wait};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

/// How long the hook waits where its deadline is not what is tested (its `--timeout`): far longer than a busy machine takes.
pub const PATIENCE: &str = "30s";

/// A process in PID and mount namespaces of its own, that lives until this is dropped.
pub struct Init {
    unshare: Child,
    /// Its host process id.
    pub pid: u32,
}

impl Init {
    pub fn start() -> Result<Self> {
        let mut command = programs::command("unshare");
        // `cat` ends when our end of its stdin does.
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "cat"])
            .stdin(Stdio::piped());
        let unshare = command.spawn().context("unshare")?;
        let pid = wait::until("the child of unshare", wait::LONG, || {
            Ok(children(unshare.id())?.first().copied())
        })?;
        Ok(Self { unshare, pid })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        drop(wait::exit(&mut self.unshare, "unshare", wait::LONG));
    }
}

/// An OCI State as runc writes it.
pub fn state(id: &str, pid: u32) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "id": id,
        "status": "creating",
        "pid": pid,
        "bundle": "/nonexistent",
        "annotations": {"container-tracer.io/trace": "true"},
    })
}

/// Runs the hook with this stdin and [`PATIENCE`].
pub fn patient(runtime_dir: &Path, args: &[&str], stdin: &[u8]) -> Result<Output> {
    let args = [&["--timeout", PATIENCE], args].concat();
    run(runtime_dir, &args, stdin).map(|(out, _)| out)
}

/// Runs the hook with this stdin; how long it took is what a container would have waited.
pub fn run(runtime_dir: &Path, args: &[&str], stdin: &[u8]) -> Result<(Output, Duration)> {
    let mut command = programs::command(programs::hook()?);
    command.arg("--runtime-dir").arg(runtime_dir).args(args);
    let start = Instant::now();
    let out = programs::output_with(&mut command, stdin)?;
    Ok((out, start.elapsed()))
}
