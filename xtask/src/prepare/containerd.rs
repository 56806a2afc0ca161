//! containerd of newer Debian releases than the machine's: what NRI needs. The files lie in the build folder and
//! nothing is installed.

use crate::{debian::Release, sh};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Debian release, and why it: 1.7 is the first with NRI, 2.x has it on by default.
const RELEASES: [&str; 2] = ["trixie", "sid"];

/// Takes what is not there yet.
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
    // Whole or not at all.
    let new = to.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    Release::fetch(release)?.unpack("containerd", &new)?;
    Ok(fs::rename(&new, to)?)
}
