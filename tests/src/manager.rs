//! A service manager, as far as a daemon's descriptors go: it takes what is sent to NOTIFY_SOCKET, keeps it while the
//! daemon is away, and gives it to the next one (sd_notify(3), sd_listen_fds(3)).

use crate::programs;
use anyhow::{Context, Result};
use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use serde_json::Value;
use std::{
    fs::File,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};
use tempfile::TempDir;

/// Descriptors of ours that a shell moves to where a daemon looks for them begin here, out of the way of those.
const FROM: i32 = 700;

type Kept = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// The manager, with a thread that reads.
pub struct Manager {
    dir: TempDir,
    kept: Kept,
}

impl Manager {
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-manager-").tempdir()?;
        let socket = UnixDatagram::bind(dir.path().join("notify"))?;
        let kept = Kept::default();
        let into = kept.clone();
        // It ends with the test program: nobody waits for it.
        std::thread::spawn(move || while message(&socket, &into).is_ok() {});
        Ok(Self { dir, kept })
    }

    /// The names of what is kept.
    pub fn keeps(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Lets everything go, as when a service is stopped for good.
    pub fn discard(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Changes what the daemon said of itself for the next, as a daemon of another build would have said it.
    pub fn rewrite(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let state = kept.iter().find(|(name, _)| name == "kept-state");
        let file = File::from(state.context("no state is kept")?.1.try_clone()?);
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
        file.read_exact_at(&mut bytes, 0)?;
        let (len, rest) = bytes.split_first_chunk().context("no length")?;
        let (text, rest) = rest
            .split_at_checked(usize::try_from(u64::from_le_bytes(*len))?)
            .context("the state is cut")?;
        let mut state = serde_json::from_slice(text)?;
        change(&mut state);
        let text = serde_json::to_vec(&state)?;
        let changed = [&(text.len() as u64).to_le_bytes()[..], &text, rest].concat();
        file.set_len(changed.len() as u64)?;
        file.write_all_at(&changed, 0)?;
        Ok(())
    }

    /// That program as a service: told where to notify, given what is kept. The descriptors may go once it is spawned.
    pub fn service(&self, program: &Path) -> Result<(Command, Vec<OwnedFd>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut script = String::new();
        let mut names = Vec::new();
        let mut given = Vec::new();
        for (at, (name, fd)) in (3..).zip(&*kept) {
            let fd = fcntl_dupfd_cloexec(fd, FROM)?;
            fcntl_setfd(&fd, FdFlags::empty())?;
            script += &format!("exec {at}<&{0} {0}<&-\n", fd.as_raw_fd());
            names.push(name.as_str());
            given.push(fd);
        }
        script += "export LISTEN_PID=$$\nexec \"$@\"";
        let mut command = programs::command("bash");
        command.args(["-c", &script, "bash"]).arg(program);
        command.env("NOTIFY_SOCKET", self.socket());
        command.env("LISTEN_FDS", names.len().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        Ok((command, given))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("notify")
    }
}

/// Reads one message and does what it says.
fn message(socket: &UnixDatagram, kept: &Kept) -> Result<()> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            fds.extend(given);
        }
    }
    let text = std::str::from_utf8(bytes.get(..received.bytes).context("a message")?)?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let name = value("FDNAME").unwrap_or("stored").to_owned();
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if value("FDSTORE").is_some() {
        kept.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
    } else if value("FDSTOREREMOVE").is_some() {
        kept.retain(|(other, _)| *other != name);
    }
    // A barrier's descriptor is closed here: all before it is done.
    Ok(())
}
