//! What is written down of the kernels: how many instructions their verifiers looked at, in `tests/kernels.tsv`, and the
//! table in `docs/kernels.md`.

use super::Found;
use crate::sh;
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fmt::Write, fs};

const FILE: &str = "tests/kernels.tsv";
const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- made by: cargo xtask test-vm --write -->\n";
const END: &str = "<!-- end -->\n";

/// Per release and program: the kernel's version, and how many instructions.
type Known = BTreeMap<(String, String), (String, u64)>;

/// Fails where a program asks a tenth more of a verifier than is written down; or writes it down. Another kernel of a
/// release that moves may count otherwise: that is told, and no failure.
pub(super) fn compare(found: &[Found], write: bool) -> Result<()> {
    let text = fs::read_to_string(sh::root().join(FILE)).unwrap_or_default();
    let mut known = parse(&text)?;
    let mut grown = String::new();
    for one in found {
        for (program, now) in one.instructions() {
            let key = (one.release.to_owned(), program);
            let before = known.get(&key);
            if !write && before.is_none_or(|(_, before)| now > before + before / 10) {
                let line = format!(
                    "{} {}: {now} instructions on {}; written down: {}",
                    key.0,
                    key.1,
                    one.version,
                    before.map_or_else(
                        || "nothing".to_owned(),
                        |(version, count)| format!("{count} on {version}")
                    )
                );
                if one.moves && before.is_none_or(|(version, _)| *version != one.version) {
                    println!("another kernel than was written down: {line}");
                } else {
                    writeln!(grown, "{line}")?;
                }
            }
            known.insert(key, (one.version.clone(), now));
        }
    }
    ensure!(
        grown.is_empty(),
        "verifiers look at a tenth more than {FILE} says:\n{grown}where that is meant: cargo xtask test-vm --write"
    );
    if write {
        let rows = known.iter().map(|((release, program), (version, count))| {
            format!("{release}\t{version}\t{program}\t{count}\n")
        });
        fs::write(sh::root().join(FILE), rows.collect::<String>())?;
        page(found)?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Known> {
    text.lines()
        .map(|line| {
            let [release, version, program, count] = line.split('\t').collect::<Vec<_>>()[..] else {
                anyhow::bail!("{FILE}: not release, version, program and count: {line:?}");
            };
            let count = count.parse().with_context(|| format!("{FILE}: {line:?}"))?;
            Ok((
                (release.to_owned(), program.to_owned()),
                (version.to_owned(), count),
            ))
        })
        .collect()
}

/// A kernel in a line.
pub(super) fn summary(found: &Found) -> String {
    let all: u64 = found.instructions().values().sum();
    let steps = found.report["steps"].as_array().map_or(0, Vec::len);
    if found.report["loads"] == true {
        format!("{}: loads ({all} instructions), {steps} steps", found.version)
    } else {
        format!("{}: {}", found.version, found.report["detail"])
    }
}

fn page(found: &[Found]) -> Result<()> {
    let path = sh::root().join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| PAGE.to_owned())?;
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no table"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{PAGE}'s table has no end"))?;
    fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table(found)))?;
    Ok(())
}

fn table(found: &[Found]) -> String {
    let mut rows = String::from(
        "| kernel | programs | capability checks | steps | instructions, all | `sys_enter` | `sys_exit` |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for one in found {
        let instructions = one.instructions();
        let count = |name: &str| instructions.get(name).map_or("".to_owned(), u64::to_string);
        let report = &one.report;
        let loads = report["loads"] == true;
        let steps = report["steps"].as_array().cloned().unwrap_or_default();
        let well = steps.iter().filter(|step| step["ok"] == true).count();
        let all: u64 = instructions.values().sum();
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let cells = if loads {
            [
                "load, attach".to_owned(),
                word(&report["capabilities"]),
                format!("{well} of {} pass", steps.len()),
                all.to_string(),
                count("sys_enter"),
                count("sys_exit"),
            ]
        } else {
            let none = String::new;
            [word(&report["detail"]), none(), none(), none(), none(), none()]
        };
        rows += &format!("| {} | {} |\n", one.version, cells.join(" | "));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_says_what_loads_and_what_is_missing() {
        let of = |report| Found {
            release: "sid",
            moves: true,
            version: "7".into(),
            report,
        };
        let well = of(
            json!({"loads": true, "capabilities": "cap_capable attaches", "instructions": {"sys_enter": 2, "sys_exit": 3},
            "steps": [{"ok": true}, {"ok": false}]}),
        );
        let old = of(json!({"loads": false, "detail": "boot Linux 5.15"}));
        let text = table(&[well, old]);
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| 7 | load, attach | cap_capable attaches | 1 of 2 pass | 5 | 2 | 3 |",
                "| 7 | boot Linux 5.15 |  |  |  |  |  |"
            ]
        );
    }

    #[test]
    fn rows_are_read_as_they_are_written() {
        let known = parse("sid\t7.2\tsys_exit\t12\n").unwrap();
        let key = ("sid".to_owned(), "sys_exit".to_owned());
        assert_eq!(known[&key], ("7.2".to_owned(), 12));
        assert!(parse("sid sys_exit 12\n").is_err());
    }
}
