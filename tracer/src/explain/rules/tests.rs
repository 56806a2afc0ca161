//! All rules together: that the right one of them decides, and that none does where nothing is known.

use proptest::prelude::*;

use super::{ALL, testing::failed};
use crate::{
    event::{Cause, Evidence, Syscall},
    explain::{Case, Component, Kind, Mount, Network, Path, PidsGroup, Program, Scene, judge},
};

fn cause(call: &Syscall, scene: &Scene) -> Cause {
    judge(&Case { call, scene }).cause
}

fn knew(denied: u64) -> Evidence {
    Evidence {
        denied: Some(denied),
        granted: Some(0),
        limits: [u64::MAX; 16],
        fsuid: 1000,
        fsgid: 1000,
        ..Evidence::default()
    }
}

fn at(steps: &[(&str, Kind, u32)]) -> Scene {
    Scene {
        paths: vec![Path {
            arg: "filename",
            given: steps.last().map(|(path, ..)| (*path).into()).unwrap_or_default(),
            steps: steps
                .iter()
                .map(|(path, kind, mode)| Component {
                    path: (*path).into(),
                    kind: *kind,
                    mode: *mode,
                    ..Component::default()
                })
                .collect(),
            mount: Some(Mount {
                point: b"/".to_vec(),
                kind: "overlay".into(),
                ..Mount::default()
            }),
            ..Path::default()
        }],
        groups: Some(Vec::new()),
        ..Scene::default()
    }
}

const PROBED: u64 = 1 << 1 | 1 << 2;
const FILE: (&str, u64, &str) = ("filename", 1, "\"/srv/file\"");
const PORT_80: &str = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}"#;

#[test]
fn each_rule_has_a_name_of_its_own_and_a_source() {
    for (index, rule) in ALL.iter().enumerate() {
        assert!(!rule.source.is_empty(), "{}", rule.name);
        assert!(ALL.iter().skip(index + 1).all(|other| other.name != rule.name));
    }
}

#[test]
fn the_right_rule_decides() {
    let file = at(&[("/srv", Kind::Directory, 0o700), ("/srv/file", Kind::File, 0o644)]);
    let root = at(&[("/srv", Kind::Directory, 0o755), ("/srv/file", Kind::File, 0o644)]);
    let open = |errno| failed("openat", errno, &[FILE, ("flags", 0, "O_RDONLY")]);
    assert_eq!(
        cause(&open(libc::EACCES).knowing(knew(PROBED)), &file),
        Cause::Dac
    );
    assert_eq!(cause(&open(libc::EROFS), &root), Cause::ReadOnly);

    let mut gone = at(&[("/srv", Kind::Directory, 0o755)]);
    gone.paths[0].missing = Some(b"file".to_vec());
    assert_eq!(cause(&open(libc::ENOENT), &gone), Cause::Missing);

    let mut program = root.clone();
    program.paths[0].program = Some(Program::Script {
        interpreter: b"/bin/bash".to_vec(),
        there: false,
        carriage_return: false,
    });
    let run = |errno| failed("execve", errno, &[FILE]).knowing(knew(0));
    assert_eq!(cause(&run(libc::ENOENT), &program), Cause::Interpreter);
    assert_eq!(cause(&run(libc::EACCES), &root), Cause::Dac, "no x for anybody");
    assert_eq!(cause(&run(libc::ENOENT), &gone), Cause::Missing);

    let bind = failed("bind", libc::EACCES, &[("umyaddr", 1, PORT_80)]).knowing(knew(1 << 10));
    assert_eq!(cause(&bind, &Scene::default()), Cause::PrivilegedPort);
    let mount = failed("mount", libc::EPERM, &[]).knowing(knew(1 << 21));
    assert_eq!(cause(&mount, &Scene::default()), Cause::Capability);
    let above = Evidence {
        user_ns: 7,
        user_ns_level: 1,
        denied_ns: Some((1, 0)),
        ..knew(1 << 25)
    };
    let clock = failed("clock_settime", libc::EPERM, &[]).knowing(above);
    assert_eq!(cause(&clock, &Scene::default()), Cause::UserNamespace);
    let kill = failed("kill", libc::EPERM, &[]).knowing(knew(1 << 5));
    assert_eq!(cause(&kill, &Scene::default()), Cause::Capability);

    let pids = Scene {
        pids: Some(vec![PidsGroup {
            path: "/c".into(),
            current: 5,
            max: Some(5),
            refused: Some(1),
        }]),
        ..Scene::default()
    };
    let fork = |denied| failed("clone", libc::EAGAIN, &[]).knowing(knew(denied));
    assert_eq!(cause(&fork(1 << 21), &pids), Cause::CgroupPids);
    assert_eq!(cause(&fork(1 << 21 | 1 << 24), &pids), Cause::Rlimit);

    let nscd = r#"{sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}"#;
    let lookup = failed("connect", libc::ENOENT, &[("uservaddr", 1, nscd)]);
    assert_eq!(cause(&lookup, &Scene::default()), Cause::Expected);
    let preload = failed(
        "access",
        libc::ENOENT,
        &[("filename", 1, "\"/etc/ld.so.preload\"")],
    );
    assert_eq!(cause(&preload, &Scene::default()), Cause::Expected);
    let connect = failed("connect", libc::ECONNREFUSED, &[("uservaddr", 1, PORT_80)]);
    let network = Scene {
        network: Some(Network::default()),
        ..Scene::default()
    };
    assert_eq!(cause(&connect, &network), Cause::Refused);
}

#[test]
fn nothing_is_guessed() {
    let label = Scene {
        label: Some("docker-default (enforce)".into()),
        ..Scene::default()
    };
    for (call, scene) in [
        (failed("ioctl", libc::EINVAL, &[("fd", 3, "3")]), Scene::default()),
        (failed("mount", libc::EINVAL, &[]), Scene::default()),
        (failed("write", libc::EIO, &[("fd", 3, "3")]), Scene::default()),
        (
            failed("mmap", libc::ENOMEM, &[("len", 4096, "4096")]).knowing(knew(1 << 21)),
            Scene::default(),
        ),
        (
            failed("mprotect", libc::EACCES, &[]).knowing(knew(1 << 21)),
            Scene::default(),
        ),
        (
            failed("mlock", libc::ENOMEM, &[("len", 4096, "4096")]).knowing(knew(0)),
            Scene::default(),
        ),
        (
            failed("clone", libc::EAGAIN, &[]).knowing(knew(0)),
            Scene::default(),
        ),
        (
            failed("epoll_ctl", libc::ENOENT, &[("fd", 3, "3")]),
            Scene::default(),
        ),
        (failed("mount", libc::EPERM, &[]).knowing(knew(0)), label.clone()),
        (failed("openat", libc::EACCES, &[FILE]).knowing(knew(0)), label),
        (failed("execve", libc::ENOENT, &[FILE]), Scene::default()),
        (failed("keyctl", libc::ENOKEY, &[]), Scene::default()),
    ] {
        let verdict = judge(&Case {
            call: &call,
            scene: &scene,
        });
        assert_eq!(
            verdict.cause,
            Cause::Undetermined,
            "{}: {}",
            call.name,
            verdict.why
        );
    }
}

const NAMES: &[&str] = &[
    "openat",
    "execve",
    "connect",
    "bind",
    "mmap",
    "mlock",
    "clone",
    "rename",
    "chown",
    "setuid",
    "prlimit64",
    "mount",
    "setpriority",
    "sched_setattr",
    "sched_setscheduler",
    "socket",
    "ioctl",
    "unshare",
    "mq_open",
    "kill",
    "fcntl",
    "write",
    "link",
    "unlink",
    "bpf",
    "setgroups",
    "shmget",
    "fallocate",
    "inotify_add_watch",
    "setsockopt",
];
const ARGS: &[&str] = &[
    "filename",
    "oldname",
    "newname",
    "uservaddr",
    "umyaddr",
    "flags",
    "len",
    "new_rlim",
    "uattr",
    "param",
    "arg",
    "u_attr",
    "grouplist",
    "policy",
    "niceval",
    "sig",
    "fd",
    "resource",
    "which",
    "optname",
];

proptest! {
    /// Texts and names are what a container makes them.
    #[test]
    fn no_text_makes_a_rule_panic(
        name in prop::sample::select(NAMES),
        errno in 1..134_i32,
        args in prop::collection::vec((prop::sample::select(ARGS), any::<u64>(), ".{0,40}"), 0..5),
        marks in prop::sample::select(vec![
            "", "\"", "CLONE_NEWUSER", "rlim_max=99999999999999999999", "sched_nice=-", "MAP_LOCKED PROT_EXEC",
            "{sa_family=AF_INET, sin_port=htons(99999), sin_addr=inet_addr(\"", "{sa_family=AF_UNIX, sun_path=\"",
            "SO_BINDTODEVICE, \"é", "ifr_name=é\"", "O_CREAT|O_DIRECT", "mq_maxmsg=5",
        ]),
        denied in any::<u64>(),
        watched in any::<bool>(),
        given in prop::collection::vec(any::<u8>(), 0..20),
        missing in any::<bool>(),
        left in 0..3_usize,
    ) {
        let mut args: Vec<_> = args.iter().map(|(name, raw, text)| (*name, *raw, text.as_str())).collect();
        args.push(("msg", 1, marks));
        let evidence = Evidence { denied: watched.then_some(denied), user_ns_level: 1, ..knew(0) };
        let call = failed(name, errno, &args).knowing(evidence);
        let mut scene = at(&[("/", Kind::Directory, 0o1777), ("/é", Kind::Link, 0o777), ("/x", Kind::Fifo, 0)]);
        scene.paths[0].missing = missing.then(|| given.clone());
        scene.paths[0].given = given;
        scene.paths[0].left = left;
        scene.network = Some(Network::default());
        let verdict = judge(&Case { call: &call, scene: &scene });
        prop_assert!(!verdict.why.is_empty());
    }
}
