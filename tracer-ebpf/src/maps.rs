//! The maps. The daemon writes the tables, the programs write books, aggregates and the ring.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE,
        bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE,
    },
    helpers::generated::{bpf_task_storage_delete, bpf_task_storage_get},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, Queue, RingBuf},
};
use tracer_common::{
    MAX_CONTAINERS,
    capability::{CheckKey, Checks, Held, MAX_CHECKS},
    filter::{
        Aggregate, AggregateKey, Books, COUNTERS, Container, Counter, Filter, MAX_COPY, MAX_KEPT, MAX_PLANS,
        MAX_RATES, Plan, RECENT_ROWS, Rate, RecentRow, Task, word,
    },
    record::MAX_RECORD,
    share::Share,
};

use crate::{emit::Last, kernel::TaskPtr, known::Entry};

/// Records to the daemon. It sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

// The daemon has the arrays that it writes mapped: a map that is written by bpf(2) while that task is preempted makes the
// kernel skip programs at trace events.

/// Registered containers, by slot.
#[map]
pub(crate) static CONTAINERS: Array<Container> = Array::with_max_entries(MAX_CONTAINERS, BPF_F_MMAPABLE);
/// Mount namespace inode -> slot.
#[map]
pub(crate) static MOUNT_NAMESPACES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_CONTAINERS, 0);
/// PID namespace inode -> slot; only namespaces that one container alone has.
#[map]
pub(crate) static PID_NAMESPACES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_CONTAINERS, 0);
/// Process ids that are never admitted: the daemon, and the init of `tracer run`.
#[map]
pub(crate) static EXCLUDED: HashMap<u32, u8> = HashMap::with_max_entries(64, 0);
/// Thread ids of hooks in their proof round -> the slot that their call is recorded under.
#[map]
pub(crate) static PROOFS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_CONTAINERS, 0);
/// What to take of each call: native numbers, then those of the 32-bit table.
#[map]
pub(crate) static PLANS: Array<Plan> = Array::with_max_entries(MAX_PLANS, BPF_F_MMAPABLE);
/// Which calls go into the ring, by slot.
#[map]
pub(crate) static FILTERS: Array<Filter> = Array::with_max_entries(MAX_CONTAINERS, BPF_F_MMAPABLE);
/// How many events a second may come, by slot, then by user.
#[map]
pub(crate) static RATES: Array<Rate> = Array::with_max_entries(MAX_RATES, BPF_F_MMAPABLE);
/// What containers have on their way to the daemon, by slot.
#[map]
pub(crate) static SHARES: Array<Share> = Array::with_max_entries(MAX_CONTAINERS, BPF_F_MMAPABLE);

/// Books by slot.
#[map]
pub(crate) static BOOKS: PerCpuArray<Books> = PerCpuArray::with_max_entries(MAX_CONTAINERS, 0);
/// Aggregate rows, by number. The daemon sets how many there are.
#[map]
pub(crate) static ROWS: PerCpuArray<Aggregate> = PerCpuArray::with_max_entries(1024, 0);
/// Which row a key has. Preallocated: a row must not fail for want of memory in the middle of a storm.
#[map]
pub(crate) static ROW_NUMBERS: HashMap<AggregateKey, u32> = HashMap::with_max_entries(1024, 0);
/// Rows that no key has. The daemon fills it.
#[map]
pub(crate) static FREE_ROWS: Queue<u32> = Queue::with_max_entries(1024, 0);
/// The rows that a CPU used last, by [`AggregateKey::place`].
#[map]
pub(crate) static RECENT: PerCpuArray<RecentRow> = PerCpuArray::with_max_entries(RECENT_ROWS, 0);
/// Decisions, by the address of a task's registers: see [`crate::known`].
#[map]
pub(crate) static KNOWN: Array<Entry> = Array::with_max_entries(word::ENTRIES, 0);
/// Global counters.
#[map]
pub(crate) static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// What containers' inits held when their applications began, by slot.
#[map]
pub(crate) static HELD: Array<Held> = Array::with_max_entries(MAX_CONTAINERS, BPF_F_MMAPABLE);
/// Capability checks of members.
#[map]
pub(crate) static CHECKS: HashMap<CheckKey, Checks> = HashMap::with_max_entries(MAX_CHECKS, 0);

/// CLOCK_MONOTONIC nanoseconds when a CPU last woke the reader for evidence.
#[map]
pub(crate) static WOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The call that has just ended, of which [`crate::record::queue`] makes a record.
#[map]
pub(crate) static LAST: PerCpuArray<Last> = PerCpuArray::with_max_entries(1, 0);

/// Where records with sections are put together. The tail lets the verifier see that a copy of the largest size that
/// begins at the last offset stays inside.
#[repr(C, align(8))]
pub(crate) struct Scratch(pub [u8; MAX_RECORD + MAX_COPY as usize + 64]);
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Most bytes of an execve's path: PATH_MAX.
pub(crate) const STASH: usize = 4096;
/// Most bytes of its argv.
pub(crate) const ARGV: usize = 3840;
/// Most bytes of a task's value. Since Linux 7.0 it and the kernel's own head of it have KMALLOC_MAX_CACHE_SIZE together
/// (`kmalloc_nolock`, mm/slub.c), two pages; more is refused without a word as a task asks for it.
const MOST: usize = 8192 - 192;

/// What execve was called with, taken at its enter: success leaves no memory to read it from.
#[repr(C)]
pub(crate) struct Exec {
    pub path_len: u32,
    pub path_flags: u32,
    pub argv_len: u32,
    pub argv_flags: u32,
    pub argc: u32,
    pub envc: u32,
    pub envp_flags: u32,
    pub _pad: u32,
    pub path: [u8; STASH],
    pub argv: [u8; ARGV],
}

/// What a call pointed to when it began, as sections of its record. A task's stays, and is used again.
#[repr(C)]
pub(crate) struct Kept {
    pub len: u32,
    pub _pad: u32,
    pub sections: [u8; MAX_KEPT],
}

/// Bytes of what is kept of the files of a call, a multiple of eight.
pub(crate) const FILES_ROOM: usize = 7168;
/// Most bytes of a name with its NUL: NAME_MAX and one.
pub(crate) const NAME: usize = 256;

/// What the descriptors of the call in flight stand for, as sections. The tail lets the verifier see that what begins
/// at the last offset stays inside.
#[repr(C, align(8))]
pub(crate) struct Files {
    pub len: u32,
    pub _pad: u32,
    pub bytes: [u8; FILES_ROOM + 2 * NAME],
}

/// Registration epoch: grows with each change of the tables, so that every task's membership is decided anew at its
/// next call. Alone in .bss, where the daemon finds it.
#[unsafe(no_mangle)]
static mut EPOCH: u64 = 0;

/// The address of [`EPOCH`]: a pointer that the verifier knows, for taking differences of others.
#[inline(always)]
pub(crate) fn origin() -> *const u8 {
    (&raw const EPOCH).cast()
}

#[inline(always)]
pub(crate) fn epoch() -> u32 {
    // SAFETY: one aligned word that only the daemon writes; volatile, since it does so at any time.
    unsafe { ptr::read_volatile(&raw const EPOCH) as u32 }
}

/// BPF_MAP_TYPE_TASK_STORAGE, for which aya-ebpf 0.2 has no type: a BTF map definition, whose pointers carry the
/// parameters in their types.
#[repr(C)]
pub(crate) struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers are types for the loader and never followed.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    const fn new() -> Self {
        const { assert!(size_of::<T>() <= MOST, "a kernel may refuse so large a value") };
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    fn as_map(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The task's value, if it has one.
    #[inline(always)]
    pub(crate) fn get(&self, task: TaskPtr) -> *mut T {
        // SAFETY: a task pointer that the verifier knows; it refuses a use of the result before a null check.
        unsafe { bpf_task_storage_get(self.as_map(), task.as_ptr(), ptr::null_mut(), 0).cast() }
    }

    /// The task's value, made of zeros when it has none; null when the kernel has no memory or the CPU is busy with
    /// this very map.
    #[inline(always)]
    pub(crate) fn get_or_create(&self, task: TaskPtr) -> *mut T {
        let create = u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE);
        // SAFETY: as in `get`.
        unsafe { bpf_task_storage_get(self.as_map(), task.as_ptr(), ptr::null_mut(), create).cast() }
    }

    /// Frees the task's value.
    #[inline(always)]
    pub(crate) fn delete(&self, task: TaskPtr) {
        // SAFETY: as in `get`. A task without a value is no error to us.
        unsafe { bpf_task_storage_delete(self.as_map(), task.as_ptr()) };
    }
}

/// Membership, and the call in flight.
#[btf_map]
pub(crate) static TASKS: TaskStorage<Task> = TaskStorage::new();
/// The files of the call in flight; only where a reader asked for them.
#[btf_map]
pub(crate) static FILES: TaskStorage<Files> = TaskStorage::new();
/// The execve in flight.
#[btf_map]
pub(crate) static EXECS: TaskStorage<Exec> = TaskStorage::new();
/// What the call in flight may overwrite.
#[btf_map]
pub(crate) static KEPT: TaskStorage<Kept> = TaskStorage::new();

/// Adds one to a global counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: a value of this CPU, which no other program runs on meanwhile.
        unsafe { *value += 1 };
    }
}
