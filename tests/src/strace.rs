//! `strace -c`, the reference that our counts are held against.

use crate::{Counts, programs};
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fs, path::Path};

/// strace's own arguments: counts per name, of all children, into that file.
pub fn args(summary: &str) -> [&str; 8] {
    ["-f", "-c", "-U", "calls,errors,name", "-S", "name", "-o", summary]
}

/// Runs `args` under strace, in namespaces like those of `tracer run`: a small init is pid 1, the command its child.
pub fn counts(args: &[&str], dir: &Path) -> Result<Counts> {
    parse(&summary(&[], args, dir)?)
}

/// The table of the same, with these options of strace.
pub fn summary(options: &[&str], args: &[&str], dir: &Path) -> Result<String> {
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
    command.args(self::args(path)).args(options);
    programs::success(command.arg("--").args(args))?;
    Ok(fs::read_to_string(summary)?)
}

/// Reads the calls of a table.
pub fn parse(table: &str) -> Result<Counts> {
    let rows = rows(table)?.into_iter();
    Ok(rows.map(|(name, (calls, _))| (name, calls)).collect())
}

/// Reads a table: calls and errors by name. Of its columns, calls, errors and name must be the last.
pub fn rows(table: &str) -> Result<BTreeMap<String, (u64, u64)>> {
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = lines
        .find(|words| words.ends_with(&["calls", "errors", "syscall"]))
        .with_context(|| format!("no strace table: {table}"))?;
    // `% time` is one column.
    let before = head.len() - 3 - usize::from(head.first() == Some(&"%"));
    let mut rows = BTreeMap::new();
    for words in lines {
        let (calls, errors, name) = match words.get(before..) {
            Some([calls, errors, name]) => (*calls, *errors, *name),
            Some([calls, name]) => (*calls, "0", *name),
            _ => continue,
        };
        if let (Ok(calls), Ok(errors)) = (calls.parse(), errors.parse())
            && name != "total"
        {
            rows.insert(name.to_owned(), (calls, errors));
        }
    }
    ensure!(!rows.is_empty(), "an empty table: {table}");
    Ok(rows)
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
