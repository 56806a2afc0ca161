//! containerd of newer Debian releases than the machine's: what NRI needs. The files lie in the build folder and
//! nothing is installed.

use crate::sh;
use anyhow::{Context, Result, ensure};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

/// Debian release, and why it: 1.7 is the first with NRI, 2.x has it on by default.
const RELEASES: [&str; 2] = ["trixie", "sid"];

/// Takes what is not there yet from the mirror that the machine's own apt uses.
pub(crate) fn fetch() -> Result<()> {
    for release in RELEASES {
        let to = sh::target().join("containerd").join(release);
        if !to.join("usr/bin/containerd").exists() {
            of(release, &to).with_context(|| format!("take containerd from Debian {release}"))?;
        }
    }
    Ok(())
}

fn of(release: &str, to: &Path) -> Result<()> {
    let mirror = mirror()?;
    let dir = tempfile::tempdir()?;
    let sources = dir.path().join("sources.list");
    fs::write(&sources, format!("deb {mirror} {release} main\n"))?;
    let mut options: Vec<OsString> = ["-qq", "-o", "APT::Sandbox::User=root"].map(Into::into).into();
    let mut option = |name: &str, value: &OsStr| {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        options.extend(["-o".into(), word]);
    };
    // Lists and cache of its own: the machine's know nothing of this release, and are not to.
    for (name, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
        let path = dir.path().join(folder);
        fs::create_dir_all(path.join("partial"))?;
        option(name, path.as_os_str());
    }
    option("Dir::Etc::SourceList", sources.as_os_str());
    option("Dir::Etc::SourceParts", OsStr::new("/dev/null"));
    option("Dir::State::status", OsStr::new("/dev/null"));
    let apt = |verb: &[&str]| {
        let verb = verb.iter().map(OsString::from);
        sh::run(sh::command("apt-get", options.iter().cloned().chain(verb)).current_dir(dir.path()))
    };
    apt(&["update"])?;
    apt(&["download", "containerd"])?;
    let package = fs::read_dir(dir.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .context("no package came")?;
    // Whole or not at all.
    let new = to.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    sh::run(&mut sh::command(
        "dpkg",
        [OsStr::new("-x"), package.as_os_str(), new.as_os_str()],
    ))?;
    Ok(fs::rename(&new, to)?)
}

/// Where the machine's apt takes Debian's packages from.
fn mirror() -> Result<String> {
    let list = sh::output(&mut sh::command(
        "apt-get",
        [
            "indextargets",
            "--format",
            "$(ORIGIN) $(REPO_URI) $(RELEASE)",
            "Created-By: Packages",
        ],
    ))?;
    // The security archive and others have other releases' packages nowhere, or elsewhere.
    let main = list.lines().find_map(|line| {
        let [origin, uri, release] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        (origin == "Debian" && !release.contains(['-', '/'])).then(|| uri.to_owned())
    });
    let mirror = main.context("this machine's apt has no source of Debian's packages")?;
    ensure!(!mirror.contains(char::is_whitespace), "odd mirror {mirror:?}");
    Ok(mirror)
}
