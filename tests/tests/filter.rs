//! Filters: what does not pass costs no ring space and is counted; who asks for something gets exactly that.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path, process::Output};
use tracer_tests::{
    Bundle, Daemon, Event, Rootfs, Runtime, Tail, Verdict, bundle,
    daemon::Stats,
    event::{self, Sequence},
    programs,
};

struct Run {
    out: Output,
    events: Vec<Event>,
    verdict: Verdict,
    stats: Stats,
}

/// `tracer run` of all phases with these filters.
fn run(filters: &[&str], args: &[&str]) -> Result<Run> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command
        .args(["run", "-o", "json", "--phase", "all", "-w"])
        .arg(path("events"));
    command
        .arg("--verify")
        .arg(path("verify"))
        .arg("--stats")
        .arg(path("stats"));
    let out = programs::output(command.args(filters).arg("--").args(args))?;
    let read = |name: &Path| fs::read_to_string(name).with_context(|| programs::both(&out));
    Ok(Run {
        events: event::parse(&read(&path("events"))?)?,
        verdict: Verdict::parse(&read(&path("verify"))?)?,
        stats: Stats::parse(&read(&path("stats"))?)?,
        out,
    })
}

/// The calls of a stream as text, without what differs from run to run.
fn calls(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.is_syscall()).collect()
}

/// Files that are there and files that are not, and much that is about none.
const SCRIPT: &str = "cat /nonexistent /etc/hostname; ls / >/dev/null; test -e /missing; echo done";

#[test]
fn the_ring_carries_only_what_passes() -> Result<()> {
    let all = run(&[], &["/bin/sh", "-c", SCRIPT])?;
    let some = run(&["-e", "trace=%file", "-Z"], &["/bin/sh", "-c", SCRIPT])?;
    ensure!(some.out.status.success(), "{}", programs::both(&some.out));
    let passed = calls(&some.events);
    ensure!(!passed.is_empty(), "nothing passed");
    for event in &passed {
        ensure!(
            event.0["ret"] == -1 && !event.text("errno").is_empty(),
            "it did not fail: {}",
            event.0
        );
        ensure!(
            [
                "openat",
                "access",
                "execve",
                "readlink",
                "newfstatat",
                "statx",
                "stat",
                "faccessat",
                "faccessat2",
                "readlinkat",
                "statfs",
                "getxattr",
                "lgetxattr",
                "chdir"
            ]
            .contains(&event.syscall()),
            "not about a file: {}",
            event.0
        );
    }
    // The same run without a filter has the same calls among its own.
    let wanted = |event: &&Event| {
        event.0["ret"] == -1 && passed.iter().any(|passed| passed.syscall() == event.syscall())
    };
    let key = |event: &Event| {
        (
            event.syscall().to_owned(),
            event.text("errno").to_owned(),
            event.arg(0).to_owned(),
        )
    };
    let expected: Vec<_> = calls(&all.events).into_iter().filter(wanted).map(key).collect();
    assert_eq!(
        passed.iter().map(|event| key(event)).collect::<Vec<_>>(),
        expected
    );

    some.verdict.whole()?;
    let book = |name| some.verdict.book(name);
    ensure!(book("filtered")? > 100, "{}", some.verdict.0);
    assert_eq!(book("emitted")?, passed.len() as u64, "{}", some.verdict.0);
    assert_eq!(
        book("admitted")?,
        book("emitted")? + book("filtered")?,
        "{}",
        some.verdict.0
    );
    // What is filtered takes no number: no hole tells of a loss that was none.
    Sequence::of(&some.events)?.whole(true)?;
    assert_eq!(
        event::difference("without", &all.stats.counts()?, "with", &some.stats.counts()?),
        None,
        "filters change no count"
    );
    Ok(())
}

/// The calls of `tracer run` with these options, a line each, and its books.
fn lines(dir: &Path, options: &[&str], args: &[&str]) -> Result<(Vec<String>, Verdict)> {
    let mut command = programs::command(programs::tracer()?);
    command.arg("run").args(options);
    command.arg("-w").arg(dir.join("events"));
    command.arg("--verify").arg(dir.join("verify"));
    let out = programs::output(command.arg("--").args(args))?;
    let read = |name| fs::read_to_string(dir.join(name)).with_context(|| programs::both(&out));
    let is_call = |line: &&str| line.contains(" = ") || line.starts_with('{');
    let text = read("events")?;
    let lines = text.lines().filter(is_call).map(str::to_owned).collect();
    Ok((lines, Verdict::parse(&read("verify")?)?))
}

#[test]
fn a_call_taken_by_how_it_ends_is_told_alike_whatever_is_shown_of_its_begin() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // The addresses of one run are those of the next.
    let args = |script| ["/usr/bin/setarch", "-R", "/bin/sh", "-c", script];
    let script =
        "cat /nonexistent /etc/hostname; ls / >/dev/null; test -e /missing; kill -0 9999; cd /nope; exit 3";
    for (filters, least) in [
        (&["-e", "trace=%file,%process,read", "-Z"][..], 15),
        (&["-e", "trace=%file", "--errno", "ENOENT"], 15),
        (&["-e", "openat,read,close", "-z"], 20),
        (&["-e", "/^exit", "-e", "status=unfinished"], 3),
    ] {
        let told = |more: &[&str], bare: bool| -> Result<Vec<String>> {
            let (lines, verdict) = lines(dir.path(), &[filters, more].concat(), &args(script))?;
            verdict.whole()?;
            let book = |name| verdict.book(name);
            assert_eq!(
                book("admitted")?,
                book("emitted")? + book("filtered")?,
                "{filters:?} {more:?}: {}",
                verdict.0
            );
            ensure!(book("filtered")? > 100, "{}", verdict.0);
            lines
                .into_iter()
                .map(|line| {
                    let call = line.rsplit_once(" <").filter(|(_, time)| time.ends_with('>'));
                    let (call, timed) = call.map_or((line.as_str(), false), |(call, _)| (call, true));
                    // strace gives an unfinished call no time either.
                    ensure!(
                        timed != (bare || call.ends_with("= ?")),
                        "{filters:?} {more:?}: {line}"
                    );
                    Ok(call.to_owned())
                })
                .collect()
        };
        // Looked at when it begins; only timed then; not even that.
        let whole = told(&["-T", "--stats", "/dev/null"], false)?;
        ensure!(whole.len() >= least, "{filters:?}: {} calls", whole.len());
        assert_eq!(whole, told(&["-T"], false)?, "{filters:?}, timed");
        assert_eq!(whole, told(&[], true)?, "{filters:?}, untimed");
    }
    // JSON has the durations.
    let failed = ["-e", "trace=%file", "-Z", "-o", "json"];
    let (lines, _) = lines(dir.path(), &failed, &args(script))?;
    let events = event::parse(&lines.join("\n"))?;
    for event in calls(&events) {
        event.number("duration_ns")?;
    }
    Ok(())
}

#[test]
fn what_seccomp_refused_is_told_apart_from_what_failed() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/workloads/seccomp_denied", "1039"];
    let mut bundle = Bundle::traced("refused", Rootfs::Host, &args, &daemon)?;
    bundle.config["linux"]["seccomp"] = bundle::refuse("sched_get_priority_max");
    // Text, so that nothing is kept of a call's begin.
    let tail = daemon
        .tail(&bundle.id, &["-Z", "-e", "trace=%file,/^sched_get"])?
        .opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let text = tail.text()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let refused = text
        .lines()
        .filter(|line| line.ends_with("(denied by seccomp)"))
        .count();
    let failed: Vec<_> = text.lines().filter(|line| line.contains(" = -1 ")).collect();
    assert_eq!(refused, 1039);
    ensure!(failed.len() > refused, "nothing else failed");
    let (timed, _) = failed
        .iter()
        .filter(|line| !line.contains("execve"))
        .partition::<Vec<&str>, _>(|line| line.ends_with('>'));
    assert_eq!(timed, [""; 0]);
    Ok(())
}

#[test]
fn each_filter_alone() -> Result<()> {
    // So long that the shell, which waits for it from a little later on, waits long enough, too.
    let script = "/bin/sleep 0.3; cat /nonexistent; exec /bin/true";
    let sees = |filters: &[&str], holds: &dyn Fn(&Event) -> bool, at_least: usize| -> Result<()> {
        let run = run(filters, &["/bin/sh", "-c", script])?;
        run.verdict.whole()?;
        let passed = calls(&run.events);
        ensure!(passed.len() >= at_least, "{filters:?}: {} calls", passed.len());
        for event in passed {
            ensure!(holds(event), "{filters:?} let pass {}", event.0);
        }
        Ok(())
    };
    sees(
        &["-e", "/^exit", "-e", "status=unfinished"],
        &|event| event.syscall() == "exit_group",
        3,
    )?;
    sees(
        &["-z", "-e", "execve"],
        &|event| event.syscall() == "execve" && event.0["ret"] == 0,
        3,
    )?;
    sees(
        &["--errno", "ENOENT"],
        &|event| event.text("errno") == "ENOENT",
        2,
    )?;
    sees(&["--comm", "sleep"], &|event| event.text("comm") == "sleep", 20)?;
    sees(
        &["-P", "/nonexistent"],
        &|event| (0..2).any(|arg| event.arg(arg) == "\"/nonexistent\""),
        1,
    )?;
    sees(
        &["--min-duration", "40ms"],
        &|event| event.number("duration_ns").is_ok_and(|ns| ns >= 40_000_000),
        2,
    )?;
    Ok(())
}

#[test]
fn a_wrong_word_is_a_set_up_error() -> Result<()> {
    for (filters, says) in [
        (["-e", "nosuch"], "no system call \"nosuch\""),
        (["-e", "trace=%odd"], "no class \"%odd\""),
        (["--errno", "EWHAT"], "no errno \"EWHAT\""),
    ] {
        let mut command = programs::command(programs::tracer()?);
        let out = programs::output(command.arg("run").args(filters).args(["--", "/bin/echo", "ran"]))?;
        let text = programs::both(&out);
        ensure!(
            out.status.code() == Some(2) && text.contains(says) && !text.contains("ran"),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn two_tails_get_exactly_theirs() -> Result<()> {
    let daemon = Daemon::start()?;
    let script = "cat /nonexistent; ls / >/dev/null; cat /etc/passwd >/dev/null; cat /missing; true";
    let bundle = Bundle::traced("filters", Rootfs::Busybox, &["/bin/sh", "-c", script], &daemon)?;
    let id = bundle.id.clone();
    // The harness names a tail's files by its container: a prefix of the id is as good a name.
    let tail = |word: &str, filters: &[&str]| -> Result<Tail> {
        let mut args = vec!["-o", "json", "--phase", "all"];
        args.extend(filters);
        daemon.tail(word, &args)?.opened()
    };
    let failed = tail(&id, &["-e", "trace=%file", "-Z"])?;
    let reads = tail(&id[..id.len() - 1], &["-e", "read,write"])?;
    let mut container = Runtime::Runc.start(bundle)?;
    let _status = container.wait()?;
    let (failed, reads) = (failed.events()?, reads.events()?);
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.whole()?;

    let (failed, reads) = (calls(&failed), calls(&reads));
    ensure!(
        failed.len() >= 2 && reads.len() >= 2,
        "{} and {}",
        failed.len(),
        reads.len()
    );
    ensure!(
        failed.iter().all(|event| event.0["ret"] == -1),
        "a call that did not fail"
    );
    ensure!(
        failed
            .iter()
            .any(|event| event.arg(0) == "\"/missing\"" || event.arg(1) == "\"/missing\""),
        "no call on /missing"
    );
    ensure!(
        reads
            .iter()
            .all(|event| ["read", "write"].contains(&event.syscall())),
        "neither read nor write"
    );
    // The kernel lets pass the union and no more than it must: fewer than all, at least what both got.
    let (emitted, filtered) = (verdict.book("emitted")?, verdict.book("filtered")?);
    ensure!(
        filtered > 0 && emitted >= (failed.len() + reads.len()) as u64,
        "{}",
        verdict.0
    );
    // Each sink's own books: what came is written or skipped.
    let sinks = verdict.0["sinks"].as_array().context("no sinks")?;
    let mut written = Vec::new();
    for sink in sinks {
        let part = |name: &str| {
            sink[name]
                .as_u64()
                .with_context(|| format!("no {name} in {sink}"))
        };
        assert_eq!(
            part("written")? + part("dropped")? + part("skipped")?,
            emitted,
            "{sink}"
        );
        written.push(part("written")?);
    }
    written.sort_unstable();
    let mut lines = [failed.len() as u64, reads.len() as u64];
    lines.sort_unstable();
    assert_eq!(written, lines, "{}", verdict.0);
    // The aggregates have all.
    let counted: u64 = daemon.stats(&id)?.counts()?.values().sum();
    ensure!(counted > emitted, "{counted} counted, {emitted} emitted");
    Ok(())
}

#[test]
fn the_filter_goes_with_its_tail() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/workloads/calls", "forever", "sched_get_priority_max"];
    let bundle = Bundle::traced("widen", Rootfs::Host, &args, &daemon)?;
    let id = bundle.id.clone();
    let narrow = daemon.tail(&id, &["-o", "json", "-e", "exit_group"])?.opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    let book = |name| daemon.verify_now(&id).and_then(|verdict| verdict.book(name));
    let filtered = || book("filtered");
    tracer_tests::wait::until("calls to be filtered", tracer_tests::wait::LONG, || {
        Ok((filtered().unwrap_or(0) > 1000).then_some(()))
    })?;
    drop(narrow);
    // Nobody wants less than everything now: the rest is held again.
    tracer_tests::wait::until(
        "the kernel side to let all pass",
        tracer_tests::wait::LONG,
        || {
            let (before, admitted) = (filtered()?, book("admitted")?);
            tracer_tests::wait::until("a thousand more calls", tracer_tests::wait::LONG, || {
                Ok((book("admitted")? > admitted + 1000).then_some(()))
            })?;
            Ok((filtered()? == before).then_some(()))
        },
    )?;
    ensure!(
        daemon.verify_now(&id)?.book("emitted")? > 1000,
        "nothing is emitted"
    );
    container.kill("KILL")?;
    let _killed = container.wait()?;
    daemon.verdict_at_end(&id).map(|_verdict| ())
}

/// Calls by the 32-bit entry, from code in the low 4 GiB: three that fail, one that does not.
const BY_32_BIT_ENTRY: &str = r#"
import ctypes
libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p
at = libc.mmap(None, 4096, 7, 0x62, -1, 0)
code = b'\x53\x89\xf8\x89\xf3\x87\xd1\xcd\x80\x5b\xc3'
ctypes.memmove(at, code + b'/missing\0', len(code) + 9)
call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)(at)
for nr in (5, 33, 10, 64): call(nr, at + len(code), 0, 0)
"#;

#[test]
fn a_32_bit_call_is_taken_by_how_it_ends() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let args = ["/usr/bin/python3", "-I", "-S", "-B", "-c", BY_32_BIT_ENTRY];
    let filters = ["-e", "trace=open,access,unlink,getppid", "-Z"];
    for (more, timed) in [
        (&[][..], false),
        (&["-T"], true),
        (&["-T", "--stats", "/dev/null"], true),
    ] {
        let (lines, verdict) = lines(dir.path(), &[&filters[..], more].concat(), &args)?;
        verdict.whole()?;
        let told: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_suffix(" [i386]"))
            .map(|line| match line.rsplit_once(" <") {
                Some((call, _)) if timed => call,
                _ => line,
            })
            .collect();
        let failed = "= -1 ENOENT (No such file or directory)";
        let want = [
            "open(\"/missing\", O_RDONLY)",
            "access(\"/missing\", F_OK)",
            "unlink(\"/missing\")",
        ];
        assert_eq!(
            told,
            want.map(|call| format!("[pid     2] {call} {failed}")),
            "{more:?}"
        );
    }
    Ok(())
}
