//! Permissions of files, step by step.

use super::*;
use crate::{
    event::Syscall,
    explain::{
        Acl, IdMap, Mount, Scene,
        rules::testing::{ask, failed, verdict},
    },
};

fn step(path: &str, kind: Kind, mode: u32, uid: u32) -> Component {
    Component {
        path: path.into(),
        kind,
        mode,
        uid,
        gid: uid,
        ..Component::default()
    }
}

fn scene(steps: Vec<Component>) -> Scene {
    let given = steps.last().map(|step| step.path.clone()).unwrap_or_default();
    Scene {
        paths: vec![Path {
            arg: "filename",
            given,
            steps,
            ..Path::default()
        }],
        groups: Some(vec![1000]),
        ..Scene::default()
    }
}

fn knew(denied: u64) -> Evidence {
    Evidence {
        denied: Some(denied),
        fsuid: 1000,
        fsgid: 1000,
        ..Evidence::default()
    }
}

const PROBED: u64 = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;

fn open(flags: &str, denied: u64) -> Syscall {
    failed(
        "openat",
        libc::EACCES,
        &[
            ("dfd", 0xffff_ff9c, "AT_FDCWD"),
            ("filename", 1, "\"/srv/data/file\""),
            ("flags", 0, flags),
        ],
    )
    .knowing(knew(denied))
}

#[test]
fn the_directory_that_refuses_is_named() {
    let scene = scene(vec![
        step("/", Kind::Directory, 0o755, 0),
        step("/srv", Kind::Directory, 0o755, 0),
        step("/srv/data", Kind::Directory, 0o700, 0),
        step("/srv/data/file", Kind::File, 0o644, 0),
    ]);
    let verdict = verdict(&RULE, &open("O_RDONLY", PROBED), &scene);
    assert_eq!(verdict.cause, Cause::Dac);
    assert_eq!(
        verdict.why,
        "/srv/data is rwx------ of user 0, group 0: the caller, user 1000, may not search it"
    );
}

#[test]
fn the_file_is_asked_for_what_the_call_wants() {
    let scene = scene(vec![
        step("/", Kind::Directory, 0o755, 0),
        step("/file", Kind::File, 0o644, 0),
    ]);
    let verdict = verdict(&RULE, &open("O_RDWR|O_APPEND", PROBED), &scene);
    assert!(
        verdict.why.ends_with("may not read and write it"),
        "{}",
        verdict.why
    );
    assert!(matches!(
        ask(&RULE, &open("O_RDONLY", 0), &scene),
        Finding::RuledOut(_)
    ));
}

#[test]
fn making_a_file_takes_its_directory() {
    let mut scene = scene(vec![step("/", Kind::Directory, 0o755, 0)]);
    scene.paths[0].missing = Some(b"new".to_vec());
    let verdict = verdict(&RULE, &open("O_WRONLY|O_CREAT", PROBED), &scene);
    assert!(
        verdict.why.contains("/ is rwxr-xr-x of user 0"),
        "{}",
        verdict.why
    );
    assert!(
        verdict.why.ends_with("may not make or remove files in it"),
        "{}",
        verdict.why
    );
}

#[test]
fn a_volume_is_changed_where_it_comes_from_and_a_tmpfs_by_its_options() {
    let told = |kind: &str, root: &str| {
        let mut scene = scene(vec![
            step("/", Kind::Directory, 0o755, 0),
            step("/data", Kind::Directory, 0o755, 0),
            step("/data/key", Kind::File, 0o600, 0),
        ]);
        scene.paths[0].mount = Some(Mount {
            point: b"/data".to_vec(),
            root: root.into(),
            kind: kind.into(),
            ..Mount::default()
        });
        let fixes = verdict(&RULE, &open("O_RDONLY", PROBED), &scene).fixes;
        fixes
            .into_iter()
            .map(|fix| fix.line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let of_host = "chown 1000 SOURCE/key, with the SOURCE of what is mounted on /data";
    assert!(told("ext4", "/").starts_with(of_host));
    // A directory of the host's /run.
    assert!(told("tmpfs", "/app").starts_with(of_host));
    assert!(told("tmpfs", "/").contains("--tmpfs /data:mode=1777\n"));
    assert!(!told("tmpfs", "/").contains("SOURCE"));
}

#[test]
fn a_group_of_the_caller_counts() {
    let mut scene = scene(vec![step("/file", Kind::File, 0o640, 0)]);
    scene.paths[0].steps[0].gid = 44;
    scene.groups = Some(vec![44]);
    assert!(matches!(
        ask(&RULE, &open("O_RDONLY", 0), &scene),
        Finding::RuledOut(_)
    ));
}

#[test]
fn root_of_a_user_namespace_is_no_master_of_unmapped_files() {
    let mut scene = scene(vec![step("/data", Kind::File, 0o600, 0)]);
    scene.uids = Some(vec![IdMap {
        inside: 0,
        outside: 1000,
        count: 1,
    }]);
    scene.paths[0].mount = Some(Mount {
        point: b"/data".to_vec(),
        kind: "ext4".into(),
        ..Mount::default()
    });
    let verdict = verdict(&RULE, &open("O_RDONLY", PROBED), &scene);
    assert_eq!(verdict.cause, Cause::UnmappedId);
    assert!(verdict.fixes.iter().any(|fix| fix.line.contains(":U")));
}

#[test]
fn an_acl_is_not_guessed_at() {
    let mut scene = scene(vec![step("/file", Kind::File, 0o640, 0)]);
    scene.paths[0].steps[0].acl = Some(Acl::default());
    assert_eq!(
        verdict(&RULE, &open("O_RDONLY", PROBED), &scene).why,
        "the mode, owner or ACL of a file refuses the caller, and /file has an ACL"
    );
    let mut blind = open("O_RDONLY", 0);
    blind.evidence.as_mut().unwrap().denied = None;
    assert!(matches!(ask(&RULE, &blind, &scene), Finding::RuledOut(_)));
}

#[test]
fn an_acl_that_can_be_read_decides() {
    // user::rw- user:1000:BITS group::r-- mask::rw- other::r--
    let acl = |bits: u8| {
        let entries = [(1, 6, 0), (2, bits, 1000), (4, 4, 0), (0x10, 6, 0), (0x20, 4, 0)];
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, bits, id) in entries {
            bytes.extend([tag, 0, bits, 0]);
            bytes.extend(u32::to_le_bytes(id));
        }
        Acl::read(&bytes)
    };
    let mut scene = scene(vec![step("/file", Kind::File, 0o664, 0)]);
    scene.paths[0].steps[0].acl = acl(0);
    let told = verdict(&RULE, &open("O_RDONLY", PROBED), &scene);
    assert_eq!(told.cause, Cause::Dac);
    assert!(told.why.contains("may not read it"), "{}", told.why);
    let decides = "the ACL of /file: user:1000:--- decides";
    assert!(told.evidence.iter().any(|fact| fact.text == decides), "{told:?}");
    assert!(
        told.fixes.iter().any(|fix| fix.line.contains("setfacl")),
        "{told:?}"
    );
    // One that lets the caller pass is no reason.
    scene.paths[0].steps[0].acl = acl(6);
    assert!(matches!(
        ask(&RULE, &open("O_RDONLY", 0), &scene),
        Finding::RuledOut(_)
    ));
    let call = open("O_RDONLY", 0);
    let case = Case {
        call: &call,
        scene: &scene,
    };
    assert_eq!(permits(&case), Some(true));
}

#[test]
fn sticky_directories() {
    let steps = vec![
        step("/tmp", Kind::Directory, 0o1777, 0),
        step("/tmp/theirs", Kind::File, 0o666, 33),
    ];
    let call =
        failed("unlink", libc::EPERM, &[("pathname", 1, "\"/tmp/theirs\"")]).knowing(knew(1 << CAP_FOWNER));
    let told = verdict(&RULE, &call, &scene(steps.clone()));
    assert!(told.why.starts_with("/tmp is sticky (rwxrwxrwt)"), "{}", told.why);
    let mut protected = scene(steps);
    protected.sysctls.insert("fs.protected_regular", "1".into());
    let told = verdict(&RULE, &open("O_WRONLY|O_CREAT", 0), &protected);
    assert!(told.why.contains("fs.protected_regular"), "{}", told.why);
}

#[test]
fn what_is_the_owners() {
    let steps = vec![
        step("/", Kind::Directory, 0o755, 0),
        step("/file", Kind::File, 0o644, 0),
    ];
    let call = failed("chmod", libc::EPERM, &[("filename", 1, "\"/file\"")]).knowing(knew(1 << CAP_FOWNER));
    assert_eq!(
        verdict(&RULE, &call, &scene(steps.clone())).why,
        "/file belongs to another user, and chmod is for its owner"
    );
    let mut hard = scene(steps.clone());
    hard.sysctls.insert("fs.protected_hardlinks", "1".into());
    let call = failed("link", libc::EPERM, &[("oldname", 1, "\"/file\"")]).knowing(knew(1 << CAP_FOWNER));
    assert!(
        verdict(&RULE, &call, &hard)
            .why
            .contains("fs.protected_hardlinks")
    );
    let mut fixed = scene(steps);
    fixed.paths[0].steps[1].immutable = true;
    let call = failed("unlink", libc::EPERM, &[("pathname", 1, "\"/file\"")]).knowing(knew(0));
    assert!(verdict(&RULE, &call, &fixed).why.contains("immutable"));
}

#[test]
fn of_unmapped_files_the_kernel_asks_for_no_capability() {
    let line = |inside, outside, count| IdMap {
        inside,
        outside,
        count,
    };
    let mut scene = scene(vec![
        step("/data", Kind::Directory, 0o755, 0),
        step("/data/file", Kind::File, 0o600, 0),
    ]);
    let foreign = vec![line(0, 1000, 1), line(1, 100_000, 65536)];
    (scene.uids, scene.gids) = (Some(foreign.clone()), Some(foreign));
    let told = verdict(&RULE, &open("O_RDONLY", 0), &scene);
    assert_eq!(told.cause, Cause::UnmappedId);
    // Of its own, held capabilities let it pass.
    scene.paths[0].steps = vec![
        step("/data", Kind::Directory, 0o755, 100_000),
        step("/data/file", Kind::File, 0o600, 100_000),
    ];
    assert!(matches!(
        ask(&RULE, &open("O_RDONLY", 0), &scene),
        Finding::RuledOut(_)
    ));
}

#[test]
fn directories_of_the_system_are_not_given_away() {
    let lines = |directory: &str| {
        let mut scene = scene(vec![step(directory, Kind::Directory, 0o755, 0)]);
        scene.paths[0].missing = Some(b"new".to_vec());
        scene.paths[0].given = format!("{directory}/new").into();
        let told = verdict(&RULE, &open("O_WRONLY|O_CREAT", PROBED), &scene);
        let lines: Vec<_> = told.fixes.into_iter().map(|fix| fix.line).collect();
        lines.join("; ")
    };
    assert!(lines("/srv").contains("RUN chown 1000 /srv"));
    assert!(lines("/run").contains("--tmpfs /run:mode=1777"));
    let etc = lines("/etc");
    assert!(
        etc.contains("a directory of its own, and not in /etc") && !etc.contains("chown 1000 /etc"),
        "{etc}"
    );
}

#[test]
fn the_only_step_that_may_refuse_does() {
    let mut scene = scene(vec![
        step("/etc", Kind::Directory, 0o755, 0),
        step("/etc/shadow", Kind::File, 0o640, 0),
    ]);
    scene.paths[0].steps[1].gid = 42;
    // The process has ended, and its groups are not known.
    scene.groups = None;
    let told = verdict(&RULE, &open("O_RDONLY", PROBED), &scene);
    assert!(
        told.why
            .starts_with("/etc/shadow is rw-r----- of user 0, group 42"),
        "{told:?}"
    );
    assert!(!told.fixes.is_empty());
    // Of two it is not known which.
    scene.paths[0].steps[0].mode = 0o750;
    let told = verdict(&RULE, &open("O_RDONLY", PROBED), &scene);
    assert_eq!(told.why, "the mode or owner of a file refuses the caller");
}

#[test]
fn nobody_of_the_container_changes_the_owner_of_a_foreign_file() {
    let mut scene = scene(vec![step("/data", Kind::Directory, 0o755, 0)]);
    let foreign = vec![IdMap {
        inside: 0,
        outside: 1000,
        count: 1,
    }];
    (scene.uids, scene.gids) = (Some(foreign.clone()), Some(foreign));
    let chown = failed("fchownat", libc::EPERM, &[("filename", 1, "\"/data\"")]).knowing(knew(0));
    let told = verdict(&RULE, &chown, &scene);
    assert_eq!(told.cause, Cause::UnmappedId);
    assert!(
        told.why.ends_with("not even its root may fchownat it"),
        "{told:?}"
    );
}
