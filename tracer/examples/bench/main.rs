//! What tracing costs a system call: untraced, traced and under empty programs, interleaved in one run, so that only
//! ratios count. `cargo xtask bench` runs it, and the bench program of the `tests` crate for what is measured from
//! outside.
//!
//! `bench [--quick] [--check] SECTION…` prints a Markdown section for each: `call` is the above, `decode` what a core
//! decodes and writes, `export` what it exports, `load` what the verifier has to do; with `--check` a goal that is missed
//! is a failure. `bench empty` attaches the empty programs until its standard input ends.
//!
//! Two workers on CPU 0 make getppid(2) calls in a loop, one in a registered container and one outside; the ring is
//! drained on CPU 1. Each figure is the minimum of all rounds: what is above it is the machine's noise.

mod decode;
mod export;

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::mpsc::sync_channel,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::{ForkResult, Pid, fork},
};
use tracer::{
    filter::{Begin, Words},
    identity,
    source::{
        self, Item, QUEUE_BATCHES,
        kernel::{Kernel, Options},
    },
};
use tracer_common::filter::{CALL_WORDS, Container, Filter, Plan, files, state};

/// Calls a figure rests on, per round.
const CALLS: u32 = 200_000;
/// Calls that are timed together.
const CHUNK: u32 = 1000;
/// Asks for lseek(2) calls on a file instead.
const WITH_FILE: u32 = 1 << 31;
/// Goals of issue and design: of the empty pair's cost.
const UNTRACED_GOAL: f64 = 1.15;
const TRACED_GOAL: f64 = 3.3;
const NO_DURATION_GOAL: f64 = 2.3;
const COUNTS_GOAL: f64 = 1.1;
const FILTERED_GOAL: f64 = 1.5;
/// Modes of which others are parts.
const TRACED: &str = "a traced one: event, duration, counts";
const COUNTED: &str = "counts with durations (`run -c`)";
const FILTERED: &str = "left out by a filter by its name";
const FAILED: &str = "left out by its outcome (`-Z`)";
const TIMED: &str = "the same, with `-T`";
/// Instructions that the verifier looks at in a program: half of what it refuses, as kernels differ.
const VERIFIED_GOAL: u32 = 500_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, sections): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    let rounds = if options.iter().any(|word| *word == "--quick") {
        3
    } else {
        25
    };
    let check = options.iter().any(|word| *word == "--check");
    let mut all_within = true;
    for section in sections {
        let within = match section.as_str() {
            "call" => bench(rounds),
            "decode" => decode::bench(),
            "export" => export::bench().map(|()| true),
            "load" => load(),
            "empty" => empty().map(|()| true),
            other => Err(anyhow::anyhow!("no such section: {other}")),
        };
        match within {
            Ok(within) => all_within &= within,
            Err(error) => {
                eprintln!("bench: {section}: {error:#}");
                return ExitCode::from(2);
            }
        }
    }
    if check && !all_within {
        eprintln!("bench: a goal was missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn plans() -> impl Iterator<Item = (u32, Plan)> {
    let options = tracer::decode::Options::native();
    tracer::decode::plans(options.arch, options.limits)
}

/// Attaches the empty programs for whoever measures from outside.
fn empty() -> Result<()> {
    let (mut kernel, _ring) = Kernel::load(&Options::default(), plans())?;
    kernel.attach_empty()?;
    println!("attached");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The same for a goal of the project's: printed as a line that `cargo xtask bench` takes into the table of all goals.
/// `limit` says what stands in the way, by what was measured here: told where it is missed.
fn project_goal(what: &str, came: &str, reached: bool, goal: &str, limit: &str) -> String {
    let (how, limit) = if reached {
        ("reached", "")
    } else {
        ("**missed**", limit)
    };
    println!("<!-- goal | {what} | {goal} | {came} | {how} | {limit} -->");
    verdict(reached, goal)
}

/// How a goal stands, for a table's cell.
fn verdict(reached: bool, goal: &str) -> String {
    let how = if reached { "reached" } else { "**missed**" };
    format!("{goal}: {how}")
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    // On one CPU all share it; the ratios still tell.
    let _one_cpu = sched_setaffinity(Pid::from_raw(0), &set);
    Ok(())
}

/// A process that makes calls when told.
struct Worker {
    link: UnixStream,
    pid: Pid,
}

impl Worker {
    fn start(own_mount_namespace: bool) -> Result<Self> {
        let (link, mut far) = UnixStream::pair()?;
        // SAFETY: there is one thread yet.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let served = Self::serve(own_mount_namespace, &mut far);
                std::process::exit(i32::from(served.is_err()))
            }
            ForkResult::Parent { child } => {
                let mut worker = Self { link, pid: child };
                worker.link.read_exact(&mut [0])?;
                Ok(worker)
            }
        }
    }

    fn serve(own_mount_namespace: bool, link: &mut UnixStream) -> Result<()> {
        pin(0)?;
        // SAFETY: no memory is involved. Refused without root: then it is measured as it comes.
        let _refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        if own_mount_namespace {
            unshare(CloneFlags::CLONE_NEWNS)?;
        }
        let file = std::fs::File::open("/etc/passwd")?;
        link.write_all(&[1])?;
        let mut calls = [0; 4];
        while link.read_exact(&mut calls).is_ok() {
            let calls = u32::from_le_bytes(calls);
            // The quickest of many short runs: other load on the machine comes in longer pieces.
            let mut best = u64::MAX;
            for _ in 0..(calls & !WITH_FILE) / CHUNK {
                let begin = Instant::now();
                for _ in 0..CHUNK {
                    if calls & WITH_FILE == 0 {
                        // SAFETY: no arguments, no effect.
                        unsafe { libc::syscall(libc::SYS_getppid) };
                    } else {
                        // SAFETY: the descriptor is ours, and where it stands is not moved.
                        unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_CUR) };
                    }
                }
                best = best.min(begin.elapsed().as_nanos() as u64);
            }
            link.write_all(&best.to_le_bytes())?;
        }
        Ok(())
    }

    /// Nanoseconds a call.
    fn measure(&mut self, calls: u32) -> Result<f64> {
        self.link.write_all(&calls.to_le_bytes())?;
        let mut ns = [0; 8];
        self.link.read_exact(&mut ns).context("a worker ended")?;
        Ok(u64::from_le_bytes(ns) as f64 / f64::from(CHUNK))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when its link closes.
        let _closed = self.link.shutdown(std::net::Shutdown::Both);
        let _reaped = nix::sys::wait::waitpid(self.pid, None);
    }
}

#[derive(Default)]
struct Figure(Vec<f64>);

impl Figure {
    fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::MAX, f64::min)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// A way to trace that is measured.
struct Mode {
    name: &'static str,
    /// Bits of [`state`].
    state: u32,
    filter: Filter,
    goal: Option<f64>,
    figure: Figure,
}

impl Mode {
    fn new(name: &'static str, state: u32, filter: Filter, goal: Option<f64>) -> Self {
        Self {
            name,
            state,
            filter,
            goal,
            figure: Figure::default(),
        }
    }
}

/// Loads the programs and prints what that took the verifier; whether it was no more than it should.
fn load() -> Result<bool> {
    let (kernel, _ring) = Kernel::load(&Options::default(), plans())?;
    let mut within = true;
    println!("## What the verifier looks at\n");
    println!(
        "It refuses a program in which it would look at a million instructions; kernels differ, so half is the bound.\n"
    );
    println!("| program | instructions | loaded in | goal |\n| --- | --- | --- | --- |");
    for verified in kernel.verified() {
        let instructions = verified.instructions.unwrap_or(0);
        let reached = instructions <= VERIFIED_GOAL;
        within &= reached;
        println!(
            "| `{}` | {instructions} | {:.1} ms | {} |",
            verified.program,
            verified.took.as_secs_f64() * 1e3,
            verdict(reached, &format!("≤ {VERIFIED_GOAL}"))
        );
    }
    println!();
    Ok(within)
}

fn bench(rounds: usize) -> Result<bool> {
    let mut outside = Worker::start(false)?;
    let mut inside = Worker::start(true)?;
    pin(1)?;
    let (mut kernel, ring) = Kernel::load(&Options::default(), plans())?;
    let (queue, items) = sync_channel::<Item<()>>(QUEUE_BATCHES);
    let sink = std::thread::spawn(move || {
        let records = items.into_iter().map(|item| match item {
            Item::Records(batch) => batch.by_time().len(),
            Item::Mark(()) => 0,
        });
        records.sum::<usize>()
    });
    let (marks, begin, reader) = source::read_ring(ring, queue, |_record| false)?;
    begin.begin();

    let init = tracer_hook::identity::Init::open(inside.pid.as_raw().into())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    let container = |state| Container {
        generation: 1,
        state,
        mnt_ns: identity.mnt_ns,
        pid_ns: identity.pid_ns,
        init_tgid: identity.init_tgid,
        ..Container::default()
    };
    let nothing = Filter {
        active: Filter::SIEVES,
        calls: [0; CALL_WORDS],
        light: [u64::MAX; CALL_WORDS],
        ..Filter::ALL
    };
    // `-e trace=getppid -Z`: it never fails. With `-T`, its duration is wanted if it does.
    let failed = |begin| {
        let words = Words {
            expressions: vec!["trace=getppid".into()],
            failed: true,
            begin,
            ..Words::default()
        };
        tracer::filter::Filter::new(&words, tracer::decode::Options::native().arch)
            .map(|filter| *filter.of_kernel())
            .map_err(anyhow::Error::msg)
    };
    let exit_only = Filter {
        active: Filter::EXIT_ONLY,
        ..Filter::ALL
    };
    let (mut none, mut empty, mut untraced) = (Figure::default(), Figure::default(), Figure::default());
    let mut modes = [
        Mode::new(TRACED, 0, Filter::ALL, Some(TRACED_GOAL)),
        Mode::new(
            "a traced one, `--mode no-duration`",
            state::EXIT_ONLY,
            exit_only,
            Some(NO_DURATION_GOAL),
        ),
        Mode::new(
            "a traced one, `--mode counts`",
            state::EXIT_ONLY | state::COUNTS,
            exit_only,
            Some(COUNTS_GOAL),
        ),
        Mode::new(COUNTED, state::COUNTS, Filter::ALL, None),
        Mode::new(FILTERED, 0, nothing, Some(FILTERED_GOAL)),
        Mode::new(FAILED, 0, failed(Begin::Nothing)?, Some(FILTERED_GOAL)),
        Mode::new(TIMED, 0, failed(Begin::Time)?, None),
        Mode::new("the same, with `-y` or `-C`", 0, failed(Begin::Whole)?, None),
    ];
    let paths = Filter {
        files: files::ALL,
        ..Filter::ALL
    };
    let mut lseek = Figure::default();
    let mut with_file = [(Filter::ALL, Figure::default()), (paths, Figure::default())];
    let mut ring_full = 0;
    let mut emitted = 0;
    for _ in 0..rounds {
        none.0.push(outside.measure(CALLS)?);
        lseek.0.push(outside.measure(CALLS | WITH_FILE)?);
        kernel.attach_empty()?;
        outside.measure(1000)?;
        empty.0.push(outside.measure(CALLS)?);
        kernel.detach();
        for (index, mode) in modes.iter_mut().enumerate() {
            kernel.set_filter(1, &mode.filter)?;
            kernel.attach(mode.filter.active & Filter::EXIT_ONLY == 0)?;
            kernel.arm(1, container(state::LIVE | mode.state), true, false)?;
            inside.measure(1000)?;
            mode.figure.0.push(inside.measure(CALLS)?);
            if index == 0 {
                outside.measure(1000)?;
                untraced.0.push(outside.measure(CALLS)?);
            }
            let books = kernel.books(1)?;
            emitted += books.iter().map(|books| books.emitted).sum::<u64>();
            ring_full += books.iter().map(|books| books.ring_full).sum::<u64>();
            kernel.disarm(1, identity.mnt_ns, identity.pid_ns)?;
            kernel.detach();
        }
        kernel.attach(true)?;
        kernel.arm(1, container(state::LIVE), true, false)?;
        for (filter, figure) in &mut with_file {
            kernel.set_filter(1, filter)?;
            inside.measure(1000)?;
            figure.0.push(inside.measure(CALLS | WITH_FILE)?);
        }
        kernel.disarm(1, identity.mnt_ns, identity.pid_ns)?;
        kernel.detach();
    }
    drop(marks);
    if reader.join().is_err() {
        bail!("the ring's reader panicked");
    }
    let received = sink.join().unwrap_or_default();

    let floor = empty.min() - none.min();
    println!("## A call\n");
    println!(
        "getppid(2), the cheapest call there is, {rounds} rounds of {CALLS} calls in turn: the least of all rounds (their \
         median). The measure is a pair of empty programs at the same tracepoints: what any tracer there pays at least. \
         While no container is registered, the programs are not attached, and a call costs nothing.\n"
    );
    println!(
        "| a call of | takes | added | of the empty programs' | goal |\n| --- | --- | --- | --- | --- |"
    );
    project_goal(
        "a call while nothing is traced",
        "0: no program is attached",
        true,
        "0",
        "",
    );
    let mut within = true;
    let mut line = |name: &str, figure: &Figure, goal: Option<f64>| {
        let added = figure.min() - none.min();
        let ratio = added / floor;
        let goal = goal.map_or(String::new(), |goal| {
            let reached = ratio <= goal;
            within &= reached;
            let text = format!("≤ {goal} x");
            if name == FILTERED || name == FAILED {
                return verdict(reached, &text);
            }
            let limit = format!("the empty programs add {floor:.0} ns of its {added:.0}");
            let what = format!("a call of {name}, over the empty programs");
            project_goal(&what, &format!("{ratio:.2} x"), reached, &text, &limit)
        });
        println!(
            "| {name} | {:.0} ns ({:.0} ns) | {added:.0} ns | {ratio:.2} x | {goal} |",
            figure.min(),
            figure.median()
        );
    };
    line("a program, with none attached", &none, None);
    line("a program, with empty ones", &empty, None);
    line(
        "an untraced program, while another is traced",
        &untraced,
        Some(UNTRACED_GOAL),
    );
    for mode in &modes {
        line(mode.name, &mode.figure, mode.goal);
    }
    // The quickest of many: the least of each.
    let added = |name: &str| {
        let mode = modes.iter().find(|mode| mode.name == name);
        mode.map_or(f64::NAN, |mode| mode.figure.min() - none.min())
    };
    let clock = added(TIMED) - added(FAILED);
    let (named, timed, whole) = (added(FILTERED), added(COUNTED), added(TRACED));
    println!("\n| of what a traced call adds | |\n| --- | --- |");
    for (what, ns) in [
        ("the empty programs", floor),
        ("whose call it is, the books, the counts", named - floor),
        ("what it began with, and two readings of the clock", timed - named),
        ("its record in the ring", whole - timed),
    ] {
        println!("| {what} | {ns:.0} ns |");
    }
    println!(
        "\nA reading of the clock takes {clock:.0} ns (`-Z` with `-T`, over `-Z`). So the empty programs and the two readings that a duration \
         wants come to {:.0} ns, before anything is kept, counted or written.",
        floor + 2.0 * clock
    );
    let [traced, named] = with_file.map(|(_, figure)| (figure.min() - lseek.min()) / floor);
    println!(
        "\n{emitted} events of these calls were queued, {ring_full} found the ring full; {received} records were received. \
         Of lseek(2) on a file, {traced:.2} x is added when it is traced, {named:.2} x with its path (`-y`).\n"
    );
    Ok(within)
}
