//! `tracer top`: its numbers are those of `stats`, a user sees its own containers, and on a terminal it does what its keys
//! say and leaves the terminal as it was, however it ends.

use anyhow::{Context, Result, ensure};
use rustix::{
    process::{Signal, kill_process},
    termios::LocalModes,
};
use serde_json::Value;
use tracer_tests::{
    Bundle, Container, Daemon, Rootfs, Runtime, podman::Podman, programs, pty::Terminal, unique_id,
    user::User, wait,
};

/// What ratatui sends last: the first screen, and the cursor.
const LEFT: &str = "\u{1b}[?1049l";

/// A container that makes calls for ever, or none after so many.
fn start(daemon: &Daemon, what: &str, calls: &str) -> Result<Container> {
    let script = format!("/workloads/calls {calls} sched_get_priority_max; echo done; exec sleep 1009");
    let bundle = Bundle::traced(what, Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed(if calls == "forever" { "ready" } else { "done" })?;
    Ok(container)
}

fn end(mut container: Container) -> Result<()> {
    container.kill("KILL")?;
    container.wait().map(drop)
}

/// One table as JSON.
fn once(command: &mut std::process::Command, args: &[&str]) -> Result<Value> {
    let text = programs::success(command.args(["--once", "-d", "0.3", "-o", "json"]).args(args))?;
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).with_context(|| text)
}

fn of<'a>(table: &'a Value, id: &str) -> Result<&'a Value> {
    let all = table["containers"].as_array().context("no containers")?;
    let found = all.iter().find(|row| row["id"] == id);
    found.with_context(|| format!("no {id} in {table}"))
}

#[test]
fn numbers_are_those_of_stats() -> Result<()> {
    let daemon = Daemon::start()?;
    let quiet = start(&daemon, "top-quiet", "1013")?;
    let busy = start(&daemon, "top-busy", "forever")?;
    // Where nothing happens any more all numbers are known.
    let init = quiet.init_pid()?;
    quiet.stands_in(libc::SYS_clock_nanosleep)?;
    let table = once(&mut daemon.client("top"), &["-S", "name"])?;
    let row = of(&table, quiet.id())?;
    let stats: Value = serde_json::from_str(&programs::success(daemon.client("stats").args([
        "-o",
        "json",
        quiet.id(),
    ]))?)?;
    let sum = |field: &str| -> u64 {
        let rows = stats["calls"].as_array().map_or(&[][..], Vec::as_slice);
        rows.iter().filter_map(|row| row[field].as_u64()).sum()
    };
    assert_eq!(
        (
            row["calls"].as_u64(),
            row["errors"].as_u64(),
            row["total_ns"].as_u64()
        ),
        (Some(sum("calls")), Some(sum("errors")), Some(sum("total_ns"))),
        "{row}"
    );
    assert_eq!(
        (&row["calls_per_s"], &row["pid"]),
        (&0.0.into(), &init.into()),
        "{row}"
    );
    let exact = row["syscalls"].as_array().context("no calls")?;
    let exact = exact.iter().find(|it| it["syscall"] == "sched_get_priority_max");
    assert_eq!(exact.context("not there")?["calls"], 1013);
    let row = of(&table, busy.id())?;
    ensure!(row["calls_per_s"].as_f64() > Some(1000.0), "{row}");
    assert_eq!(row["syscalls"][0]["syscall"], "sched_get_priority_max");
    ensure!(row["p99_ns"].as_u64() > Some(0), "{row}");

    // Selectors, orders and text.
    let table = once(&mut daemon.client("top"), &[quiet.id()])?;
    assert_eq!(table["containers"].as_array().map(Vec::len), Some(1));
    let text = programs::success(daemon.client("top").args(["-b", "-n", "2", "-d", "0.1"]))?;
    let heads = text.lines().filter(|line| line.starts_with("NAME ")).count();
    assert_eq!(heads, 2, "{text}");
    let places: Vec<_> = [busy.id(), quiet.id()].iter().map(|id| text.find(id)).collect();
    ensure!(
        places[0].is_some() && places[0] < places[1],
        "calls a second first: {text}"
    );

    // One that ended is there where it is asked for.
    let gone = quiet.id().to_owned();
    end(quiet)?;
    daemon.verdict_at_end(&gone)?.balances()?;
    let ids = |args: &[&str]| -> Result<Vec<String>> {
        let table = once(&mut daemon.client("top"), args)?;
        let all = table["containers"].as_array().context("no containers")?;
        Ok(all
            .iter()
            .map(|row| row["id"].as_str().unwrap_or_default().to_owned())
            .collect())
    };
    assert_eq!(ids(&[])?, [busy.id()]);
    assert_eq!(ids(&["-a"])?, [busy.id(), &gone]);
    end(busy)
}

#[test]
fn a_user_sees_its_own() -> Result<()> {
    let daemon = Daemon::start()?;
    let roots = start(&daemon, "top-root", "7")?;
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    let user = podman.user().context("a user's podman")?;
    let name = unique_id("own");
    let annotation = ["--annotation", "container-tracer.io/trace=true", "--name", &name];
    let id = podman.create(&annotation, &["/bin/sh", "-c", "while :; do sleep 0.05; done"])?;
    podman.start_detached(&id)?;
    let table = once(&mut daemon.client_of(user, "top")?, &[])?;
    let all = table["containers"].as_array().context("no containers")?;
    assert_eq!(all.len(), 1, "{table}");
    assert_eq!(
        (&all[0]["name"], &all[0]["state"]),
        (&name.as_str().into(), &"live".into())
    );
    let all = once(&mut daemon.client("top"), &[])?;
    of(&all, &id).and(of(&all, roots.id()))?;
    podman.remove(&id)?;
    end(roots)
}

fn on_terminal(daemon: &Daemon, columns: u16) -> Result<Terminal> {
    let mut command = programs::command("setsid");
    command.args(["--ctty", "--wait"]).arg(programs::tracer()?);
    command
        .env("TRACER_RUNTIME_DIR", daemon.dir())
        .env("TERM", "xterm");
    Terminal::start(command.args(["top", "-d", "0.2"]), columns)
}

/// Has all of it drawn anew, whatever stands there already, and waits for a word. Spaces are no more drawn than what has
/// not changed.
fn shows(terminal: &mut Terminal, word: &str) -> Result<()> {
    for columns in [121, 120] {
        terminal.resize(columns, 40)?;
    }
    terminal.prints(word).map(drop)
}

#[test]
fn keys_do_what_they_say_and_the_terminal_is_left_as_it_was() -> Result<()> {
    let daemon = Daemon::start()?;
    let container = start(&daemon, "top-keys", "forever")?;
    let mut terminal = on_terminal(&daemon, 120)?;
    terminal.prints(container.id())?;
    let raw = terminal.settings()?;
    ensure!(!raw.local_modes.contains(LocalModes::ICANON), "{raw:?}");
    shows(&mut terminal, "sched_get_priority_max")?;
    terminal.types("\r")?;
    shows(&mut terminal, "SYSCALL")?;
    terminal.types("?")?;
    shows(&mut terminal, "goes")?;
    terminal.types("x\u{1b}")?;
    // At the left edge nothing of what stood there before is left out of the redraw.
    shows(&mut terminal, "NAME")?;
    terminal.types("p")?;
    shows(&mut terminal, "PAUSED")?;
    terminal.types("p/nothing-has-this\r")?;
    shows(&mut terminal, "names")?;
    for (columns, rows) in [(1, 1), (20, 3), (300, 90)] {
        terminal.resize(columns, rows)?;
        terminal.types("s")?;
        terminal.prints("\u{1b}[")?;
    }
    terminal.types("q")?;
    terminal.prints(LEFT)?;
    let (_, status) = terminal.ends_as_made()?;
    assert_eq!(status.code(), Some(0));
    end(container)
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() -> Result<()> {
    let daemon = Daemon::start()?;
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut command = daemon.client("top");
        let mut terminal = Terminal::start(command.env("TERM", "xterm"), 80)?;
        terminal.prints("traced")?;
        kill_process(terminal.pid()?, signal)?;
        terminal.prints(LEFT)?;
        let (_, status) = terminal.ends_as_made()?;
        assert_eq!(status.code(), Some(code));
    }
    // Without a daemon nothing is drawn.
    let dir = tempfile::tempdir()?;
    let mut command = programs::command(programs::tracer()?);
    command.arg("--runtime-dir").arg(dir.path()).arg("top");
    let (text, status) = Terminal::start(&mut command, 80)?.ends()?;
    ensure!(
        text.contains("no daemon answers") && !text.contains('\u{1b}'),
        "{text:?}"
    );
    assert_eq!(status.code(), Some(2));
    Ok(())
}

#[test]
fn a_shell_stops_it_and_lets_it_go_on() -> Result<()> {
    let daemon = Daemon::start()?;
    let tracer = programs::tracer()?.display().to_string();
    let mut shell = programs::command("setsid");
    shell.args([
        "--ctty",
        "--wait",
        "/bin/bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ]);
    shell.env("TRACER_RUNTIME_DIR", daemon.dir()).env("TERM", "xterm");
    let mut terminal = Terminal::start(shell.env("PS1", "ready$ "), 100)?;
    terminal.prints("ready$ ")?;
    terminal.types(&format!("{tracer} top -d 0.2\n"))?;
    terminal.prints("traced")?;
    terminal.types("\u{1a}")?;
    terminal.prints(LEFT)?;
    let stopped = terminal.prints("ready$ ")?;
    ensure!(stopped.contains("Stopped"), "{stopped:?}");
    let modes = terminal.settings()?.local_modes;
    ensure!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    terminal.types("fg\n")?;
    terminal.prints("traced")?;
    wait::until("raw mode again", wait::LONG, || {
        let modes = terminal.settings()?.local_modes;
        Ok((!modes.contains(LocalModes::ICANON)).then_some(()))
    })?;
    // What comes after the daemon went is told, and what was seen stays.
    drop(daemon);
    terminal.prints("no daemon answers")?;
    terminal.types("\u{3}")?;
    terminal.prints(LEFT)?;
    terminal.prints("ready$ ")?;
    terminal.types("echo code=$?\n")?;
    terminal.prints("code=130")?;
    terminal.types("exit\n")?;
    terminal.ends()?;
    Ok(())
}
