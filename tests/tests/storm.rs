//! Containers that do too much of one thing: their own books balance, nothing of them stays behind, and who runs beside them
//! loses nothing.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tracer_tests::{
    Bundle, Daemon, Rootfs, Runtime, Verdict, event,
    leaks::{self, Held},
    sink::{CALL, Caller},
    wait,
};

/// How much the daemon may grow over a storm: what is held of its containers, at most.
const GROWTH: u64 = 24 << 20;

/// A storm and what came of it.
struct Outcome {
    verdict: Verdict,
    /// Of [`CALL`], by the aggregates.
    counted: u64,
    /// What it printed.
    said: String,
    /// What a tail in text showed, and what it says of losses.
    text: String,
    complaint: String,
}

impl Outcome {
    fn said(&self, what: &str) -> Result<u64> {
        let line = self
            .said
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        Ok(line
            .with_context(|| format!("{what} of {}", self.said))?
            .parse()?)
    }
}

/// Runs `storm` with these words beside another container, which must have lost nothing; then the daemon holds what it held
/// before.
fn storm(words: &[&str], change: impl FnOnce(Bundle) -> Bundle) -> Result<Outcome> {
    let daemon = Daemon::start()?;
    // The first opens what stays open.
    let warm = Bundle::traced("warm", Rootfs::Busybox, &["/bin/true"], &daemon)?;
    let mut warm = Runtime::Runc.start(warm)?.quiet();
    warm.success()?;
    daemon.verdict_at_end(warm.id())?.whole()?;
    daemon.detached()?;
    let (before, memory) = (Held::of(daemon.id())?, leaks::memory(daemon.id())?);

    let beside = Caller::start(&daemon, "beside", 151)?;
    let args = [&["/workloads/storm"], words].concat();
    let bundle = change(Bundle::traced("storm", Rootfs::Host, &args, &daemon)?);
    let tail = daemon.tail(&bundle.id, &["-o", "text"])?.opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    verdict.balances()?;
    ensure!(verdict.book("in_flight")? == 0, "{}", verdict.0);
    let counted = daemon
        .stats(container.id())?
        .counts()?
        .get(CALL)
        .copied()
        .unwrap_or(0);
    let (_, text, complaint) = tail.end()?;

    // Who runs beside it: whole, and each call in its reader's hands.
    let (its, lines) = beside.end(&daemon)?;
    let calls = event::parse(&lines.join("\n"))?
        .iter()
        .filter(|event| event.is_syscall())
        .count() as u64;
    assert_eq!(calls, its.book("decoded")?, "lines of who runs beside it");

    daemon.detached()?;
    let held = wait::until("the daemon to hold what it held", wait::LONG, || {
        Ok((Held::of(daemon.id())? == before).then_some(()))
    });
    ensure!(
        held.is_ok(),
        "before {before:#?}\nafter {:#?}",
        Held::of(daemon.id())?
    );
    let grown = leaks::memory(daemon.id())?.saturating_sub(memory);
    ensure!(grown <= GROWTH, "the daemon grew by {} KiB", grown >> 10);
    let left = leaks::processes(daemon.dir())?;
    ensure!(left.len() == 1, "processes are left: {left:?}");
    Ok(Outcome {
        verdict,
        counted,
        said: container.stdout(),
        text,
        complaint,
    })
}

#[test]
fn forks_to_the_limit_of_processes() -> Result<()> {
    let outcome = storm(&["forks", "25"], |mut bundle| {
        bundle.config["linux"]["resources"] = json!({"pids": {"limit": 48}});
        bundle
    })?;
    outcome.verdict.whole()?;
    let forked = outcome.said("forked")?;
    ensure!(
        forked > 25 * 30 && outcome.said("refused")? == 25,
        "{}",
        outcome.said
    );
    assert_eq!(outcome.counted, forked, "a call of each child");
    let refused = outcome
        .text
        .lines()
        .filter(|line| line.contains("EAGAIN ("))
        .count();
    assert_eq!(refused, 25, "refused forks in the tail");
    Ok(())
}

#[test]
fn unshares_in_a_loop() -> Result<()> {
    let outcome = storm(&["unshares", "400"], |bundle| bundle.capability("CAP_SYS_ADMIN"))?;
    outcome.verdict.whole()?;
    assert_eq!(outcome.said("unshared")?, 400);
    assert_eq!(outcome.counted, 800, "calls in and out of 400 namespaces");
    Ok(())
}

#[test]
fn floods_of_paths_that_a_terminal_would_obey() -> Result<()> {
    let outcome = storm(&["paths", "4"], |bundle| bundle)?;
    let opens = outcome.said("opens")?;
    eprintln!("{opens} paths of 1 KiB in {} ms", outcome.said("milliseconds")?);
    let shown = outcome
        .text
        .lines()
        .filter(|line| line.contains("\"/\\33]0;owned\\7\\33[2J"))
        .count() as u64;
    let lost = outcome.verdict.number("/lost")?;
    ensure!(
        shown == opens || !outcome.complaint.is_empty(),
        "{shown} of {opens} shown, and nothing is said of it"
    );
    ensure!(shown + lost <= opens + lost && shown > 0, "{shown} of {opens}");
    let raw = outcome
        .text
        .chars()
        .find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    ensure!(raw.is_none(), "{raw:?} reaches the terminal");
    Ok(())
}
