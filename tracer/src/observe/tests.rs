//! What is kept of made-up calls.

use super::{lookups::Lookups, *};
use crate::event::{Arch, Arg, Args, Comm, DeniedBy, Negative, Outcome, Phase, Task};

/// A call of one string, or of numbers.
fn call(
    name: &'static str,
    nr: u32,
    texts: &[&str],
    raws: &[(&'static str, u64)],
    outcome: Outcome,
) -> Syscall {
    let mut args = Args::default();
    for text in texts {
        let from = args.text.len();
        args.text.push_str(text);
        args.list.push(Arg {
            name: "filename",
            raw: 0,
            text: from..args.text.len(),
            truncated: false,
            fault: false,
        });
    }
    for (name, raw) in raws {
        args.list.push(Arg {
            name,
            raw: *raw,
            text: 0..0,
            truncated: false,
            fault: false,
        });
    }
    Syscall {
        task: Task {
            host_pid: 7,
            host_tid: 7,
            pid: 2,
            comm: Comm(*b"worker\0\0\0\0\0\0\0\0\0\0"),
            phase: Phase::App,
            ..Task::default()
        },
        seq: 1,
        arch: Arch::X86_64,
        nr,
        name: name.into(),
        args,
        outcome,
        duration_ns: None,
        negative: None,
        evidence: None,
        denied_by: None,
    }
}

const MISSING: Outcome = Outcome::Error(libc::ENOENT as u16);

fn open(path: &str, outcome: Outcome) -> Syscall {
    call(
        "openat",
        257,
        &["AT_FDCWD", &format!("\"{path}\""), "O_RDONLY"],
        &[],
        outcome,
    )
}

fn lookups(calls: &[Syscall]) -> observed::Lookups {
    let observed = Observed::default();
    for (time, call) in (1..).zip(calls) {
        observed.call(time * 1_000_000_000, call, None);
    }
    observed.lookups()
}

#[test]
fn failures_are_counted_by_path_and_process() {
    let mut other = open("/a", MISSING);
    other.task.host_pid = 8;
    let seen = lookups(&[
        open("/a", MISSING),
        open("/a", Outcome::Error(libc::ENOTDIR as u16)),
        other,
        open("/b", MISSING),
        open("/c", Outcome::Value(3)),
        open("/d", Outcome::Error(libc::EACCES as u16)),
    ]);
    assert_eq!(
        (seen.failed, seen.unnamed, seen.unkept, seen.paths.len()),
        (4, 0, 0, 2)
    );
    let first = &seen.paths[0];
    assert_eq!(
        (first.path.as_str(), first.missing, first.not_a_directory),
        ("/a", 2, 1)
    );
    assert_eq!(first.by.iter().map(|by| by.count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(first.per_second, 1.5, "three in two seconds");
    assert_eq!(first.by[0].who.comm, "worker");
}

#[test]
fn where_a_failure_was_found_is_counted_as_far_as_it_is_known() {
    let found = |by| Syscall {
        negative: by,
        ..open("/a", MISSING)
    };
    let (cached, looked_up) = (Some(Negative::Cached), Some(Negative::LookedUp));
    let seen = lookups(&[found(None), found(looked_up), found(cached), found(cached)]);
    let row = &seen.paths[0];
    assert_eq!((row.missing, row.cached, row.looked_up), (4, 2, 1));
}

#[test]
fn a_search_is_its_places_in_order_and_where_it_ended() {
    let seen = lookups(&[
        open("/x/libm.so.6", MISSING),
        call(
            "newfstatat",
            262,
            &["AT_FDCWD", "\"/x\"", "0x7ffe", "0"],
            &[],
            MISSING,
        ),
        open("/y/libm.so.6", MISSING),
        open("/lib/libm.so.6", Outcome::Value(3)),
        open("/etc/one", MISSING),
        open("/etc/one", MISSING),
        open("/p/none", MISSING),
        open("/q/none", MISSING),
    ]);
    let told: Vec<_> = seen
        .searches
        .iter()
        .map(|search| {
            (
                search.name.as_str(),
                search.places.join(" "),
                search.found.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("libm.so.6", "/x /y".to_owned(), Some("/lib")),
            ("none", "/p /q".to_owned(), None)
        ]
    );
}

#[test]
fn the_path_that_had_to_be_there_is_taken() {
    let seen = lookups(&[
        call("symlink", 88, &["\"/text\"", "\"/no/link\""], &[], MISSING),
        call("rename", 82, &["\"/no/old\"", "\"/new\""], &[], MISSING),
        call(
            "connect",
            42,
            &["3", "{sa_family=AF_UNIX, sun_path=\"/run/s\"}", "110"],
            &[],
            MISSING,
        ),
        call(
            "openat",
            257,
            &["AT_FDCWD", "\"/long\"...", "O_RDONLY"],
            &[],
            MISSING,
        ),
        call("openat", 257, &["AT_FDCWD", "0x7ffe", "O_RDONLY"], &[], MISSING),
        call("kill", 62, &["7", "\"/not/a/path\""], &[], MISSING),
    ]);
    let paths: Vec<_> = seen.paths.iter().map(|path| path.path.as_str()).collect();
    assert_eq!(paths, ["/long...", "/no/link", "/no/old", "/run/s"]);
    assert_eq!((seen.failed, seen.unnamed), (5, 1));
}

#[test]
fn a_storm_of_paths_is_bounded_and_counted() {
    let mut table = Lookups::default();
    let long = "x".repeat(3000);
    for number in 0..1000 {
        table.take(1, &open(&format!("/{number}/{long}"), MISSING), None);
    }
    let seen = table.told();
    let kept = seen.paths.len() as u64;
    assert!(kept > 100 && kept < 400, "{kept}");
    assert_eq!((seen.failed, seen.failed - kept), (1000, seen.unkept));
}

#[test]
fn searches_give_back_their_room() {
    let mut table = Lookups::default();
    for round in 0..100_000 {
        table.take(1, &open("/a/name", MISSING), None);
        table.take(1, &open("/b/name", MISSING), None);
        table.take(1, &open("/c/name", Outcome::Value(3)), None);
        table.take(1, &open(&format!("/once/{}", round % 10), MISSING), None);
    }
    let seen = table.told();
    assert_eq!((seen.unkept, seen.searches_unkept), (0, 0));
    let search = seen.searches.iter().find(|search| search.name == "name");
    assert_eq!(search.map(|search| search.times), Some(100_000));
}

fn socket(family: u64) -> Syscall {
    call("socket", 41, &[], &[("family", family)], Outcome::Value(3))
}

#[test]
fn values_and_refusals_are_kept() {
    let observed = Observed::default();
    let mut refused = socket(16);
    refused.denied_by = Some(DeniedBy::Seccomp);
    refused.outcome = Outcome::Error(libc::EPERM as u16);
    // The upper half of the register means nothing.
    for call in [socket(1), socket(2), socket(0xffff_ffff_0000_0002), refused] {
        observed.call(1, &call, None);
    }
    let seen = observed.arguments();
    let values = &seen.values[0];
    assert_eq!(
        (values.calls, values.seen.as_slice(), values.more),
        (4, &[1, 2][..], false)
    );
    assert_eq!(
        (seen.refused[0].errno, seen.refused[0].calls),
        (libc::EPERM as u16, 1)
    );
    for family in 0..100 {
        observed.call(1, &socket(family), None);
    }
    let seen = observed.arguments();
    assert!(seen.values[0].more && seen.values[0].seen.len() == 32);
}

#[test]
fn the_runtime_is_followed_from_its_filter_to_the_application() {
    let observed = Observed::default();
    let of_runtime = |mut call: Syscall| {
        call.task.phase = Phase::Runtime;
        observed.call(1, &call, None);
    };
    of_runtime(call("mount", 165, &[], &[], Outcome::Value(0)));
    // A probe for a feature, as libseccomp makes it.
    of_runtime(call(
        "seccomp",
        317,
        &[],
        &[("op", 1), ("flags", 4)],
        Outcome::Error(14),
    ));
    of_runtime(call("pivot_root", 155, &[], &[], Outcome::Value(0)));
    assert_eq!(observed.arguments().under_filter, None);
    of_runtime(call(
        "prctl",
        157,
        &[],
        &[("option", 22), ("arg2", 2)],
        Outcome::Value(0),
    ));
    of_runtime(call("close", 3, &[], &[], Outcome::Value(0)));
    of_runtime(call("close", 3, &[], &[], Outcome::Value(0)));
    observed.lock().arguments.application();
    of_runtime(call("write", 1, &[], &[], Outcome::Value(0)));
    assert_eq!(observed.arguments().under_filter, Some(vec!["close".to_owned()]));
}

#[test]
fn a_relative_path_is_told_from_the_root_on_where_that_is_known() {
    let (observed, mut followed) = (Observed::default(), Followed::default());
    let event = |call: Syscall| Event {
        time_ns: 1,
        ktime: 1,
        container: std::sync::Arc::default(),
        body: Body::Syscall(call),
    };
    let chdir = call("chdir", 80, &["\"/srv/app\""], &[], Outcome::Value(0));
    for call in [
        open("lib/a.so", MISSING),
        chdir,
        open("lib/a.so", MISSING),
        open("./other/a.so", MISSING),
        open("/lib/a.so", Outcome::Value(3)),
    ] {
        let event = event(call);
        observed.take(&event, Some(&followed));
        followed.see(&event);
    }
    let seen = observed.lookups();
    let paths: Vec<_> = seen.paths.iter().map(|path| path.path.as_str()).collect();
    assert_eq!(paths, ["/srv/app/lib/a.so", "/srv/app/other/a.so", "lib/a.so"]);
    let search = &seen.searches[0];
    assert_eq!(search.places, ["lib", "/srv/app/lib", "/srv/app/other"]);
    assert_eq!(search.found.as_deref(), Some("/lib"));
}

#[test]
fn another_daemon_goes_on_with_what_one_left() {
    let mut refused = call("socket", 41, &[], &[("family", 16)], Outcome::Error(1));
    refused.denied_by = Some(DeniedBy::Seccomp);
    let mut filter = call("seccomp", 317, &[], &[("op", 1), ("flags", 0)], Outcome::Value(0));
    filter.task.phase = Phase::Runtime;
    let mut runtimes = call("chdir", 80, &[], &[], Outcome::Value(0));
    runtimes.task.phase = Phase::Runtime;
    let story = [
        filter,
        runtimes.clone(),
        open("/a/x", MISSING),
        open("/b/x", MISSING),
        refused,
        call("socket", 41, &[], &[("family", 2)], Outcome::Value(3)),
        open("/c/x", Outcome::Value(3)),
        open("/a/y", MISSING),
        // Handed over here.
        open("/b/y", Outcome::Value(3)),
        open("/a/x", MISSING),
        call("socket", 41, &[], &[("family", 1)], Outcome::Value(3)),
        // The application has begun: it is not the runtime's any more.
        runtimes,
    ];
    let told = |handed_over: bool| {
        let mut observed = Observed::default();
        observed.began(Some(5));
        for (time, call) in (1..).zip(&story) {
            if time == 3 {
                observed.lock().arguments.application();
            }
            if time == 9 && handed_over {
                let left = serde_json::to_vec(&observed.leave()).unwrap();
                let left: Left = serde_json::from_slice(&left).unwrap();
                observed = Observed::default();
                observed.resume(left);
            }
            observed.call(time * 1_000_000_000, call, None);
        }
        (observed.arguments(), observed.lookups())
    };
    let whole = told(false);
    assert!(
        whole.0.under_filter.is_some() && whole.1.searches.len() == 2,
        "{whole:?}"
    );
    assert_eq!(told(true), whole);
}
