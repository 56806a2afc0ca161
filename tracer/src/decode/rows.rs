//! The declarative table: what each system call's arguments are, beyond what their C types tell. It drives both what
//! the kernel side copies and what is printed; there is no second list.
//!
//! A row names calls and, of these, the parameters that need more than the default rules of [`super::table`].

mod files;
mod processes;
mod services;
mod sockets;

use tracer_common::filter::{copy, list};

use super::{
    fs, ioctl, ipc, keys, message, names, net, prctl, process, services as service,
    show::{self, Call, Max, Memory, Moment, Out, Show, signed},
    signal, time, uring,
    values::{self, DIRFD, FD, HEX, ID, INT, LONG, MODE, OPEN, POINTER, SIGNAL, UINT},
    whole,
};

/// How some calls' parameters are shown, and what they return.
pub(super) struct Row {
    /// Names of the calls, separated by spaces.
    pub(super) calls: &'static str,
    pub(super) params: &'static [(&'static str, Show)],
    pub(super) ret: Ret,
    /// What is appended to a value that was returned.
    pub(super) note: Option<Note>,
    /// The parameters' names in the order in which they are shown; empty: the call's own.
    pub(super) order: &'static [&'static str],
    /// Whether what was returned is a descriptor.
    pub(super) descriptor: Option<fn(&Call<'_>) -> bool>,
    /// A parameter whose memory has descriptors, and a [`list`] kind of them.
    pub(super) list: Option<(&'static str, u8)>,
}

/// Writes what strace appends in parentheses.
pub(super) type Note = fn(&mut Out<'_>, &Call<'_>) -> Option<()>;

/// How a returned value is written.
#[derive(Clone, Copy)]
pub(super) enum Ret {
    Decimal,
    Hex,
    Octal,
    /// Hex for some of the calls.
    HexWhen(fn(&Call<'_>) -> bool),
}

const fn row(calls: &'static str, params: &'static [(&'static str, Show)]) -> Row {
    Row {
        calls,
        params,
        ret: Ret::Decimal,
        note: None,
        order: &[],
        descriptor: None,
        list: None,
    }
}

impl Row {
    const fn ret(self, ret: Ret) -> Self {
        Self { ret, ..self }
    }

    const fn note(self, note: Note) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }

    const fn descriptor(self, is_one: fn(&Call<'_>) -> bool) -> Self {
        Self {
            descriptor: Some(is_one),
            ..self
        }
    }

    const fn list(self, param: &'static str, kind: u8) -> Self {
        Self {
            list: Some((param, kind)),
            ..self
        }
    }

    const fn order(self, order: &'static [&'static str]) -> Self {
        Self { order, ..self }
    }
}

use Show::{Enum, EnumOrNumber, Flags, Value, When};

const PATH: Show = Show::PATH;
const PATH_OUT: Show = Show::PATH_OUT;
const TEXT: Show = Show::TEXT;
const RETURNED: Show = Show::RETURNED;

const AT: Show = Flags(&names::AT);
const SIGSET: Show = Show::input(8, signal::set);
const SIGSET_OUT: Show = Show::output(8, signal::set);
const TIMESPEC: Show = Show::input(16, time::timespec).wide();
const TIMESPEC_OUT: Show = Show::output(16, time::timespec).wide();
const INT_OUT: Show = Show::output(4, fs::int);
const ID_OUT: Show = Show::output(4, process::id);
const SIGINFO: Show = Show::input(48, signal::info).wide();
const SIGEVENT: Show = Show::input(32, signal::event).wide();
const OFFSET: Show = Show::input(8, fs::offset);
const FD_SET: Show = Show::input(128, fs::fd_set).wide().at(Moment::Both);
const POLLFDS: Show = Show::array("nfds", 8, 32, fs::pollfds);
const ADDRESS: Show = Show::sized("addrlen", 128, net::address);
const RLIMIT: Show = Show::input(16, process::rlimit).wide();
const RLIMIT_OUT: Show = Show::output(16, process::rlimit).wide();
const ARGV: Show = Show::strings(process::argv);
/// Their size is that of x86-64, which packs them; elsewhere fewer are copied.
const EPOLL_EVENTS: Show = Show::returned(12, 33, fs::epoll_events);
const GROUPS: Show = Show::array("gidsetsize", 4, 33, process::groups);

/// An environment: strings are secrets, so that it is not copied; it prints where a kernel side counted it.
const fn envp(print: fn(&mut Out<'_>, &Call<'_>, super::show::Captured<'_>) -> Option<()>) -> Show {
    Show::Memory(Memory {
        kind: copy::NONE,
        max: Max::Bytes(0),
        len: "",
        scale: 0,
        output: false,
        moment: Moment::After,
        filled: false,
        data: false,
        full: None,
        skip: 0,
        wide: false,
        print,
        number: Some(values::pointer),
    })
}

fn creates(call: &Call<'_>) -> bool {
    fs::creates(call.arg(1))
}

fn creates_at(call: &Call<'_>) -> bool {
    fs::creates(call.arg(2))
}

fn moves(call: &Call<'_>) -> bool {
    signed(call.arg(3)) & libc::MREMAP_FIXED != 0
}

fn is_device(call: &Call<'_>) -> bool {
    device_mode(call.arg(1))
}

fn is_device_at(call: &Call<'_>) -> bool {
    device_mode(call.arg(2))
}

fn device_mode(mode: u64) -> bool {
    let kind = mode & u64::from(libc::S_IFMT);
    kind == u64::from(libc::S_IFCHR) || kind == u64::from(libc::S_IFBLK)
}

/// All rows.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    [files::ROWS, processes::ROWS, services::ROWS, sockets::ROWS]
        .into_iter()
        .flatten()
}

/// What nothing is known of.
pub(super) const RAW: Show = HEX;

/// The default rules, for what no row says: by name, then by C type.
pub(super) fn default_for(ctype: &str, name: &str) -> Show {
    let pointer = ctype.ends_with('*') || ctype.contains("*const") || name.starts_with('*');
    if ctype == "const char *" {
        return PATH;
    }
    if pointer
        || matches!(
            ctype,
            "cap_user_header_t" | "cap_user_data_t" | "const cap_user_data_t"
        )
    {
        return POINTER;
    }
    if matches!(
        name,
        "dfd" | "olddfd" | "newdfd" | "from_dfd" | "to_dfd" | "mountdirfd"
    ) {
        return DIRFD;
    }
    if name.ends_with("fd") || name.starts_with("fd_") {
        return FD;
    }
    match ctype {
        "umode_t" => MODE,
        "uid_t" | "gid_t" => ID,
        "mqd_t" => FD,
        "pid_t" | "key_serial_t" | "timer_t" | "__s32" => INT,
        "key_t" => HEX,
        "int" if name == "sig" => EnumOrNumber(&names::SIGNAL),
        _ if name.contains("flag") => HEX,
        "int" | "const int" => INT,
        "long" | "off_t" | "loff_t" => LONG,
        "unsigned long" if sized(name) => UINT,
        "aio_context_t" => POINTER,
        "unsigned long" => HEX,
        _ => UINT,
    }
}

/// Whether an `unsigned long` is a count rather than an address or bits.
fn sized(name: &str) -> bool {
    ["len", "size", "count", "nr_", "vlen", "maxnode", "num", "cnt"]
        .iter()
        .any(|part| name.contains(part))
}
