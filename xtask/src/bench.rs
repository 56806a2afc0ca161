//! `cargo xtask bench`: runs the two bench programs, of the `tracer` crate (what is measured inside) and of `tests` (whole
//! programs, and the peers). They own what is measured and print it as Markdown; here it is put into docs/overhead.md.

use crate::{prepare, sh};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; all but `export` where none is named
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// A round or two: to see that all is there, not to publish
    #[arg(long)]
    quick: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Put the tables into docs/overhead.md
    #[arg(long, conflicts_with_all = ["sections", "quick"])]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// The machine and the versions
    Machine,
    /// A call, in each mode, by the cost of empty programs
    Call,
    /// The same programs under strace, perf trace, bpftrace
    Peers,
    /// redis-benchmark against redis in a podman container
    Redis,
    /// 1 to 1,000 registered containers
    Containers,
    /// Readers of a container: added time, daemon's CPU, memory, losses
    Clients,
    /// What the hook adds to a container's start
    Start,
    /// What a core decodes and writes
    Decode,
    /// What the verifier looks at
    Load,
    /// What a core exports
    Export,
}

/// In the order of the page.
const ALL: [Section; 9] = [
    Section::Machine,
    Section::Call,
    Section::Peers,
    Section::Redis,
    Section::Containers,
    Section::Clients,
    Section::Start,
    Section::Decode,
    Section::Load,
];

impl Section {
    /// Measured by the program of the `tracer` crate, which can attach what no user can.
    fn is_inside(self) -> bool {
        matches!(self, Self::Call | Self::Decode | Self::Load | Self::Export)
    }

    fn word(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

const PAGE: &str = "docs/overhead.md";
const BEGIN: &str = "<!-- `cargo xtask bench --write` makes what follows -->\n";
const END: &str = "<!-- end of what it makes -->\n";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sections: &[Section] = if args.sections.is_empty() {
        &ALL
    } else {
        &args.sections
    };
    if sections.iter().any(|section| !section.is_inside()) {
        prepare::bench()?;
        prepare::build()?;
        let outside = ["build", "--release", "--package", "tracer-tests", "--bins"];
        sh::run(&mut sh::cargo(outside))?;
    }
    let inside = ["build", "--release", "--package", "tracer", "--example", "bench"];
    sh::run(&mut sh::cargo(inside))?;
    let (mut tables, mut goals) = (String::new(), String::new());
    let mut missed = false;
    for section in sections {
        let program = if section.is_inside() {
            "release/examples/bench"
        } else {
            "release/bench"
        };
        let mut command = Command::new(sh::target().join(program));
        command.current_dir(sh::root()).arg(section.word());
        if args.quick {
            command.arg("--quick");
        }
        if args.check {
            command.arg("--check");
        }
        missed |= measured(&mut command, &mut tables, &mut goals)?;
    }
    let goals = goals_table(&goals);
    println!("{goals}");
    if args.write {
        write(&with_goals(&tables, &goals))?;
    }
    if missed {
        bail!("a goal was missed");
    }
    Ok(())
}

/// Runs a bench program, shows what it prints as it comes, and keeps it, the goals' rows for themselves; whether it missed
/// a goal and was to say so.
fn measured(command: &mut Command, tables: &mut String, goals: &mut String) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("start a bench program")?;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        if let Some(row) = goal_row(&line) {
            goals.push_str(&row);
            continue;
        }
        println!("{line}");
        tables.push_str(&line);
        tables.push('\n');
    }
    match child.wait()?.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        code => bail!("a bench program failed: {code:?}"),
    }
}

/// The table's row of a line that tells how a goal of the project stands; `None` for any other line.
fn goal_row(line: &str) -> Option<String> {
    let cells = line.strip_prefix("<!-- goal |")?.strip_suffix("-->")?;
    Some(format!("|{cells}|\n"))
}

/// The goals' rows as a section; nothing where nothing has a goal.
fn goals_table(rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "## The goals\n\nWhat the project is to reach, and where it does not, what this run shows to stand in the way.\n\n\
         | of | goal | came to | | the limit |\n| --- | --- | --- | --- | --- |\n{rows}\n"
    )
}

/// The tables with the goals before the first section; what stands before that is of the machine.
fn with_goals(tables: &str, goals: &str) -> String {
    match tables.split_once("## ") {
        Some((machine, sections)) => format!("{machine}{goals}## {sections}"),
        None => format!("{tables}{goals}"),
    }
}

/// Puts the tables where the page has them.
fn write(tables: &str) -> Result<()> {
    let path = sh::root().join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    fs::write(&path, with_tables(&page, tables)?).context(PAGE)
}

fn with_tables(page: &str, tables: &str) -> Result<String> {
    let no = |line: &str| format!("{PAGE} has no line {}", line.trim());
    let (before, rest) = page.split_once(BEGIN).with_context(|| no(BEGIN))?;
    let (_, after) = rest.split_once(END).with_context(|| no(END))?;
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goals_stand_first_and_nowhere_else() {
        let row = goal_row("<!-- goal | a start | ≤ 3 ms | 4 ms | **missed** | a hook of nothing: 2 ms -->")
            .unwrap();
        assert_eq!(
            row,
            "| a start | ≤ 3 ms | 4 ms | **missed** | a hook of nothing: 2 ms |\n"
        );
        assert_eq!(goal_row("| none | 25.7 ms |"), None);
        let page = with_goals("On a machine.\n\n## A call\n\n| a |\n", &goals_table(&row));
        let (machine, rest) = page.split_once("## The goals\n").unwrap();
        assert_eq!(machine, "On a machine.\n\n");
        assert!(rest.ends_with(&format!("{row}\n## A call\n\n| a |\n")), "{rest}");
        assert_eq!(goals_table(""), "");
    }

    #[test]
    fn tables_come_in_place_of_others_and_nothing_else_changes() {
        let page = fs::read_to_string(sh::root().join(PAGE)).unwrap();
        let once = with_tables(&page, "## One\n\n| a |\n\n").unwrap();
        let twice = with_tables(&once, "## Two\n").unwrap();
        assert!(
            twice.contains("\n## Two\n") && !twice.contains("## One"),
            "{twice}"
        );
        assert_eq!(with_tables(&twice, "## One\n\n| a |").unwrap(), once);
        assert_eq!(
            once.split_once(BEGIN).unwrap().0,
            page.split_once(BEGIN).unwrap().0
        );
        assert_eq!(once.split_once(END).unwrap().1, page.split_once(END).unwrap().1);
        assert!(with_tables("# A page\n", "").is_err());
    }
}
