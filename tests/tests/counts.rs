//! Set and count of system calls equal strace's, on ten real programs, from execve on.
//!
//! Two runs of one program may differ by themselves (a futex that was free, a signal that came later), so each side
//! may be sampled up to [`SAMPLES`] times, and one sample of ours must equal one of strace's in every name. What is
//! wrong in the tracer is wrong in every sample.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{
    Bundle, Counts, Daemon, Event, Rootfs, Runtime, Verdict, daemon::Stats, event, programs, strace,
};

const SAMPLES: usize = 11;

/// Ten programs; `DATA` is a folder with files, `SCRATCH` one to write in, `WORKLOADS` ours.
#[rustfmt::skip] // a table
const PROGRAMS: [(&str, &[&str]); 10] = [
    ("find", &["/usr/bin/find", "DATA", "-type", "f", "-size", "+1k"]),
    ("tar", &["/usr/bin/tar", "-cf", "SCRATCH/out.tar", "-C", "DATA", "tree"]),
    ("python3", &["/usr/bin/python3", "-I", "-S", "-B", "-c", "print(sum(n * n for n in range(1009)))"]),
    ("pipeline", &["/bin/sh", "-c", "cat DATA/tree/words | tr a-z A-Z | sort | uniq -c | head -n 3"]),
    ("loop", &["/bin/sh", "-c", "for i in 1 2 3 4 5 6 7; do /bin/true; /bin/false || :; done"]),
    ("git", &["/usr/bin/git", "--no-pager", "-C", "DATA/repo", "log", "--oneline"]),
    ("ls", &["/bin/ls", "-lR", "DATA"]),
    ("grep", &["/bin/grep", "-rc", "needle", "DATA/tree"]),
    ("threads", &["WORKLOADS/threads", "5", "101"]),
    ("fork_signal", &["WORKLOADS/fork_signal"]),
];

fn words(args: &[&str], data: &str, scratch: &str, workloads: &str) -> Vec<String> {
    let args = args.iter();
    args.map(|arg| {
        arg.replace("DATA", data)
            .replace("SCRATCH", scratch)
            .replace("WORKLOADS", workloads)
    })
    .collect()
}

/// A tree with files, and a git repository.
fn fill(data: &Path) -> Result<()> {
    let tree = data.join("tree/a/b/c");
    fs::create_dir_all(&tree)?;
    for n in 0..23 {
        fs::write(tree.join(format!("file-{n}")), "hay needle hay\n".repeat(n * 17))?;
    }
    fs::write(data.join("tree/words"), "one\ntwo\nthree\ntwo\none\n")?;
    let repo = data.join("repo");
    let repo = repo.to_str().context("path")?;
    programs::git(&["init", "--quiet", "--initial-branch=main", repo])?;
    for n in 0..5 {
        fs::write(Path::new(repo).join("file"), n.to_string())?;
        programs::git(&["-C", repo, "add", "file"])?;
        programs::git(&[
            "-C",
            repo,
            "commit",
            "--quiet",
            "--message",
            &format!("change {n}"),
        ])?;
    }
    Ok(())
}

/// Samples both sides until one of ours equals one of strace's.
fn equal(
    name: &str,
    mut ours: impl FnMut() -> Result<Counts>,
    mut reference: impl FnMut() -> Result<Counts>,
) -> Result<()> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut last = String::new();
    for _ in 0..SAMPLES {
        left.push(ours()?);
        right.push(reference()?);
        let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
        let mut differences = Vec::new();
        for (a, b) in pairs {
            match event::difference("tracer", a, "strace", b) {
                None => return Ok(()),
                Some(difference) => differences.push(difference),
            }
        }
        // The closest pair says most.
        last = differences
            .into_iter()
            .min_by_key(|text| text.lines().count())
            .unwrap_or_default();
    }
    bail!("{name}: no sample of {SAMPLES} agrees; the closest:\n{last}")
}

/// The application's counts by its events; the aggregates must agree with all events.
fn reconcile(events: &[Event], stats: &Counts, verdict: &Verdict) -> Result<Counts> {
    verdict.whole()?;
    let all = event::counts(events);
    let difference = event::difference("aggregates", stats, "events", &all);
    ensure!(
        difference.is_none(),
        "aggregates differ from the events:\n{}",
        difference.unwrap_or_default()
    );
    Ok(event::counts(events.iter().filter(|event| event.is_app())))
}

/// Data for the programs on this machine, and what runs them.
struct Here {
    dir: tempfile::TempDir,
}

impl Here {
    fn new() -> Result<Self> {
        let here = Self {
            dir: tempfile::tempdir()?,
        };
        for name in ["data", "scratch"] {
            fs::create_dir(here.path(name))?;
        }
        fill(&here.path("data"))?;
        Ok(here)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn words(&self, args: &[&str]) -> Result<Vec<String>> {
        let text = |name: &str| self.path(name).display().to_string();
        Ok(words(
            args,
            &text("data"),
            &text("scratch"),
            &programs::workloads()?.display().to_string(),
        ))
    }

    fn strace(&self, args: &[&str]) -> Result<Counts> {
        strace::counts(args, self.dir.path())
    }

    fn traced(&self, args: &[&str]) -> Result<Counts> {
        let path = |name| self.path(name);
        let mut command = programs::command(programs::tracer()?);
        command
            .args(["run", "--phase", "all", "-o", "json", "-w"])
            .arg(path("events"));
        command
            .arg("--verify")
            .arg(path("verify"))
            .arg("--stats")
            .arg(path("stats"))
            .arg("--")
            .args(args);
        let out = programs::output(&mut command)?;
        ensure!(
            out.status.success(),
            "{}: {}",
            programs::show(&command),
            programs::both(&out)
        );
        let read = |name| fs::read_to_string(path(name)).with_context(|| programs::both(&out));
        let stats = Stats::parse(&read("stats")?)?.counts()?;
        reconcile(
            &event::parse(&read("events")?)?,
            &stats,
            &Verdict::parse(&read("verify")?)?,
        )
    }
}

/// The same under strace in a container.
fn strace_in_a_container(name: &str, args: &[&str]) -> Result<Counts> {
    let strace = [
        &["/usr/bin/strace"],
        &strace::args("/scratch/strace")[..],
        &["--"],
        args,
    ]
    .concat();
    let bundle = Bundle::new(name, Rootfs::Host, &strace)?.capability("CAP_SYS_PTRACE");
    fill(&bundle.data())?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    strace::parse(&fs::read_to_string(container.bundle.scratch().join("strace"))?)
}

fn trace_in_a_container(name: &str, args: &[&str], daemon: &Daemon) -> Result<Counts> {
    let bundle = Bundle::traced(name, Rootfs::Host, args, daemon)?;
    fill(&bundle.data())?;
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let events = tail.events()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    reconcile(&events, &daemon.stats(container.id())?.counts()?, &verdict)
}

/// Every program is tried, then all that failed are told.
fn for_each(mut try_one: impl FnMut(&str, &[&str]) -> Result<()>) -> Result<()> {
    let failed = PROGRAMS
        .iter()
        .filter_map(|(name, args)| try_one(name, args).err());
    let failed: Vec<String> = failed.map(|why| format!("{why:#}")).collect();
    ensure!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        PROGRAMS.len(),
        failed.join("\n")
    );
    Ok(())
}

fn borrow(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// What the other tests stand on.
#[test]
fn strace_agrees_with_itself() -> Result<()> {
    let here = Here::new()?;
    for_each(|name, args| {
        let there = words(args, "/data", "/scratch", "/workloads");
        let args = here.words(args)?;
        equal(
            name,
            || here.strace(&borrow(&args)),
            || here.strace(&borrow(&args)),
        )?;
        let strace = || strace_in_a_container(name, &borrow(&there));
        equal(name, strace, strace)
    })
}

#[test]
fn tracer_run_counts_as_strace_does() -> Result<()> {
    let here = Here::new()?;
    for_each(|name, args| {
        let args = here.words(args)?;
        equal(
            name,
            || here.traced(&borrow(&args)),
            || here.strace(&borrow(&args)),
        )
    })
}

#[test]
fn a_runc_container_counts_as_strace_does_in_one() -> Result<()> {
    let daemon = Daemon::start()?;
    for_each(|name, args| {
        let args = words(args, "/data", "/scratch", "/workloads");
        let args = borrow(&args);
        equal(
            name,
            || trace_in_a_container(name, &args, &daemon),
            || strace_in_a_container(name, &args),
        )
    })
}
