//! A thread of ours in the namespaces of a container whose processes have ended: /proc shows through it what it showed
//! through them.
//!
//! Joining needs CAP_SYS_ADMIN and CAP_SYS_CHROOT (setns(2)); without them nobody stands in, and what has gone is gone.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::mpsc::{Sender, channel},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

/// Stack of a thread that waits.
const STACK: usize = 64 * 1024;

/// Namespaces, which stay while these descriptors are open. They are closed when the container ends, so that they keep
/// no mount longer than its own processes do.
#[derive(Debug)]
pub(super) struct Spaces {
    mnt: OwnedFd,
    net: OwnedFd,
}

impl Spaces {
    /// Those of a process.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let open = |kind: &str| {
            let file = File::open(format!("/proc/{pid}/ns/{kind}")).ok()?;
            Some(OwnedFd::from(file))
        };
        Some(Self {
            mnt: open("mnt")?,
            net: open("net")?,
        })
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct StandIn {
    /// Its number on the host, which /proc knows as it knows a process's.
    pub tid: u32,
    _stays: Sender<()>,
}

impl StandIn {
    /// Starts it in these namespaces.
    ///
    /// # Errors
    /// It may not join them, or there is no thread to be had.
    pub(super) fn start(spaces: &Spaces) -> io::Result<Self> {
        let (mnt, net) = (spaces.mnt.try_clone()?, spaces.net.try_clone()?);
        let (tell, told) = channel();
        let (stays, leave) = channel();
        let started = thread::Builder::new()
            .name("stand-in".into())
            .stack_size(STACK)
            .spawn(move || {
                // The root directory and the like are shared by threads, and a mount namespace has its own.
                let joined = unshare(CloneFlags::CLONE_FS)
                    .and_then(|()| setns(net, CloneFlags::CLONE_NEWNET))
                    .and_then(|()| setns(mnt, CloneFlags::CLONE_NEWNS))
                    .map(|()| rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
                // Nothing is ever sent: it waits until the other end is dropped.
                if tell.send(joined).is_ok() {
                    let _dropped: Result<(), _> = leave.recv();
                }
            });
        started?;
        let joined = told.recv().map_err(io::Error::other)?;
        Ok(Self {
            tid: joined?,
            _stays: stays,
        })
    }
}
