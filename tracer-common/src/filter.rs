//! What the daemon tells the kernel programs (who is a member, what to copy), and what they count for it.

/// One entry of the container table, by slot. The daemon writes it at registration; the kernel side changes only
/// [`state::APP`] and [`state::ENDED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Container {
    /// Grows by one with each use of the slot; 0 is never used.
    pub generation: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// Inode of the container's mount namespace.
    pub mnt_ns: u32,
    /// Inode of the container's PID namespace.
    pub pid_ns: u32,
    /// Host process id of the task whose first successful execve begins the application.
    pub init_tgid: u32,
    /// Which entries of the rate table bound its events, where [`state::LIMITED`] is set: its own, its owner's; 0 is
    /// none.
    pub rates: [u16; 2],
    /// CLOCK_MONOTONIC nanoseconds of the registration: a task that started later and was not forked by a member
    /// joined from outside.
    pub armed_at: u64,
}

/// Bits of [`Container::state`].
pub mod state {
    /// The slot is in use.
    pub const LIVE: u32 = 1 << 0;
    /// Init has made its first successful execve.
    pub const APP: u32 = 1 << 1;
    /// Aggregates only: no event goes to the ring.
    pub const COUNTS: u32 = 1 << 2;
    /// Init has ended, so its namespaces' inode numbers may be used again: they find no new member.
    pub const ENDED: u32 = 1 << 3;
    /// Calls are taken at their exits alone: no durations, no call that seccomp refused or that did not return is told
    /// apart. With [`EXIT_ONLY`](super::Filter::EXIT_ONLY) in the slot's filter.
    pub const EXIT_ONLY: u32 = 1 << 4;
    /// Its events are bounded by its [`Container::rates`].
    pub const LIMITED: u32 = 1 << 5;
    /// The program at the kernel's capability checks is attached.
    pub const CAPABILITIES: u32 = 1 << 6;
}

/// How many events a second may go into the ring, of the container or of the user whose entry it is. The daemon writes
/// the limit, the programs the rest; a cache line of its own, since CPUs write it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Rate {
    /// Most events in a second.
    pub limit: u64,
    /// CLOCK_MONOTONIC nanoseconds of the second's begin.
    pub began: u64,
    /// Events in it that asked.
    pub asked: u64,
    /// Explicit padding.
    pub _pad: [u64; 5],
}

/// Where the users' entries of the rate table begin; a container's own stands at its slot.
pub const USER_RATES: u32 = crate::MAX_CONTAINERS;
/// Entries of the rate table.
pub const MAX_RATES: u32 = 2 * USER_RATES;

/// What a member task's storage holds between the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Task {
    /// Registration epoch in which membership was last decided; 0 = decide again.
    pub epoch: u32,
    /// Slot of the container, 0 = no member.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// Bits of [`task`].
    pub flags: u32,
    /// Process id in the container's PID namespace.
    pub ns_tgid: u32,
    /// Thread id in the container's PID namespace.
    pub ns_tid: u32,
    /// Level of the container's PID namespace in the task's `struct pid`.
    pub level: u32,
    /// Number of the call in flight, as records hold it.
    pub nr: u16,
    /// How many arguments it has, by its plan.
    pub nargs: u8,
    /// How many copies its plan asks for.
    pub nops: u8,
    /// CLOCK_MONOTONIC nanoseconds of the enter.
    pub entered: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Capabilities that the call asked for and had not, a bit each; with [`task::CHECKED`], as what follows.
    pub denied: u64,
    /// Those that it had.
    pub granted: u64,
    /// Inode of the user namespace in which the last one was denied; 0 = none was.
    pub denied_ns: u32,
    /// `level` of that namespace.
    pub denied_ns_level: u32,
    /// How many of `checks` there are.
    pub checked: u32,
    /// The [`CheckKey::what`](crate::capability::CheckKey::what) of each of the first few, to be told how the call ended.
    pub checks: [u16; 6],
}

/// Bits of [`Task::flags`].
pub mod task {
    /// A call is in flight.
    pub const PENDING: u32 = 1 << 0;
    /// Just forked: its first exit is the fork's own return, without an enter.
    pub const FRESH: u32 = 1 << 1;
    /// The task called setns(2) while it was no member.
    pub const JOINING: u32 = 1 << 2;
    /// The task or an ancestor joined from outside.
    pub const VIA_EXEC: u32 = 1 << 3;
    /// The call in flight came by the 32-bit entry.
    pub const COMPAT: u32 = 1 << 4;
    /// The call in flight is an execve whose strings are kept.
    pub const EXEC: u32 = 1 << 5;
    /// What the call in flight pointed to when it began is kept.
    pub const KEPT: u32 = 1 << 6;
    /// Somebody asked what the descriptors of the call in flight are.
    pub const FILES: u32 = 1 << 7;
    /// Also what is behind sockets.
    pub const FILES_ALL: u32 = 1 << 8;
    /// The call in flight asked for a capability: [`Task::denied`](super::Task::denied) and its like are the call's.
    pub const CHECKED: u32 = 1 << 9;
    /// The call's record carries [`copy::EVIDENCE`](super::copy::EVIDENCE).
    pub const EVIDENCE: u32 = 1 << 10;
    /// It joined from outside and runs the joiner's code: the container runtime's, until it makes an execve.
    pub const GUEST: u32 = 1 << 11;
    /// Nothing was kept of the call's begin, nor of what it asked for since.
    pub const LATE: u32 = 1 << 12;
    /// Of what the call in flight pointed to when it began, nothing had to be kept.
    pub const NONE_KEPT: u32 = 1 << 13;
    /// The last look-up of the call in flight found a negative dentry in the kernel's cache.
    pub const CACHED: u32 = 1 << 14;
    /// The file system was asked, and a negative dentry made of it.
    pub const LOOKED_UP: u32 = 1 << 15;
    /// What outlasts a call.
    pub const LASTING: u32 = VIA_EXEC | GUEST;
}

/// How an argument is copied. Travels as `u8` in [`Op::kind`] and in `Section::kind`.
pub mod copy {
    /// No (further) copy.
    pub const NONE: u8 = 0;
    /// A NUL-terminated string, without its NUL.
    pub const STR: u8 = 1;
    /// `Op::max` bytes.
    pub const FIXED: u8 = 2;
    /// As many bytes as the argument `Op::len_arg` says, at most `Op::max`.
    pub const LEN_ARG: u8 = 3;
    /// As many bytes as the call returned, at most `Op::max`.
    pub const LEN_RET: u8 = 4;
    /// A NULL-terminated array of strings; each is copied with its NUL. Only for the arguments of execve, at enter.
    pub const ARGV: u8 = 5;
    /// A `struct iovec` array of as many elements as the argument `Op::len_arg` says, and of each buffer at most
    /// `Op::max` bytes. Sections are [`PART`]s.
    pub const VECTOR: u8 = 6;
    /// A `struct msghdr` and what it points to: name, vector, control data. Sections are [`PART`]s.
    pub const MESSAGE: u8 = 7;
    /// An array of `struct mmsghdr`, as many as the argument `Op::len_arg` says. Sections are [`PART`]s.
    pub const MESSAGES: u8 = 8;
    /// Directory entries, as many bytes as the call returned: counted, in `Section::total`; and with
    /// [`Filter::verbose`](super::Filter::verbose) themselves, as a [`PART`].
    pub const ENTRIES: u8 = 9;
    /// `Op::max` bytes behind the pointer that the argument points to: part 0 is that pointer and the word after it,
    /// part 1 is what it points to.
    pub const POINTED: u8 = 10;
    /// Only in a section: a piece of an argument that has several; `Section::total` says which, by [`super::part`].
    pub const PART: u8 = 11;
    /// No memory of the caller: a file that a descriptor of the call stands for, as a `record::File`.
    pub const FILE: u8 = 32;
    /// No memory either: what the kernel knew of the task whose call failed, a `record::Evidence`.
    pub const EVIDENCE: u8 = 33;
}

/// Pieces of an argument's memory. A message's number is in the upper byte, one of these in the lower.
pub mod part {
    /// The structure that the argument itself points to.
    pub const HEAD: u16 = 0;
    /// `msg_name`, or what a [`super::copy::POINTED`] points to, or directory entries.
    pub const NAME: u16 = 1;
    /// The `struct iovec` array.
    pub const VECTOR: u16 = 2;
    /// `msg_control`.
    pub const CONTROL: u16 = 3;
    /// The buffer of the array's first element; the others follow.
    pub const BUFFER: u16 = 4;
    /// From one message to the next.
    pub const MESSAGE: u16 = 1 << 8;
}

/// Bits of [`Op::flags`].
pub mod when {
    /// Copy only when the call succeeded (an output argument).
    pub const SUCCESS: u8 = 1 << 0;
    /// The length argument is a 32-bit integer: what is above is no part of it.
    pub const LEN_INT: u8 = 1 << 1;
    /// Copy when the call begins: it may write there.
    pub const ENTER: u8 = 1 << 2;
    /// The call fills the buffers: none where it failed, and in all no more than it returned.
    pub const FILLED: u8 = 1 << 3;
    /// What goes through the descriptor that is the first argument: whole, where a reader asked for that descriptor's
    /// ([`Filter::reads`](super::Filter::reads), [`Filter::writes`](super::Filter::writes)).
    pub const DATA: u8 = 1 << 4;
    /// There is more of it, for readers that want nothing abbreviated ([`Filter::verbose`](super::Filter::verbose)): of
    /// [`copy::FIXED`](super::copy::FIXED) as many times eight bytes as [`Op::scale`](super::Op::scale) says, if any.
    pub const VERBOSE: u8 = 1 << 5;
    /// Only where the argument [`Op::len_arg`](super::Op::len_arg) points less than [`NEAR_BYTES`](super::NEAR_BYTES)
    /// away: the call may write over it.
    pub const NEAR: u8 = 1 << 6;
}

/// One copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Op {
    /// A [`copy`] kind.
    pub kind: u8,
    /// The argument that holds the user address (0..=5).
    pub arg: u8,
    /// The argument that holds the length, for [`copy::LEN_ARG`].
    pub len_arg: u8,
    /// Bits of [`when`].
    pub flags: u8,
    /// Most bytes to copy, 1..=[`MAX_COPY`].
    pub max: u16,
    /// Size of an element in bytes, where [`copy::LEN_ARG`] or [`copy::LEN_RET`] count elements; 0 stands for 1. See
    /// also [`when::VERBOSE`].
    pub scale: u8,
    /// Where to begin: so many times eight bytes beyond the address.
    pub skip: u8,
}

/// What lies further apart are two things: no copy with [`when::NEAR`] has as many bytes.
pub const NEAR_BYTES: u64 = 64;
/// Most copies a call.
pub const MAX_OPS: usize = 16;
/// Most bytes a copy: PATH_MAX with its NUL is 4096.
pub const MAX_COPY: u16 = 4096;
/// Most elements of a `struct iovec` array, and most messages.
pub const MAX_VECTOR: u32 = 32;
/// Most bytes of a message's control data.
pub const MAX_CONTROL: u32 = 512;
/// Most bytes of a message's address: `struct sockaddr_storage`.
pub const MAX_NAME: u32 = 128;
/// Most directory entries that are counted.
pub const MAX_ENTRIES: u32 = 2048;
/// Most bytes that are kept of what a call began with, heads of sections included.
pub const MAX_KEPT: usize = 1024;

/// What to take of one system call, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Plan {
    /// How many arguments the call has, 0..=6.
    pub nargs: u8,
    /// How many of `ops` are used.
    pub nops: u8,
    /// Bits of [`plan`].
    pub flags: u8,
    /// A bit for each argument that is a descriptor, and [`list::RETURNED`].
    pub fds: u8,
    /// A [`list`] of descriptors in memory.
    pub list: u8,
    /// The argument that points to it.
    pub list_arg: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
    /// The copies, first to last.
    pub ops: [Op; MAX_OPS],
}

/// Bits of [`Plan::flags`].
pub mod plan {
    /// execve and execveat: path and argv are taken at enter, since success leaves no memory to read them from.
    pub const EXEC: u8 = 1 << 0;
    /// Some copy is made at enter.
    pub const ENTER: u8 = 1 << 1;
    /// The call takes its argument from the stack: what stands as its first is the stack pointer.
    pub const STACK: u8 = 1 << 2;
    /// EAGAIN of it is a refusal, not "later": it has evidence ([`wants_evidence`](super::wants_evidence)).
    pub const EVIDENCE: u8 = 1 << 3;
}

/// Whether a call that failed with that errno says why: its record carries a section of kind [`copy::EVIDENCE`].
/// `refusal`: its plan has [`plan::EVIDENCE`]. Not ENOENT, which programs that search a path see by the hundred, nor
/// EINVAL, which is about the arguments. Numbers: include/uapi/asm-generic/errno-base.h and errno.h.
#[inline(always)]
pub const fn wants_evidence(errno: u16, refusal: bool) -> bool {
    /// EPERM, ENOEXEC, ENOMEM, EACCES, ENFILE, EMFILE, EFBIG, ENOSPC, EROFS.
    const LOW: u64 = 1 << 1 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 23 | 1 << 24 | 1 << 27 | 1 << 28 | 1 << 30;
    /// EOVERFLOW, EUSERS, EDQUOT: 75, 87, 122.
    const HIGH: u64 = 1 << (75 - 64) | 1 << (87 - 64) | 1 << (122 - 64);
    const EAGAIN: u16 = 11;
    if errno >= 128 {
        return false;
    }
    let word = if errno < 64 { LOW } else { HIGH };
    word >> (errno & 63) & 1 != 0 || (refusal && errno == EAGAIN)
}

/// Descriptors that a call has in memory. Travels as `u8` in [`Plan::list`].
pub mod list {
    /// None.
    pub const NONE: u8 = 0;
    /// `struct pollfd`s that it reads; the next argument says how many.
    pub const POLL: u8 = 1;
    /// Two `int`s that it writes.
    pub const PAIR: u8 = 2;
    /// A `fd_set` that it reads, and two more in the next arguments; the first argument says how wide.
    pub const SETS: u8 = 3;
    /// In [`Plan::fds`](super::Plan::fds): what the call returns may be a descriptor.
    pub const RETURNED: u8 = 1 << 6;
}

/// Plans of the native table come first, those of the 32-bit table from here on.
pub const COMPAT_PLANS: u32 = 1024;
/// Entries of the plan table. A number beyond a half of it is recorded raw, with six arguments.
pub const MAX_PLANS: u32 = 2 * COMPAT_PLANS;

/// Words of [`Filter::calls`].
pub const CALL_WORDS: usize = MAX_PLANS as usize / 64;
/// Words of [`Filter::outcomes`].
pub const OUTCOME_WORDS: usize = 16;

/// Bits of [`Filter::outcomes`]: the errno itself for a call that failed (the kernel has none from 531 on), and these.
pub mod outcome {
    /// It returned a value.
    pub const VALUE: u16 = 0;
    /// The last bit that is an errno's.
    pub const LAST_ERRNO: u16 = 1021;
    /// seccomp refused it and sent a signal instead of an errno.
    pub const REFUSED: u16 = 1022;
    /// It did not return.
    pub const UNFINISHED: u16 = 1023;
}

/// Values of [`Filter::files`], each with all of those before it.
pub mod files {
    /// Nothing.
    pub const NONE: u32 = 0;
    /// Their paths.
    pub const PATHS: u32 = 1;
    /// The addresses of sockets, too.
    pub const ALL: u32 = 2;
}

/// Sets of descriptors, of which many may be asked for and few are: a bit each, the last one for all from there on.
pub mod descriptors {
    /// The last bit.
    pub const BEYOND: u32 = 63;

    /// The bit of a descriptor, as a register has it.
    #[inline(always)]
    pub const fn bit(fd: u64) -> u64 {
        let fd = fd as u32;
        1 << (if fd > BEYOND { BEYOND } else { fd })
    }
}

/// Which calls of a slot go into the ring: the union of what its sinks ask for. The daemon alone writes it, at any time:
/// a call sees each word old or new, so that a filter that only grows, or only shrinks, never leaves out what both take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Filter {
    /// 0: all calls do, and nothing below is looked at. Else bits of this type.
    pub active: u32,
    /// [`Filter::index`] of prctl(2), native and 32-bit: one that renames a task passes always, since the daemon
    /// learns a task's name from it. 0 is none.
    pub rename: [u16; 2],
    /// What is told of descriptors, by [`files`].
    pub files: u32,
    /// Not 0: also what strace shows only with `-v`, of the calls that have more of it than their records hold else.
    pub verbose: u32,
    /// Least duration in nanoseconds.
    pub min_ns: u64,
    /// Of which [`descriptors`] all is wanted that is read from them.
    pub reads: u64,
    /// The same of what is written to them.
    pub writes: u64,
    /// A bit for each outcome that passes, by [`outcome`].
    pub outcomes: [u64; OUTCOME_WORDS],
    /// A bit for each call that passes, by [`Filter::index`].
    pub calls: [u64; CALL_WORDS],
    /// A bit for each call of which nothing is wanted when it begins, but its time with [`Filter::TIMES`]: whether it goes
    /// into the ring is decided when it ends, with the arguments that are still there.
    pub light: [u64; CALL_WORDS],
}

impl Filter {
    /// In `active`: not all calls pass.
    pub const SIEVES: u32 = 1 << 0;
    /// In `active`: the enter of a call is none of our business ([`state::EXIT_ONLY`]).
    pub const EXIT_ONLY: u32 = 1 << 1;

    /// In `active`: a record of a light call has its duration.
    pub const TIMES: u32 = 1 << 2;

    /// Takes everything.
    pub const ALL: Self = Self {
        active: 0,
        rename: [0; 2],
        files: files::NONE,
        verbose: 0,
        min_ns: 0,
        reads: 0,
        writes: 0,
        outcomes: [u64::MAX; OUTCOME_WORDS],
        calls: [u64::MAX; CALL_WORDS],
        light: [0; CALL_WORDS],
    };

    /// Whether a call is light, by its [`Filter::index`].
    #[inline(always)]
    pub const fn is_light(&self, index: u32) -> bool {
        self.light[(index as usize >> 6) & (CALL_WORDS - 1)] >> (index & 63) & 1 != 0
    }

    /// The bit of a call in [`Filter::calls`]: where its plan stands. All numbers beyond the table share its last one,
    /// which no kernel uses; x32 numbers come with or without their mark.
    #[inline(always)]
    pub const fn index(nr: u16, compat: bool) -> u32 {
        let nr = (nr & !NR_X32) as u32;
        let nr = if nr >= COMPAT_PLANS { COMPAT_PLANS - 1 } else { nr };
        if compat { nr + COMPAT_PLANS } else { nr }
    }

    /// Whether a call with that [`Filter::index`], [`outcome`] and duration passes.
    #[inline(always)]
    pub const fn passes(&self, index: u32, outcome: u16, duration_ns: u64) -> bool {
        // Masked rather than compared: the verifier follows that.
        let ended = self.outcomes[(outcome as usize >> 6) & (OUTCOME_WORDS - 1)] >> (outcome & 63);
        self.takes(index) && ended & 1 != 0 && duration_ns >= self.min_ns
    }

    /// Whether a call with that [`Filter::index`] can pass.
    #[inline(always)]
    pub const fn takes(&self, index: u32) -> bool {
        self.calls[(index as usize >> 6) & (CALL_WORDS - 1)] >> (index & 63) & 1 != 0
    }
}

/// Books of one container on one CPU. Never reset while the slot is in use.
///
/// `admitted - finished` are in flight, and
/// `admitted = emitted + ring_full + over_share + no_storage + unpaired + limited + counted + filtered + in flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Books {
    /// Last sequence number of a system call record (given before the ring is asked for room).
    pub seq: u64,
    /// Calls begun by members.
    pub admitted: u64,
    /// Of these, calls that ended, by whatever way.
    pub finished: u64,
    /// Records of calls that went into the ring.
    pub emitted: u64,
    /// Bytes that this CPU may yet put into the ring of what the container holds ([`Share`](crate::share::Share)).
    pub credit: u32,
    /// Not 0: the numbers missing since the last record are of calls that were more than the container's share.
    pub behind: u32,
    /// Records of calls for which the ring had no room.
    pub ring_full: u64,
    /// Records of calls that were more than the container's share of the ring.
    pub over_share: u64,
    /// Calls of tasks for which the kernel gave no storage.
    pub no_storage: u64,
    /// Calls whose exit was never seen although the task went on.
    pub unpaired: u64,
    /// Calls that only the aggregates took (`counts` mode).
    pub counted: u64,
    /// Calls that a kernel-side filter left out.
    pub filtered: u64,
    /// Calls that were more in a second than the container, or its owner, may have.
    pub limited: u64,
    /// Last sequence number of a process record.
    pub process_seq: u64,
    /// Process records that went into the ring.
    pub process_emitted: u64,
    /// Process records for which the ring, or the container's share of it, had no room.
    pub process_ring_full: u64,
    /// Calls counted in no row of their own, since the aggregate map was full.
    pub overflow: u64,
    /// Capability checks that found no row, since their map was full.
    pub checks_overflow: u64,
}

/// Key of an aggregate row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AggregateKey {
    /// Slot of the container, with [`AggregateKey::APP`].
    pub slot: u16,
    /// System call number, with [`AggregateKey::COMPAT`] for the 32-bit table.
    pub nr: u16,
    /// 0 = returned a value, 1..=4095 = errno, [`AggregateKey::UNFINISHED`].
    pub errno: u16,
    /// Low bits of the slot's generation.
    pub generation: u16,
}

impl AggregateKey {
    /// Marks, in `slot`, a call that ended after init's first successful execve.
    pub const APP: u16 = 1 << 15;
    /// Marks a number of the 32-bit table.
    pub const COMPAT: u16 = 1 << 15;
    /// Marks an x32 number (its bit 30).
    pub const X32: u16 = 1 << 14;
    /// The call did not return.
    pub const UNFINISHED: u16 = 0xffff;

    /// The key as one word; never 0, since no member is of slot 0.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.generation as u64) << 48 | (self.errno as u64) << 32 | (self.nr as u64) << 16 | self.slot as u64
    }

    /// Where a CPU remembers the row of that key.
    #[inline(always)]
    pub const fn place(word: u64) -> u32 {
        // Neighbours among calls and outcomes of a container go to different places.
        let mixed = (word >> 16) ^ (word >> 29) ^ word << 5;
        mixed as u32 & (RECENT_ROWS - 1)
    }
}

/// Rows that a CPU remembers (a power of two).
pub const RECENT_ROWS: u32 = 512;

/// A row that a CPU remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecentRow {
    /// [`AggregateKey::word`]; 0 is none.
    pub key: u64,
    /// The row's number.
    pub row: u32,
    /// Explicit padding.
    pub _pad: u32,
}

/// Buckets of the latency histogram: bucket `i` counts durations in `[2^i, 2^(i+1))` ns, the first also 0, the last
/// all from 2^31 ns on.
pub const BUCKETS: usize = 32;

/// An aggregate row on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Aggregate {
    /// Calls.
    pub count: u64,
    /// The sum of the durations in nanoseconds, of those that were timed.
    pub total_ns: u64,
    /// The log2 histogram of the durations; its sum is how many calls were timed.
    pub buckets: [u32; BUCKETS],
}

/// A word of the kernel side's table of decisions: whose task it is that has its registers at an address. The table is
/// a memory of what was decided, no more: where it does not know a task, the task's storage does.
///
/// Bits 30..=63 tell the address apart (bits 14..=47 of it: no two kernel stacks share them), 11..=29 are the low bits of
/// the epoch in which it was decided, then [`word::LIGHT`] and the slot, 0 for no member.
pub mod word {
    /// Entries of the table (a power of two).
    pub const ENTRIES: u32 = 1 << 16;
    /// A kernel stack and its registers lie in so many address bits (THREAD_SIZE is at least 16 KiB).
    pub const STACK_SHIFT: u32 = 14;
    /// Where the address's bits lie.
    pub const OWNER_SHIFT: u32 = 30;
    /// Where the epoch's bits lie.
    pub const EPOCH_SHIFT: u32 = 11;
    /// The epoch's bits, unshifted.
    pub const EPOCH_MASK: u64 = (1 << (OWNER_SHIFT - EPOCH_SHIFT)) - 1;
    /// A call is in flight of whose begin nothing was kept.
    pub const LIGHT: u64 = 1 << 10;
    /// The slot.
    pub const SLOT_MASK: u64 = LIGHT - 1;
}

/// x32 calls carry this bit in their number; `Header::nr` and plans hold it as bit 14.
pub const X32_BIT: u64 = 0x4000_0000;
/// Where `Header::nr` holds the x32 bit.
pub const NR_X32: u16 = 1 << 14;

/// Global counters, one per CPU each: the ways out of the kernel programs that belong to no container's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records of tasks whose container is gone.
    Stale = 0,
    /// A task's membership was decided.
    Decided = 1,
    /// A nonmember's decision could not be kept: no storage. It is decided again at its next call.
    Undecided = 2,
}

impl Counter {
    /// All, in the order of their numbers.
    pub const ALL: [Self; COUNTERS as usize] = [Self::Stale, Self::Decided, Self::Undecided];

    /// The word for it in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Decided => "decided",
            Self::Undecided => "undecided",
        }
    }
}

/// How many [`Counter`]s there are.
pub const COUNTERS: u32 = 3;

const _: () = {
    assert!(super::MAX_CONTAINERS as u64 - 1 <= word::SLOT_MASK);
    assert!(size_of::<Container>() == 32);
    assert!(size_of::<Task>() == 128);
    assert!(size_of::<Op>() == 8);
    assert!(size_of::<Plan>() == 136);
    assert!(size_of::<Filter>() == 680);
    assert!(outcome::UNFINISHED as usize == OUTCOME_WORDS * 64 - 1);
    assert!(size_of::<Books>() == 136);
    assert!(size_of::<Rate>() == 64);
    assert!(MAX_RATES <= 1 << 16);
    assert!(size_of::<AggregateKey>() == 8);
    assert!(size_of::<Aggregate>() == 144);
};
