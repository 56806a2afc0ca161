//! The hook's half of a registration, and the protocol that it and the daemon speak (`docs/hook.md`).
//!
//! It owns: the messages and their limits ([`protocol`]), the client with its one deadline ([`client`]), what the
//! hook reads ([`state`], [`annotations`], [`records`], [`identity`]), how it gets into a container's configuration
//! ([`spec`]) and what it leaves behind when no daemon was there ([`missed`]). It knows nothing of the daemon behind the
//! socket, of eBPF, of configuration or of the network, and
//! it starts no thread: the task that proves the path must be the peer that the socket names.
#![deny(missing_docs)]

pub mod annotations;
pub mod client;
pub mod identity;
pub mod missed;
pub mod protocol;
pub mod records;
pub mod spec;
pub mod state;

use std::path::{Path, PathBuf};

/// Where the daemon's sockets are unless it is told otherwise.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/tracer";

/// The environment variable that names another runtime directory; empty counts as unset.
pub const RUNTIME_DIR_ENV: &str = "TRACER_RUNTIME_DIR";

/// The registration socket of the daemon that has this runtime directory.
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("hook.sock")
}
