//! Who a container is for the kernel: descriptors of its init and of its namespaces, opened while init is certain.
//!
//! It opens; it does not judge. Whether such a container may be traced is the daemon's decision.

use std::{
    fmt, fs,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fstat, open},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Bytes of a `/proc/PID/stat` that are read: 52 numbers and a name.
const MAX_STAT: usize = 2048;

/// A container's init and namespaces.
#[derive(Debug)]
pub struct Init {
    /// pidfd of init; readable once it ends.
    pub pidfd: OwnedFd,
    /// Its PID namespace.
    pub pid_ns: OwnedFd,
    /// Its mount namespace.
    pub mnt_ns: OwnedFd,
}

/// Numbers that tell a container again later, for a marker. They prove nothing: a number can be reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Start time of init in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub pid_start: u64,
    /// Inode of the PID namespace.
    pub pid_ns: u64,
    /// Inode of the mount namespace.
    pub mnt_ns: u64,
}

/// Why a container's identity could not be taken.
#[derive(Debug)]
pub enum IdentityError {
    /// The state names no process that could be an init.
    NoPid(i64),
    /// The process ended before its namespaces were open.
    Exited(i64),
    /// A descriptor could not be opened.
    Open {
        /// What.
        what: String,
        /// Why.
        why: io::Error,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPid(pid) => write!(
                f,
                "state has pid {pid}, which is no container's init: wire the hook as createRuntime (or prestart), \
                 the stages where the runtime tells the pid"
            ),
            Self::Exited(pid) => {
                write!(
                    f,
                    "process {pid} has ended before it could be traced: see why the runtime gave it up"
                )
            }
            Self::Open { what, why } => write!(
                f,
                "{what} cannot be opened ({why}): run the hook as the user that runs the container, with /proc mounted"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Init {
    /// Opens all three for the `pid` of a state, as the runtime's PID namespace numbers it.
    ///
    /// 0 and 1 are refused: crun and runc write them in the stages that run inside the container, where `/proc/1` is
    /// the host's init and not the container's.
    pub fn open(pid: i64) -> Result<Self, IdentityError> {
        let init = i32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 1)
            .and_then(Pid::from_raw);
        let init = init.ok_or(IdentityError::NoPid(pid))?;
        let pidfd = pidfd_open(init, PidfdFlags::empty()).map_err(|errno| match errno {
            rustix::io::Errno::SRCH => IdentityError::Exited(pid),
            _ => IdentityError::Open {
                what: format!("a pidfd of process {pid}"),
                why: errno.into(),
            },
        })?;
        let namespace = |name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| (path, errno))
        };
        let namespaces = namespace("pid").and_then(|pid_ns| Ok((pid_ns, namespace("mnt")?)));
        // The number is init's as long as init lives. That it still does now proves that the paths were init's.
        if has_ended(&pidfd) {
            return Err(IdentityError::Exited(pid));
        }
        let (pid_ns, mnt_ns) = namespaces.map_err(|(what, errno)| IdentityError::Open {
            what,
            why: errno.into(),
        })?;
        Ok(Self {
            pidfd,
            pid_ns,
            mnt_ns,
        })
    }

    /// The numbers for a marker; `None` when init ended or `/proc` does not tell. `pid` is the one that was opened.
    pub fn numbers(&self, pid: i64) -> Option<Numbers> {
        let mut stat = Vec::with_capacity(MAX_STAT);
        let file = fs::File::open(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
        // In one read: `fs::read` begins with 32 bytes, and a container's start waits for this.
        file.take(MAX_STAT as u64).read_to_end(&mut stat).ok()?;
        let numbers = Numbers {
            pid_start: start_time(&stat)?,
            pid_ns: fstat(&self.pid_ns).ok()?.st_ino,
            mnt_ns: fstat(&self.mnt_ns).ok()?.st_ino,
        };
        (!has_ended(&self.pidfd)).then_some(numbers)
    }
}

/// Whether the process of a pidfd is no more (a zombie is no more).
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&at_once)) != Ok(0)
}

/// Field 22 of a `/proc/PID/stat`. The second, the name in parentheses, may hold spaces and parentheses itself.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|b| *b == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_living_process_has_an_identity() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i64::from(child.id());
        let init = Init::open(pid).unwrap();
        let numbers = init.numbers(pid).unwrap();
        let link = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_eq!(link.to_str().unwrap(), format!("mnt:[{}]", numbers.mnt_ns));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(has_ended(&init.pidfd));
        assert_eq!(init.numbers(pid), None);
        assert!(matches!(Init::open(pid), Err(IdentityError::Exited(_))));
    }

    #[test]
    fn a_zombie_has_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i64::from(child.id());
        let pidfd = pidfd_open(Pid::from_raw(child.id() as i32).unwrap(), PidfdFlags::empty()).unwrap();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        assert!(matches!(Init::open(pid), Err(IdentityError::Exited(_))));
        child.wait().unwrap();
    }

    #[test]
    fn pids_of_the_wrong_stages_are_refused() {
        for pid in [i64::MIN, -1, 0, 1, i64::from(i32::MAX) + 1] {
            assert!(matches!(Init::open(pid), Err(IdentityError::NoPid(_))), "{pid}");
        }
    }

    #[test]
    fn the_name_in_a_stat_line_cannot_move_its_fields() {
        let tail = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 31337 0 0";
        for name in ["cat", "a) S 1 1", "((", "runc:[2:INIT]"] {
            assert_eq!(
                start_time(format!("7 ({name}) {tail}").as_bytes()),
                Some(31337),
                "{name}"
            );
        }
        assert_eq!(start_time(b"7 (cat) S"), None);
    }

    proptest! {
        #[test]
        fn any_stat_is_read_or_refused(stat in proptest::collection::vec(any::<u8>(), 0..200)) {
            start_time(&stat);
        }
    }
}
