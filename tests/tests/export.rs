//! `tracer export`: what other programs read in our files is what the kernel counted. DuckDB reads Parquet, Python CSV;
//! a Chrome trace is held against the rules of its format.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};
use tracer_tests::{Bundle, Daemon, Event, Rootfs, Runtime, event, programs};

/// Calls by name and errno.
type Counts = BTreeMap<(String, String), u64>;

/// Forks, fails, joins strings that a spreadsheet would compute, and makes an exact number of calls.
const SCRIPT: &str = "ls /nope '=1+1' 2>/dev/null; cat /etc/passwd >/dev/null; \
                      (/workloads/calls 1009 sched_get_priority_max) >/dev/null; exit 3";

/// The counts of `tracer stats`.
fn counted(stats: &Value) -> Result<Counts> {
    let mut counts = Counts::new();
    for row in stats["calls"].as_array().context("no calls")? {
        let name = row["syscall"].as_str().context("no name")?;
        let mut well = row["calls"].as_u64().context("no number")?;
        for (errno, number) in row["errnos"].as_object().context("no errnos")? {
            let number = number.as_u64().context("no number")?;
            well -= number;
            counts.insert((name.to_owned(), errno.clone()), number);
        }
        if well > 0 {
            counts.insert((name.to_owned(), String::new()), well);
        }
    }
    Ok(counts)
}

/// The same of lines that a program prints: name, errno or nothing, number.
fn told(text: &str) -> Result<Counts> {
    let row = |line: &str| {
        let mut words = line.split('\t');
        let (name, errno) = (words.next()?, words.next()?);
        Some(((name.to_owned(), errno.to_owned()), words.next()?.parse().ok()?))
    };
    text.lines()
        .map(|line| row(line).with_context(|| format!("not a row: {line:?}")))
        .collect()
}

fn python(script: &str, file: &Path) -> Result<String> {
    programs::success(
        programs::command(programs::python()?)
            .args(["-c", script])
            .arg(file),
    )
}

/// Counts of the calls that returned.
const BY_DUCKDB: &str = r#"
import duckdb, sys
rows = duckdb.sql(f"""
    SELECT syscall, coalesce(errno, ''), count(*) FROM read_parquet('{sys.argv[1]}')
    WHERE type = 'syscall' AND ret IS NOT NULL GROUP BY ALL ORDER BY ALL""").fetchall()
for row in rows: print(*row, sep="\t")
"#;

/// What the columns are, and what stands in them.
const TYPES: &str = r#"
import duckdb, json, sys
file = sys.argv[1]
types = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{file}')").fetchall()}
encodings = {row[0]: (row[1], row[2]) for row in duckdb.sql(
    f"SELECT path_in_schema, any_value(encodings), any_value(compression) FROM parquet_metadata('{file}') GROUP BY ALL").fetchall()}
one = duckdb.sql(f"""
    SELECT container_name, arg1, args, duration_ns, CAST(CAST(time AS TIMESTAMP_NS) AS VARCHAR), pid, host_pid, comm, phase
    FROM read_parquet('{file}') WHERE syscall = 'execve' AND ret = 0 ORDER BY ktime LIMIT 1""").fetchall()[0]
life = duckdb.sql(f"SELECT event FROM read_parquet('{file}') WHERE type = 'container' ORDER BY ktime").fetchall()
print(json.dumps({"types": types, "encodings": encodings, "one": one, "life": [row[0] for row in life]}))
"#;

const BY_CSV: &str = r#"
import collections, csv, sys
counts = collections.Counter()
with open(sys.argv[1], newline="") as file:
    reader = csv.DictReader(file, strict=True)
    for row in reader:
        assert None not in row and None not in row.values(), row
        assert not any(cell[:1] in ("=", "+", "@", "\t", "\r") for cell in row.values()), row
        if row["type"] == "syscall" and row["ret"] != "": counts[row["syscall"], row["errno"]] += 1
for (name, errno), number in sorted(counts.items()): print(name, errno, number, sep="\t")
"#;

#[test]
fn other_programs_read_what_was_counted() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced("export", Rootfs::Host, &["/bin/sh", "-c", SCRIPT], &daemon)?;
    let (status, container) = Runtime::Runc.run(bundle)?;
    assert_eq!(status.code(), Some(3));
    let id = container.id();
    let verdict = daemon.verdict_at_end(id)?;
    verdict.whole()?;
    let stats = programs::success(daemon.client("stats").args(["-o", "json", id]))?;
    let expected = counted(&serde_json::from_str(&stats)?)?;
    assert_eq!(expected[&("sched_get_priority_max".into(), String::new())], 1009);
    ensure!(
        expected.keys().any(|(_, errno)| errno == "ENOENT"),
        "{expected:?}"
    );

    let dir = tempfile::tempdir()?;
    let export = |format: &str| -> Result<_> {
        let to = dir.path().join(format);
        let args = ["--format", format, id, "-w"];
        programs::success(daemon.client("export").args(args).arg(&to))?;
        Ok(to)
    };

    let parquet = export("parquet")?;
    assert_eq!(told(&python(BY_DUCKDB, &parquet)?)?, expected);
    let told_types: Value = serde_json::from_str(&python(TYPES, &parquet)?)?;
    let types = &told_types["types"];
    ensure!(
        types["time"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("TIMESTAMP")),
        "{types}"
    );
    for (column, kind) in [
        ("ret", "BIGINT"),
        ("pid", "INTEGER"),
        ("unfinished", "BOOLEAN"),
        ("syscall", "VARCHAR"),
    ] {
        assert_eq!(types[column], kind, "{column}");
    }
    for column in ["container_id", "container_name", "syscall"] {
        let [encodings, compression] =
            [0, 1].map(|at| told_types["encodings"][column][at].as_str().unwrap_or_default());
        ensure!(
            encodings.contains("DICTIONARY") && compression == "ZSTD",
            "{told_types}"
        );
    }
    let one = &told_types["one"];
    assert_eq!((&one[0], &one[8]), (&id.into(), &"app".into()), "{one}");
    ensure!(
        one[3].as_u64() > Some(0) && one[5].as_u64() < one[6].as_u64(),
        "{one}"
    );
    let time = one[4].as_str().unwrap_or_default().replace(' ', "T");
    let args: Value = serde_json::from_str(one[2].as_str().context("no args")?)?;
    assert_eq!(args[1]["text"], one[1]);
    assert_eq!(
        told_types["life"],
        serde_json::json!(["registered", "armed", "exec", "gone"])
    );

    assert_eq!(told(&python(BY_CSV, &export("csv")?)?)?, expected);

    let mut lines = Vec::new();
    event::each(&export("jsonl")?, |event| {
        lines.push(event);
        Ok(())
    })?;
    let mut counts = Counts::new();
    for call in lines
        .iter()
        .filter(|event| event.is_syscall() && event.returned())
    {
        *counts
            .entry((call.syscall().to_owned(), call.text("errno").to_owned()))
            .or_default() += 1;
    }
    assert_eq!(counts, expected);
    let execve = lines
        .iter()
        .find(|event| event.syscall() == "execve" && event.0["ret"] == 0);
    // DuckDB leaves the last zeros out.
    assert_eq!(
        execve
            .context("no execve")?
            .text("time")
            .trim_end_matches('Z')
            .trim_end_matches('0'),
        time.trim_end_matches('0'),
        "to the nanosecond"
    );
    let tailed = event::parse(&programs::success(daemon.client("tail").args([
        "-o",
        "json",
        "--explain",
        "--since-start",
        "--until-gone",
        id,
    ]))?)?;
    assert_eq!(calls(&lines), calls(&tailed), "the lines are those of tail");

    let trace: Value = serde_json::from_slice(&std::fs::read(export("chrome")?)?)?;
    let slices = checked(&trace)?;
    assert_eq!(slices, calls(&lines).len(), "each call is on its thread's track");
    Ok(())
}

fn calls(events: &[Event]) -> Vec<&Value> {
    events
        .iter()
        .filter(|event| event.is_syscall())
        .map(|event| &event.0)
        .collect()
}

/// Nanoseconds of microseconds that are written with three decimals.
fn ns(value: &Value) -> Result<u64> {
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = format!("{fraction:0<3}");
    Ok(whole.parse::<u64>()? * 1000 + fraction.parse::<u64>()?)
}

/// Holds a trace against what viewers rely on; returns how many calls are in it.
fn checked(trace: &Value) -> Result<usize> {
    let mut ends: HashMap<(u64, u64), u64> = HashMap::new();
    let (mut named, mut calls) = (HashSet::new(), 0);
    let mut arrows: HashMap<u64, Vec<char>> = HashMap::new();
    let (mut processes, mut instants) = (HashSet::new(), HashSet::new());
    for event in trace["traceEvents"].as_array().context("no traceEvents")? {
        let phase = event["ph"].as_str().and_then(|phase| phase.chars().next());
        let number = |field: &str| event[field].as_u64().with_context(|| format!("{field}: {event}"));
        let track = (number("pid")?, number("tid")?);
        let name = event["name"].as_str().with_context(|| event.to_string())?;
        if phase == Some('M') {
            ensure!(
                event["args"].as_object().is_some_and(|args| args.len() == 1),
                "{event}"
            );
            named.insert(track);
            if name == "process_name" {
                processes.insert(event["args"]["name"].as_str().unwrap_or_default().to_owned());
            }
            continue;
        }
        ensure!(named.contains(&track), "a track without a name: {event}");
        let begin = ns(&event["ts"])?;
        calls += usize::from(
            event["cat"]
                .as_str()
                .is_some_and(|cat| cat.starts_with("syscall")),
        );
        match phase.context("no phase")? {
            'X' => {
                let end = ends.entry(track).or_default();
                ensure!(*end <= begin, "slices of a thread overlap at {event}");
                *end = begin + ns(&event["dur"])?;
            }
            'i' => {
                ensure!(
                    ["t", "p"].contains(&event["s"].as_str().unwrap_or_default()),
                    "{event}"
                );
                instants.insert(name.split(' ').next().unwrap_or_default().to_owned());
            }
            phase @ ('s' | 'f') => arrows.entry(number("id")?).or_default().push(phase),
            other => anyhow::bail!("{other:?}: {event}"),
        }
    }
    ensure!(arrows.len() >= 3, "sh forks thrice: {arrows:?}");
    ensure!(arrows.values().all(|ends| *ends == ['s', 'f']), "{arrows:?}");
    for part in ["container tt-export", "ls ", "cat ", "calls "] {
        ensure!(
            processes.iter().any(|name| name.starts_with(part)),
            "{part}: {processes:?}"
        );
    }
    for part in ["registered", "armed", "gone", "exec", "exit"] {
        ensure!(instants.contains(part), "{part}: {instants:?}");
    }
    Ok(calls)
}

#[test]
fn a_recording_is_exported_without_a_daemon_by_the_filters_of_tail() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recording = dir.path().join("one.trec");
    let mut record = programs::command(programs::tracer()?);
    record.arg("record").arg("-w").arg(&recording);
    programs::output(record.args(["--", "/bin/sh", "-c", "cat /nope; cat /etc/passwd"]))?;
    let export = |args: &[&str]| {
        let mut command = programs::command(programs::tracer()?);
        command.arg("--runtime-dir").arg(dir.path().join("none"));
        programs::output(command.args(["export", "--format"]).args(args).arg(&recording))
    };
    let lines = |args: &[&str]| -> Result<Vec<Event>> {
        let out = export(&[&["jsonl"], args].concat())?;
        ensure!(out.status.success(), "{}", programs::both(&out));
        event::parse(&String::from_utf8(out.stdout)?)
    };
    let all = lines(&[])?;
    let failed = lines(&["-Z", "-e", "trace=%file"])?;
    let expected = calls(&all)
        .into_iter()
        .filter(|call| call["errno"] == "ENOENT" && call["args"][1]["text"] == "\"/nope\"")
        .collect::<Vec<_>>();
    assert_eq!(expected.len(), 1);
    ensure!(calls(&failed).contains(&expected[0]), "{failed:?}");
    ensure!(
        calls(&failed).iter().all(|call| !call["errno"].is_null()),
        "{failed:?}"
    );
    let comms = lines(&["--comm", "cat", "--errno", "ENOENT"])?;
    ensure!(
        calls(&comms).iter().all(|call| call["comm"] == "cat"),
        "{comms:?}"
    );
    ensure!(lines(&["--phase", "runtime"])?.len() < all.len(), "{}", all.len());

    // Two errors of use: nothing is written over the recording, and none is no recording.
    let mut over = programs::command(programs::tracer()?);
    over.args(["export", "--format", "csv"])
        .arg(&recording)
        .arg("-w")
        .arg(&recording);
    let out = programs::output(&mut over)?;
    assert_eq!(out.status.code(), Some(2), "{}", programs::both(&out));
    let mut none = programs::command(programs::tracer()?);
    let none = programs::output(none.args(["export", "--format", "csv", "/etc/passwd"]))?;
    assert_eq!(none.status.code(), Some(2), "{}", programs::both(&none));
    ensure!(lines(&[])?.len() == all.len(), "the recording is as it was");
    Ok(())
}
