//! Capability checks that the kernel made for members, counted in rows of their own.

/// What tells the checks of a row apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CheckKey {
    /// Slot of the container.
    pub slot: u16,
    /// Low bits of the slot's generation.
    pub generation: u16,
    /// The system call that asked, as in `AggregateKey::nr`; [`CheckKey::OUTSIDE`].
    pub nr: u16,
    /// The capability in the lowest six bits (capabilities(7)), then the level of the user namespace in which it was
    /// asked ([`CheckKey::level`]), then the bits below.
    pub what: u16,
}

impl CheckKey {
    /// In `nr`: outside any call, in a page fault or at the task's end. No call has that number.
    pub const OUTSIDE: u16 = u16::MAX;
    /// Where the level's bits lie in `what`.
    pub const LEVEL_SHIFT: u16 = 6;
    /// In `what`: the namespace is that of the credentials that were checked.
    pub const OWN: u16 = 1 << 12;
    /// In `what`: it was not held.
    pub const DENIED: u16 = 1 << 13;
    /// In `what`: asked by the application, not by the container runtime before it.
    pub const APP: u16 = 1 << 14;

    /// The capability's number, 0..=63.
    pub const fn capability(self) -> u8 {
        (self.what & 0x3f) as u8
    }

    /// `user_namespace.level`: 0 is the initial one; the kernel makes none deeper than 32.
    pub const fn level(self) -> u8 {
        (self.what >> Self::LEVEL_SHIFT & 0x3f) as u8
    }
}

/// A row. Written by all CPUs, by atomic adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Checks {
    /// Checks made.
    pub checks: u64,
    /// Calls with such a check that succeeded.
    pub succeeded: u64,
    /// Calls that failed with EPERM or EACCES.
    pub refused: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
}

/// What a container's init held when its application began, by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Held {
    /// `cred->cap_effective`
    pub effective: u64,
    /// `cred->cap_permitted`
    pub permitted: u64,
    /// `cred->cap_bset`
    pub bounding: u64,
    /// Inode of its user namespace; 0 = nobody saw the application begin.
    pub user_ns: u32,
    /// `cred->user_ns->level`
    pub user_ns_level: u32,
}

/// Rows, over all containers.
pub const MAX_CHECKS: u32 = 8192;

const _: () = {
    assert!(size_of::<CheckKey>() == 8);
    assert!(size_of::<Checks>() == 32);
    assert!(size_of::<Held>() == 32);
};
