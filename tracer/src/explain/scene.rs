//! What the daemon saw at once after a failed call: plain data, each part `None` where it was not looked at, or could not
//! be. Rules read it; `look` fills it.

use std::collections::BTreeMap;

use super::{Acl, Quiet};
use crate::follow::Earlier;

/// In [`Scene::gone`]: what a daemon with few capabilities, such as that of its unit, does not see.
pub(super) const NOT_JOINED: &str = "the container's files and network as its ended processes had them: to join their \
                              namespaces the daemon needs CAP_SYS_ADMIN (setns(2)), which its unit does not give it";

/// The surroundings of a failed call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The file that a path argument meant, and the second one of link(2), rename(2), mount(2).
    pub paths: Vec<Path>,
    /// The program that the process executes, with all that execve(2) gave it: where its calls before this one tell which
    /// that is, and the error is of a kind that rights are wanted for.
    pub program: Option<Path>,
    /// `/proc/PID/uid_map` and `gid_map` of the container.
    pub uids: Option<Vec<IdMap>>,
    pub gids: Option<Vec<IdMap>>,
    /// The process's supplementary groups, as the initial user namespace counts them.
    pub groups: Option<Vec<u32>>,
    /// Real-time budgets of the process's CPU cgroup and those above it, the process's own first.
    pub rt: Option<Vec<Budget>>,
    /// Its pids cgroup and those above it, its own first.
    pub pids: Option<Vec<PidsGroup>>,
    /// Its memory cgroup and those above it.
    pub memory: Option<Vec<MemoryGroup>>,
    /// Sysctls that a rule may need for this call, by their names (`fs.inotify.max_user_watches`).
    pub sysctls: BTreeMap<&'static str, String>,
    pub network: Option<Network>,
    /// How many files the process has open, where a call failed for want of a descriptor.
    pub open_files: Option<u64>,
    /// How many mappings it has, where a call failed for want of memory.
    pub mappings: Option<u64>,
    /// What its earlier calls tell of the task.
    pub earlier: Earlier,
    /// RLIMIT_STACK of the process, or of its container's first, where a call's strings were too long.
    pub stack: Option<u64>,
    /// What failed in a call that did not.
    pub quiet: Option<Quiet>,
    /// Capabilities of the task, while it lived: its effective set.
    pub effective: Option<u64>,
    /// Its bounding set, or that of its container's first process.
    pub bounding: Option<u64>,
    /// What the container runtime took out of that before it executed the application, as its calls tell.
    pub dropped: u64,
    /// Whether its network namespace is the host's, as far as this process is in that.
    pub host_network: Option<bool>,
    /// Where the process found a file of that name right after, for a look-up that failed.
    pub found_after: Option<Vec<u8>>,
    /// The security modules that are active (`/sys/kernel/security/lsm`, or what /proc shows).
    pub lsms: Option<Vec<String>>,
    /// `/proc/PID/attr/current`, where a module keeps a label there.
    pub label: Option<String>,
    /// Why parts are missing: the process had gone, a file could not be read.
    pub gone: Vec<String>,
    pub machine: Machine,
}

impl Scene {
    /// Of a call that was made at another time, perhaps on another machine.
    pub fn elsewhere(earlier: Earlier) -> Self {
        Self {
            earlier,
            gone: vec!["the system that it ran on is not here: this is a recording".to_owned()],
            ..Self::default()
        }
    }
}

/// A path that a call was given, walked as the process would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The parameter's name (`filename`); that of a descriptor where the call takes no path.
    pub arg: &'static str,
    /// As the call gave it.
    pub given: Vec<u8>,
    /// Each step from the root: what is there. A link stands before what it leads to. The last one is the file itself, if
    /// it is there.
    pub steps: Vec<Component>,
    /// Where the walk ended for want of a file; its name is no step.
    pub missing: Option<Vec<u8>>,
    /// The directory that it was missing in.
    pub ended_in: Vec<u8>,
    /// How many names were still to come when the walk ended.
    pub left: usize,
    /// The walk ended in a ring of links.
    pub ring: bool,
    /// Names in that directory that are like the one that is missing.
    pub near: Vec<Vec<u8>>,
    /// Files of that name in the usual directories for programs and libraries.
    pub elsewhere: Vec<Vec<u8>>,
    /// The mount that the last step is on.
    pub mount: Option<Mount>,
    /// The process does not see it because the runtime has put something over it (`/dev/null`, an empty read-only tmpfs).
    pub masked: bool,
    /// What kind of program it is, for execve(2).
    pub program: Option<Program>,
    /// The way to its interpreter or loader, where that is not there.
    pub lost: Option<Box<Path>>,
    /// Capabilities that stand on that file with the effective bit, a bit each (`security.capability`).
    pub file_capabilities: Option<u64>,
    /// What statfs(2) says of where the walk ended.
    pub file_system: Option<Filesystem>,
}

impl Path {
    /// The same from the root, where the call gave it from a directory and the walk came to its last name.
    pub fn whole(&self) -> Vec<u8> {
        if self.given.starts_with(b"/") || self.given.is_empty() || self.left > 0 {
            return self.given.clone();
        }
        match (&self.missing, self.steps.last()) {
            (Some(name), _) if self.ended_in.starts_with(b"/") => {
                let mut whole = self.ended_in.clone();
                if whole != b"/" {
                    whole.push(b'/');
                }
                whole.extend_from_slice(name);
                whole
            }
            (None, Some(last)) => last.path.clone(),
            _ => self.given.clone(),
        }
    }

    /// The last link that was followed, when the walk ended behind it for want of what it leads to.
    pub fn dangling(&self) -> Option<&Component> {
        self.missing.as_ref()?;
        let at = self.steps.iter().rposition(|step| step.kind == Kind::Link)?;
        let link = self.steps.get(at)?;
        let names = link.target.as_deref()?.split(|byte| *byte == b'/');
        let names = names.filter(|name| !matches!(*name, b"" | b"." | b".."));
        // Each of its names that is there is a step.
        (self.steps.len() - at - 1 < names.count()).then_some(link)
    }

    /// Whether the call named it, and not a descriptor: then the way there has been checked long ago.
    pub fn is_named(&self) -> bool {
        !matches!(self.arg, "fd" | "out_fd" | "fd_out")
    }
}

/// A step of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// The path up to here, in the container.
    pub path: Vec<u8>,
    /// Where a link leads.
    pub target: Option<Vec<u8>>,
    pub kind: Kind,
    /// Permission bits with set-id and sticky, 0o7777.
    pub mode: u32,
    /// As the initial user namespace counts them.
    pub uid: u32,
    pub gid: u32,
    /// An access ACL stands on it (`system.posix_acl_access`); one that could not be read has no entries.
    pub acl: Option<Acl>,
    /// `chattr +i` or `+a`.
    pub immutable: bool,
}

/// What a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    File,
    Directory,
    Link,
    Character,
    Block,
    Fifo,
    Socket,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the container.
    pub point: Vec<u8>,
    /// Which directory of the file system stands there: of a bind mount it is seldom its root.
    pub root: Vec<u8>,
    /// `overlay`, `tmpfs`, `proc`.
    pub kind: String,
    /// What is mounted (`/dev/sda1`, `overlay`).
    pub source: String,
    pub read_only: bool,
    pub noexec: bool,
    pub nosuid: bool,
    pub nodev: bool,
}

/// What statfs(2) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// 0 where the kernel counts none: procfs, cgroups, a tmpfs without a bound.
    pub bytes: u64,
    pub free_bytes: u64,
    pub free_inodes: u64,
    pub inodes: u64,
}

impl Program {
    /// What the kernel starts in its place, or before it, and did not find.
    pub fn lost(&self) -> Option<&[u8]> {
        match self {
            Self::Elf {
                loader: Some((path, false)),
                ..
            }
            | Self::Script {
                interpreter: path,
                there: false,
                ..
            } => Some(path),
            _ => None,
        }
    }
}

/// What the first bytes of a file say that is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    Elf {
        /// `e_machine` and whether it is 64-bit.
        machine: u16,
        wide: bool,
        /// `PT_INTERP`, and whether it is there in the container.
        loader: Option<(Vec<u8>, bool)>,
    },
    /// `#!`: the interpreter, whether it is there, and whether the line ends in a carriage return.
    Script {
        interpreter: Vec<u8>,
        there: bool,
        carriage_return: bool,
    },
    /// Nothing that binfmt_elf or binfmt_script takes.
    Other { empty: bool },
}

/// A line of an id map: ids from `inside` on are those from `outside` on, `count` of them. `outside` is as the initial
/// user namespace counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Which of the cgroup hierarchies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupVersion {
    One,
    #[default]
    Two,
}

/// `cpu.rt_runtime_us` of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// The directory, on the host.
    pub path: String,
    pub version: CgroupVersion,
    /// `None` where the file is not there: version 2 has none.
    pub runtime_us: Option<i64>,
    pub period_us: Option<u64>,
}

/// The pids controller of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsGroup {
    pub path: String,
    pub current: u64,
    /// `None` is `max`.
    pub max: Option<u64>,
    /// `max` of `pids.events`: how often a fork was refused.
    pub refused: Option<u64>,
}

/// The memory controller of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryGroup {
    pub path: String,
    pub current: u64,
    pub max: Option<u64>,
    /// How often the limit left somebody without memory (`oom` of version 2), or was met (`failcnt` of version 1, which
    /// counts what made room, too).
    pub met: Option<u64>,
    /// `oom_kill`: processes of this group.
    pub oom_kills: Option<u64>,
    /// The limit of memory and swap together, and the most that was used (`memory.memsw` of version 1, whose `failcnt` Linux
    /// does not count since 6.15).
    pub with_swap: Option<(u64, u64)>,
}

/// The network namespace of the process, as far as the call needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Who listens on, or is bound to, the port that the call wanted.
    pub listeners: Vec<Listener>,
    pub interfaces: Vec<String>,
    /// Addresses of this namespace's interfaces.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether there is a route that is not the loopback's.
    pub default_route: bool,
    /// `net.ipv4.ip_unprivileged_port_start`
    pub unprivileged_from: Option<u16>,
}

/// A socket that has a port or a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// As `ss` writes it: `0.0.0.0:80`, `/run/x.sock`.
    pub address: String,
    /// `tcp`, `udp`, `tcp6`, `unix`.
    pub protocol: &'static str,
    pub state: String,
    /// The process that has it, where it could be found: its number in the container, and its name.
    pub process: Option<(u32, String)>,
}

/// What is the same for all calls on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `EM_*` of native programs.
    pub elf_machine: u16,
    pub page_size: u64,
    /// Bytes of memory and swap.
    pub memory: u64,
}
