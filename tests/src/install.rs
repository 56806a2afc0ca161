//! `tracer hook`, as an administrator runs it, and what it may leave behind: nothing.

use crate::{hook, programs};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The hook in a runtime's configuration. It is taken out when this is dropped.
pub struct Installation<'a> {
    command: Box<dyn Fn() -> Command + 'a>,
    args: Vec<String>,
    wanted: Vec<String>,
    installed: bool,
}

impl<'a> Installation<'a> {
    /// Nothing is installed yet. `command` is `tracer` with the daemon's directory; `args` say the runtime and where, `wanted`
    /// what is installed there.
    pub fn new(command: impl Fn() -> Command + 'a, args: &[&str], wanted: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            command: Box::new(command),
            args: owned(args),
            wanted: owned(wanted),
            installed: false,
        }
    }

    fn run(&self, verb: &str, more: &[&str]) -> Result<String> {
        let mut command = (self.command)();
        command.args(["hook", verb]).args(&self.args).args(more);
        if verb == "install" {
            command.args(&self.wanted).args(["--timeout", hook::PATIENCE]);
        }
        programs::success(&mut command)
    }

    /// Shows, writes, and writes once more, which changes nothing.
    pub fn install(&mut self) -> Result<()> {
        let shown = self.run("install", &[])?;
        ensure!(
            shown.contains("nothing was written") && shown.contains("\n+"),
            "{shown}"
        );
        self.installed = true;
        let wrote = self.run("install", &["--write"])?;
        ensure!(wrote.contains("wrote "), "{wrote}");
        let again = self.run("install", &["--write"])?;
        ensure!(again.contains("nothing to do"), "{again}");
        Ok(())
    }

    pub fn uninstall(&mut self) -> Result<()> {
        self.run("uninstall", &["--write"])?;
        self.installed = false;
        let again = self.run("uninstall", &["--write"])?;
        ensure!(again.contains("nothing to do"), "{again}");
        Ok(())
    }

    /// What does not work, by `status`.
    pub fn missing(&self) -> Result<Vec<String>> {
        let mut command = (self.command)();
        command.args(["hook", "status", "-o", "json"]).args(&self.args);
        let out = programs::output(&mut command)?;
        let mut missing = Vec::new();
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let check: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if check["ok"] == Value::Bool(false) && check["required"] == Value::Bool(true) {
                missing.push(check["check"].as_str().context("no name")?.to_owned());
            }
        }
        let code = if missing.is_empty() { 0 } else { 1 };
        ensure!(out.status.code() == Some(code), "{}", programs::both(&out));
        Ok(missing)
    }
}

impl Drop for Installation<'_> {
    fn drop(&mut self) {
        if self.installed
            && let Err(why) = self.uninstall()
        {
            eprintln!("{why:#}");
        }
    }
}

/// Files and folders: mode, owner and content of each.
pub type Tree = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

/// All that is below these.
pub fn tree(roots: &[&Path]) -> Result<Tree> {
    let mut found = Tree::new();
    let mut left: Vec<PathBuf> = roots.iter().map(|root| (*root).to_owned()).collect();
    while let Some(path) = left.pop() {
        let Ok(file) = fs::symlink_metadata(&path) else {
            continue;
        };
        let mut content = Vec::new();
        if file.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if file.is_file() {
            content = fs::read(&path)?;
        }
        found.insert(path, (file.mode(), file.uid(), content));
    }
    Ok(found)
}
