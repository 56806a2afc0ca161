//! What the kernel has, and lets this process do.

use std::{fs, path::Path, time::Duration};

use super::{Need, line, says};
use crate::source::{
    kernel::{Kernel, Options, Verified},
    kernel_has,
};

const STATUS: &str = "/proc/self/status";

pub(super) fn privilege() -> Need {
    // include/uapi/linux/capability.h; CAP_SYS_ADMIN stands for both on older kernels.
    const NEEDED: [(u32, &str); 2] = [(38, "CAP_PERFMON"), (39, "CAP_BPF")];
    // Other users' processes and files: the daemon looks at them, loading the programs does not need it.
    const DAEMON: [(u32, &str); 2] = [(19, "CAP_SYS_PTRACE"), (2, "CAP_DAC_READ_SEARCH")];
    const SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    let sets: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    let effective = sets.iter().find_map(|line| {
        let held = line.strip_prefix("CapEff:")?.trim();
        u64::from_str_radix(held, 16).ok()
    });
    let found = match effective {
        None => Err(format!("{STATUS} cannot be read; mount /proc")),
        Some(held) => {
            let has = |capability: u32| held & (1 << capability) != 0;
            let lacks = |of: &[(u32, &'static str)], instead: bool| {
                let lacks = of.iter().filter(|(cap, _)| !has(*cap) && !instead);
                lacks.map(|(_, name)| *name).collect::<Vec<_>>().join(" and ")
            };
            let (needed, daemon) = (lacks(&NEEDED, has(SYS_ADMIN)), lacks(&DAEMON, false));
            if !needed.is_empty() {
                Err(format!("run as root, or with {needed}"))
            } else if !daemon.is_empty() {
                Ok(format!("held, to load the programs; a daemon needs {daemon} too"))
            } else {
                Ok("held".to_owned())
            }
        }
    };
    let others = ["NoNewPrivs:", "Seccomp:"];
    let others = status
        .lines()
        .filter(|line| others.iter().any(|word| line.starts_with(word)));
    let evidence = sets.iter().copied().chain(others);
    Need::required("privilege", found)
        .with(evidence.map(|line| format!("{STATUS}: {}", line.replace('\t', " "))))
}

pub(super) fn btf() -> Need {
    let path = "/sys/kernel/btf/vmlinux";
    let found = fs::metadata(path)
        .map(|file| format!("{path}, {} KiB", file.len() / 1024))
        .map_err(|error| format!("{path}: {error}; the kernel needs CONFIG_DEBUG_INFO_BTF=y"));
    Need::required("kernel BTF", found)
}

/// Loads the programs as the daemon does, and attaches them for a moment.
pub(super) fn programs() -> [Need; 3] {
    let options = Options {
        ring_bytes: 64 * 1024,
        aggregate_rows: 64,
    };
    match Kernel::load(&options, []) {
        Err(error) => {
            let how = format!("{error:#}");
            let mut lines = how.lines().map(str::to_owned);
            let first = lines.next().unwrap_or_default();
            [
                Need::required("programs load", Err(first)).with(lines),
                Need::required("programs attach", Err("not tried: they do not load".into())),
                Need::useful("capability checks", Err("not tried".into())),
            ]
        }
        Ok((mut kernel, _ring)) => {
            let attached = kernel.attach(true).map(|()| {
                let skipping = kernel.skipping().map_or_else(String::new, |why| {
                    format!(
                        "; this kernel skips programs there, as it would not at their trace events: {why}"
                    )
                });
                format!("raw_syscalls and sched tracepoints; the ring buffer is made{skipping}")
            });
            [
                verified(kernel.verified()),
                Need::required("programs attach", attached.map_err(|error| format!("{error:#}"))),
                Need::useful(
                    "capability checks",
                    match (kernel.unchecked(), kernel.verified().last()) {
                        (Some(reason), _) => Err(reason.to_owned()),
                        (None, Some(Verified { program, .. })) => Ok(format!("{program} attaches")),
                        (None, None) => Ok("attaches".to_owned()),
                    },
                ),
            ]
        }
    }
}

/// What the verifier had to do for the programs.
fn verified(programs: &[Verified]) -> Need {
    let took: Duration = programs.iter().map(|program| program.took).sum();
    let mut detail = format!(
        "{} verified by this kernel in {} ms",
        programs.len(),
        took.as_millis()
    );
    let all: Option<u32> = programs.iter().map(|program| program.instructions).sum();
    let most = programs.iter().max_by_key(|program| program.instructions);
    let figures = match (all, most) {
        (
            Some(all),
            Some(Verified {
                program,
                instructions: Some(most),
                ..
            }),
        ) => {
            detail += &format!(", {all} instructions looked at, {most} of them in {program}");
            let each = programs
                .iter()
                .filter_map(|verified| Some((verified.program, verified.instructions?.into())));
            each.chain([
                ("instructions", all.into()),
                ("most_instructions", (*most).into()),
            ])
            .collect()
        }
        _ => Default::default(),
    };
    let evidence = programs.iter().map(|program| {
        let looked = program.instructions.map_or_else(String::new, |instructions| {
            format!(", {instructions} instructions looked at")
        });
        format!("{}: {} ms{looked}", program.program, program.took.as_millis())
    });
    Need {
        figures,
        ..Need::required("programs load", Ok(detail)).with(evidence)
    }
}

pub(super) fn pidfd() -> Need {
    let opened = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    let found = opened
        .map(|_fd| "opens".to_owned())
        .map_err(|error| format!("{error}; Linux 5.3 is needed"));
    Need::required("pidfd", found)
}

/// Locked down for confidentiality, the kernel lets no program read its memory (kernel_lockdown(7)).
pub(super) fn lockdown() -> Need {
    let path = "/sys/kernel/security/lockdown";
    let found = match line(path) {
        Err(_) => Ok("this kernel locks nothing down, or securityfs is not mounted".to_owned()),
        Ok(modes) if modes.contains("[confidentiality]") => Err(
            "confidentiality: programs may not read the kernel's memory; boot with lockdown=integrity"
                .to_owned(),
        ),
        Ok(modes) if modes.contains("[integrity]") => Ok("integrity: programs may load".to_owned()),
        Ok(_) => Ok("none".to_owned()),
    };
    Need::required("lockdown", found).with([says(path)])
}

/// Calls that seccomp refuses are told as such.
pub(super) fn seccomp() -> Need {
    let path = "/proc/sys/kernel/seccomp/actions_avail";
    let found = line(path)
        .map_err(|_| "the kernel has no CONFIG_SECCOMP_FILTER: nothing is refused by it".to_owned());
    Need::useful("seccomp", found.map(|_| "filters there are".to_owned())).with([says(path)])
}

/// Not needed for tracing; any user who may load programs is more than a node wants.
pub(super) fn unprivileged() -> Need {
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    let found = match line(path) {
        Ok(value) if value == "0" => Err(
            "any user may load programs; nothing here needs that: sysctl -w kernel.unprivileged_bpf_disabled=2"
                .to_owned(),
        ),
        Ok(value) => Ok(format!("closed to users without CAP_BPF ({value})")),
        Err(_) => Ok("closed to users without CAP_BPF".to_owned()),
    };
    Need::useful("unprivileged bpf", found).with([says(path)])
}

/// The ring's pages are the kernel's, and are taken when a daemon starts.
pub(super) fn ring() -> Need {
    let path = "/proc/meminfo";
    let wanted = u64::from(Options::default().ring_bytes);
    let kib = |name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let row = text.lines().find_map(|line| line.strip_prefix(name))?;
        row.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    let available = kib("MemAvailable").map(|kib| kib << 10);
    let mib = |bytes: u64| bytes >> 20;
    let found = match available {
        None => Err(format!("{path} does not tell how much memory there is")),
        // The copy that the daemon's queue may hold is as large again.
        Some(available) if available < wanted * 4 => Err(format!(
            "{} MiB by default, and {} MiB of memory are left: give the daemon --ring-size 4M",
            mib(wanted),
            mib(available)
        )),
        Some(available) => Ok(format!(
            "{} MiB by default, of {} MiB that are left",
            mib(wanted),
            mib(available)
        )),
    };
    Need::useful("ring size", found).with([format!(
        "{path}: MemAvailable {} KiB",
        available.map_or(0, |bytes| bytes >> 10)
    )])
}

/// Each call's time is read from it.
pub(super) fn clock() -> Need {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let found = match line(path) {
        Ok(name) if ["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&name.as_str()) => {
            Err(format!(
                "{name} takes a microsecond or more to read, for each traced call: boot with clocksource=tsc where the \
             machine's is stable, or trace with --mode no-duration"
            ))
        }
        other => other,
    };
    Need::useful("clock", found).with([says(
        "/sys/devices/system/clocksource/clocksource0/available_clocksource",
    )])
}

/// Where it is built in, a real-time task needs a budget in each cgroup above it: what `explain` looks at.
pub(super) fn realtime() -> Need {
    let member = "task_group.rt_bandwidth";
    let found = match kernel_has("task_group", "rt_bandwidth") {
        Err(error) => Err(format!("not known: {error:#}")),
        Ok(false) => Ok("CONFIG_RT_GROUP_SCHED is off: real-time tasks need no budget of a cgroup's".to_owned()),
        Ok(true) => Ok(
            "CONFIG_RT_GROUP_SCHED is on: real-time tasks need a budget (cpu.rt_runtime_us) in each cgroup above them"
                .to_owned(),
        ),
    };
    Need::useful("real-time groups", found).with([
        format!("kernel BTF: {member} is looked for"),
        says("/proc/sys/kernel/sched_rt_runtime_us"),
    ])
}

pub(super) fn cgroups() -> Need {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
    let found = if unified.exists() {
        Ok("version 2".to_owned())
    } else if Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        Ok("version 1, with version 2 beside it".to_owned())
    } else if Path::new("/sys/fs/cgroup").is_dir() {
        Ok("version 1".to_owned())
    } else {
        Err("none are mounted at /sys/fs/cgroup: containers have no limits that could be told".to_owned())
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.starts_with("cgroup"));
    Need::useful("cgroups", found).with(mounts.map(str::to_owned).collect::<Vec<_>>())
}
