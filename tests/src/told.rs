//! Commands and containers that are up, and make their program's first call when they are told to.

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

use crate::{Bundle, Container, Daemon, Rootfs, Runtime, process::children, programs};

/// A traced container that waits.
pub struct Waiting {
    pub container: Container,
    go: PathBuf,
}

impl Waiting {
    /// Starts it with these annotations, and waits until it is up.
    pub fn start(what: &str, args: &[&str], daemon: &Daemon, annotations: &[(&str, &str)]) -> Result<Self> {
        Self::changed(what, args, daemon, |bundle| bundle.annotations(annotations))
    }

    /// The same with so many bytes of memory at most, swap included.
    pub fn limited(what: &str, args: &[&str], daemon: &Daemon, limit: u64) -> Result<Self> {
        Self::changed(what, args, daemon, |mut bundle| {
            bundle.config["linux"]["resources"] = json!({"memory": {"limit": limit, "swap": limit}});
            bundle
        })
    }

    fn changed(
        what: &str,
        args: &[&str],
        daemon: &Daemon,
        change: impl FnOnce(Bundle) -> Bundle,
    ) -> Result<Self> {
        const SCRIPT: &str = "echo up; read go </scratch/go; exec \"$@\"";
        let args = [&["/bin/sh", "-c", SCRIPT, "sh"], args].concat();
        let bundle = change(Bundle::traced(what, Rootfs::Host, &args, daemon)?);
        let go = bundle.fifo("go")?;
        let mut container = Runtime::Runc.start(bundle)?;
        container.printed("up")?;
        Ok(Self { container, go })
    }

    /// Lets it begin.
    pub fn go(&self) -> Result<()> {
        fs::write(&self.go, "go\n").with_context(|| self.go.display().to_string())
    }
}

/// A `tracer run` whose command waits.
pub struct WaitingRun {
    tracer: Child,
    said: Lines<BufReader<ChildStdout>>,
    go: ChildStdin,
    /// Process id of the command, a shell, as we see it.
    pub command: u32,
}

impl WaitingRun {
    /// Starts `tracer run` with these options and this command, and waits until it is up.
    pub fn start(tracer: &mut Command, args: &[&str]) -> Result<Self> {
        const SCRIPT: &str = "echo $$; read go; \"$@\"; echo over";
        tracer.args(["--", "/bin/sh", "-c", SCRIPT, "sh"]).args(args);
        tracer
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tracer.spawn().with_context(|| programs::show(tracer))?;
        let mut said = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let go = child.stdin.take().context("no stdin")?;
        let Some(up) = said.next().transpose()? else {
            let out = child.wait_with_output()?;
            bail!("it ended before its command was up: {}", programs::both(&out))
        };
        let command =
            descendant(child.id(), &up)?.with_context(|| format!("no process {up} in its namespace"))?;
        Ok(Self {
            tracer: child,
            said,
            go,
            command,
        })
    }

    /// Process id of the tracer.
    pub fn id(&self) -> u32 {
        self.tracer.id()
    }

    /// Lets the command begin.
    pub fn go(&mut self) -> Result<()> {
        Ok(self.go.write_all(b"go\n")?)
    }

    /// Waits until the command is over; what it said.
    pub fn over(&mut self) -> Result<String> {
        let mut out = String::new();
        for line in &mut self.said {
            match line?.as_str() {
                "over" => return Ok(out),
                line => out.extend([line, "\n"]),
            }
        }
        bail!("it ended before its command")
    }

    /// Waits until the tracer ends. Its standard output is what the command said.
    ///
    /// # Errors
    /// What went wrong while the command ran, with what the tracer said of it.
    pub fn end(self, said: Result<String>) -> Result<Output> {
        // A command that still waits is not left waiting.
        drop(self.go);
        let mut output = self.tracer.wait_with_output()?;
        output.stdout = said.with_context(|| programs::both(&output))?.into_bytes();
        Ok(output)
    }
}

/// Of a process's descendants, the one that has this process id in a namespace of its own.
fn descendant(of: u32, inner: &str) -> Result<Option<u32>> {
    for child in children(of)? {
        let status = fs::read_to_string(format!("/proc/{child}/status"))?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let in_its_own = pids.unwrap_or_default().split_whitespace().skip(1).last();
        if in_its_own == Some(inner) {
            return Ok(Some(child));
        }
        if let Some(found) = descendant(child, inner)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
