//! A second user of this machine, with a home, ranges of subordinate ids and no rights.

use crate::{programs, unique_id};
use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// The user; it goes with this.
pub struct User {
    pub name: String,
    pub uid: u32,
    gid: u32,
    dir: TempDir,
    limit: Option<&'static str>,
}

impl User {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-user-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let name = unique_id("u").replace("tt-", "tt");
        let mut command = programs::command("useradd");
        command.args(["--create-home", "--shell", "/bin/sh", "--home-dir"]);
        programs::success(command.arg(dir.path().join("h")).arg(&name))?;
        let id = |what: &str| -> Result<u32> {
            let text = programs::success(programs::command("id").args([what, &name]))?;
            text.trim().parse().with_context(|| text.clone())
        };
        let user = Self {
            uid: id("-u")?,
            gid: id("-g")?,
            name,
            dir,
            limit: None,
        };
        let run = user.dir.path().join("run");
        fs::create_dir(&run)?;
        user.own(&run)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700))?;
        Ok(user)
    }

    /// The user's commands have this limit (prlimit(1)), as `Limit…=` in user@.service gives it.
    pub fn with_limit(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("h")
    }

    /// A program of ours where the user may start it.
    pub fn program(&self, from: &Path) -> Result<PathBuf> {
        let to = self.dir.path().join(from.file_name().context("no file name")?);
        if !to.exists() {
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
        Ok(to)
    }

    /// Gives a file or a folder to the user.
    pub fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).with_context(|| path.display().to_string())
    }

    /// A command of this user, with an environment of its own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.limit {
            Some(limit) => {
                let mut command = programs::command("prlimit");
                command.args([limit, "setpriv"]);
                command
            }
            None => programs::command("setpriv"),
        };
        command.current_dir(self.home());
        command.env("HOME", self.home()).env("USER", &self.name);
        command.env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command.arg(format!("--reuid={}", self.uid));
        command.arg(format!("--regid={}", self.gid));
        command
            .args(["--init-groups", "--inh-caps=-all", "--"])
            .arg(program);
        command
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Err(why) = programs::success(programs::command("userdel").arg(&self.name)) {
            eprintln!("{why:#}");
        }
    }
}
