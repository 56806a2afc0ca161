//! `strace -c`, the reference that our counts are held against.

use crate::{Counts, programs};
use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};

/// strace's own arguments: counts per name, of all children, into that file.
pub fn args(summary: &str) -> [&str; 8] {
    ["-f", "-c", "-U", "calls,errors,name", "-S", "name", "-o", summary]
}

/// Runs `args` under strace, in namespaces like those of `tracer run`: a small init is pid 1, the command its child.
pub fn counts(args: &[&str], dir: &Path) -> Result<Counts> {
    let summary = dir.join("strace.txt");
    let path = summary.to_str().context("path")?;
    let mut command = programs::command("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "strace",
    ]);
    command.args(self::args(path)).arg("--").args(args);
    programs::success(&mut command)?;
    parse(&fs::read_to_string(summary)?)
}

/// Reads the table.
pub fn parse(table: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // calls, errors where there are any, name
        let (Some(calls), Some(name)) = (words.first().and_then(|w| w.parse().ok()), words.last()) else {
            continue;
        };
        if (2..=3).contains(&words.len()) && *name != "total" {
            counts.insert((*name).to_owned(), calls);
        }
    }
    ensure!(!counts.is_empty(), "no strace table: {table}");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_is_read() {
        let table = "    calls    errors syscall\n--------- --------- ----------------\n        3           brk\n        \
                     9         4 openat\n--------- --------- ----------------\n       12         4 total\n";
        let counts = super::parse(table).unwrap();
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("brk".into(), 3), ("openat".into(), 9)]
        );
    }
}
