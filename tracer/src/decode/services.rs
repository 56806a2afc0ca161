//! Printers of calls for the kernel's services: programs and rules, memory policies, watches, handles, quotas, the
//! machine itself.

use super::{
    fs, names,
    show::{Call, Captured, Out, c_string},
    values,
};

/// bpf(2)'s attributes, for maps; what other commands get is an address.
pub(super) fn bpf(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let word = |at: usize| memory.u32(at).map(u64::from);
    match names::BPF.get(call.int(0))? {
        "BPF_MAP_CREATE" => {
            out.name_field("{map_type=", word(0)?, &names::BPF_MAP);
            out.ufield(", key_size=", word(4)?);
            out.ufield(", value_size=", word(8)?);
            out.ufield(", max_entries=", word(12)?);
            out.hfield(", map_flags=", word(16)?);
            out.ufield(", inner_map_fd=", word(20)?);
            out.str(", map_name=");
            let name = memory.bytes.get(28..44)?;
            out.quoted(name.split(|byte| *byte == 0).next()?);
            let rest = [
                (", map_ifindex=", 44),
                (", btf_fd=", 48),
                (", btf_key_type_id=", 52),
                (", btf_value_type_id=", 56),
                (", btf_vmlinux_value_type_id=", 60),
            ];
            for (label, at) in rest {
                out.ufield(label, word(at)?);
            }
            out.ufield(", map_extra=", memory.u64(64)?);
            out.str("}");
        }
        command @ ("BPF_MAP_LOOKUP_ELEM"
        | "BPF_MAP_UPDATE_ELEM"
        | "BPF_MAP_DELETE_ELEM"
        | "BPF_MAP_GET_NEXT_KEY") => {
            out.field("{map_fd=", i64::from(memory.i32(0)?));
            out.pfield(", key=", memory.u64(8)?);
            match command {
                "BPF_MAP_DELETE_ELEM" => out.str(", ..."),
                "BPF_MAP_GET_NEXT_KEY" => out.pfield(", next_key=", memory.u64(16)?),
                _ => {
                    out.pfield(", value=", memory.u64(16)?);
                    out.flags_field(", flags=", memory.u64(24)?, &names::BPF_ELEMENT);
                }
            }
            out.str("}");
        }
        _ => return None,
    }
    Some(())
}

/// `struct landlock_ruleset_attr`: what a kernel added to it later is there when the caller says so.
pub(super) fn ruleset(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.flags_field("{handled_access_fs=", memory.u64(0)?, &names::LANDLOCK_FS);
    if call.arg(1) >= 16 {
        out.flags_field(", handled_access_net=", memory.u64(8)?, &names::LANDLOCK_NET);
    }
    out.str("}");
    Some(())
}

/// `struct landlock_path_beneath_attr`, which is packed.
pub(super) fn rule(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if names::LANDLOCK_RULE.get(call.int(1)) != Some("LANDLOCK_RULE_PATH_BENEATH") {
        return None;
    }
    out.flags_field("{allowed_access=", memory.u64(0)?, &names::LANDLOCK_FS);
    out.field(", parent_fd=", i64::from(memory.i32(8)?));
    out.str("}");
    Some(())
}

/// `MPOL_BIND|MPOL_F_STATIC_NODES`
pub(super) fn policy(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let flags = libc::MPOL_F_STATIC_NODES | libc::MPOL_F_RELATIVE_NODES | libc::MPOL_F_NUMA_BALANCING;
    let flags = u64::from(flags.cast_unsigned());
    out.name(value & !flags, &names::MPOL);
    out.more_flags(value & flags, &names::MPOL_MODE_FLAGS);
}

/// The policy that get_mempolicy(2) stored.
pub(super) fn policy_out(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("[");
    policy(out, call, u64::from(memory.u32(0)?));
    out.str("]");
    Some(())
}

/// Nodes: words of bits, as many as the argument `COUNT` says less one, all with as many digits.
pub(super) fn nodes<const COUNT: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let words = call.arg(COUNT).saturating_add(62) / 64;
    if words == 0 {
        return None;
    }
    fs::array(out, memory, words, 8, |out, one| {
        let word = one.u64(0)?;
        out.str(if word == 0 { "00" } else { "0x" });
        for digit in (0..14).rev() {
            let nibble = u32::from((word >> (digit * 4)).to_le_bytes()[0] & 0xf);
            out.text.push(char::from_digit(nibble, 16)?);
        }
        Some(())
    })
}

/// Which pages mincore(2) found: a byte each.
pub(super) fn pages(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let pages = call.arg(1).div_ceil(4096);
    out.str("[");
    for index in 0..usize::try_from(pages).ok()? {
        if index > 0 {
            out.str(", ");
        }
        match memory.u8(index) {
            Some(byte) if index < call.limit => out.ufield("", u64::from(byte & 1)),
            _ => {
                out.str("...");
                out.truncated = true;
                break;
            }
        }
    }
    out.str("]");
    Some(())
}

/// Flags of fanotify_init(2): the class is a number, the rest bits.
pub(super) fn fanotify_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let class = u64::from(libc::FAN_CLASS_CONTENT | libc::FAN_CLASS_PRE_CONTENT);
    out.name(value & class, &names::FAN_CLASS);
    out.and_flags(value & !class, &names::FAN_INIT);
}

/// `struct file_handle`: what was asked for is gone when the call has returned.
pub(super) fn handle(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let bytes = memory.u32(0)?;
    out.ufield("{handle_bytes=", u64::from(bytes));
    // name_to_handle_at(2) writes the rest when there is room; open_by_handle_at(2) reads it.
    if call.succeeded || call.args.get(3) == Some(&0) {
        out.field(", handle_type=", i64::from(memory.i32(4)?));
        let length = usize::try_from(bytes).ok()?;
        let handle = memory.from(8)?;
        out.str(", f_handle=");
        out.hex_bytes(handle.get(..length).unwrap_or(handle))?;
        if handle.len() < length {
            out.str("...");
            out.truncated = true;
        }
    }
    out.str("}");
    Some(())
}

/// `QCMD(Q_GETQUOTA, USRQUOTA)`
pub(super) fn quota_command(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.name_field("QCMD(", value >> 8, &names::QUOTA);
    out.name_field(", ", value & 0xff, &names::QUOTA_TYPE);
    out.str(")");
}

fn quota<const COMMAND: usize>(call: &Call<'_>) -> Option<&'static str> {
    names::QUOTA.get(call.int(COMMAND) >> 8)
}

/// Whether the quota command at that argument has an id.
pub(super) fn quota_has_id<const COMMAND: usize>(call: &Call<'_>) -> bool {
    !matches!(
        quota::<COMMAND>(call),
        Some(
            "Q_QUOTAOFF"
                | "Q_SYNC"
                | "Q_GETFMT"
                | "Q_GETINFO"
                | "Q_SETINFO"
                | "Q_XQUOTAON"
                | "Q_XQUOTAOFF"
                | "Q_XQUOTARM"
                | "Q_XQUOTASYNC"
                | "Q_XGETQSTAT"
                | "Q_XGETQSTATV"
        )
    )
}

/// Whether it has an address.
pub(super) fn quota_has_address<const COMMAND: usize>(call: &Call<'_>) -> bool {
    !matches!(
        quota::<COMMAND>(call),
        Some("Q_QUOTAOFF" | "Q_SYNC" | "Q_XQUOTASYNC")
    )
}

/// The id is a format where quotas are switched on.
pub(super) fn quota_id<const COMMAND: usize>(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if quota::<COMMAND>(call) == Some("Q_QUOTAON") {
        out.name(value, &names::QUOTA_FORMAT);
    } else {
        values::int(out, call, value);
    }
}

/// The address is a file's name where quotas are switched on, and limits where they are set.
pub(super) fn quota_address<const COMMAND: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let command = quota::<COMMAND>(call)?;
    if command == "Q_QUOTAON" {
        return c_string(out, call, memory);
    }
    if command != "Q_SETQUOTA" && !(command == "Q_GETQUOTA" && call.succeeded) {
        return None;
    }
    let labels = [
        "{dqb_bhardlimit=",
        ", dqb_bsoftlimit=",
        ", dqb_curspace=",
        ", dqb_ihardlimit=",
        ", dqb_isoftlimit=",
        ", dqb_curinodes=",
    ];
    for (label, at) in labels.into_iter().zip((0..).step_by(8)) {
        out.ufield(label, memory.u64(at)?);
    }
    out.str(", ...}");
    Some(())
}

/// Whether reboot(2)'s command has a text.
pub(super) fn reboot_has_text(call: &Call<'_>) -> bool {
    names::REBOOT.get(call.int(2)) == Some("LINUX_REBOOT_CMD_RESTART2")
}

/// `3 /* SYSLOG_ACTION_READ_ALL */`
pub(super) fn syslog_action(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    values::int(out, call, value);
    out.comment(names::SYSLOG.get(value).unwrap_or(names::SYSLOG.unknown));
}

/// Whether syslog(2) looks at more than the action.
pub(super) fn syslog_has_more(call: &Call<'_>) -> bool {
    !matches!(
        names::SYSLOG.get(call.int(0)),
        Some(
            "SYSLOG_ACTION_CLOSE"
                | "SYSLOG_ACTION_OPEN"
                | "SYSLOG_ACTION_CLEAR"
                | "SYSLOG_ACTION_CONSOLE_OFF"
                | "SYSLOG_ACTION_CONSOLE_ON"
                | "SYSLOG_ACTION_SIZE_UNREAD"
                | "SYSLOG_ACTION_SIZE_BUFFER"
        )
    )
}

/// The last argument is a level where one is set.
pub(super) fn syslog_length(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    values::int(out, call, value);
    if names::SYSLOG.get(call.int(0)) == Some("SYSLOG_ACTION_CONSOLE_LEVEL") {
        out.comment(names::LOG_LEVEL.get(value).unwrap_or(names::LOG_LEVEL.unknown));
    }
}

/// Whether kcmp(2)'s type compares two things of a process.
pub(super) fn kcmp_has_indices(call: &Call<'_>) -> bool {
    !matches!(
        names::KCMP.get(call.int(2)),
        Some("KCMP_VM" | "KCMP_FILES" | "KCMP_FS" | "KCMP_SIGHAND" | "KCMP_IO" | "KCMP_SYSVSEM")
    )
}

/// What is compared: descriptors, if the type says so.
pub(super) fn kcmp_index<const INDEX: usize>(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match names::KCMP.get(call.int(2)) {
        Some("KCMP_FILE") => values::int(out, call, value),
        Some("KCMP_EPOLL_TFD") if INDEX == 3 => values::int(out, call, value),
        _ => out.hex(value),
    }
}

/// Flags of kexec_load(2): the architecture is a number, the rest bits.
pub(super) fn kexec_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let machine = 0xffff_0000;
    out.name(value & machine, &names::KEXEC_ARCH);
    out.and_flags(value & !machine, &names::KEXEC);
}

/// Flags of swapon(2): the low bits are a priority.
pub(super) fn swap_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let priority = value & 0x7fff;
    if value != priority {
        out.flags(value & !0x7fff, &names::SWAP);
        out.str("|");
    }
    out.unsigned(priority);
}

/// `struct mount_attr`.
pub(super) fn mount_attributes(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.flags_field("{attr_set=", memory.u64(0)?, &names::MOUNT_ATTR);
    out.flags_field(", attr_clr=", memory.u64(8)?, &names::MOUNT_ATTR);
    let propagation = memory.u64(16)?;
    out.str(", propagation=");
    out.name(propagation, &names::MOUNT_PROPAGATION);
    out.ufield(", userns_fd=", memory.u64(24)?);
    out.str("}");
    Some(())
}

/// What seccomp(2) gets or gives: a filter, an action, sizes.
pub(super) fn seccomp(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    match names::SECCOMP.get(call.int(0))? {
        "SECCOMP_SET_MODE_FILTER" => return filter(out, memory),
        "SECCOMP_GET_ACTION_AVAIL" => {
            out.name_field("[", u64::from(memory.u32(0)?), &names::SECCOMP_RET);
            out.str("]");
        }
        "SECCOMP_GET_NOTIF_SIZES" if call.succeeded => {
            let labels = ["{seccomp_notif=", ", seccomp_notif_resp=", ", seccomp_data="];
            for (label, at) in labels.into_iter().zip((0..).step_by(2)) {
                out.ufield(label, u64::from(memory.u16(at)?));
            }
            out.str("}");
        }
        _ => return None,
    }
    Some(())
}

/// `struct sock_fprog`: its instructions are not copied.
pub(super) fn filter(out: &mut Out<'_>, memory: Captured<'_>) -> Option<()> {
    out.ufield("{len=", u64::from(memory.u16(0)?));
    out.pfield(", filter=", memory.u64(8)?);
    out.str("}");
    Some(())
}

/// Bits that membarrier(2)'s query returned.
pub(super) fn membarrier_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    let asked = membarrier_asked(call) && call.ret != 0;
    asked.then(|| out.flags(call.ret.unsigned_abs(), &names::MEMBARRIER))
}

/// Whether membarrier(2) is for one CPU.
pub(super) fn membarrier_for_cpu(call: &Call<'_>) -> bool {
    call.int(1) != 0
}

pub(super) fn membarrier_asked(call: &Call<'_>) -> bool {
    names::MEMBARRIER.get(call.int(0)) == Some("MEMBARRIER_CMD_QUERY")
}

/// An address that the call stored: `[0x7ff…]`.
pub(super) fn address_out(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.pfield("[", memory.u64(0)?);
    out.str("]");
    Some(())
}

/// A size that a call stored.
pub(super) fn size_out(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.ufield("[", memory.u64(0)?);
    out.str("]");
    Some(())
}

/// The registers that ptrace(2) reads and writes by their place among the user's, each of eight bytes.
const REGISTERS: [&str; 27] = [
    "R15", "R14", "R13", "R12", "RBP", "RBX", "R11", "R10", "R9", "R8", "RAX", "RCX", "RDX", "RSI", "RDI",
    "ORIG_RAX", "RIP", "CS", "EFL", "RSP", "SS", "FS_BASE", "GS_BASE", "DS", "ES", "FS", "GS",
];

fn ptrace(call: &Call<'_>) -> Option<&'static str> {
    names::PTRACE.get(call.arg(0))
}

pub(super) fn ptrace_has_pid(call: &Call<'_>) -> bool {
    ptrace(call) != Some("PTRACE_TRACEME")
}

/// Whether ptrace(2)'s request has an address.
pub(super) fn ptrace_has_address(call: &Call<'_>) -> bool {
    ptrace_has_data(call)
        && !matches!(
            ptrace(call),
            Some("PTRACE_GETREGS" | "PTRACE_SETREGS" | "PTRACE_GETFPREGS" | "PTRACE_SETFPREGS")
        )
}

/// Whether it has data.
pub(super) fn ptrace_has_data(call: &Call<'_>) -> bool {
    !matches!(
        ptrace(call),
        Some("PTRACE_TRACEME" | "PTRACE_KILL" | "PTRACE_ATTACH" | "PTRACE_INTERRUPT" | "PTRACE_LISTEN")
    )
}

/// ptrace(2)'s address: memory, a register, a set of registers, a size.
pub(super) fn ptrace_address(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match ptrace(call) {
        Some("PTRACE_PEEKUSER" | "PTRACE_POKEUSER") if !call.aarch64 && call.wide => {
            let name = usize::try_from(value / 8)
                .ok()
                .and_then(|index| REGISTERS.get(index));
            match name {
                Some(name) => {
                    out.str("8*");
                    out.str(name);
                    if !value.is_multiple_of(8) {
                        out.ufield("+", value % 8);
                    }
                }
                None => out.hex(value),
            }
        }
        Some("PTRACE_GETREGSET" | "PTRACE_SETREGSET") => out.name(value, &names::NOTE),
        Some(
            "PTRACE_GETSIGMASK"
            | "PTRACE_SETSIGMASK"
            | "PTRACE_SECCOMP_GET_FILTER"
            | "PTRACE_SECCOMP_GET_METADATA"
            | "PTRACE_GET_SYSCALL_INFO",
        ) => out.unsigned(value),
        _ => out.pointer(value),
    }
}

/// ptrace(2)'s data where it is memory: where registers are.
pub(super) fn ptrace_memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if !matches!(ptrace(call)?, "PTRACE_GETREGSET" | "PTRACE_SETREGSET") {
        return None;
    }
    out.pfield("{iov_base=", memory.u64(0)?);
    out.ufield(", iov_len=", memory.u64(8)?);
    out.str("}");
    Some(())
}

/// The same where it is a value: a signal, options, an address.
pub(super) fn ptrace_data(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match ptrace(call) {
        Some(
            "PTRACE_CONT"
            | "PTRACE_DETACH"
            | "PTRACE_SYSCALL"
            | "PTRACE_SINGLESTEP"
            | "PTRACE_SINGLEBLOCK"
            | "PTRACE_SYSEMU"
            | "PTRACE_SYSEMU_SINGLESTEP",
        ) => values::signal(out, call, value),
        Some("PTRACE_SETOPTIONS" | "PTRACE_SEIZE" | "PTRACE_OLDSETOPTIONS") => {
            out.flags(value, &names::PTRACE_OPTION);
        }
        _ => out.pointer(value),
    }
}

/// `struct perf_event_attr`, as strace abbreviates it.
pub(super) fn performance(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (kind, config) = (u64::from(memory.u32(0)?), memory.u64(8)?);
    out.name_field("{type=", kind, &names::PERF_TYPE);
    out.name_field(", size=", u64::from(memory.u32(4)?), &names::PERF_SIZE);
    out.str(", config=");
    match names::PERF_TYPE.get(kind) {
        Some("PERF_TYPE_HARDWARE") => out.name(config, &names::PERF_HARDWARE),
        Some("PERF_TYPE_SOFTWARE") => out.name(config, &names::PERF_SOFTWARE),
        _ => out.hex(config),
    }
    // Bits of the one word that follows: whether the next is a frequency, and how exact an address has to be.
    let bits = memory.u64(40)?;
    let frequency = bits >> 10 & 1 == 1;
    out.ufield(
        if frequency {
            ", sample_freq="
        } else {
            ", sample_period="
        },
        memory.u64(16)?,
    );
    out.flags_field(", sample_type=", memory.u64(24)?, &names::PERF_SAMPLE);
    out.flags_field(", read_format=", memory.u64(32)?, &names::PERF_FORMAT);
    let precision = bits >> 15 & 3;
    out.ufield(", precise_ip=", precision);
    out.comment(match precision {
        0 => "arbitrary skid",
        1 => "constant skid",
        2 => "requested to have 0 skid",
        _ => "must have 0 skid",
    });
    out.str(", ...}");
    Some(())
}
