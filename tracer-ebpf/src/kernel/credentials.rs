//! What the kernel knows of a task that decides what it may do: credentials, limits, its user namespace. Direct loads
//! through offsets, as in [`super`].

use tracer_common::{
    capability::Held,
    record::{Evidence, evidence},
};

use super::{
    OFF_CRED_BOUNDING, OFF_CRED_EFFECTIVE, OFF_CRED_EGID, OFF_CRED_EUID, OFF_CRED_FSGID, OFF_CRED_FSUID,
    OFF_CRED_PERMITTED, OFF_CRED_UCOUNTS, OFF_CRED_USER_NS, OFF_GROUP_AUTOGROUP, OFF_GROUP_RT_RUNTIME,
    OFF_MM_LOCKED_VM, OFF_MM_TOTAL_VM, OFF_SIGNAL_RLIM, OFF_TASK_ATOMIC_FLAGS, OFF_TASK_CRED, OFF_TASK_GROUP,
    OFF_TASK_MM, OFF_TASK_REAL_CRED, OFF_TASK_SECCOMP_MODE, OFF_TASK_SIGNAL, OFF_UCOUNTS_TASKS,
    OFF_USERNS_INUM, OFF_USERNS_LEVEL, TaskPtr, load, load_at, probe,
};

/// PFA_NO_NEW_PRIVS, include/linux/sched.h: a bit of `task_struct.atomic_flags`.
const NO_NEW_PRIVS: u64 = 1;

// include/uapi/asm-generic/resource.h
const RLIMIT_NPROC: usize = 6;
const RLIMIT_NOFILE: usize = 7;
const RLIMIT_NICE: usize = 13;
const RLIMIT_RTPRIO: usize = 14;

/// Where a structure is. The verifier knows the type of what a tracepoint's arguments and other structures point to, but
/// takes what is in a trace event for a number.
#[derive(Clone, Copy)]
struct Address {
    pointer: *const u8,
    /// Known when compiled, wherever it is asked.
    typed: bool,
}

impl Address {
    /// A load of exactly a member's size, or of a part of it.
    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        if self.typed {
            load_at(self.pointer, offset)
        } else {
            probe(self.pointer.wrapping_add(offset as usize))
        }
    }
}

macro_rules! structure {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(Address);

        impl $name {
            /// By a pointer whose type the verifier knows.
            pub(crate) const fn new(pointer: *const u8) -> Self {
                Self(Address { pointer, typed: true })
            }

            /// By one that is a number to it.
            pub(crate) const fn at(address: usize) -> Self {
                Self(Address { pointer: address as *const u8, typed: false })
            }
        }

        impl PartialEq for $name {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                self.0.pointer == other.0.pointer
            }
        }
    };
}

structure! {
    /// `struct cred *`.
    Credentials
}
structure! {
    /// `struct user_namespace *`.
    UserNamespace
}

impl UserNamespace {
    #[inline(always)]
    pub(crate) fn inum(self) -> u32 {
        self.0.load(OFF_USERNS_INUM.load())
    }

    #[inline(always)]
    pub(crate) fn level(self) -> u32 {
        self.0.load(OFF_USERNS_LEVEL.load())
    }
}

impl Credentials {
    #[inline(always)]
    pub(crate) fn permitted(self) -> u64 {
        self.set(OFF_CRED_PERMITTED.load())
    }

    #[inline(always)]
    pub(crate) fn user_namespace(self) -> UserNamespace {
        UserNamespace(Address {
            pointer: self.0.load::<usize>(OFF_CRED_USER_NS.load()) as *const u8,
            typed: self.0.typed,
        })
    }

    /// A `kernel_cap_t`: eight bytes since 6.3, two words of four before, lower first. VERIFIER: a load must not be
    /// larger than the member, but may be a part of it.
    #[inline(always)]
    fn set(self, offset: u32) -> u64 {
        let low: u32 = self.0.load(offset);
        let high: u32 = self.0.load(offset + 4);
        u64::from(low) | u64::from(high) << 32
    }
}

impl TaskPtr {
    /// Its own, whatever it acts with at this moment.
    #[inline(always)]
    pub(crate) fn real_credentials(self) -> Credentials {
        Credentials::new(load(self.0, &OFF_TASK_REAL_CRED))
    }

    #[inline(always)]
    pub(crate) fn credentials(self) -> Credentials {
        Credentials::new(load(self.0, &OFF_TASK_CRED))
    }

    /// What it holds.
    #[inline(always)]
    pub(crate) fn held(self) -> Held {
        let cred = self.credentials();
        let namespace = cred.user_namespace();
        Held {
            effective: cred.set(OFF_CRED_EFFECTIVE.load()),
            permitted: cred.permitted(),
            bounding: cred.set(OFF_CRED_BOUNDING.load()),
            user_ns: namespace.inum(),
            user_ns_level: namespace.level(),
        }
    }

    /// Writes all of the evidence that is in the task itself; what the capability program saw is left as it is.
    #[inline(always)]
    pub(crate) fn testify(self, to: &mut Evidence) {
        let cred = self.credentials();
        to.effective = cred.set(OFF_CRED_EFFECTIVE.load());
        to.permitted = cred.permitted();
        to.bounding = cred.set(OFF_CRED_BOUNDING.load());
        to.euid = cred.0.load(OFF_CRED_EUID.load());
        to.fsuid = cred.0.load(OFF_CRED_FSUID.load());
        to.egid = cred.0.load(OFF_CRED_EGID.load());
        to.fsgid = cred.0.load(OFF_CRED_FSGID.load());
        let namespace = cred.user_namespace();
        to.user_ns = namespace.inum();
        to.user_ns_level = namespace.level();

        // struct rlimit { rlim_cur; rlim_max }, by number.
        let signal: *const u8 = load(self.0, &OFF_TASK_SIGNAL);
        let limits = OFF_SIGNAL_RLIM.load();
        for (limit, index) in to.limits.iter_mut().zip(0u32..) {
            *limit = load_at(signal, limits + index * 16);
        }
        for (limit, which) in
            to.hard
                .iter_mut()
                .zip([RLIMIT_RTPRIO, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC])
        {
            *limit = load_at(signal, limits + which as u32 * 16 + 8);
        }

        // A thread of the kernel has none; what is behind NULL reads as zero.
        let mm: *const u8 = load(self.0, &OFF_TASK_MM);
        to.total_vm = load(mm, &OFF_MM_TOTAL_VM);
        to.locked_vm = load(mm, &OFF_MM_LOCKED_VM);

        to.seccomp = load(self.0, &OFF_TASK_SECCOMP_MODE);
        to.flags = 0;
        if load::<u64>(self.0, &OFF_TASK_ATOMIC_FLAGS) & NO_NEW_PRIVS != 0 {
            to.flags |= evidence::NO_NEW_PRIVS;
        }
        to.rt_runtime = 0;
        if OFF_GROUP_RT_RUNTIME.load() != 0 {
            let group: *const u8 = load(self.0, &OFF_TASK_GROUP);
            // The group that the kernel makes for a session by itself has no budget and needs none
            // (`task_group_is_autogroup`, kernel/sched/autogroup.c).
            if OFF_GROUP_AUTOGROUP.load() == 0 || load::<u64>(group, &OFF_GROUP_AUTOGROUP) == 0 {
                to.rt_runtime = load(group, &OFF_GROUP_RT_RUNTIME);
                to.flags |= evidence::RT_GROUP;
            }
        }
        to.user_tasks = 0;
        if OFF_UCOUNTS_TASKS.load() != 0 {
            let counts: *const u8 = load(cred.0.pointer, &OFF_CRED_UCOUNTS);
            // VERIFIER(6.1): it does not know an `atomic_long_t` in an array for a number.
            to.user_tasks = probe(counts.wrapping_add(OFF_UCOUNTS_TASKS.load() as usize));
            to.flags |= evidence::USER_TASKS;
        }
    }
}
