//! Processes as /proc has them (proc(5)).

use anyhow::{Context, Result};
use std::fs;

/// The children of a process's first thread, the oldest first.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).with_context(|| path)?;
    Ok(children
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}
