//! Programs at the trace events of tracepoints. Where a program at the tracepoint itself may be preempted, the
//! kernel skips it for every other task of that CPU meanwhile; a program at the event runs with preemption off, from before
//! the kernel asks whether it is in progress (`perf_trace_*`, include/trace/perf.h; `trace_call_bpf`,
//! kernel/trace/bpf_trace.c). It costs a little more a call, so it is for such kernels alone.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya_obj::generated::{
    PERF_FLAG_FD_CLOEXEC, bpf_attach_type, bpf_cmd, perf_event_attr, perf_type_id::PERF_TYPE_TRACEPOINT,
};

use super::bpf;

/// Where tracefs is: its own place, and the one that it had before.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The tracepoints whose events have programs, and the groups of those.
const EVENTS: [(&str, &str); 5] = [
    ("sys_enter", "raw_syscalls"),
    ("sys_exit", "raw_syscalls"),
    ("sched_process_fork", "sched"),
    ("sched_process_exit", "sched"),
    ("cap_capable", "capability"),
];

/// What the object adds to a program's name for the one at the event.
pub(super) const SUFFIX: &str = "_event";

/// The name of the program at the event of a tracepoint, if there is one beside that at the tracepoint itself.
pub(super) fn program(name: &str, tracepoint: &str) -> Option<String> {
    EVENTS
        .iter()
        .any(|(event, _)| *event == tracepoint)
        .then(|| format!("{name}{SUFFIX}"))
}

/// Whether programs can be at the events: the kernel has them, tracefs is there and may be read, and they may be opened.
///
/// # Errors
/// Why not, and what to do about it.
pub(super) fn find() -> Result<()> {
    for (event, _) in EVENTS {
        id(event)?;
    }
    // Debian's kernel.perf_event_paranoid of 3 wants CAP_SYS_ADMIN for it. Of one that is rare.
    open(id("sched_process_exit")?)
        .context("perf_event_open: set kernel.perf_event_paranoid to 2, or have CAP_SYS_ADMIN")?;
    Ok(())
}

/// The kernel's number of a tracepoint's event.
fn id(tracepoint: &str) -> Result<u64> {
    Ok(read(tracepoint, "id")?.trim().parse()?)
}

/// Where an event's record has a field.
///
/// # Errors
/// When the event is not there, or has no such field.
pub(super) fn field(tracepoint: &str, name: &str) -> Result<u32> {
    offset(&read(tracepoint, "format")?, name)
        .with_context(|| format!("the event {tracepoint} has no field {name}"))
}

/// As a line of an event's `format` says it: `field:pid_t child_pid;`, `offset:20;` and more, with tabs between.
fn offset(format: &str, name: &str) -> Option<u32> {
    let mut lines = format.lines().map(|line| line.trim().split([';', '\t']));
    lines.find_map(|mut parts| {
        let declared = parts.next()?.strip_prefix("field:")?.rsplit(' ').next()?;
        let offset = parts.find_map(|part| part.strip_prefix("offset:"))?;
        (declared == name).then(|| offset.parse().ok())?
    })
}

/// A file of an event in tracefs.
fn read(tracepoint: &str, file: &str) -> Result<String> {
    let found = EVENTS.iter().find(|(event, _)| *event == tracepoint);
    let (event, group) = found.with_context(|| format!("no program is for an event {tracepoint}"))?;
    let read = |tracefs: &str| fs::read_to_string(format!("{tracefs}/events/{group}/{event}/{file}"));
    read(TRACEFS[0])
        .or_else(|error| read(TRACEFS[1]).map_err(|_| error))
        .with_context(|| format!("find the event {group}:{event} in {}", TRACEFS[0]))
}

/// Attaches a program to an event, for all tasks on all CPUs. The link holds the event.
///
/// # Errors
/// When the event is not there, or the kernel refuses.
pub(super) fn attach(program: BorrowedFd<'_>, tracepoint: &str) -> Result<OwnedFd> {
    let event = open(id(tracepoint)?).context("perf_event_open")?;
    let mut attr = bpf::nothing();
    attr.link_create.__bindgen_anon_1.prog_fd = u32::try_from(program.as_raw_fd())?;
    attr.link_create.__bindgen_anon_2.target_fd = u32::try_from(event.as_raw_fd())?;
    attr.link_create.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    // SAFETY: it points to nothing.
    let fd = unsafe { bpf::call(bpf_cmd::BPF_LINK_CREATE, &mut attr)? };
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

/// An event for programs: it counts nothing itself, and which CPU it is opened for makes no difference to them.
fn open(id: u64) -> io::Result<OwnedFd> {
    const ALL_TASKS: libc::pid_t = -1;
    const CPU: libc::c_int = 0;
    const NO_GROUP: libc::c_int = -1;
    // SAFETY: all of its members are integers; zero is "not given".
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.type_ = PERF_TYPE_TRACEPOINT as u32;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.config = id;
    attr.set_disabled(1);
    // SAFETY: the kernel reads at most so many bytes of an attr that outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            ALL_TASKS,
            CPU,
            NO_GROUP,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us; descriptors are small.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_where_the_format_says() {
        let format = "name: sched_process_fork\nID: 300\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
            \tfield:__data_loc char[] child_comm;\toffset:16;\tsize:4;\tsigned:0;\n\
            \tfield:pid_t child_pid;\toffset:20;\tsize:4;\tsigned:1;\n\nprint fmt: \"child_pid=%d\"\n";
        assert_eq!(offset(format, "child_pid"), Some(20));
        assert_eq!(offset(format, "child_comm"), Some(16));
        assert_eq!(offset(format, "pid"), None);
        assert_eq!(offset("\tfield:pid_t child_pid;\toffset:;", "child_pid"), None);
    }

    #[test]
    fn each_program_at_an_event_has_one_at_the_tracepoint() {
        assert_eq!(
            program("empty_exit", "sys_exit").as_deref(),
            Some("empty_exit_event")
        );
        assert_eq!(program("sched_process_exec", "sched_process_exec"), None);
    }
}
