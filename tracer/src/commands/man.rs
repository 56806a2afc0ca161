//! `tracer man`: the manual pages. Of each command what clap knows of it, then what was written by hand (`tracer/man/`),
//! then what all pages end with.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
    process::{Command as Process, Stdio},
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{
    cli::{self, Cli},
    config,
};

/// Of the last change to the pages that says something new.
const DATE: &str = "2026-11-28";

/// What stands behind the options, by the page's name.
const WRITTEN: [(&str, &str); 5] = [
    ("tracer", include_str!("../../man/tracer.roff")),
    ("tracer-check", include_str!("../../man/check.roff")),
    ("tracer-completions", include_str!("../../man/completions.roff")),
    ("tracer-daemon", include_str!("../../man/daemon.roff")),
    ("tracer-hook", include_str!("../../man/hook.roff")),
];
/// Of the configuration file: what stands before and behind its keys.
const TOML: &str = "tracer.toml";
const TOML_BEGIN: &str = include_str!("../../man/toml.roff");
const TOML_END: &str = include_str!("../../man/toml-end.roff");
const ENDING: &str = include_str!("../../man/ending.roff");
/// What was measured, and where the page of the program has it.
const OVERHEAD: &str = include_str!("../../../docs/overhead.md");
const MEASURED: &str = "@MEASURED@";

pub(super) fn run(arguments: cli::Man) -> Result<u8> {
    let root = root();
    if let Some(dir) = arguments.out {
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        write_all(&root, &dir)?;
        let path = dir.join(format!("{TOML}.5"));
        fs::write(&path, toml_page()).with_context(|| format!("write {}", path.display()))?;
        return Ok(0);
    }
    if arguments.command == [TOML] {
        return show(&toml_page());
    }
    let mut command = &root;
    for word in &arguments.command {
        let found = command.find_subcommand(word);
        command = found.with_context(|| {
            format!(
                "{0} has no command {word:?}: `{0} --help` lists them",
                name(command).replace('-', " ")
            )
        })?;
    }
    show(&page(command)?)
}

fn show(page: &[u8]) -> Result<u8> {
    if !(io::stdout().is_terminal() && shown(page)) {
        io::stdout().lock().write_all(page)?;
    }
    Ok(0)
}

fn root() -> Command {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root
}

/// Whether man(1) could be had to show it.
fn shown(page: &[u8]) -> bool {
    let show = || -> io::Result<bool> {
        let mut man = Process::new("man")
            .args(["-l", "-"])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut to) = man.stdin.take() {
            to.write_all(page)?;
        }
        Ok(man.wait()?.success())
    };
    show().unwrap_or(false)
}

fn write_all(command: &Command, dir: &Path) -> Result<()> {
    let path = dir.join(format!("{}.1", name(command)));
    fs::write(&path, page(command)?).with_context(|| format!("write {}", path.display()))?;
    let mut below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.try_for_each(|below| write_all(below, dir))
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// A page in man(7)'s language.
fn page(command: &Command) -> Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .date(DATE)
        .source(concat!("Container Tracer ", env!("CARGO_PKG_VERSION")))
        .manual("Container Tracer");
    let mut to = Vec::new();
    man.render_title(&mut to)?;
    man.render_name_section(&mut to)?;
    man.render_synopsis_section(&mut to)?;
    man.render_description_section(&mut to)?;
    man.render_options_section(&mut to)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut to)?;
    }
    let mut to = plain(&String::from_utf8(to)?).into_bytes();
    let written = WRITTEN.iter().find(|(page, _)| *page == name(command));
    if let Some((_, text)) = written {
        to.extend(text.replace(MEASURED, &measured_lines()).as_bytes());
    }
    to.extend(examples(name(command)).as_bytes());
    if name(command) != "tracer" {
        to.extend(ENDING.as_bytes());
    }
    Ok(to)
}

/// What a call of each kind costs, of what the empty programs do: the first table.
fn measured() -> impl Iterator<Item = (String, &'static str)> {
    let table = OVERHEAD
        .split_once("| a call of |")
        .map_or("", |(_, table)| table);
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let what = cells.next()?.replace('`', "");
        Some((what, cells.nth(2)?.strip_suffix(" x")?))
    })
}

fn measured_lines() -> String {
    measured()
        .map(|(what, times)| format!("{}\n", literal(&format!("{what:56} {times}"))))
        .collect()
}

/// The examples of the command that a page is of.
fn examples(page: &str) -> String {
    let mut text = String::new();
    for (what, line) in cli::examples(&page.replace('-', " ")) {
        if text.is_empty() {
            text.push_str(".SH EXAMPLES\n");
        } else if !what.is_empty() {
            text.push_str(".PP\n");
        }
        if !what.is_empty() {
            let colon = if what.ends_with('?') { "" } else { ":" };
            text.push_str(&format!("{what}{colon}\n.PP\n"));
        }
        text.push_str(&format!(".RS 4\n.nf\n{}\n.fi\n.RE\n", literal(line)));
    }
    text
}

/// A line as it is, also where it begins as a request does.
fn literal(line: &str) -> String {
    let begin = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{begin}{}", line.replace('\\', "\\e").replace('-', "\\-"))
}

/// The page of the configuration file: its keys are those of the default file itself, word by word.
fn toml_page() -> Vec<u8> {
    let source = concat!("Container Tracer ", env!("CARGO_PKG_VERSION"));
    let mut page = format!(".TH {TOML} 5 {DATE} \"{source}\" \"Container Tracer\"\n{TOML_BEGIN}.nf\n");
    for line in config::DEFAULT.lines() {
        page.push_str(&literal(line));
        page.push('\n');
    }
    page.push_str(".fi\n");
    page.push_str(TOML_END);
    plain(&page).into_bytes()
}

/// Without the line breaks beside blank lines that clap_mangen leaves, and in ASCII: groff alone reads no UTF-8.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let blank = |at: usize| lines.get(at).is_some_and(|line| line.is_empty());
    let mut plain = String::new();
    for (at, line) in lines.iter().enumerate() {
        if *line == ".br" && (blank(at + 1) || at.checked_sub(1).is_some_and(blank)) {
            continue;
        }
        for c in line.chars() {
            match c {
                c if c.is_ascii() => plain.push(c),
                c => plain.push_str(&format!("\\[u{:04X}]", u32::from(c))),
            }
        }
        plain.push_str(if line.is_empty() { ".sp\n" } else { "\n" });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &Command, names: &mut Vec<String>) {
        names.push(name(command).to_owned());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            all(below, names);
        }
    }

    #[test]
    fn what_was_written_belongs_to_a_command() {
        let mut names = Vec::new();
        all(&root(), &mut names);
        for (page, text) in WRITTEN {
            assert!(names.iter().any(|name| name == page), "no command has {page}");
            assert!(text.starts_with(".SH ") && text.ends_with('\n'), "{page}");
        }
    }

    #[test]
    fn what_a_call_costs_is_said_as_it_was_measured() {
        let rows: Vec<_> = measured().collect();
        let times = |what: &str| -> f64 {
            let row = rows.iter().find(|(row, _)| row == what);
            row.map(|(_, times)| times.parse().unwrap()).unwrap()
        };
        assert_eq!(times("a program, with empty ones"), 1.0);
        let traced = times("a traced one: event, duration, counts");
        let page = String::from_utf8(page(&root()).unwrap()).unwrap();
        assert!(
            page.contains(&format!("counts                    {traced:.2}\n")),
            "{page}"
        );
        assert!(!page.contains(MEASURED));
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!(
            "a traced call some {traced:.0} times what a pair of empty programs adds"
        )));
    }

    #[test]
    fn pages_are_ascii_without_empty_breaks() {
        assert_eq!(
            plain("a\n.br\n\n.br\nb…\n.br\nc\n"),
            "a\n.sp\nb\\[u2026]\n.br\nc\n"
        );
    }

    #[test]
    fn the_page_of_the_configuration_file_has_the_whole_of_it() {
        let page = String::from_utf8(toml_page()).unwrap();
        let shown = page
            .split_once("\n.nf\n")
            .unwrap()
            .1
            .split_once(".fi\n")
            .unwrap()
            .0;
        let read = shown
            .replace("\\-", "-")
            .replace("\\e", "\\")
            .replace(".sp\n", "\n");
        assert_eq!(read, config::DEFAULT);
        assert!(page.starts_with(".TH tracer.toml 5 ") && page.contains(".SH NAME\n"));
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write_all(&root(), dir.path()).unwrap();
        let mut names = Vec::new();
        all(&root(), &mut names);
        for name in names {
            let page = fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            for section in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "EXAMPLES",
                "EXIT STATUS",
                "SEE ALSO",
            ] {
                let head = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
                assert!(
                    head.iter().any(|head| page.contains(head)),
                    "{name}: no {section}"
                );
            }
        }
    }
}
