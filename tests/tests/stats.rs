//! Calls and errors of `tracer run -c` and `tracer stats` equal those of `strace -c`, to the last one, also while the
//! event stream loses.
//!
//! As in `counts.rs`, each side is sampled until one of ours equals one of strace's.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, Verdict, asleep, daemon::Stats, programs, strace};

const SAMPLES: usize = 11;

type Rows = BTreeMap<String, (u64, u64)>;

/// Programs whose calls are the same each time, errors among them; `WORKLOADS` is the folder of ours.
#[rustfmt::skip] // a table
const PROGRAMS: [(&str, &[&str]); 6] = [
    ("ls", &["/bin/ls", "-l", "/usr/share"]),
    ("missing", &["/bin/sh", "-c", "cat /nonexistent/*; ls /nope; /bin/true; exit 0"]),
    ("loop", &["/bin/sh", "-c", "for i in 1 2 3 4 5 6 7; do /bin/true; /bin/false || :; done"]),
    ("find", &["/usr/bin/find", "/etc", "-maxdepth", "1", "-name", "nothing"]),
    ("fork_signal", &["WORKLOADS/fork_signal"]),
    ("calls", &["WORKLOADS/calls", "20011"]),
];

fn words(args: &[&str], workloads: &str) -> Vec<String> {
    args.iter()
        .map(|arg| arg.replace("WORKLOADS", workloads))
        .collect()
}

fn equal(
    name: &str,
    mut ours: impl FnMut() -> Result<Rows>,
    mut reference: impl FnMut() -> Result<Rows>,
) -> Result<()> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        left.push(ours()?);
        right.push(reference()?);
        if left.iter().any(|rows| right.contains(rows)) {
            return Ok(());
        }
    }
    let (a, b) = (left.last().context("none")?, right.last().context("none")?);
    let only = |a: &Rows, b: &Rows| -> Vec<_> {
        let other = a.iter().filter(|(name, row)| b.get(*name) != Some(row));
        other.map(|(name, row)| format!("{name} {row:?}")).collect()
    };
    bail!("{name}: tracer {:?}, strace {:?}", only(a, b), only(b, a))
}

/// The table of `tracer run`; `options` are its.
fn traced(dir: &Path, options: &[&str], args: &[&str]) -> Result<String> {
    let table = dir.join("table");
    let mut command = programs::command(programs::tracer()?);
    command.arg("run").args(options);
    command.arg("-w").arg(&table).arg("--").args(args);
    let out = programs::output(&mut command)?;
    fs::read_to_string(table).with_context(|| programs::both(&out))
}

/// `options` are ours alone, `asked` strace's too.
fn run_as_strace(options: &[&str], asked: &[&str]) -> Result<()> {
    let options = [options, asked].concat();
    let dir = tempfile::tempdir()?;
    let workloads = programs::workloads()?.display().to_string();
    for (name, args) in PROGRAMS {
        let args = words(args, &workloads);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ours = || strace::rows(&traced(dir.path(), &options, &args)?);
        equal(name, ours, || {
            strace::rows(&strace::summary(asked, &args, dir.path())?)
        })?;
    }
    Ok(())
}

#[test]
fn run_c_is_strace_c() -> Result<()> {
    run_as_strace(&["-c"], &[])
}

#[test]
fn so_it_is_of_the_calls_that_were_asked_for() -> Result<()> {
    // By name, as strace counts them: how they end takes none away.
    for asked in [&["-e", "trace=%file"][..], &["-e", "trace=!%file,mmap", "-Z"]] {
        run_as_strace(&["-c"], asked)?;
    }
    run_as_strace(&["-C"], &["-e", "trace=%file"])
}

#[test]
fn also_while_events_are_lost() -> Result<()> {
    run_as_strace(&["-C", "--ring-size", "4096"], &[])?;
    // Whether those lost anything is luck.
    let dir = tempfile::tempdir()?;
    let path = |name| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-C", "--ring-size", "4096", "--verify"]);
    command.arg(path("verify")).arg("-w").arg(path("table"));
    let calls = programs::workload("calls")?.display().to_string();
    asleep::run(&mut command, &[&calls, "20011", "sched_get_priority_max"])?;
    let verdict = Verdict::parse(&fs::read_to_string(path("verify"))?)?;
    verdict.balances()?;
    ensure!(verdict.dropped()? > 0, "{}", verdict.0);
    let rows = strace::rows(&fs::read_to_string(path("table"))?)?;
    assert_eq!(rows.get("sched_get_priority_max"), Some(&(20_011, 0)), "{rows:?}");
    Ok(())
}

#[test]
fn a_summary_alone_takes_no_room_in_the_ring() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let calls = programs::workload("calls")?.display().to_string();
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-c", "--ring-size", "4096", "--verify"]);
    command
        .arg(dir.path().join("verify"))
        .args(["--", &calls, "200003"]);
    let out = programs::output(&mut command)?;
    ensure!(out.status.success(), "{}: {}", out.status, programs::both(&out));
    let verdict = Verdict::parse(&fs::read_to_string(dir.path().join("verify"))?)?;
    verdict.whole()?;
    assert_eq!(
        verdict.book("counted")?,
        verdict.book("admitted")?,
        "{}",
        verdict.0
    );
    let stderr = String::from_utf8_lossy(&out.stderr);
    ensure!(!stderr.contains("tracer:"), "{stderr}");
    assert_eq!(
        strace::rows(&stderr)?.get("getppid"),
        Some(&(200_003, 0)),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn stats_of_a_container_is_strace_c_in_it() -> Result<()> {
    let daemon = Daemon::start()?;
    for (name, args) in PROGRAMS {
        let args = words(args, "/workloads");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ours = || {
            let bundle = Bundle::traced(name, Rootfs::Host, &args, &daemon)?;
            let mut container = Runtime::Runc.start(bundle)?;
            container.success()?;
            daemon.verdict_at_end(container.id())?;
            let mut stats = daemon.client("stats");
            strace::rows(&programs::success(stats.args([
                "-U",
                "calls,errors,name",
                container.id(),
            ]))?)
        };
        let reference = || {
            let strace = [
                &["/usr/bin/strace"],
                &strace::args("/scratch/strace")[..],
                &["--"],
                &args,
            ]
            .concat();
            let bundle = Bundle::new(name, Rootfs::Host, &strace)?.capability("CAP_SYS_PTRACE");
            let mut container = Runtime::Runc.start(bundle)?;
            container.success()?;
            strace::rows(&fs::read_to_string(container.bundle.scratch().join("strace"))?)
        };
        equal(name, ours, reference)?;
    }
    Ok(())
}

#[test]
fn phases_are_told_apart_though_events_are_lost() -> Result<()> {
    let daemon = Daemon::start_with(&["--ring-size", "4096"])?;
    let container = asleep::container(&daemon, "phases", &["/workloads/calls", "500009"])?;
    let stats = programs::success(daemon.client("stats").args(["-o", "json", container.id()]))?;
    let stats = Stats::parse(&stats)?;
    ensure!(
        daemon.verify_now(container.id())?.dropped()? > 0,
        "a ring of one page lost nothing: this test would prove nothing"
    );
    let all = daemon.stats(container.id())?.counts()?;
    let app = stats.counts()?.get("getppid").copied().context("no getppid")?;
    // runc's init asks for its parent's pid too, and so does the shell that starts the program.
    assert_eq!(app, 500_010, "the application's");
    ensure!(all.get("getppid").is_some_and(|all| *all >= app), "{all:?}");
    Ok(())
}

#[test]
fn durations_are_bounded_and_errors_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("stats");
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-c", "--stats"]).arg(&file);
    command.args(["--", "/bin/sh", "-c", "sleep 0.05; ls /nope"]);
    programs::output(&mut command)?;
    let stats = Stats::parse(&fs::read_to_string(file)?)?;
    let row = |name: &str| {
        let rows = stats.0["calls"].as_array().context("no calls")?;
        rows.iter()
            .find(|row| row["syscall"] == name)
            .with_context(|| format!("no {name} in {}", stats.0))
    };
    let sleep = row("clock_nanosleep")?;
    for field in ["min_ns", "p50_ns", "p95_ns", "p99_ns", "max_ns"] {
        // Of a single call the sum tells all.
        assert_eq!(sleep[field], sleep["total_ns"], "{field} of {sleep}");
    }
    ensure!(sleep["total_ns"].as_u64() >= Some(50_000_000), "{sleep}");
    let failed = row("execve")?;
    ensure!(failed["calls"].as_u64() >= Some(3), "{failed}");
    let statx = row("statx")?;
    ensure!(statx["errnos"]["ENOENT"].as_u64() >= Some(1), "{statx}");
    Ok(())
}

#[test]
fn watching_ends_with_the_container() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/bin/sh", "-c", "echo ready; read end </scratch/end; exit 0"];
    let bundle = Bundle::traced("watch", Rootfs::Host, &args, &daemon)?;
    let end = bundle.fifo("end")?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let mut watch = daemon.client("stats");
    watch.args(["--watch=0.2", container.id()]).stdout(Stdio::piped());
    let mut watch = watch.spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().context("no stdout")?).lines();
    let mut text = String::new();
    while text.matches("% time").count() < 3 {
        let line = lines.next().context("it ended before its third table")?;
        text.extend([line?.as_str(), "\n"]);
    }
    fs::write(&end, "end\n")?;
    container.success()?;
    for line in lines {
        text.extend([line?.as_str(), "\n"]);
    }
    let status = watch.wait()?;
    ensure!(status.success() && !text.contains('\x1b'), "{status}: {text}");
    Ok(())
}

#[test]
fn a_reader_who_leaves_is_no_error() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced(
        "head",
        Rootfs::Host,
        &["/bin/ls", "-lR", "/usr/share/doc"],
        &daemon,
    )?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    daemon.verdict_at_end(container.id())?;
    let tracer = programs::tracer()?.display().to_string();
    let id = container.id();
    for command in [
        format!("{tracer} ps"),
        format!("{tracer} stats {id}"),
        format!("{tracer} stats --watch=0.01 {id}"),
        format!("{tracer} tail --since-start --until-gone {id}"),
        format!("{tracer} run -w - -- /bin/ls -R /usr/share/doc"),
        format!("{tracer} run -c -w - -- /bin/true"),
    ] {
        let script = format!("set -o pipefail; {command} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}");
        let mut shell = programs::command("/bin/bash");
        shell
            .args(["-c", &script])
            .env("TRACER_RUNTIME_DIR", daemon.dir());
        let out = programs::output(&mut shell)?;
        // `ls` itself writes to the same pipe, and may be told so.
        let ls = command.contains("/bin/ls") && out.status.code() == Some(128 + 13);
        ensure!(
            out.status.success() || ls,
            "{command}: {}: {}",
            out.status,
            programs::both(&out)
        );
        assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{command}");
    }
    Ok(())
}

#[test]
fn processes_are_a_tree() -> Result<()> {
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "--tree", "--", "/bin/sh", "-c", "/bin/ls /nope; /bin/true"]);
    let out = programs::output(&mut command)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let tree: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("/bin/ls:"))
        .collect();
    ensure!(tree.len() == 4 && tree[0] == "sh", "{text}");
    ensure!(
        tree[1].starts_with("└─ ") && tree[1].contains("/bin/sh -c \"/bin/ls /nope; /bin/true\" ("),
        "{text}"
    );
    ensure!(
        tree[2].starts_with("   ├─ ") && tree[2].ends_with(" /bin/ls /nope (exited with 2)"),
        "{text}"
    );
    ensure!(
        tree[3].starts_with("   └─ ") && tree[3].ends_with(" /bin/true (exited with 0)"),
        "{text}"
    );
    Ok(())
}
