//! On what the figures were taken: without it they mean nothing.

use anyhow::{Context, Result};
use std::fs;
use tracer_tests::programs;

/// Name in the table, command, and which word of its first line is the version.
const VERSIONS: [(&str, &[&str], usize); 7] = [
    ("strace", &["strace", "--version"], 3),
    ("perf", &["perf", "--version"], 2),
    ("bpftrace", &["bpftrace", "--version"], 1),
    ("redis", &["redis-server", "--version"], 2),
    ("gcc", &["cc", "-dumpfullversion"], 0),
    ("runc", &["runc", "--version"], 2),
    ("podman", &["podman", "--version"], 2),
];

pub(crate) fn print() -> Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']));
    let cpus = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory: f64 = memory.split_whitespace().nth(1).context("no MemTotal")?.parse()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let release = kernel.trim().split('-').next().unwrap_or_default();
    let day = programs::success(programs::command("date").args(["-u", "+%-d %B %Y"]))?;
    let virtual_machine = if cpu.contains("hypervisor") {
        "a virtual machine"
    } else {
        "a machine"
    };
    println!(
        "On {virtual_machine} with {cpus} CPUs ({model}) and {:.0} GiB of memory, Linux {release} on {}, {}.",
        memory / f64::from(1 << 20),
        std::env::consts::ARCH,
        day.trim()
    );
    let mut versions = vec![version(
        "tracer",
        &[&programs::tracer()?.display().to_string(), "--version"],
        1,
    )?];
    for (name, command, word) in VERSIONS {
        versions.push(version(name, command, word)?);
    }
    println!("{}; the peers as Debian packages them.", versions.join(", "));
    println!(
        "Load average when it began: {load}. Take the ratios: the times are that machine's, and of that hour.\n"
    );
    Ok(())
}

fn version(name: &str, command: &[&str], word: usize) -> Result<String> {
    let (program, args) = command.split_first().context("no command")?;
    let out = programs::success(programs::command(program).args(args))?;
    let version = out.split_whitespace().nth(word).unwrap_or("unknown");
    Ok(format!(
        "{name} {}",
        version.trim_start_matches("v=").trim_start_matches('v')
    ))
}
