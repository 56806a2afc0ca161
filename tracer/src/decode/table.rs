//! The system calls of each architecture: number, name, parameters, how each is shown and what is copied for it.
//!
//! Three sources meet here, once, at first use: numbers and names (the `syscalls` crate), parameters (the snapshot that
//! `cargo xtask generate` writes, and [`OTHERS`]), and the [`super::rows`]. It knows nothing of records.

use std::{collections::HashMap, sync::LazyLock};

use tracer_common::filter::{COMPAT_PLANS, Op, Plan, copy, list, plan, when};

use super::{
    Limits, Takes, data,
    rows::{self, Note, Ret, Row},
    show::{Call, Max, Memory, Moment, Show},
};
use crate::event::{Arch, Direction};

const SNAPSHOT: &str = include_str!("syscalls.x86_64.txt");

/// Calls that x86-64 does not have, or has with other parameters: `[arch:]name parameters`.
const OTHERS: &str = "\
x86_64:rt_sigreturn struct rt_sigframe *frame
i386:mmap struct mmap_arg_struct *arg
i386:select struct sel_arg_struct *arg
i386:umount char *name
i386:pread64 unsigned int fd, char *buf, size_t count, u32 poslo, u32 poshi
i386:pwrite64 unsigned int fd, const char *buf, size_t count, u32 poslo, u32 poshi
i386:truncate64 const char *path, u32 lengthlo, u32 lengthhi
i386:ftruncate64 unsigned int fd, u32 lengthlo, u32 lengthhi
i386:fallocate int fd, int mode, u32 offsetlo, u32 offsethi, u32 lenlo, u32 lenhi
i386:fadvise64 int fd, u32 offsetlo, u32 offsethi, size_t len, int advice
i386:fadvise64_64 int fd, u32 offsetlo, u32 offsethi, u32 lenlo, u32 lenhi, int advice
i386:readahead int fd, u32 offsetlo, u32 offsethi, size_t count
i386:sync_file_range int fd, u32 offsetlo, u32 offsethi, u32 nbyteslo, u32 nbyteshi, unsigned int flags
i386:clone unsigned long clone_flags, unsigned long newsp, int *parent_tidptr, unsigned long tls, int *child_tidptr
arm:pread64 unsigned int fd, char *buf, size_t count, u32 pad, u32 poslo, u32 poshi
arm:pwrite64 unsigned int fd, const char *buf, size_t count, u32 pad, u32 poslo, u32 poshi
arm:truncate64 const char *path, u32 pad, u32 lengthlo, u32 lengthhi
arm:ftruncate64 unsigned int fd, u32 pad, u32 lengthlo, u32 lengthhi
arm:fallocate int fd, int mode, u32 offsetlo, u32 offsethi, u32 lenlo, u32 lenhi
arm:readahead int fd, u32 pad, u32 offsetlo, u32 offsethi, size_t count
arm:clone unsigned long clone_flags, unsigned long newsp, int *parent_tidptr, unsigned long tls, int *child_tidptr
aarch64:clone unsigned long clone_flags, unsigned long newsp, int *parent_tidptr, unsigned long tls, int *child_tidptr
mmap2 unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags, unsigned long fd, unsigned long pgoff
_llseek unsigned int fd, unsigned long offset_high, unsigned long offset_low, loff_t *result, unsigned int whence
socketcall int call, unsigned long *args
ipc unsigned int call, int first, unsigned long second, unsigned long third, void *ptr, long fifth
waitpid pid_t upid, int *stat_addr, int options
nice int increment
stime time_t *tptr
signal int sig, void *handler
sigaction int sig, const struct old_sigaction *act, struct old_sigaction *oact
sigprocmask int how, old_sigset_t *nset, old_sigset_t *oset
sigpending old_sigset_t *uset
sigsuspend int unused1, int unused2, unsigned long mask
sigreturn
send int fd, void *buff, size_t len, unsigned int flags
recv int fd, void *ubuf, size_t size, unsigned int flags
";

/// Names under which the snapshot has a call of another architecture.
const SAME_AS: &[(&str, &str)] = &[
    ("fstatat64", "newfstatat"),
    ("_newselect", "select"),
    ("ugetrlimit", "getrlimit"),
];

/// Calls of which EAGAIN says that a limit is reached, not that they would have had to wait (the ERRORS of their man
/// pages, section 2).
const REFUSE_BY_EAGAIN: &[&str] = &[
    "add_key",
    "clone",
    "clone3",
    "execve",
    "execveat",
    "fork",
    "io_setup",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mmap2",
    "mremap",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setuid",
    "setuid32",
    "timer_create",
    "unshare",
    "vfork",
];

/// Calls that x32 numbers apart, from 512 on.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// Names of the arguments of a call that nothing is known of.
pub(super) const UNNAMED: [&str; 6] = ["arg0", "arg1", "arg2", "arg3", "arg4", "arg5"];

/// One system call.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) params: Box<[Param]>,
    /// Indices into `params`, in the order in which they are shown.
    pub(super) order: Box<[usize]>,
    pub(super) ret: Ret,
    pub(super) note: Option<Note>,
    /// Whether what was returned is a descriptor.
    pub(super) descriptor: Option<fn(&Call<'_>) -> bool>,
    /// Which way it moves data through its first argument.
    pub(super) moves: Option<Direction>,
    /// A parameter whose memory has descriptors, and a kind of `tracer_common::filter::list`.
    list: Option<(u8, u8)>,
}

/// One parameter.
#[derive(Clone)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) show: Show,
    /// Its C type has 32 bits, so the register's upper half means nothing.
    pub(super) narrow: bool,
    /// Index of the argument with the length of its memory.
    pub(super) len: u8,
    /// That argument has 32 bits.
    pub(super) len_narrow: bool,
}

type Table = Vec<Option<Entry>>;

static X86_64: LazyLock<Table> = LazyLock::new(|| {
    build(
        Arch::X86_64,
        syscalls::x86_64::Sysno::iter().map(|s| (s.id(), s.name())),
    )
});
static I386: LazyLock<Table> = LazyLock::new(|| {
    build(
        Arch::I386,
        syscalls::x86::Sysno::iter().map(|s| (s.id(), s.name())),
    )
});
static AARCH64: LazyLock<Table> = LazyLock::new(|| {
    build(
        Arch::Aarch64,
        syscalls::aarch64::Sysno::iter().map(|s| (s.id(), s.name())),
    )
});
static ARM: LazyLock<Table> = LazyLock::new(|| {
    build(
        Arch::Arm,
        syscalls::arm::Sysno::iter().map(|s| (s.id(), s.name())),
    )
});

fn table(arch: Arch) -> &'static Table {
    match arch {
        Arch::X86_64 | Arch::X32 => &X86_64,
        Arch::I386 => &I386,
        Arch::Aarch64 => &AARCH64,
        Arch::Arm => &ARM,
    }
}

/// The call of that number. An x32 number comes without its bit.
pub(super) fn entry(arch: Arch, nr: u16) -> Option<&'static Entry> {
    let index = usize::from(nr);
    if arch == Arch::X32
        && let Some(name) = index.checked_sub(512).and_then(|own| X32_OWN.get(own))
    {
        return X86_64.iter().flatten().find(|entry| entry.name == *name);
    }
    table(arch).get(index)?.as_ref()
}

/// The table of the 32-bit entry on a machine of that architecture.
pub(super) fn compat_of(native: Arch) -> Arch {
    match native {
        Arch::X86_64 | Arch::I386 | Arch::X32 => Arch::I386,
        Arch::Aarch64 | Arch::Arm => Arch::Arm,
    }
}

/// Whether `long` and pointers have 64 bits there.
pub(super) fn is_wide(arch: Arch) -> bool {
    matches!(arch, Arch::X86_64 | Arch::Aarch64)
}

/// What the kernel side copies: the native table's plans, then those of the 32-bit table from [`COMPAT_PLANS`] on.
pub(super) fn plans(native: Arch, limits: Limits) -> impl Iterator<Item = (u32, Plan)> {
    let of = move |arch: Arch, first: u32| {
        let numbered = table(arch).iter().enumerate();
        numbered.filter_map(move |(nr, entry)| {
            let nr = u32::try_from(nr).ok().filter(|nr| *nr < COMPAT_PLANS)?;
            Some((first + nr, plan(entry.as_ref()?, is_wide(arch), limits)))
        })
    };
    of(native, 0).chain(of(compat_of(native), COMPAT_PLANS))
}

fn plan(entry: &Entry, wide: bool, limits: Limits) -> Plan {
    let mut plan = Plan {
        nargs: u8::try_from(entry.params.len()).unwrap_or(6),
        ..Plan::default()
    };
    if matches!(entry.name, "execve" | "execveat") {
        plan.flags |= plan::EXEC;
    }
    if REFUSE_BY_EAGAIN.contains(&entry.name) {
        plan.flags |= plan::EVIDENCE;
    }
    if entry.descriptor.is_some() {
        plan.fds |= list::RETURNED;
    }
    for (param, arg) in entry.params.iter().zip(0_u8..6) {
        if is_descriptor(&param.show) {
            plan.fds |= 1 << arg;
        }
    }
    if let Some((arg, kind)) = entry.list {
        (plan.list, plan.list_arg) = (kind, arg);
    }
    if entry.name == "rt_sigreturn" {
        plan.flags |= plan::STACK;
    }
    let wanted = entry.params.iter().zip(0_u8..).flat_map(|(param, arg)| {
        let memory =
            memory_of(&param.show).filter(|memory| memory.kind != copy::NONE && (wide || !memory.wide));
        memory.map_or([None, None], |memory| ops(param, arg, memory, limits))
    });
    for (slot, op) in plan.ops.iter_mut().zip(wanted.flatten()) {
        if op.flags & when::ENTER != 0 {
            plan.flags |= plan::ENTER;
        }
        *slot = op;
        plan.nops += 1;
    }
    plan
}

/// The copies that an argument's memory takes: when the call begins, and when it has ended.
fn ops(param: &Param, arg: u8, memory: &Memory, limits: Limits) -> [Option<Op>; 2] {
    let op = Op {
        kind: memory.kind,
        arg,
        len_arg: param.len,
        flags: if param.len_narrow { when::LEN_INT } else { 0 }
            | if memory.filled { when::FILLED } else { 0 }
            | if memory.data { when::DATA } else { 0 }
            | if memory.full.is_some() { when::VERBOSE } else { 0 },
        max: limits.max(memory.max),
        scale: match memory.full {
            Some(full) if memory.kind == copy::FIXED => full.words,
            _ => memory.scale,
        },
        skip: memory.skip,
    };
    let before = || Op {
        flags: op.flags & !when::DATA | when::ENTER,
        ..before(op)
    };
    let success = Op {
        flags: op.flags | when::SUCCESS,
        ..op
    };
    match memory.moment {
        Moment::After if memory.output => [None, Some(success)],
        Moment::After => [None, Some(op)],
        Moment::Before => [Some(before()), None],
        Moment::Both => [Some(before()), Some(success)],
        Moment::Retried => {
            let before = before();
            let flags = before.flags | when::NEAR;
            [Some(Op { flags, ..before }), Some(op)]
        }
    }
}

/// What is copied when the call begins: of messages only the headers, where the room for the peer's address is.
fn before(op: Op) -> Op {
    const MMSGHDR: u8 = 64;
    match op.kind {
        copy::MESSAGE => Op {
            kind: copy::FIXED,
            max: 16,
            ..op
        },
        copy::MESSAGES => Op {
            kind: copy::LEN_ARG,
            max: 14 * u16::from(MMSGHDR),
            scale: MMSGHDR,
            ..op
        },
        _ => op,
    }
}

/// The memory that a parameter shows, if for some calls only.
fn memory_of(show: &Show) -> Option<&Memory> {
    match show {
        Show::Memory(memory) => Some(memory),
        Show::When(_, show) => memory_of(show),
        Show::Value(_)
        | Show::Flags(_)
        | Show::Enum(_)
        | Show::EnumOrNumber(_)
        | Show::Descriptor
        | Show::Directory => None,
    }
}

fn is_descriptor(show: &Show) -> bool {
    match show {
        Show::Descriptor | Show::Directory => true,
        Show::When(_, show) => is_descriptor(show),
        _ => false,
    }
}

/// By what is copied for it and by its parameters' names: no C type tells a descriptor from a number.
pub(super) fn takes(entry: &Entry) -> Takes {
    let is_path = |memory: &Memory| memory.kind == copy::STR && matches!(memory.max, Max::Path);
    let is_descriptor = |name: &str| name.ends_with("fd") || name.starts_with("fd") || name == "fildes";
    let is_early = |memory: &Memory| memory.moment != Moment::After;
    let params = || entry.params.iter();
    Takes {
        path: params().any(|param| memory_of(&param.show).is_some_and(is_path)),
        descriptor: params().any(|param| is_descriptor(param.name)),
        early: params().any(|param| memory_of(&param.show).is_some_and(is_early)),
    }
}

impl Limits {
    fn max(self, max: Max) -> u16 {
        let most = tracer_common::filter::MAX_COPY;
        match max {
            Max::Bytes(bytes) => bytes,
            Max::Path => self.path,
            Max::String => self.string.saturating_add(1),
            Max::After(head) => self.string.saturating_add(1).saturating_add(head),
        }
        .clamp(1, most)
    }
}

fn build(arch: Arch, numbers: impl Iterator<Item = (i32, &'static str)>) -> Table {
    let params = parameters(arch);
    let mut by_call: HashMap<&str, Vec<&'static Row>> = HashMap::new();
    for row in rows::all() {
        for call in row.calls.split(' ') {
            by_call.entry(call).or_default().push(row);
        }
    }
    let mut table = Table::new();
    for (nr, name) in numbers {
        // Arm's own calls (0xf0000 and on) are beyond what a record's number holds.
        let Some(index) = usize::try_from(nr).ok().filter(|nr| *nr < 4096) else {
            continue;
        };
        let name = if name == "fstatat" { "newfstatat" } else { name };
        let (base, list) = find(&params, name);
        let mut rows: Vec<&'static Row> = by_call.get(base).cloned().unwrap_or_default();
        if base != name {
            rows.extend(by_call.get(name).into_iter().flatten());
        }
        if table.len() <= index {
            table.resize_with(index + 1, || None);
        }
        if let Some(slot) = table.get_mut(index) {
            *slot = Some(compile(name, list, &rows, is_wide(arch)));
        }
    }
    table
}

/// Name and parameters of each line of a snapshot.
fn snapshot(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let rest = line.split_once(' ')?.1;
        Some(rest.split_once(' ').unwrap_or((rest, "")))
    })
}

/// Whether a snapshot's calls can be planned for: as its machine has them, and as one with 32 bits.
#[cfg(any(test, fuzzing))]
pub(crate) fn compiles(text: &str) -> bool {
    // A table lives as long as the process.
    let text: &'static str = text.to_owned().leak();
    let params: HashMap<_, _> = snapshot(text).collect();
    let rows: Vec<_> = rows::all().collect();
    let mut planned = false;
    for (name, _) in snapshot(text) {
        let (base, list) = find(&params, name);
        let of_call = |row: &&Row| row.calls.split(' ').any(|call| call == base || call == name);
        let rows: Vec<&'static Row> = rows.iter().copied().filter(of_call).collect();
        for wide in [true, false] {
            let entry = compile(name, list, &rows, wide);
            let plan = plan(&entry, wide, Limits::default());
            let _takes = takes(&entry);
            planned |= list.is_some() && plan.nargs > 0;
        }
    }
    planned
}

/// Parameters by name: the snapshot's and what [`OTHERS`] has for this architecture.
fn parameters(arch: Arch) -> HashMap<&'static str, &'static str> {
    let mut all: HashMap<_, _> = snapshot(SNAPSHOT).collect();
    for line in OTHERS.lines() {
        let (key, list) = line.split_once(' ').unwrap_or((line, ""));
        match key.split_once(':') {
            Some((only, name)) if only == arch.name() => all.insert(name, list),
            None => all.insert(key, list),
            Some(_) => None,
        };
    }
    all
}

/// The parameters of a call and the name they are known by: `clock_gettime64` has those of `clock_gettime`.
fn find<'a>(params: &HashMap<&'static str, &'static str>, name: &'a str) -> (&'a str, Option<&'static str>) {
    let known = |name: &str| params.get(name).copied().filter(|list| *list != "?");
    if let Some(list) = known(name) {
        return (name, Some(list));
    }
    let same = SAME_AS
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, base)| *base);
    let stripped = ["_time64", "64", "32"]
        .into_iter()
        .filter_map(|suffix| name.strip_suffix(suffix));
    let base = same
        .into_iter()
        .chain(stripped)
        .find(|base| known(base).is_some());
    base.map_or((name, None), |base| (base, known(base)))
}

fn compile(name: &'static str, list: Option<&'static str>, rows: &[&'static Row], wide: bool) -> Entry {
    let Some(list) = list else {
        let params = UNNAMED.map(|name| Param {
            name,
            show: rows::RAW,
            narrow: !wide,
            len: 0,
            len_narrow: false,
        });
        return Entry {
            name,
            params: params.into(),
            order: (0..6).collect(),
            ret: Ret::Decimal,
            note: None,
            descriptor: None,
            moves: None,
            list: None,
        };
    };
    let declared: Vec<(&'static str, &'static str)> = list
        .split(", ")
        .filter(|one| !one.is_empty())
        .map(split_parameter)
        .collect();
    let index_of = |wanted: &str| declared.iter().position(|(_, name)| *name == wanted);
    let params: Box<[Param]> = declared
        .iter()
        .map(|(ctype, name)| {
            // The last row that names the parameter decides.
            let special = rows
                .iter()
                .rev()
                .flat_map(|row| row.params)
                .find(|(param, _)| param == name);
            let show = special.map_or_else(|| rows::default_for(ctype, name), |(_, show)| *show);
            let len = memory_of(&show).and_then(|memory| index_of(memory.len));
            let len_narrow = len
                .and_then(|len| declared.get(len))
                .is_some_and(|(ctype, _)| !wide || is_narrow(ctype));
            Param {
                name,
                show,
                narrow: !wide || is_narrow(ctype),
                len: len.and_then(|len| u8::try_from(len).ok()).unwrap_or(0),
                len_narrow,
            }
        })
        .collect();
    let order: Vec<usize> = rows
        .iter()
        .flat_map(|row| row.order)
        .filter_map(|name| index_of(name))
        .collect();
    Entry {
        name,
        moves: params.iter().find_map(|param| data::direction(&param.show)),
        params,
        order: if order.is_empty() {
            (0..declared.len()).collect()
        } else {
            order.into()
        },
        ret: rows
            .iter()
            .map(|row| row.ret)
            .find(|ret| !matches!(ret, Ret::Decimal))
            .unwrap_or(Ret::Decimal),
        note: rows.iter().find_map(|row| row.note),
        descriptor: rows.iter().find_map(|row| row.descriptor),
        list: rows.iter().find_map(|row| row.list).and_then(|(param, kind)| {
            let arg = u8::try_from(index_of(param)?).ok()?;
            Some((arg, kind))
        }),
    }
}

/// `const char *filename` is a `const char *` named `filename`.
fn split_parameter(declaration: &'static str) -> (&'static str, &'static str) {
    let start = declaration.rfind([' ', '*']).map_or(0, |at| at + 1);
    let (ctype, name) = declaration.split_at(start);
    (ctype.trim(), name)
}

fn is_narrow(ctype: &str) -> bool {
    let wide = ["*", "long", "size_t", "off_t", "u64", "aio_context_t", "cap_user"];
    !wide.iter().any(|part| ctype.contains(part))
}

#[cfg(test)]
mod tests;
