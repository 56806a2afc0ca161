//! A systemd-journald of its own namespace: the real receiver, without systemd. Gone with its entries when this is dropped.

use crate::{programs, wait};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

const JOURNALD: &str = "/lib/systemd/systemd-journald";

pub struct Journal {
    namespace: String,
    child: Option<Child>,
}

impl Journal {
    pub fn start() -> Result<Self> {
        let mut journal = Self {
            namespace: crate::unique_id("journal"),
            child: None,
        };
        fs::create_dir_all(journal.directory())?;
        journal.begin()?;
        Ok(journal)
    }

    fn directory(&self) -> PathBuf {
        Path::new("/run/systemd").join(format!("journal.{}", self.namespace))
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("socket")
    }

    /// Starts it, again after [`Self::kill`].
    pub fn begin(&mut self) -> Result<()> {
        // One that was killed leaves a socket that nobody reads.
        drop(fs::remove_file(self.socket()));
        let mut command = programs::command(JOURNALD);
        command
            .arg(&self.namespace)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().context(JOURNALD)?);
        wait::until("journald to listen", wait::LONG, || {
            Ok(self.socket().exists().then_some(()))
        })
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// The entries of this identifier, the oldest first.
    pub fn entries(&self, identifier: &str) -> Result<Vec<Value>> {
        let mut command = programs::command("journalctl");
        command.args(["--no-pager", "--quiet", "--output=json"]);
        command.arg(format!("--namespace={}", self.namespace));
        let out = programs::output(command.arg(format!("SYSLOG_IDENTIFIER={identifier}")))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.kill());
        drop(fs::remove_dir_all(self.directory()));
        for logs in ["/run/log/journal", "/var/log/journal"] {
            for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name
                    .to_str()
                    .is_some_and(|name| name.ends_with(&format!(".{}", self.namespace)))
                {
                    drop(fs::remove_dir_all(entry.path()));
                }
            }
        }
    }
}
