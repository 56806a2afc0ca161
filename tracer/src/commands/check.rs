//! `tracer check`: one line a need of this machine, found by trying, never by a version number.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

use super::{INCOMPLETE, json_line, print};
use crate::source::kernel::{Kernel, Options, Verified};

/// A need and how it stands.
#[derive(Debug, Serialize)]
struct Need {
    need: &'static str,
    ok: bool,
    /// Without it nothing can be traced; the others are for some uses.
    required: bool,
    /// What was found, or how to get it.
    detail: String,
    /// The numbers of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    figures: BTreeMap<&'static str, u64>,
}

impl Need {
    fn new(need: &'static str, required: bool, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        Self {
            need,
            ok,
            required,
            detail: found.unwrap_or_else(|how| how),
            figures: BTreeMap::new(),
        }
    }
}

/// Prints the needs; 1 when a required one is missing.
pub(super) fn check(json: bool) -> Result<u8> {
    let needs = needs();
    let mut to = io::stdout().lock();
    if json {
        json_line(&mut to, &needs)?;
    } else {
        print::folded(&mut to, 32, |to| {
            needs.iter().try_for_each(|need| {
                let state = match (need.ok, need.required) {
                    (true, _) => "ok",
                    (false, true) => "missing",
                    (false, false) => "absent",
                };
                writeln!(to, "{state:8} {:22} {}", need.need, need.detail)
            })
        })?;
    }
    Ok(if needs.iter().any(|need| need.required && !need.ok) {
        INCOMPLETE
    } else {
        0
    })
}

fn needs() -> Vec<Need> {
    let mut needs = vec![privilege(), btf()];
    needs.extend(programs());
    needs.push(Need::new("pidfd", true, pidfd()));
    needs.push(Need::new("hook", false, hook()));
    for runtime in ["runc", "crun", "podman", "containerd", "dockerd"] {
        needs.push(Need::new(runtime, false, in_path(runtime)));
    }
    needs
}

fn privilege() -> Need {
    // CAP_PERFMON and CAP_BPF, include/uapi/linux/capability.h; CAP_SYS_ADMIN stands for both on older kernels.
    const NEEDED: [(u32, &str); 2] = [(38, "CAP_PERFMON"), (39, "CAP_BPF")];
    const SYS_ADMIN: u32 = 21;
    let effective = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?
                .trim()
                .to_owned();
            u64::from_str_radix(&line, 16).ok()
        });
    let found = match effective {
        None => Err("/proc/self/status cannot be read; mount /proc".to_owned()),
        Some(held) => {
            let has = |capability: u32| held & (1 << capability) != 0;
            let lacks: Vec<_> = NEEDED
                .iter()
                .filter(|(cap, _)| !has(*cap) && !has(SYS_ADMIN))
                .map(|(_, name)| *name)
                .collect();
            if lacks.is_empty() {
                Ok("held".to_owned())
            } else {
                Err(format!("run as root, or with {}", lacks.join(" and ")))
            }
        }
    };
    Need::new("privilege", true, found)
}

fn btf() -> Need {
    let path = "/sys/kernel/btf/vmlinux";
    let found = std::fs::metadata(path)
        .map(|file| format!("{path}, {} KiB", file.len() / 1024))
        .map_err(|error| format!("{path}: {error}; the kernel needs CONFIG_DEBUG_INFO_BTF=y"));
    Need::new("kernel BTF", true, found)
}

/// Loads the programs as the daemon does, and attaches them for a moment.
fn programs() -> [Need; 3] {
    let options = Options {
        ring_bytes: 64 * 1024,
        aggregate_rows: 64,
    };
    match Kernel::load(&options, []) {
        Err(error) => {
            let how = format!("{error:#}");
            let first = how.lines().next().unwrap_or_default().to_owned();
            [
                Need::new("programs load", true, Err(first)),
                Need::new("programs attach", true, Err("not tried: they do not load".into())),
                Need::new("capability checks", false, Err("not tried".into())),
            ]
        }
        Ok((mut kernel, _ring)) => {
            let attached = kernel
                .attach(true)
                .map(|()| "raw_syscalls and sched tracepoints".to_owned());
            [
                verified(kernel.verified()),
                Need::new(
                    "programs attach",
                    true,
                    attached.map_err(|error| format!("{error:#}")),
                ),
                Need::new(
                    "capability checks",
                    false,
                    kernel.unchecked().map_or_else(
                        || Ok("cap_capable attaches".to_owned()),
                        |reason| Err(reason.to_owned()),
                    ),
                ),
            ]
        }
    }
}

/// What the verifier had to do for the programs.
fn verified(programs: &[Verified]) -> Need {
    let ms = programs
        .iter()
        .map(|program| program.took)
        .sum::<Duration>()
        .as_millis();
    let mut detail = format!("{} verified by this kernel in {ms} ms", programs.len());
    let mut figures = BTreeMap::new();
    let all: Option<u32> = programs.iter().map(|program| program.instructions).sum();
    let most = programs.iter().max_by_key(|program| program.instructions);
    if let (
        Some(all),
        Some(Verified {
            program,
            instructions: Some(most),
            ..
        }),
    ) = (all, most)
    {
        detail += &format!(", {all} instructions looked at, {most} of them in {program}");
        figures.extend([
            ("instructions", all.into()),
            ("most_instructions", (*most).into()),
        ]);
    }
    Need {
        figures,
        ..Need::new("programs load", true, Ok(detail))
    }
}

fn pidfd() -> Result<String, String> {
    rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
        .map(|_fd| "opens".to_owned())
        .map_err(|error| format!("{error}; Linux 5.3 is needed"))
}

fn hook() -> Result<String, String> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|folder| folder.join("tracer-hook")));
    let places = [Some("/usr/libexec/oci/hooks.d/tracer-hook".into()), beside];
    places
        .into_iter()
        .flatten()
        .find(|path: &std::path::PathBuf| path.exists())
        .map(|path| path.display().to_string())
        .ok_or_else(|| "tracer-hook is not installed; docs/hook.md says how".to_owned())
}

fn in_path(program: &str) -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file: &std::path::PathBuf| Path::new(file).exists())
        .map(|file| file.display().to_string())
        .ok_or_else(|| "not in PATH".to_owned())
}
