//! One container image, busybox, made on this machine: no registry is asked.

use crate::{Rootfs, bundle, programs};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root file system as a tar file in `dir`, for `podman import` and `docker import`.
pub fn rootfs_tar(dir: &Path) -> Result<PathBuf> {
    let rootfs = dir.join("rootfs");
    bundle::make_rootfs(&rootfs, Rootfs::Busybox)?;
    tar(&rootfs)
}

/// A root file system as a tar file beside it, with its programs' capabilities.
pub fn tar(rootfs: &Path) -> Result<PathBuf> {
    let tar = rootfs.with_extension("tar");
    let mut command = programs::command("tar");
    command
        .arg("--xattrs")
        .arg("--xattrs-include=security.capability");
    command.arg("-C").arg(rootfs).arg("-cf").arg(&tar).arg(".");
    programs::success(&mut command)?;
    Ok(tar)
}

/// An image archive (`docker save`'s form, which `ctr images import` reads) in `dir`, of that layer.
pub fn archive(dir: &Path, name: &str, layer: &Path, entrypoint: &[&str]) -> Result<PathBuf> {
    let image = tempfile::Builder::new().prefix("image-").tempdir_in(dir)?;
    fs::copy(layer, image.path().join("layer.tar"))?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Entrypoint": entrypoint, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer)?)]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "container tracer's tests"}],
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(image.path().join("config.json"), config.to_string())?;
    fs::write(image.path().join("manifest.json"), manifest.to_string())?;
    let archive = dir.join(format!("{}.tar", name.replace(['/', ':'], "-")));
    let mut tar = programs::command("tar");
    tar.arg("-C").arg(image.path()).arg("-cf").arg(&archive);
    programs::success(tar.args(["config.json", "layer.tar", "manifest.json"]))?;
    Ok(archive)
}

fn sha256(path: &Path) -> Result<String> {
    let line = programs::success(programs::command("sha256sum").arg(path))?;
    Ok(line.split_whitespace().next().context("sha256sum")?.to_owned())
}
