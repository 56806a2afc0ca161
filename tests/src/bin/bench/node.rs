//! A node with many containers, and with many readers: what that costs a call, and the daemon.

use crate::{
    figure::{Figure, Goals, time},
    peers,
};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    fs,
    process::{Child, Stdio},
    time::Instant,
};
use tracer_tests::{Daemon, leaks, programs, wait};

/// Of the cost with one container.
const MANY_GOAL: f64 = 1.1;
const MEMORY_GOAL: f64 = 40.0;

/// Seconds of CPU that a process has had.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    // Of all its threads: the file of the process has only the first's.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context(path)?;
    let mut ns = 0;
    for task in tasks {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        ns += first.parse::<u64>().with_context(|| text.clone())?;
    }
    Ok(ns as f64 / 1e9)
}

/// A process in PID and mount namespaces of its own that does nothing: the least that is a container.
struct Sleeper(Pid);

impl Sleeper {
    fn start() -> Result<Self> {
        let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;
        // SAFETY: without a stack it is a fork; this program has one thread.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: takes numbers. It ends with us.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            }
        }
        let pid = i32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .and_then(Pid::from_raw);
        Ok(Self(
            pid.with_context(std::io::Error::last_os_error).context("clone")?,
        ))
    }

    /// As the hook does it: from a process that ends then.
    fn register(&self, daemon: &Daemon, number: usize) -> Result<()> {
        let mut command = programs::command(programs::workload("register")?);
        command.arg(daemon.dir());
        command.args([&id(number), &self.0.as_raw_nonzero().to_string(), "0"]);
        let said = programs::success(&mut command)?;
        ensure!(said == "ready\n", "the daemon said {said}");
        Ok(())
    }

    /// A workload in it.
    fn timed(&self, workload: &str, times: usize) -> Result<f64> {
        let mut command = programs::command("nsenter");
        command.args(["-t", &self.0.as_raw_nonzero().to_string(), "-m", "-p", "--"]);
        command
            .arg(programs::workload("timed")?)
            .args([workload, &times.to_string()]);
        peers::median_of(&programs::success(&mut command)?)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // A child of ours, not yet waited for: both succeed.
        let _killed = kill_process(self.0, Signal::KILL);
        let _reaped = waitpid(Some(self.0), WaitOptions::empty());
    }
}

fn id(number: usize) -> String {
    format!("sleeper-{number}")
}

/// The same workload with no container.
fn outside(times: usize) -> Result<f64> {
    let mut command = programs::command(programs::workload("timed")?);
    peers::median_of(&programs::success(command.args(["null", &times.to_string()]))?)
}

#[derive(Default)]
struct Size {
    containers: usize,
    untraced: Figure,
    traced: Figure,
    memory: Figure,
    register: Figure,
}

pub(crate) fn containers(quick: bool, goals: &mut Goals) -> Result<()> {
    const CALLS: usize = 200_000;
    let (rounds, each) = if quick { (1, 1) } else { (3, 7) };
    let numbers: &[usize] = if quick { &[1, 10] } else { &[1, 10, 100, 1000] };
    let sizes = numbers.iter().map(|containers| Size {
        containers: *containers,
        ..Size::default()
    });
    let mut sizes: Vec<_> = sizes.collect();
    let mut none = Figure::default();
    let mut rss = Figure::default();
    for round in 0..rounds {
        let daemon = Daemon::start_with(&["--audit", "off"])?.silent();
        rss.push(leaks::memory(daemon.id())? as f64);
        for _ in 0..each {
            none.push(outside(CALLS)?);
        }
        let mut sleepers: Vec<Sleeper> = Vec::new();
        for size in &mut sizes {
            eprintln!("bench: {} containers {round}", size.containers);
            while sleepers.len() < size.containers {
                let sleeper = Sleeper::start()?;
                let begin = Instant::now();
                sleeper.register(&daemon, sleepers.len())?;
                size.register.push(begin.elapsed().as_nanos() as f64);
                sleepers.push(sleeper);
            }
            let member = sleepers.last().context("no container")?;
            for _ in 0..each {
                size.traced.push(member.timed("null", CALLS)?);
                size.untraced.push(outside(CALLS)?);
            }
            size.memory.push(leaks::memory(daemon.id())? as f64);
            let verdict = daemon.verify_now(&id(sleepers.len() - 1))?;
            ensure!(
                verdict.number("/lost")? == 0 && verdict.book("decoded")? >= (each * CALLS) as u64,
                "not all events came: {}",
                verdict.0
            );
        }
    }
    println!("## Registered containers\n");
    println!(
        "Each is a process that sleeps in PID and mount namespaces of its own, registered and proved as by the hook; the calls are getppid(2) in the last of them, and outside. \
         {} measurements each, the least (their median). Memory is the daemon's own (RssAnon), with its history of the traced calls; with none registered {:.1} MiB.\n",
        rounds * each,
        rss.median() / f64::from(1 << 20)
    );
    println!(
        "| containers | added to an untraced call | to a traced one | memory | a registration takes |\n| --- | --- | --- | --- | --- |"
    );
    let added = |figure: &Figure| (figure.least() - none.least(), figure.median() - none.least());
    for size in &sizes {
        let ((untraced, untraced_median), (traced, traced_median)) =
            (added(&size.untraced), added(&size.traced));
        println!(
            "| {} | {} ({}) | {} ({}) | {:.1} MiB | {:.2} ms |",
            size.containers,
            time(untraced),
            time(untraced_median),
            time(traced),
            time(traced_median),
            size.memory.most() / f64::from(1 << 20),
            size.register.median() / 1e6
        );
    }
    let (first, last) = (
        sizes.first().context("nothing measured")?,
        sizes.last().context("nothing measured")?,
    );
    let untraced = added(&last.untraced).0 / added(&first.untraced).0;
    let traced = added(&last.traced).0 / added(&first.traced).0;
    let memory = last.memory.most() / f64::from(1 << 20);
    let many = last.containers;
    let of = |call: &str| format!("what {call} costs with {many} containers, over with one");
    println!(
        "\n- Untraced, with {many} over with one: {untraced:.2} x, goal {}.",
        goals.at_most(&of("an untraced call"), untraced, MANY_GOAL, " x", "")
    );
    println!(
        "- Traced: {traced:.2} x, goal {}.",
        goals.at_most(&of("a traced call"), traced, MANY_GOAL, " x", "")
    );
    println!(
        "- Memory with {many}: {memory:.1} MiB, goal {}.\n",
        goals.at_most(
            &format!("the daemon's memory, with {many} containers"),
            memory,
            MEMORY_GOAL,
            " MiB",
            ""
        )
    );
    Ok(())
}

/// Readers of a container: how many, and what each takes.
struct Readers {
    name: &'static str,
    count: usize,
    args: &'static [&'static str],
}

const READERS: [Readers; 6] = [
    Readers {
        name: "none: what is held for `tail --since-start`",
        count: 0,
        args: &[],
    },
    Readers {
        name: "1 `tail`",
        count: 1,
        args: &["tail"],
    },
    Readers {
        name: "1 `tail -o json`",
        count: 1,
        args: &["tail", "-o", "json"],
    },
    Readers {
        name: "1 `record`",
        count: 1,
        args: &["record"],
    },
    Readers {
        name: "5 `tail`",
        count: 5,
        args: &["tail"],
    },
    Readers {
        name: "20 `tail`",
        count: 20,
        args: &["tail"],
    },
];

#[derive(Default)]
struct Cost {
    call: Figure,
    cpu: Figure,
    memory: Figure,
    ring_full: u64,
    dropped: u64,
}

pub(crate) fn clients(quick: bool) -> Result<()> {
    let (rounds, times) = if quick { (1, 5_000) } else { (4, 50_000) };
    let mut none = Figure::default();
    let mut costs: Vec<_> = READERS.iter().map(|readers| (readers, Cost::default())).collect();
    for round in 0..rounds {
        for (readers, cost) in &mut costs {
            eprintln!("bench: {} {round}", readers.name);
            let mut command = programs::command(programs::workload("timed")?);
            none.push(peers::median_of(&programs::success(
                command.args(["file", &times.to_string()]),
            )?)?);
            read(readers, times, cost).context(readers.name)?;
        }
    }
    println!("## Readers\n");
    println!(
        "A container opens, reads and closes a file {times} times, as fast as it can, while so many read its events; {rounds} rounds, all in turn. \
         CPU is the daemon's for a million events; what the readers take for themselves is theirs. Readers that are too slow lose events of their own, \
         and no one else's. The least of the rounds (their median); losses are of all rounds together.\n"
    );
    println!(
        "| readers | added to open, read, close | daemon's CPU | its memory | found the ring full | dropped for a reader |\n| --- | --- | --- | --- | --- | --- |"
    );
    for (readers, cost) in &costs {
        println!(
            "| {} | {} ({}) | {:.2} s ({:.2} s) | {:.1} MiB | {} | {} |",
            readers.name,
            time(cost.call.least() - none.least()),
            time(cost.call.median() - none.least()),
            cost.cpu.least(),
            cost.cpu.median(),
            cost.memory.most() / f64::from(1 << 20),
            cost.ring_full,
            cost.dropped
        );
    }
    println!();
    Ok(())
}

fn read(readers: &Readers, times: usize, cost: &mut Cost) -> Result<()> {
    let daemon = Daemon::start_with(&["--audit", "off"])?.silent();
    let sleeper = Sleeper::start()?;
    sleeper.register(&daemon, 0)?;
    let id = id(0);
    let mut tails = Vec::new();
    for number in 0..readers.count {
        tails.push(open(&daemon, readers.args, &id, number)?);
    }
    let sinks = |daemon: &Daemon| {
        Ok::<_, anyhow::Error>(daemon.verify_now(&id)?.0["sinks"].as_array().map_or(0, Vec::len))
    };
    wait::until("the readers in the books", wait::LONG, || {
        Ok((sinks(&daemon)? == readers.count).then_some(()))
    })?;
    let before = cpu(daemon.id())?;
    cost.call.push(sleeper.timed("file", times)?);
    // All that was queued for readers has gone out.
    let verdict = wait::until("the daemon to be quiet", wait::LONG, || {
        let verdict = daemon.verify_now(&id)?;
        let queued = verdict.0["sinks"].as_array().into_iter().flatten();
        let queued: u64 = queued.filter_map(|sink| sink["queued"].as_u64()).sum();
        Ok((queued == 0).then_some(verdict))
    })?;
    let events = verdict.book("decoded")?;
    ensure!(
        events + verdict.dropped()? >= 3 * times as u64,
        "only {events} events: {}",
        verdict.0
    );
    cost.cpu
        .push((cpu(daemon.id())? - before) / (events as f64 / 1e6));
    cost.memory.push(leaks::memory(daemon.id())? as f64);
    cost.ring_full += verdict.book("dropped/ring_full")? + verdict.book("dropped/ring_share")?;
    let dropped = verdict.0["sinks"].as_array().into_iter().flatten();
    cost.dropped += dropped.filter_map(|sink| sink["dropped"].as_u64()).sum::<u64>();
    drop(sleeper);
    for mut tail in tails {
        wait::exit(&mut tail, "a reader", wait::LONG)?;
    }
    Ok(())
}

fn open(daemon: &Daemon, args: &[&str], id: &str, number: usize) -> Result<Child> {
    let (verb, options) = args.split_first().context("no verb")?;
    let out = daemon.dir().join(format!("reader-{number}"));
    let mut command = daemon.client(verb);
    command.args(options);
    command
        .arg("--until-gone")
        .arg("-w")
        .arg(out)
        .stdout(Stdio::null());
    command.arg(id).stderr(Stdio::null());
    command.spawn().with_context(|| programs::show(&command))
}
