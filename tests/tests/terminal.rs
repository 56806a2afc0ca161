//! On a real terminal: tables and lists fit its width, where a pipe gets the whole text; Ctrl-Z, fg and Ctrl-C do with
//! `tracer run` what they do with its command.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, programs, pty::Terminal, strace};

/// What the command prints on a terminal of so many columns.
fn on_terminal(command: &mut std::process::Command, columns: u16) -> Result<String> {
    Ok(Terminal::start(command, columns)?.ends()?.0)
}

fn longest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn names(table: &str) -> Result<BTreeSet<String>> {
    Ok(strace::rows(table)?.into_keys().collect())
}

#[test]
fn counts_fit_the_terminal() -> Result<()> {
    let run = || -> Result<_> {
        let mut command = programs::command(programs::tracer()?);
        command.args(["run", "-c", "-S", "name", "--", "/bin/ls", "/nope"]);
        Ok(command)
    };
    let columns = "calls,errors,name,p50,p95,p99,max,errnos";
    let mut piped = run()?;
    piped.args(["/nope"]);
    let piped = String::from_utf8(programs::output(&mut piped)?.stderr)?;
    for width in [70, 80, 200] {
        let table = on_terminal(&mut run()?, width)?;
        ensure!(longest(&table) <= width.into(), "{width}:\n{table}");
        // `ls` complains there too.
        assert_eq!(names(&table)?, names(&piped)?, "{width}");
    }
    // Without a width by the terminal, COLUMNS says it.
    let by_user = on_terminal(run()?.env("COLUMNS", "58"), 0)?;
    ensure!(longest(&by_user) <= 58, "{by_user}");
    // Nothing that was asked for is left out; what cannot be cut stays.
    let mut asked = programs::command(programs::tracer()?);
    asked.args(["run", "-c", "-U", columns, "--", "/bin/true"]);
    let asked = on_terminal(&mut asked, 40)?;
    ensure!(
        asked.contains("p50 usecs p95 usecs p99 usecs max usecs"),
        "{asked}"
    );
    Ok(())
}

#[test]
fn answers_of_the_daemon_fit_the_terminal() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced("width", Rootfs::Host, &["/bin/ls", "/nope"], &daemon)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.wait()?;
    let id = container.id();
    daemon.verdict_at_end(id)?;
    // The whole table, as a pipe gets it, is too wide for these.
    let piped = programs::success(daemon.client("stats").arg(id))?;
    ensure!(longest(&piped) > 120, "{piped}");
    for width in [70, 80, 120] {
        let table = on_terminal(daemon.client("stats").arg(id), width)?;
        ensure!(
            longest(&table) <= width.into() && table.contains("no room for "),
            "{width}:\n{table}"
        );
        let mut returned = names_of(&piped);
        // Its row has nothing but what was left out: that it did not return.
        ensure!(returned.remove("exit_group"), "{piped}");
        assert_eq!(names_of(&table), returned, "{width}");
        for command in [&["ps"][..], &["verify", id], &["status"]] {
            let text = on_terminal(daemon.client(command[0]).args(&command[1..]), width)?;
            ensure!(longest(&text) <= width.into(), "{command:?} {width}:\n{text}");
        }
    }
    let wide = on_terminal(daemon.client("stats").arg(id), 220)?;
    assert_eq!(wide, piped, "where there is room, it is what a pipe gets");
    let mut check = programs::command(programs::tracer()?);
    let check = on_terminal(check.arg("check"), 60)?;
    // A path that is longer than its column stands whole.
    let is_long = |word: &str| word.chars().count() > 28;
    let too_wide = check
        .lines()
        .filter(|line| line.chars().count() > 60)
        .find(|line| !line.rsplit(' ').next().is_some_and(is_long));
    ensure!(too_wide.is_none(), "{too_wide:?}\n{check}");
    Ok(())
}

/// The calls of a table in which `syscall` is not the last column.
fn names_of(table: &str) -> BTreeSet<String> {
    let begins = table.find("syscall").unwrap_or(0);
    let rows = table.lines().skip(2).take_while(|line| !line.starts_with('-'));
    let name = |line: &str| line.get(begins..)?.split_whitespace().next().map(str::to_owned);
    rows.filter_map(name).collect()
}

#[test]
fn a_shell_stops_continues_and_interrupts_it() -> Result<()> {
    let tracer = programs::tracer()?.display().to_string();
    // Who started us in the background, as nohup and a script's & do, has SIGINT ignored, and so would all below.
    let mut shell = programs::command("env");
    // A prompt that no command of ours echoes.
    shell.args([
        "--default-signal",
        "setsid",
        "--ctty",
        "--wait",
        "/bin/bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ]);
    let mut terminal = Terminal::start(shell.env("PS1", "ready$ "), 200)?;
    terminal.prints("ready$ ")?;
    terminal.types(&format!("{tracer} run -w /dev/null -- cat\n"))?;
    terminal.prints("cat")?;
    terminal.types("one\n")?;
    // The terminal's echo, then the command's.
    terminal.prints("one\r\none")?;
    terminal.types("\u{1a}")?;
    let stopped = terminal.prints("ready$ ")?;
    ensure!(stopped.contains("Stopped"), "{stopped:?}");
    terminal.types("fg\n")?;
    // The job's command line, by which the shell tells that it goes on.
    terminal.prints("-- cat\r\n")?;
    terminal.types("two\n")?;
    let again = terminal.prints("two\r\ntwo")?;
    ensure!(!again.contains("Stopped"), "{again:?}");
    terminal.types("\u{3}")?;
    terminal.prints("ready$ ")?;
    terminal.types("echo code=$?\n")?;
    terminal.prints("code=130")?;
    terminal.prints("ready$ ")?;
    // A command that stops itself gives the shell back too, and ends with what it was asked for.
    terminal.types(&format!(
        "{tracer} run -w /dev/null -- sh -c 'kill -STOP $$; exit 7'\n"
    ))?;
    let stopped = terminal.prints("ready$ ")?;
    ensure!(stopped.contains("Stopped"), "{stopped:?}");
    terminal.types("fg >/dev/null; echo code=$?\n")?;
    terminal.prints("code=7")?;
    terminal.prints("ready$ ")?;
    terminal.types("exit\n")?;
    let (rest, status) = terminal.ends()?;
    ensure!(status.success(), "{status}: {rest:?}");
    Ok(())
}
