//! What overlayfs refuses and other file systems take: a directory of the image is not renamed.

use super::{Rule, words::shown};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, Kind, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "overlay",
    source: "Documentation/filesystems/overlayfs.rst, Renaming directories; fs/overlayfs/dir.c: ovl_can_move, ovl_rename",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::EXDEV]) || !case.is(&["rename", "renameat", "renameat2"]) {
        return Finding::NotMine;
    }
    let [old, new] = case.scene.paths.as_slice() else {
        return Finding::NotMine;
    };
    let (Some(from), Some(to)) = (&old.mount, &new.mount) else {
        return Finding::NotMine;
    };
    let directory = old.steps.last().filter(|step| step.kind == Kind::Directory);
    let Some(directory) = directory.filter(|_| from.kind == "overlay" && from.point == to.point) else {
        return Finding::NotMine;
    };
    let path = shown(&directory.path);
    Found::new(
        Cause::FileSystem,
        format!("{path} is a directory of the image, which overlayfs does not rename"),
    )
    .after(format!("both names are on {}, an overlay", shown(&from.point)))
    .always("a directory of a lower layer is renamed only where redirect_dir is on: EXDEV (overlayfs.rst)")
    .fix(Place::Program, "copy and remove, as mv(1) does")
    .fix(
        Place::Image,
        format!("make {path} when the container starts, or in a volume: what is not of the image is renamed"),
    )
    .fix(
        Place::Host,
        "echo Y > /sys/module/overlay/parameters/redirect_dir, before the container is created (not for rootless ones)",
    )
    .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Component, Mount, Path, Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn path(kind: Kind, file_system: &str, point: &str) -> Path {
        Path {
            arg: "oldname",
            steps: vec![Component {
                path: b"/srv/data".to_vec(),
                kind,
                ..Component::default()
            }],
            mount: Some(Mount {
                point: point.into(),
                kind: file_system.into(),
                ..Mount::default()
            }),
            ..Path::default()
        }
    }

    #[test]
    fn a_directory_of_the_image_is_not_renamed() {
        let call = failed("renameat2", libc::EXDEV, &[]);
        let scene = |old: Path, new: Path| Scene {
            paths: vec![old, new],
            ..Scene::default()
        };
        let directory = || path(Kind::Directory, "overlay", "/");
        let told = verdict(&RULE, &call, &scene(directory(), directory()));
        assert!(
            told.why.starts_with("/srv/data is a directory of the image"),
            "{}",
            told.why
        );
        for other in [
            scene(directory(), path(Kind::Directory, "overlay", "/mnt")),
            scene(path(Kind::File, "overlay", "/"), directory()),
            scene(
                path(Kind::Directory, "ext4", "/"),
                path(Kind::Directory, "ext4", "/"),
            ),
        ] {
            assert_eq!(ask(&RULE, &call, &other), Finding::NotMine);
        }
    }
}
