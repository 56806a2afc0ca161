//! Conservation: what was called is delivered or counted as lost, to the last call, however small the ring.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};
use tracer_tests::{
    Bundle, Daemon, Rootfs, Runtime, Verdict, asleep, daemon::Stats, event, event::Sequence, programs,
    unique_id,
};

/// A million and three: no round number hides an error.
const CALLS: u64 = 1_000_003;
/// A prime, for the runs whose every line is parsed.
const FEWER: u64 = 200_003;

/// What neither a shell, a runtime nor libc calls by itself.
const CALL: &str = "sched_get_priority_max";

struct Outcome {
    verdict: Verdict,
    stats: Stats,
}

/// `tracer run` of so many calls, events in `dir/events`; asleep meanwhile, or awake.
fn run(dir: &Path, options: &[&str], calls: u64, asleep: bool) -> Result<Outcome> {
    let path = |name: &str| dir.join(name);
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "--phase", "all", "-w"]).arg(path("events"));
    command
        .arg("--verify")
        .arg(path("verify"))
        .arg("--stats")
        .arg(path("stats"));
    command.args(options);
    let (program, number) = (programs::workload("calls")?, calls.to_string());
    let args = [program.to_str().context("a path")?, &number, CALL];
    let out = if asleep {
        asleep::run(&mut command, &args)?
    } else {
        programs::output(command.arg("--").args(args))?
    };
    let read = |name| fs::read_to_string(path(name)).with_context(|| programs::both(&out));
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        format!("done {calls}\n"),
        "{}",
        programs::both(&out)
    );
    Ok(Outcome {
        verdict: Verdict::parse(&read("verify")?)?,
        stats: Stats::parse(&read("stats")?)?,
    })
}

/// Lines of a text trace that are this call.
fn lines(path: &Path, call: &str) -> Result<u64> {
    let mut count = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        count += u64::from(line?.contains(call));
    }
    Ok(count)
}

/// A million calls without a loss: that is a matter of speed, so of five samples one must be whole. The books of each
/// balance, and each call is in them.
fn one_is_whole(mut sample: impl FnMut() -> Result<Verdict>) -> Result<()> {
    const SAMPLES: usize = 5;
    let mut lost = Vec::new();
    for _ in 0..SAMPLES {
        let verdict = sample()?;
        verdict.balances()?;
        if verdict.number("/lost")? == 0 {
            return verdict.whole();
        }
        lost.push(verdict.0);
    }
    bail!("none of {SAMPLES} was whole: {lost:?}")
}

#[test]
fn a_million_calls_are_all_delivered() -> Result<()> {
    one_is_whole(|| {
        let dir = tempfile::tempdir()?;
        let Outcome { verdict, stats } = run(dir.path(), &["-o", "text"], CALLS, false)?;
        assert_eq!(stats.counts()?.get(CALL), Some(&CALLS), "{}", verdict.0);
        if verdict.number("/lost")? == 0 {
            let written = lines(&dir.path().join("events"), &format!("{CALL}("))?;
            assert_eq!(written, CALLS, "lines: {}", verdict.0);
        }
        Ok(verdict)
    })
}

#[test]
fn a_million_calls_in_a_container_are_all_delivered() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/workloads/calls", &CALLS.to_string(), CALL];
    one_is_whole(|| {
        let bundle = Bundle::traced("million", Rootfs::Host, &args, &daemon)?;
        let tail = daemon.tail(&bundle.id, &["-o", "text"])?.opened()?;
        let mut container = Runtime::Runc.start(bundle)?;
        container.success()?;
        let (_, text, _) = tail.end()?;
        let verdict = daemon.verdict_at_end(container.id())?;
        let stats = daemon.stats(container.id())?;
        assert_eq!(stats.counts()?.get(CALL), Some(&CALLS), "{}", verdict.0);
        // A subscriber may be too slow; then its own losses are told, and nothing is missing beside them.
        let shown = format!("{CALL}(");
        let written = text.lines().filter(|line| line.contains(&shown)).count() as u64;
        let told = subscriber_losses(&verdict)? + verdict.number("/lost")?;
        ensure!(
            written <= CALLS && written + told >= CALLS,
            "{written} lines and {told} told losses for {CALLS} calls: {}",
            verdict.0
        );
        Ok(verdict)
    })
}

fn subscriber_losses(verdict: &Verdict) -> Result<u64> {
    let sinks = verdict.0["sinks"].as_array().context("verify has no sinks")?;
    Ok(sinks.iter().filter_map(|sink| sink["dropped"].as_u64()).sum())
}

/// The books, the stream's loss records and the holes in the numbers say the same.
fn reconcile(dir: &Path, outcome: &Outcome, calls: u64) -> Result<u64> {
    let verdict = &outcome.verdict;
    verdict.balances()?;
    assert_eq!(
        outcome.stats.counts()?.get(CALL).copied(),
        Some(calls),
        "aggregates never lose: {}",
        verdict.0
    );

    let (mut delivered, mut holes_told, mut told) = (0, 0, 0);
    let mut sequence = Sequence::default();
    event::each(&dir.join("events"), |event| {
        match event.text("type") {
            "syscall" => {
                delivered += 1;
                sequence.add(&event)?;
            }
            "loss" => {
                let count = event.number("count")?;
                told += count;
                if let (Some(after), Some(before)) = (event.0["after"].as_u64(), event.0["before"].as_u64()) {
                    assert_eq!(
                        before - after - 1,
                        count,
                        "a hole as large as its count: {}",
                        event.0
                    );
                    holes_told += 1;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let lost = verdict.number("/lost")?;
    let admitted = verdict.book("admitted")?;
    assert_eq!(
        delivered + lost,
        admitted,
        "delivered {delivered} + lost {lost} of admitted {admitted}: {}",
        verdict.0
    );
    assert_eq!(
        told, lost,
        "loss records say {told}, the books {lost}: {}",
        verdict.0
    );

    // Losses at the very end of a CPU's numbers leave no hole between two events; all others do.
    let holes = sequence.holes(true);
    let missing: u64 = holes.iter().map(|(_, after, before)| before - after - 1).sum();
    ensure!(
        missing <= lost,
        "holes of {missing}, but {lost} lost: {}",
        verdict.0
    );
    let gaps = verdict.0["gaps"].as_array().context("no gaps")?.len();
    if lost == 0 {
        assert_eq!((gaps, holes.len(), holes_told), (0, 0, 0), "{}", verdict.0);
    } else {
        ensure!(gaps > 0, "lost {lost} without a gap: {}", verdict.0);
        ensure!(
            holes_told >= holes.len(),
            "{} holes, {holes_told} told: {holes:?}",
            holes.len()
        );
    }
    assert_eq!(verdict.is_complete(), lost == 0, "{}", verdict.0);
    Ok(lost)
}

#[test]
fn the_smallest_ring_loses_only_what_it_counts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let outcome = run(dir.path(), &["-o", "json", "--ring-size", "4096"], FEWER, true)?;
    let lost = reconcile(dir.path(), &outcome, FEWER)?;
    ensure!(
        lost > 0,
        "a ring of one page lost nothing of {FEWER}: was it that small? {}",
        outcome.verdict.0
    );
    Ok(())
}

#[test]
fn the_books_balance_at_every_ring_size() -> Result<()> {
    // No call, one, and about what a ring holds: the edges where a count goes wrong.
    for ring in ["4096", "65536", "1048576"] {
        for calls in [0, 1, 13, 1009, 20_011] {
            let dir = tempfile::tempdir()?;
            let outcome = run(dir.path(), &["-o", "json", "--ring-size", ring], calls, false)?;
            if calls > 0 {
                reconcile(dir.path(), &outcome, calls)
                    .with_context(|| format!("ring {ring}, {calls} calls"))?;
            } else {
                outcome.verdict.balances()?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_unknown_container_is_a_clear_error() -> Result<()> {
    let daemon = Daemon::start()?;
    let id = unique_id("nobody");
    for verb in ["verify", "stats"] {
        let out = programs::output(daemon.client(verb).args(["-o", "json", &id]))?;
        assert_eq!(out.status.code(), Some(2), "{verb}: {}", programs::both(&out));
        ensure!(
            String::from_utf8_lossy(&out.stderr).contains(&id),
            "{verb} names it: {}",
            programs::both(&out)
        );
    }
    Ok(())
}
