//! What to change so that the caller may use a file or directory: of a volume, of the image. It decides nothing.

use super::super::words::shown;
use crate::{
    event::Place,
    explain::{Component, Mount, case::Found},
};

/// What gives the caller a directory that the engine has mounted, or a file in it.
pub(super) fn of_volume(found: Found, mount: &Mount, step: &Component, caller: u32) -> Found {
    let target = shown(&mount.point);
    if mount.kind == "tmpfs" && mount.root == b"/" {
        // Podman gives it the mode of the image's directory otherwise.
        return found
            .fix(Place::Podman, format!("--tmpfs {target}:mode=1777,notmpcopyup"))
            .fix(Place::Docker, format!("--tmpfs {target}:mode=1777"))
            .fix(Place::Kubernetes, "securityContext.fsGroup of the Pod");
    }
    let within = step.path.strip_prefix(mount.point.as_slice()).unwrap_or_default();
    found
        .fix(
            Place::Host,
            format!(
                "chown {caller} SOURCE{}, with the SOURCE of what is mounted on {target} ({caller} is the caller, as the host counts)",
                shown(within)
            ),
        )
        .fix(
            Place::Podman,
            format!(
                "-v SOURCE:{target}:U (podman changes the owner), or --userns=keep-id with a rootless container"
            ),
        )
        .fix(
            Place::Kubernetes,
            "securityContext.fsGroup of the Pod, or an initContainer that changes the owner",
        )
}

/// Directories of the system whose owner an image had better leave alone.
const OF_SYSTEM: &[&[u8]] = &[
    b"/", b"/bin", b"/boot", b"/etc", b"/lib", b"/lib64", b"/root", b"/sbin", b"/usr", b"/var",
];

/// What holds only what is made while the container runs.
const OF_RUN: &[&[u8]] = &[
    b"/run",
    b"/run/lock",
    b"/tmp",
    b"/var/cache",
    b"/var/lock",
    b"/var/log",
    b"/var/run",
    b"/var/tmp",
];

/// What gives the caller, as the container counts it, a file or directory of the image; `makes` is in a directory.
pub(super) fn of_image(found: Found, step: &Component, caller: Option<u32>, makes: bool) -> Found {
    let caller = caller.map_or_else(|| "USER".to_owned(), |id| id.to_string());
    let path = shown(&step.path);
    let is_one_of = |all: &[&[u8]]| makes && all.contains(&step.path.as_slice());
    if is_one_of(OF_RUN) {
        return found
            .fix(Place::Podman, format!("--tmpfs {path}:mode=1777,notmpcopyup"))
            .fix(Place::Docker, format!("--tmpfs {path}:mode=1777"))
            .fix(
                Place::Kubernetes,
                format!("an emptyDir volume with mountPath: {path}, and securityContext.fsGroup of the Pod"),
            )
            .fix(Place::Image, format!("RUN chmod 1777 {path}"));
    }
    if is_one_of(OF_SYSTEM) {
        return found
            .fix(
                Place::Image,
                format!("RUN mkdir /data && chown {caller} /data: a directory of its own, and not in {path}"),
            )
            .fix(
                Place::Program,
                "name a path in that directory; HOME and the working directory too",
            );
    }
    found.fix(Place::Image, format!("RUN chown {caller} {path} (or chmod)"))
}
