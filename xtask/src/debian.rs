//! Packages of other Debian releases than the machine's, from the mirror that its own apt uses. Nothing is installed, and
//! the machine's own lists do not learn of them.

use crate::sh;
use anyhow::{Context, Result, ensure};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A release's packages; its lists go with this.
pub(crate) struct Release {
    dir: TempDir,
    options: Vec<OsString>,
}

impl Release {
    /// Fetches the lists of a release, with its security updates where the machine has a source of such.
    pub(crate) fn fetch(release: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (mirror, security) = mirrors()?;
        let mut list = format!("deb {mirror} {release} main\n");
        if let (Some(security), true) = (security, release != "sid") {
            list += &format!("deb {security} {release}-security main\n");
        }
        let sources = dir.path().join("sources.list");
        fs::write(&sources, list)?;
        let mut options: Vec<OsString> = ["-qq", "-o", "APT::Sandbox::User=root"].map(Into::into).into();
        let mut option = |name: &str, value: &OsStr| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            options.extend(["-o".into(), word]);
        };
        // Lists and cache of its own.
        for (name, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            let path = dir.path().join(folder);
            fs::create_dir_all(path.join("partial"))?;
            option(name, path.as_os_str());
        }
        option("Dir::Etc::SourceList", sources.as_os_str());
        option("Dir::Etc::SourceParts", OsStr::new("/dev/null"));
        option("Dir::State::status", OsStr::new("/dev/null"));
        let release = Self { dir, options };
        sh::run(&mut release.apt("apt-get", &["update"]))?;
        Ok(release)
    }

    fn apt(&self, program: &str, verb: &[&str]) -> std::process::Command {
        let verb = verb.iter().map(OsString::from);
        let mut command = sh::command(program, self.options.iter().cloned().chain(verb));
        command.current_dir(self.dir.path());
        command
    }

    /// What a package depends on, a name each; empty where there is no such package.
    pub(crate) fn depends(&self, package: &str) -> Vec<String> {
        let text = sh::output(&mut self.apt("apt-cache", &["depends", package])).unwrap_or_default();
        let names = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        names.map(str::to_owned).collect()
    }

    /// Whether there is such a package.
    pub(crate) fn has(&self, package: &str) -> bool {
        sh::output(&mut self.apt("apt-cache", &["show", package])).is_ok_and(|text| !text.is_empty())
    }

    /// Unpacks a package into a folder.
    pub(crate) fn unpack(&self, package: &str, to: &Path) -> Result<()> {
        sh::run(&mut self.apt("apt-get", &["download", package]))?;
        let file = self.downloaded()?;
        fs::create_dir_all(to)?;
        let arguments = [OsStr::new("-x"), file.as_os_str(), to.as_os_str()];
        sh::run(&mut sh::command("dpkg", arguments))?;
        Ok(fs::remove_file(file)?)
    }

    fn downloaded(&self) -> Result<PathBuf> {
        fs::read_dir(self.dir.path())?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension() == Some(OsStr::new("deb")))
            .context("no package came")
    }
}

/// Where the machine's apt takes Debian's packages from, and their security updates.
fn mirrors() -> Result<(String, Option<String>)> {
    let format = "$(ORIGIN) $(REPO_URI) $(RELEASE)";
    let arguments = ["indextargets", "--format", format, "Created-By: Packages"];
    let list = sh::output(&mut sh::command("apt-get", arguments))?;
    let find = |wanted: fn(&str) -> bool| {
        list.lines().find_map(|line| {
            let [origin, uri, release] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            (origin == "Debian" && wanted(release)).then(|| uri.to_owned())
        })
    };
    // Others have other releases' packages nowhere, or elsewhere.
    let main = find(|release| !release.contains(['-', '/']));
    let main = main.context("this machine's apt has no source of Debian's packages")?;
    let security = find(|release| release.ends_with("-security"));
    for mirror in security.iter().chain([&main]) {
        ensure!(!mirror.contains(char::is_whitespace), "odd mirror {mirror:?}");
    }
    Ok((main, security))
}
