//! `tracer dentry`: asks which paths a container looked for in vain, finds the variables that led there, and prints; or
//! reads them out of a recording.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    INCOMPLETE, json_line,
    print::{fit, safe},
};
use crate::{
    cli::{self, Format},
    client,
    control::Request,
    decode,
    event::Arch,
    identity,
    recording::{self, Recording, Summary},
    report::{
        self, Names, Row, State, Stats,
        observed::{Detail, Lookup, Lookups, Negative, Observed, Search, Who},
        table::{self, Layout},
    },
    selector::Selector,
    sinks::Phases,
};

/// Moves to the top and clears what is there.
const REDRAW: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

/// Where the look-ups are known from.
const SOURCE: &str = "results of calls";
/// Places of a search that a line shows.
const PLACES: usize = 6;
/// What a search has that no variable led to.
const DEFAULT: &str = "default search";

/// What is printed.
#[derive(Serialize)]
struct Report {
    container: Names,
    state: State,
    /// How they are known: by the calls that failed with ENOENT or ENOTDIR.
    source: &'static str,
    /// How many calls failed so, by the counts, which lose nothing.
    counted: u64,
    /// How many of them were seen.
    failed: u64,
    unnamed: u64,
    unkept: u64,
    searches_unkept: u64,
    /// All that were counted were seen and kept.
    whole: bool,
    paths: Vec<From<Lookup>>,
    searches: Vec<From<Search>>,
    negative: Negative,
    /// What the kernel's own functions told of each path; null where nobody asked.
    detail: Option<Detail>,
}

/// Something with the variable that led there.
#[derive(Serialize)]
struct From<T> {
    #[serde(flatten)]
    what: T,
    from: Option<String>,
}

pub(super) fn run(directory: &Path, arguments: cli::Dentry) -> Result<u8> {
    let mut to = io::stdout().lock();
    let json = arguments.output.output == Format::Json;
    let redraw = arguments.watch.is_some() && to.is_terminal() && !json;
    let word = &arguments.container;
    loop {
        let reports = if recording::is_file(word) {
            recorded(Path::new(word))?
        } else {
            vec![ask(directory, word)?]
        };
        let mut text = Vec::new();
        if redraw {
            text.extend_from_slice(REDRAW);
        }
        for report in &reports {
            if json {
                json_line(&mut text, report)?;
                continue;
            }
            if reports.len() > 1 {
                writeln!(text, "container {}", safe(&report.container.name))?;
            }
            print(&mut text, report, arguments.top, fit(&to))?;
        }
        // A recording stays as it is.
        let goes_on = !recording::is_file(word) && reports.iter().any(|report| report.state == State::Live);
        let pause = arguments.watch.filter(|_| goes_on);
        if pause.is_some() && !json && !redraw {
            text.push(b'\n');
        }
        to.write_all(&text)?;
        to.flush()?;
        match pause {
            Some(pause) => std::thread::sleep(pause),
            None => {
                let whole = reports.iter().all(|report| report.whole);
                return Ok(if whole { 0 } else { INCOMPLETE });
            }
        }
    }
}

/// Of each container of a recording.
fn recorded(path: &Path) -> Result<Vec<Report>> {
    let summaries = Recording::open(path)?.summaries()?;
    let report = |summary: Summary| {
        let container = summary.verdict.container;
        let seen = summary.lookups.with_context(|| {
            format!(
                "{}: it has not which paths {} looked for in vain: only a daemon keeps that, for `tracer record \
                 CONTAINER` and its dumps; `tracer replay -e trace=%file -Z` has the calls",
                path.display(),
                safe(&container.name)
            )
        })?;
        // Whose environment it was nobody knows any more.
        Ok(made(
            container,
            summary.verdict.state,
            &summary.stats.app,
            seen,
            None,
        ))
    };
    summaries.into_iter().map(report).collect()
}

/// Asks. What was counted is asked for first: all of it is then among what was seen, unless it was lost.
fn ask(directory: &Path, container: &str) -> Result<Report> {
    let container = || container.to_owned();
    let stats: Stats = client::ask(
        directory,
        &Request::Stats {
            container: container(),
            phases: Phases::App,
        },
    )?;
    let Observed {
        container: names,
        state,
        seen,
    }: Observed<Lookups> = client::ask(
        directory,
        &Request::Lookups {
            container: container(),
        },
    )?;
    let init = (state == State::Live)
        .then(|| init(directory, &names.id))
        .transpose()?
        .flatten();
    Ok(made(names, state, &stats, seen, init))
}

/// What is printed. `init`: the host process id of its init, while it lives.
fn made(names: Names, state: State, stats: &Stats, seen: Lookups, init: Option<u32>) -> Report {
    let mut environments = Environments {
        init,
        known: HashMap::new(),
    };
    let counted = stats.calls.iter().map(counted).sum();
    let searches: Vec<_> = seen
        .searches
        .into_iter()
        .map(|search| {
            let places: Vec<&str> = search.places.iter().map(String::as_str).collect();
            From {
                from: environments.led_to(Some(&search.by), &places),
                what: search,
            }
        })
        .collect();
    // What is part of a search has its variable; the search knows more.
    let by_search: HashMap<String, &str> = searches
        .iter()
        .filter_map(|search| {
            let from = search.from.as_deref().filter(|from| *from != DEFAULT)?;
            Some((&search.what, from))
        })
        .flat_map(|(search, from)| {
            let path = move |place: &String| format!("{}/{}", place.trim_end_matches('/'), search.name);
            search.places.iter().map(move |place| (path(place), from))
        })
        .collect();
    let paths = seen.paths.into_iter().map(|path| {
        let from = match by_search.get(&path.path) {
            Some(from) => Some((*from).to_owned()),
            None => environments.led_to(path.by.first().map(|by| &by.who), &[&path.path]),
        };
        From { from, what: path }
    });
    let paths = paths.collect();
    Report {
        searches,
        container: names,
        state,
        source: SOURCE,
        counted,
        failed: seen.failed,
        unnamed: seen.unnamed,
        unkept: seen.unkept,
        searches_unkept: seen.searches_unkept,
        whole: seen.failed >= counted && seen.unkept == 0,
        paths,
        negative: seen.negative,
        detail: seen.detail,
    }
}

/// Failures of a row's calls to find a path.
fn counted(row: &Row) -> u64 {
    let native = decode::Options::native().arch;
    let arch = [native, decode::compat_of(native), Arch::X32]
        .into_iter()
        .find(|arch| arch.name() == row.arch);
    let takes = arch.and_then(|arch| decode::takes(arch, row.nr));
    if row.syscall != "connect" && !takes.is_some_and(|takes| takes.path) {
        return 0;
    }
    ["ENOENT", "ENOTDIR"]
        .iter()
        .filter_map(|errno| row.errnos.get(*errno))
        .sum()
}

/// The host process id of its init.
fn init(directory: &Path, id: &str) -> Result<Option<u32>> {
    let select = Selector {
        words: vec![id.to_owned()],
        ..Selector::default()
    };
    let lines: Vec<report::Line> = client::ask(directory, &Request::Ps { select })?;
    let live = lines.iter().find(|line| line.state == State::Live);
    Ok(live.and_then(|line| line.pid))
}

/// The environments of processes, as far as they live.
struct Environments {
    init: Option<u32>,
    known: HashMap<u32, Option<Vec<(String, String)>>>,
}

impl Environments {
    /// The variable that led a process to these places: its own, or, where it has ended, its init's, whose environment
    /// most processes have. `None` where no environment can be read any more.
    fn led_to(&mut self, who: Option<&Who>, places: &[&str]) -> Option<String> {
        let init = self.init?;
        let mut pids = who.map(|who| who.host_pid).into_iter().chain([init]);
        let pid = pids.find(|pid| self.of(*pid).is_some())?;
        let environment = self.of(pid)?;
        Some(variable(environment, places).unwrap_or(DEFAULT).to_owned())
    }

    fn of(&mut self, pid: u32) -> Option<&[(String, String)]> {
        let read = || identity::environment(pid).filter(|pairs| !pairs.is_empty());
        self.known.entry(pid).or_insert_with(read).as_deref()
    }
}

/// Of several variables the one that has most of the places, and of these the one that names them most closely. PATH is
/// where programs are looked for: in its directories themselves, and nowhere else.
fn variable<'a>(environment: &'a [(String, String)], places: &[&str]) -> Option<&'a str> {
    let scored = environment.iter().filter_map(|(name, value)| {
        let entries: Vec<&str> = value
            .split(':')
            .map(|entry| entry.trim_end_matches('/'))
            .filter(|entry| entry.starts_with('/'))
            .collect();
        // HOME and PWD are no lists of places.
        let is_list = entries.len() > 1
            || ["PATH", "PATHS", "DIR", "DIRS", "LIB"]
                .iter()
                .any(|end| name.ends_with(end));
        let of = |place: &&str| {
            let has = |entry: &&&str| {
                place
                    .strip_prefix(**entry)
                    .is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && name != "PATH"))
            };
            entries.iter().filter(has).map(|entry| entry.len()).max()
        };
        let lengths: Vec<usize> = places.iter().filter_map(of).collect();
        let enough = if name == "PATH" { places.len() } else { 1 };
        let score = (lengths.len(), lengths.iter().sum::<usize>());
        (is_list && lengths.len() >= enough).then_some((score, name.as_str()))
    });
    scored.max_by_key(|(score, _)| *score).map(|(_, name)| name)
}

/// How columns are laid out: numbers, what must be read to its end, what may be cut on a terminal.
const TEXT: Layout = Layout {
    right: false,
    wide: 0,
    narrow: None,
};
const NUMBER: Layout = Layout { right: true, ..TEXT };
const CUT: Layout = Layout {
    narrow: Some(8),
    ..TEXT
};

fn columns(
    to: &mut impl Write,
    rows: Vec<Vec<String>>,
    layouts: &[Layout],
    width: Option<usize>,
) -> io::Result<()> {
    let lines: Vec<_> = rows.into_iter().map(table::Line::Cells).collect();
    table::write(to, &lines, layouts, 2, width)
}

fn print(to: &mut impl Write, report: &Report, top: usize, width: Option<usize>) -> io::Result<()> {
    let shown = |all: usize| if top == 0 { all } else { all.min(top) };
    writeln!(
        to,
        "{} failed look-ups of {} paths, from the {} (ENOENT, ENOTDIR)",
        report.failed,
        report.paths.len(),
        report.source
    )?;
    if report.failed < report.counted {
        writeln!(
            to,
            "{} more were counted and not seen: events were lost, or a reader's filter left them out",
            report.counted - report.failed
        )?;
    }
    for (count, what) in [
        (report.unkept, "found no room in the table"),
        (report.unnamed, "had a path that could not be read"),
        (report.searches_unkept, "searches found no room in the table"),
    ] {
        if count > 0 {
            writeln!(to, "{count} {what}")?;
        }
    }
    let has_detail = report
        .paths
        .iter()
        .any(|path| path.what.cached + path.what.looked_up > 0);
    writeln!(
        to,
        "kernel detail: {}",
        safe(&detail(report.detail.as_ref(), has_detail))
    )?;
    let negative = &report.negative;
    if let (Some(began), Some(ended)) = (negative.began, negative.ended) {
        let growth = i128::from(ended) - i128::from(began);
        let now = if report.state == State::Live {
            "now"
        } else {
            "at its end"
        };
        writeln!(
            to,
            "negative dentries of the node: {began} when the container began, {ended} {now} ({growth:+})"
        )?;
    }
    if !report.paths.is_empty() {
        writeln!(to)?;
        let mut head = vec!["count"];
        let mut layouts = vec![NUMBER];
        if has_detail {
            head.extend(["cached", "looked up"]);
            layouts.extend([NUMBER, NUMBER]);
        }
        head.extend([
            "per second",
            "errors",
            "calls",
            "by",
            "first",
            "last",
            "from",
            "path",
        ]);
        layouts.extend([NUMBER, TEXT, CUT, CUT, TEXT, TEXT, CUT, TEXT]);
        let mut rows: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
        let paths = report.paths.iter().take(shown(report.paths.len()));
        rows.extend(paths.map(|path| path_row(path, has_detail)));
        columns(to, rows, &layouts, width)?;
        more(to, report.paths.len() - shown(report.paths.len()))?;
    }
    if !report.searches.is_empty() {
        writeln!(to)?;
        let head = ["searches", "of", "found in", "from", "by", "not in"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(
            report
                .searches
                .iter()
                .take(shown(report.searches.len()))
                .map(search_row),
        );
        columns(to, rows, &[NUMBER, TEXT, CUT, CUT, CUT, CUT], width)?;
        more(to, report.searches.len() - shown(report.searches.len()))?;
    }
    Ok(())
}

fn more(to: &mut impl Write, left_out: usize) -> io::Result<()> {
    if left_out > 0 {
        writeln!(to, "and {left_out} more; --top 0 shows all")?;
    }
    Ok(())
}

/// Which of the kernel's functions told whether a name was in its cache, or why none did.
fn detail(detail: Option<&Detail>, has_some: bool) -> String {
    match detail {
        Some(Detail {
            functions,
            since: Some(since),
            ..
        }) => format!("fentry on {} since {}", functions.join(", "), clock(since)),
        _ if has_some => "fentry, while somebody asked".to_owned(),
        Some(Detail {
            absent: Some(why), ..
        }) => format!("from ENOENT results alone: {why}"),
        _ => "from ENOENT results alone: nobody asked while the container ran".to_owned(),
    }
}

fn path_row(From { what, from }: &From<Lookup>, has_detail: bool) -> Vec<String> {
    let errors = match (what.missing, what.not_a_directory) {
        (_, 0) => "ENOENT",
        (0, _) => "ENOTDIR",
        _ => "ENOENT,ENOTDIR",
    };
    let mut by: Vec<String> = what.by.iter().map(|by| said(&by.who)).collect();
    if what.others > 0 {
        by.push(format!("{} by others", what.others));
    }
    let mut row = vec![what.count().to_string()];
    if has_detail {
        row.extend([what.cached.to_string(), what.looked_up.to_string()]);
    }
    row.extend([
        format!("{:.1}", what.per_second),
        errors.into(),
        what.calls.join(","),
        by.join(","),
        clock(&what.first).into(),
        clock(&what.last).into(),
        safe(from.as_deref().unwrap_or("-")),
        if what.path.is_empty() {
            "\"\"".into()
        } else {
            safe(&what.path)
        },
    ]);
    row
}

fn search_row(From { what, from }: &From<Search>) -> Vec<String> {
    let mut places: Vec<&str> = what.places.iter().take(PLACES).map(String::as_str).collect();
    let more = format!("and {} more", what.places.len() - places.len());
    if places.len() < what.places.len() {
        places.push(&more);
    }
    vec![
        what.times.to_string(),
        safe(&what.name),
        safe(what.found.as_deref().unwrap_or("nowhere")),
        safe(from.as_deref().unwrap_or("-")),
        said(&what.by),
        safe(&places.join(" ")),
    ]
}

fn said(who: &Who) -> String {
    format!("{}/{}", safe(&who.comm), who.pid)
}

/// The time of day of an RFC 3339 time, to the millisecond.
fn clock(time: &str) -> &str {
    time.get(11..23).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::variable;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn the_variable_is_the_one_that_has_the_places() {
        let environment = pairs(&[
            ("HOME", "/root"),
            ("LD_LIBRARY_PATH", "/opt/a:/opt/b"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("PYTHONPATH", "/srv/lib:/opt"),
            ("XDG_DATA_DIRS", "/usr/share:/usr/local/share"),
        ]);
        let of = |places: &[&str]| variable(&environment, places);
        assert_eq!(of(&["/usr/local/bin", "/usr/bin"]), Some("PATH"));
        assert_eq!(of(&["/usr/bin", "/usr"]), None, "no search for a program");
        assert_eq!(
            of(&["/opt/a/glibc-hwcaps/x86-64-v3", "/opt/a", "/opt/b"]),
            Some("LD_LIBRARY_PATH")
        );
        assert_eq!(of(&["/srv", "/srv/lib"]), Some("PYTHONPATH"));
        assert_eq!(of(&["/srv/lib/encodings"]), Some("PYTHONPATH"));
        assert_eq!(of(&["/srv/libx"]), None);
        assert_eq!(of(&["/usr/bin/deep"]), None, "PATH has no subdirectories");
        assert_eq!(of(&["/root"]), None, "HOME is no list");
        assert_eq!(of(&[""]), None);
    }
}
