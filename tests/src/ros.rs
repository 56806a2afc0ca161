//! A robot's software as Debian has it: an image with ROS 1, a master, a talker and a listener in it.

use crate::{image, programs};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What `roscore` and two nodes in Python need.
const PACKAGES: [&str; 5] = [
    "python3-roslaunch",
    "python3-rosnode",
    "python3-rospy",
    "python3-rostopic",
    "python3-std-msgs",
];
const FILES: [(&str, &str); 3] = [
    ("node.sh", include_str!("ros/node.sh")),
    ("talker.py", include_str!("ros/talker.py")),
    ("listener.py", include_str!("ros/listener.py")),
];
/// Starts all three; its word is how many messages the talker says.
pub const COMMAND: &str = "/ros/node.sh";

/// The image's root file system as a tar file of 270 MB. Made from Debian's packages in two minutes, by debootstrap, where
/// cargo's folder does not have it yet.
pub fn rootfs_tar() -> Result<PathBuf> {
    let dir = programs::target()?.join("ros");
    let (rootfs, tar) = (dir.join("rootfs"), dir.join("rootfs.tar"));
    if !tar.exists() {
        // Half of one from an earlier try is worth nothing.
        if rootfs.exists() {
            fs::remove_dir_all(&rootfs)?;
        }
        fs::create_dir_all(&dir)?;
        install(&rootfs)?;
        put(&rootfs)?;
        image::tar(&rootfs)?;
        fs::remove_dir_all(&rootfs)?;
    }
    Ok(tar)
}

fn install(rootfs: &Path) -> Result<()> {
    let mut debootstrap = programs::command("debootstrap");
    debootstrap.args(["--variant=minbase", "bookworm"]);
    programs::success(debootstrap.arg(rootfs)).context("Debian's package debootstrap")?;
    let mut apt = programs::command("chroot");
    apt.arg(rootfs).env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["apt-get", "install", "-y", "--no-install-recommends"]);
    programs::success(apt.args(PACKAGES))?;
    let mut clean = programs::command("chroot");
    programs::success(clean.arg(rootfs).args(["apt-get", "clean"])).map(drop)
}

fn put(rootfs: &Path) -> Result<()> {
    let dir = rootfs.join("ros");
    fs::create_dir(&dir)?;
    for (name, text) in FILES {
        fs::write(dir.join(name), text)?;
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
