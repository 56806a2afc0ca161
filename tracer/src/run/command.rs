//! What is to be started: words, environment, user, root. It must not know namespaces, nor that it is traced.

use std::{
    ffi::{CString, OsString},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, bail};
use nix::unistd::{self, Gid, Uid};

/// A name, and a value to set or `None` to leave it out.
pub type Variable = (OsString, Option<OsString>);

/// A command that is started.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name or path, and its arguments.
    pub words: Vec<OsString>,
    /// Its root directory.
    pub rootfs: Option<PathBuf>,
    /// What its environment has otherwise than ours; of two for one name the later holds.
    pub environment: Vec<Variable>,
    /// Whom it runs as; ourselves without.
    pub user: Option<User>,
}

/// A user of the host, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl User {
    /// By name, or by number.
    ///
    /// # Errors
    /// The host knows no such user.
    pub fn find(word: &str) -> Result<Self, String> {
        let failed = |error: nix::Error| format!("look up user {word}: {error}");
        let user = match word.parse() {
            Ok(uid) => unistd::User::from_uid(Uid::from_raw(uid)),
            Err(_name) => unistd::User::from_name(word),
        };
        let user = user.map_err(failed)?.ok_or_else(|| {
            format!("this host has no user {word}: give a name or a number that `getent passwd` shows")
        })?;
        let name = CString::new(user.name).map_err(|_nul| format!("{word}: a name with a NUL"))?;
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups: unistd::getgrouplist(&name, user.gid).map_err(failed)?,
        })
    }

    /// Becomes that user, for good.
    fn become_it(&self) -> Result<()> {
        // In this order: without root there are no groups to be had.
        unistd::setgroups(&self.groups)
            .and_then(|()| unistd::setgid(self.gid))
            .and_then(|()| unistd::setuid(self.uid))
            .with_context(|| format!("become user {} (root is needed)", self.uid))
    }
}

impl Command {
    /// The file that its name means, as execvp(3) finds it.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn resolve(&self) -> Result<PathBuf> {
        let command = self
            .words
            .first()
            .context("no command: tracer run [options] -- CMD…")?;
        if let Some(rootfs) = &self.rootfs
            && !rootfs.is_dir()
        {
            bail!("the root {} is no directory", rootfs.display());
        }
        let inside = |path: &Path| match &self.rootfs {
            Some(rootfs) => rootfs.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        };
        if command.as_bytes().contains(&b'/') {
            let path = PathBuf::from(command);
            // A link inside the root may point anywhere there; only execve knows.
            if self.rootfs.is_none() && !path.exists() {
                bail!("{}: no such file", path.display());
            }
            return Ok(path);
        }
        let search = self
            .variable("PATH")
            .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        std::env::split_paths(&search)
            .map(|directory| directory.join(command))
            .find(|path| std::fs::symlink_metadata(inside(path)).is_ok_and(|found| !found.is_dir()))
            .with_context(|| format!("{}: no such command in PATH", command.to_string_lossy()))
    }

    /// Of its environment.
    fn variable(&self, name: &str) -> Option<OsString> {
        let changed = self.environment.iter().rev().find(|(each, _)| each == name);
        changed.map_or_else(|| std::env::var_os(name), |(_, value)| value.clone())
    }

    /// Becomes the command. Returns only with what went wrong.
    pub(super) fn exec(&self, path: &Path) -> anyhow::Error {
        if let Some(user) = &self.user
            && let Err(error) = user.become_it()
        {
            return error;
        }
        let mut command = process::Command::new(path);
        let mut words = self.words.iter();
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command.args(words);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        anyhow::Error::from(command.exec()).context(format!("start {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str], environment: &[(&str, Option<&str>)]) -> Command {
        Command {
            words: words.iter().map(OsString::from).collect(),
            rootfs: None,
            environment: environment
                .iter()
                .map(|(name, value)| (OsString::from(name), value.map(OsString::from)))
                .collect(),
            user: None,
        }
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.gid), (Uid::from_raw(0), Gid::from_raw(0)));
        assert!(root.groups.contains(&Gid::from_raw(0)));
        assert_eq!(User::find("0").unwrap(), root);
        let error = User::find("no-such-user").unwrap_err();
        assert!(error.contains("no user no-such-user"), "{error}");
    }

    #[test]
    fn a_command_is_found_in_its_own_path() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("only-here");
        std::fs::write(&own, "").unwrap();
        let path = directory.path().to_str().unwrap();
        let found = command(
            &["only-here"],
            &[("PATH", Some("/nowhere")), ("PATH", Some(path))],
        );
        assert_eq!(found.resolve().unwrap(), own);
        assert!(command(&["only-here"], &[]).resolve().is_err());
        assert!(command(&["sh"], &[("PATH", None)]).resolve().is_ok());
        assert!(command(&[], &[]).resolve().is_err());
        let nowhere = Command {
            rootfs: Some("/no/root".into()),
            ..command(&["sh"], &[])
        };
        let error = nowhere.resolve().unwrap_err().to_string();
        assert_eq!(error, "the root /no/root is no directory");
    }
}
