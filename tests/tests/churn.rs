//! Many containers come and go: each event belongs to the container that made it, and nothing stays behind.

use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    process::Stdio,
};
use tracer_tests::{
    Bundle, Container, Daemon, Rootfs, Runtime, event,
    leaks::{self, Held},
    programs, wait,
};

/// Under each runtime; `TRACER_CHURN` has another number, such as 5000.
const CONTAINERS: u64 = 200;
const AT_ONCE: usize = 20;

/// How much the daemon may grow while the second half of the containers come and go. Both times the books of 64 ended ones and
/// up to 16 MiB of their records are kept.
const GROWTH: u64 = 8 << 20;

/// Its call and how often it makes it tell a container from all others: the number is its own, the count a prime.
const COUNTS: [u64; 7] = [101, 103, 107, 109, 113, 127, 131];

fn count(number: u64) -> u64 {
    COUNTS[(number % COUNTS.len() as u64) as usize]
}

fn start(runtime: Runtime, daemon: &Daemon, number: u64) -> Result<Container> {
    let (count, number) = (count(number).to_string(), number.to_string());
    let args = ["/workloads/calls", &count, "sched_get_priority_max", &number];
    Ok(runtime
        .start(Bundle::traced("churn", Rootfs::Host, &args, daemon)?)?
        .quiet())
}

fn containers() -> Result<u64> {
    match std::env::var("TRACER_CHURN") {
        Ok(word) => word.parse().with_context(|| format!("TRACER_CHURN={word}")),
        Err(_unset) => Ok(CONTAINERS),
    }
}

/// So many containers under that runtime, 20 at a time: (id, number) of each.
fn churn(runtime: Runtime, daemon: &Daemon, first: u64) -> Result<BTreeMap<String, u64>> {
    let mut ids = BTreeMap::new();
    let mut running: VecDeque<Container> = VecDeque::new();
    for number in first..first + containers()? {
        if running.len() == AT_ONCE
            && let Some(mut oldest) = running.pop_front()
        {
            oldest.success()?;
        }
        let container = start(runtime, daemon, number)?;
        ids.insert(container.id().to_owned(), number);
        running.push_back(container);
    }
    for mut container in running {
        container.success()?;
    }
    wait::until("the end of all containers in the daemon", wait::LONG, || {
        let status = daemon.status()?;
        Ok((status["containers"] == 0 && status["attached"] == false).then_some(()))
    })?;
    Ok(ids)
}

#[test]
fn no_event_is_anothers_and_nothing_stays_behind() -> Result<()> {
    let daemon = Daemon::start()?;
    let out = daemon.dir().join("all.json");
    let mut tail = daemon.client("tail");
    // The first container may be over before it is open.
    tail.args([
        "-o",
        "json",
        "--since-start",
        "-e",
        "trace=sched_get_priority_max",
    ]);
    tail.stdout(File::create(&out)?).stderr(Stdio::null());
    let mut tail = tail.spawn()?;
    // What is held is looked at with the tail open, and before the first container: a first one opens nothing anew.
    let mut warm = start(Runtime::Runc, &daemon, 1)?;
    warm.success()?;
    daemon.verdict_at_end(warm.id())?.whole()?;
    daemon.detached()?;
    let before = Held::of(daemon.id())?;
    ensure!(
        !before.entries.is_empty(),
        "no maps: this test would prove nothing"
    );

    let began = std::time::Instant::now();
    let mut numbers = churn(Runtime::Runc, &daemon, 1_000_000)?;
    let memory = leaks::memory(daemon.id())?;
    numbers.extend(churn(Runtime::Crun, &daemon, 2_000_000)?);
    let grown = leaks::memory(daemon.id())?.saturating_sub(memory);

    let after = wait::until("the daemon to hold what it held", wait::LONG, || {
        let after = Held::of(daemon.id())?;
        Ok((after == before).then_some(after))
    });
    ensure!(
        after.is_ok(),
        "before {before:#?}\nafter {:#?}",
        Held::of(daemon.id())?
    );
    ensure!(
        grown <= GROWTH,
        "the daemon grew by {} KiB with the second half of the containers",
        grown / 1024
    );
    eprintln!(
        "{} containers in {:?}; grown by {} KiB of {} KiB in the second half",
        numbers.len(),
        began.elapsed(),
        grown / 1024,
        memory / 1024
    );

    numbers.insert(warm.id().to_owned(), 1);
    wait::until("all containers in the tail", wait::LONG, || {
        let gone = fs::read_to_string(&out)?.matches("\"state\":\"gone\"").count();
        Ok((gone == numbers.len()).then_some(()))
    })?;
    tail.kill()?;
    tail.wait()?;
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    event::each(&out, |event| {
        let number = numbers
            .get(event.container())
            .with_context(|| format!("an event of no container: {}", event.0))?;
        if event.is_syscall() {
            ensure!(
                event.raw(0) == Some(*number),
                "container {number} has another's call: {}",
                event.0
            );
            *calls.entry(event.container().to_owned()).or_default() += 1;
        }
        if event.text("state") == "gone" {
            ensure!(event.0["complete"] == true, "not complete: {}", event.0);
        }
        Ok(())
    })?;
    for (id, number) in &numbers {
        let (made, seen) = (count(*number), calls.get(id).copied().unwrap_or(0));
        ensure!(
            made == seen,
            "container {number} made {made} calls, {seen} were seen"
        );
    }
    ensure!(
        leaks::processes(daemon.dir())?.len() == 1,
        "processes are left: {:?}",
        leaks::processes(daemon.dir())?
    );
    let status = programs::success(daemon.client("status").args(["-o", "json"]))?;
    ensure!(
        serde_json::from_str::<serde_json::Value>(&status)?["lost"] == 0,
        "{status}"
    );
    Ok(())
}
