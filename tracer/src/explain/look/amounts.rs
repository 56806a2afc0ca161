//! How much there is: of a process's files, mappings and stack, of the machine's memory. It decides nothing.

use std::{fs::File, io::Read};

use super::{read, text_of};

/// Descriptors that are counted.
const MAX_COUNTED: usize = 1 << 20;
/// What is read of a list of mappings: 65530 of them, the default bound, take some 6 MB.
const MAX_MAPS: u64 = 64 << 20;

/// Its soft limit of the stack, in bytes (proc_pid_limits(5)).
pub(super) fn stack(pid: u32) -> Option<u64> {
    let text = read(&format!("/proc/{pid}/limits")).ok()?;
    let text = text_of(&text);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max stack size"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" {
        Some(u64::MAX)
    } else {
        soft.parse().ok()
    }
}

/// MemTotal and SwapTotal (proc_meminfo(5)).
pub(super) fn memory() -> u64 {
    let text = read("/proc/meminfo").unwrap_or_default();
    let text = text_of(&text);
    let kibibytes = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
    };
    let sum = ["MemTotal:", "SwapTotal:"]
        .into_iter()
        .filter_map(kibibytes)
        .sum::<u64>();
    sum.saturating_mul(1024)
}

pub(super) fn open_files(tid: u32) -> Option<u64> {
    let all = std::fs::read_dir(format!("/proc/{tid}/fd")).ok()?;
    Some(all.take(MAX_COUNTED).count() as u64)
}

pub(super) fn mappings(tid: u32) -> Option<u64> {
    let mut maps = File::open(format!("/proc/{tid}/maps")).ok()?.take(MAX_MAPS);
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        match maps.read(&mut buffer).ok()? {
            0 => return Some(lines),
            read => {
                let part = buffer.get(..read)?;
                lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
    }
}
