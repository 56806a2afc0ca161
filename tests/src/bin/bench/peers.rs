//! The same programs under us and under the peers.

use crate::{
    figure::{Figure, Goals, time},
    ways::{Empty, Way},
};
use anyhow::{Context, Result, ensure};
use std::{fmt::Write, fs, path::Path};
use tracer_tests::programs;

const WAYS: [Way; 7] = [
    Way::Untraced,
    Way::Empty,
    Way::Ours,
    Way::Recording,
    Way::Strace,
    Way::PerfTrace,
    Way::Bpftrace,
];

/// How much less we shall add to a call than they do.
const GOALS: [(Way, f64); 3] = [
    (Way::Strace, 200.0),
    (Way::PerfTrace, 100.0),
    (Way::Bpftrace, 2.0),
];

/// Source files of the project that is built.
const SOURCES: usize = 6;

struct Workload {
    name: &'static str,
    /// Of `timed`, and how often.
    word: &'static str,
    times: usize,
    /// A call that each time makes, once, and nothing else does as often.
    call: Option<(&'static str, libc::c_long)>,
    command: Vec<String>,
}

fn workloads(dir: &Path, quick: bool) -> Result<Vec<Workload>> {
    let build = project(dir)?;
    let mut all = vec![
        (
            "getppid(2)",
            "null",
            200_000,
            Some(("getppid", libc::SYS_getppid)),
            vec![],
        ),
        (
            "open, read, close",
            "file",
            60_000,
            Some(("read", libc::SYS_read)),
            vec![],
        ),
        (
            "an open that fails",
            "missing",
            100_000,
            Some(("openat", libc::SYS_openat)),
            vec![],
        ),
        (
            "getppid(2) in 8 threads at a time",
            "threads",
            200_000,
            Some(("getppid", libc::SYS_getppid)),
            vec![],
        ),
        ("fork, exit, wait", "fork", 2_000, None, vec![]),
        ("cc of 6 files and a link", "command", 1, None, build),
    ];
    if quick {
        all.retain(|workload| matches!(workload.1, "null" | "command"));
    }
    let workloads = all
        .into_iter()
        .map(|(name, word, times, call, command)| Workload {
            name,
            word,
            times,
            call,
            command,
        });
    Ok(workloads.collect())
}

/// A project of C files; the command that builds it.
fn project(dir: &Path) -> Result<Vec<String>> {
    let mut main = String::from("#include <stdio.h>\n");
    let mut calls = String::new();
    for number in 0..SOURCES {
        let source = format!(
            "#include <stdlib.h>\n#include <string.h>\nint part{number}(const char *word) {{ return (int)strlen(word) + abs({number}); }}\n"
        );
        fs::write(dir.join(format!("part{number}.c")), source)?;
        writeln!(main, "int part{number}(const char *);")?;
        write!(calls, " + part{number}(\"word\")")?;
    }
    writeln!(
        main,
        "int main(void) {{ return printf(\"%d\\n\", 0{calls}) < 0; }}"
    )?;
    fs::write(dir.join("main.c"), main)?;
    let script = dir.join("build.sh");
    let dir = dir.display();
    fs::write(
        &script,
        format!("cd {dir} && for file in *.c; do cc -c $file || exit 1; done && cc *.o -o program\n"),
    )?;
    Ok(vec!["sh".into(), script.display().to_string()])
}

/// What the rounds of one way came to.
#[derive(Default)]
struct Rounds {
    each: Figure,
    /// Calls that were made and are not in the file; `None` where nobody counts.
    lost: Option<usize>,
}

pub(crate) fn print(quick: bool, goals: &mut Goals) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tt-bench-").tempdir()?;
    let rounds = if quick { 1 } else { 3 };
    println!("## Beside other tracers\n");
    println!(
        "Each traces all calls of the same program and of its children, with their durations, into a file; {rounds} rounds, all in turn. \
         Added is the time that the program's own operation takes longer, the least of the rounds (their median); \
         *of ours* is that over what `tracer run` adds. Lost are calls that are not in the file. The empty programs do nothing at the same tracepoints: no tracer there \
         can add less. bpftrace prints number, result and duration, without arguments; we and strace print the whole call.\n"
    );
    println!("| an operation | traced by | added | of ours | lost |\n| --- | --- | --- | --- | --- |");
    let mut notes = String::new();
    for workload in workloads(dir.path(), quick)? {
        let mut results: Vec<(Way, Rounds)> = WAYS.iter().map(|way| (*way, Rounds::default())).collect();
        for round in 0..rounds {
            for (way, result) in &mut results {
                eprintln!("bench: {} {way:?} {round}", workload.word);
                run(*way, &workload, dir.path(), result)
                    .with_context(|| format!("{} under {way:?}", workload.name))?;
            }
        }
        table(&workload, &results);
        if workload.word == "null" {
            verdicts(&results, goals, &mut notes)?;
        }
    }
    println!("\n{notes}");
    Ok(())
}

fn run(way: Way, workload: &Workload, dir: &Path, result: &mut Rounds) -> Result<()> {
    let times = if way.is_slow() {
        workload.times.div_ceil(20)
    } else {
        workload.times
    };
    let timed = programs::workload("timed")?;
    let number = times.to_string();
    let mut words = vec![timed.to_str().context("path")?, workload.word, &number];
    words.extend(workload.command.iter().map(String::as_str));
    let out = dir.join("out");
    drop(fs::remove_file(&out));
    let empty = (way == Way::Empty).then(Empty::attach).transpose()?;
    let printed = programs::success(&mut way.of_command(&words, &out)?)?;
    drop(empty);
    result.each.push(median_of(&printed)?);
    if let Some((name, number)) = workload.call
        && let Some(seen) = way.seen(&out, name, number)?
    {
        *result.lost.get_or_insert(0) += times.saturating_sub(seen);
    }
    Ok(())
}

/// What `timed` printed last: the median of its pieces in nanoseconds.
pub(crate) fn median_of(printed: &str) -> Result<f64> {
    let line = printed.lines().find_map(|line| line.strip_prefix("timed "));
    let median = line.and_then(|line| line.split(' ').nth(2));
    Ok(median.with_context(|| format!("no time in {printed}"))?.parse()?)
}

fn of(results: &[(Way, Rounds)], way: Way) -> Result<&Figure> {
    let found = results.iter().find(|(other, _)| *other == way);
    Ok(&found.context("not measured")?.1.each)
}

fn table(workload: &Workload, results: &[(Way, Rounds)]) {
    let figure = |way| of(results, way).cloned().unwrap_or_default();
    let (none, ours) = (figure(Way::Untraced), figure(Way::Ours));
    println!(
        "| {} | {} | takes {} ({}) | | |",
        workload.name,
        Way::Untraced.name(),
        time(none.least()),
        time(none.median())
    );
    for (way, result) in results.iter().filter(|(way, _)| *way != Way::Untraced) {
        let added = |value: f64| value - none.least();
        let lost = result.lost.map_or(String::new(), |lost| lost.to_string());
        // Less than the noise of what it is added to has no ratio.
        let over_ours = added(result.each.least()) / added(ours.least());
        let over_ours = if added(ours.least()) > 0.0 && over_ours >= 0.0 {
            format!("{over_ours:.2} x")
        } else {
            "noise".to_owned()
        };
        println!(
            "| | {} | {} ({}) | {over_ours} | {lost} |",
            way.name(),
            time(added(result.each.least())),
            time(added(result.each.median())),
        );
    }
}

/// Whether the goals are reached, and if not, what could be at most.
fn verdicts(results: &[(Way, Rounds)], goals: &mut Goals, notes: &mut String) -> Result<()> {
    let none = of(results, Way::Untraced)?.least();
    let added = |way| of(results, way).map(|figure| figure.least() - none);
    let (ours, empty) = (added(Way::Ours)?, added(Way::Empty)?);
    ensure!(
        ours > 0.0 && empty > 0.0,
        "a traced call took less time than an untraced one"
    );
    writeln!(notes, "Of getppid(2), what they add over what we add:\n")?;
    for (way, goal) in GOALS {
        let theirs = added(way)?;
        let what = format!("what {} adds to a call, over ours", way.name());
        let limit = format!("over the empty programs it is {:.0} x", theirs / empty);
        let verdict = goals.at_least(&what, theirs / ours, goal, " x", &limit);
        writeln!(
            notes,
            "- {}: {:.0} x, goal {verdict}, which is {} added at most. The empty programs would come to {:.0} x.",
            way.name(),
            theirs / ours,
            time(theirs / goal),
            theirs / empty
        )?;
    }
    Ok(())
}
