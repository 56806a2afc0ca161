//! One thread of another process that does not run.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use crate::programs;

/// A thread that does not run until this is released, or dropped.
pub struct Held(Child);

impl Held {
    /// Of a process, the thread of that name, from now on.
    pub fn thread(pid: u32, name: &str) -> Result<Self> {
        let mut hold = programs::command(programs::workload("hold")?);
        hold.arg(thread(pid, name)?.to_string());
        let mut held = Self(hold.stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        BufReader::new(held.0.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(line == "held\n", "thread {name} of {pid} is not held: {line:?}");
        Ok(held)
    }

    pub fn release(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn thread(pid: u32, name: &str) -> Result<u32> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm"))?.trim_end() == name {
            let tid = path.file_name().and_then(|tid| tid.to_str()?.parse().ok());
            return tid.with_context(|| path.display().to_string());
        }
    }
    anyhow::bail!("process {pid} has no thread {name}")
}
