//! The contract between the kernel programs (`tracer-ebpf`) and the daemon (`tracer`): what a ring record looks
//! like, what the maps hold, which counters there are. Both sides compile these types; there is no second copy.
//!
//! It owns layout and meaning, nothing else: no container names, no system call names, no I/O, no dependency.
//! Numbers travel as plain integers. A reader turns them into enums by a checked conversion, never by a cast.
#![no_std]
#![deny(missing_docs)]

pub mod capability;
pub mod filter;
pub mod kfunc;
pub mod record;
pub mod share;

/// Version of everything in this crate; a recording or an object of another version is refused.
pub const ABI_VERSION: u32 = 4;

/// Containers that can be registered at one time; slot 0 means "not a member".
pub const MAX_CONTAINERS: u32 = 1024;
