//! The harness of the end-to-end tests: a private daemon, bundles, real runtimes, and the books they must keep.
//!
//! It knows our programs only from outside: their arguments, exit codes and JSON. `cargo xtask test` installs what
//! it needs, builds the programs and runs the tests, one at a time and as root.
//!
//! Nothing here sleeps to let something happen: what takes time is polled for with a bound ([`wait::until`]).

pub mod asleep;
pub mod books;
pub mod browser;
pub mod bundle;
pub mod compare;
pub mod containerd;
pub mod cri;
pub mod daemon;
pub mod docker;
pub mod event;
pub mod failures;
pub mod faults;
pub mod freezer;
pub mod held;
pub mod hook;
pub mod image;
pub mod install;
pub mod journal;
pub mod leaks;
pub mod line;
pub mod machine;
pub mod manager;
pub mod nats;
pub mod node;
pub mod nri;
pub mod otlp;
pub mod page;
pub mod podman;
pub mod process;
pub mod programs;
pub mod pty;
pub mod ros;
pub mod runtime;
pub mod service;
pub mod sink;
pub mod soak;
pub mod strace;
pub mod told;
pub mod user;
pub mod wait;
pub mod whole;

pub use books::Verdict;
pub use browser::Browser;
pub use bundle::{Bundle, HookStage, Rootfs};
pub use daemon::{Daemon, Tail};
pub use event::{Counts, Event};
pub use runtime::{Container, Runtime};

use std::sync::atomic::{AtomicU32, Ordering};

/// A container id that no other container on this machine has.
pub fn unique_id(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!(
        "tt-{what}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
