//! Descriptors that the service manager keeps for the daemon that comes after this one: FDSTORE of
//! sd_pid_notify_with_fds(3), and what is to be said of them, in a memfd among them.
//!
//! It must not know what they are of. What is kept lives on, so all of it is taken back, used or not: a link that stays
//! in the store would keep its program attached.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    pipe::{PipeFlags, pipe_with},
};
use sd_notify::NotifyState;

/// What stands before the names of ours: the sockets of socket activation come the same way.
const PREFIX: &str = "kept-";
const STATE: &str = "state";
/// How long the service manager may take to take them.
const BARRIER: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// What the daemon before left.
pub(super) struct Kept {
    pub(super) state: Vec<u8>,
    pub(super) bulk: Vec<Vec<u8>>,
    pub(super) descriptors: BTreeMap<String, OwnedFd>,
}

/// Whether there is a service manager to give something to.
pub(super) fn is_possible() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Gives descriptors away, with what is to be said of them, as text and in bulk; returns once the service manager has them.
///
/// # Errors
/// When it takes them not, or not in time.
pub(super) fn give<'a>(
    state: &[u8],
    bulk: impl Iterator<Item = &'a [u8]>,
    descriptors: &[(String, OwnedFd)],
) -> Result<()> {
    let said = memfd_create(c"tracer-state", MemfdFlags::CLOEXEC).context("make a file in memory")?;
    let mut to = BufWriter::new(File::from(said));
    let mut write = |part: &[u8]| {
        to.write_all(&(part.len() as u64).to_le_bytes())
            .and_then(|()| to.write_all(part))
            .context("write what the next daemon must know")
    };
    write(state)?;
    for part in bulk {
        write(part)?;
    }
    let said = to.into_inner().context("write what the next daemon must know")?;
    let named = descriptors.iter().map(|(name, fd)| (name.as_str(), fd.as_fd()));
    for (name, fd) in named.chain([(STATE, said.as_fd())]) {
        let name = format!("{PREFIX}{name}");
        // Nothing of ours has an end that the manager could wait for.
        let message = [
            NotifyState::FdStore,
            NotifyState::FdName(&name),
            NotifyState::Custom("FDPOLL=0"),
        ];
        sd_notify::notify_with_fds(&message, &[fd])
            .with_context(|| format!("give descriptor {name} to the service manager"))?;
    }
    barrier()
}

/// Waits until the service manager has read what was sent: it closes the other end of a pipe (sd_notify_barrier(3)).
fn barrier() -> Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[write.as_fd()])
        .context("ask the service manager whether it has read all")?;
    drop(write);
    let mut closed = [PollFd::new(&read, PollFlags::HUP)];
    let ready = poll(&mut closed, Some(&BARRIER)).context("wait for the service manager")?;
    ensure!(
        ready > 0,
        "the service manager did not read all in {} s",
        BARRIER.tv_sec
    );
    Ok(())
}

/// What was kept: what was said, the bulk beside it, and the descriptors by name. `None` when nothing was. It is this process's own from
/// here on: the manager keeps nothing.
///
/// # Errors
/// When what was said cannot be read; the descriptors are closed then.
pub(super) fn take() -> Result<Option<Kept>> {
    let mut kept = BTreeMap::new();
    for (fd, name) in sd_notify::listen_fds_with_names().context("look for kept descriptors")? {
        if let Some(ours) = name.strip_prefix(PREFIX) {
            // SAFETY: the service manager gave it to this process, and nobody else takes it: this is called once, at
            // start, and the sockets have other names.
            kept.insert(ours.to_owned(), unsafe { OwnedFd::from_raw_fd(fd) });
            // One that it cannot be told to let go of keeps a program attached; it has been said in its log.
            let _deaf = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
        }
    }
    let Some(said) = kept.remove(STATE) else {
        return Ok(None);
    };
    let mut said = File::from(said);
    said.rewind().context("read what the daemon before left")?;
    let mut rest = said.metadata().context("read what the daemon before left")?.len();
    let mut parts = Vec::new();
    while rest > 0 {
        parts.push(part(&mut said, &mut rest).context("what the daemon before left is not whole")?);
    }
    let mut parts = parts.into_iter();
    Ok(Some(Kept {
        state: parts.next().unwrap_or_default(),
        bulk: parts.collect(),
        descriptors: kept,
    }))
}

/// The next part, behind its length, of so many bytes.
fn part(from: &mut impl Read, rest: &mut u64) -> io::Result<Vec<u8>> {
    let mut len = [0; 8];
    from.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    // A wrong length must not ask for memory that nobody has.
    *rest = rest
        .checked_sub(8)
        .and_then(|rest| rest.checked_sub(len))
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut part = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    from.read_exact(&mut part)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_is_no_longer_than_what_there_is() {
        let mut bytes = 3u64.to_le_bytes().to_vec();
        bytes.extend(b"abc");
        let (mut from, mut rest) = (bytes.as_slice(), bytes.len() as u64);
        assert_eq!(part(&mut from, &mut rest).unwrap(), b"abc");
        assert_eq!(rest, 0);
        for len in [4, u64::MAX] {
            bytes.splice(..8, u64::to_le_bytes(len));
            let (mut from, mut rest) = (bytes.as_slice(), bytes.len() as u64);
            part(&mut from, &mut rest).unwrap_err();
        }
        part(&mut [0; 5].as_slice(), &mut 5).unwrap_err();
    }
}
