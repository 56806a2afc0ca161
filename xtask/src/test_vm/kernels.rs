//! Debian's kernels: taken from its packages, kept in the build folder.

use crate::{debian::Release, sh};
use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// The kernels for virtual machines: smaller, and with the same settings for BPF.
const META: &str = "linux-image-cloud-amd64";

/// What a guest needs of its modules, in the order in which they are loaded. Some are part of some kernels.
pub(super) const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "overlay",
];

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub version: String,
    pub image: PathBuf,
    /// Folder with the modules, as `.ko`.
    pub modules: PathBuf,
}

/// That of a release: as it was taken before, or the newest of its packages.
pub(super) fn of(release: &str) -> Result<Kernel> {
    let dir = sh::target().join("kernels").join(release);
    if !dir.join("version").exists() {
        take(release, &dir).with_context(|| format!("take the kernel of Debian {release}"))?;
    }
    Ok(Kernel {
        version: fs::read_to_string(dir.join("version"))?,
        image: dir.join("vmlinuz"),
        modules: dir,
    })
}

fn take(release: &str, dir: &Path) -> Result<()> {
    let archive = Release::fetch(release)?;
    let depends = archive.depends(META);
    let version = depends.iter().find_map(|name| name.strip_prefix("linux-image-"));
    let version = version.with_context(|| format!("no package {META}"))?;
    // Whole or not at all.
    let new = dir.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let files = new.join("files");
    // One package up to trixie; then it is empty, and its parts have others.
    for part in ["image", "binary", "modules"] {
        let package = format!("linux-{part}-{version}");
        if part == "image" || archive.has(&package) {
            archive.unpack(&package, &files)?;
        }
    }
    let all = walk(&files)?;
    let image = all.iter().find(|path| name(path).starts_with("vmlinuz"));
    fs::copy(
        image.context("the packages have no vmlinuz")?,
        new.join("vmlinuz"),
    )?;
    for module in MODULES {
        let plain = format!("{module}.ko");
        let Some(path) = all
            .iter()
            .find(|path| name(path).trim_end_matches(".xz") == plain)
        else {
            continue;
        };
        let to = new.join(&plain);
        fs::copy(path, new.join(name(path)))?;
        if !to.exists() {
            sh::run(sh::command("xz", ["-d"]).arg(to.with_extension("ko.xz")))?;
        }
    }
    ensure!(new.join("overlay.ko").exists(), "the packages have no overlay.ko");
    fs::remove_dir_all(&files)?;
    fs::write(new.join("version"), version)?;
    Ok(fs::rename(&new, dir)?)
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(walk(&entry.path())?);
        } else {
            all.push(entry.path());
        }
    }
    Ok(all)
}
