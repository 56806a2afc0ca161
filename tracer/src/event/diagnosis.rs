//! What a diagnosis says: why a call failed, what that rests on, what to change.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Arch, Task};

/// Why a call failed, for the first of its kind and those like it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The task whose call it was, the first time.
    pub task: Task,
    pub arch: Arch,
    /// The call's number in the architecture's table.
    pub nr: u32,
    /// The kernel's name of the call; empty where a process was ended and no call failed.
    pub syscall: Cow<'static, str>,
    /// `None` where the task got a signal instead of a return value.
    pub errno: Option<u16>,
    /// The first such call, as strace writes it; or what ended the process.
    pub call: String,
    /// How often it failed so until now.
    pub count: u64,
    pub verdict: Verdict,
}

impl Diagnosis {
    /// Whether it tells why a process was ended, and not why a call failed.
    pub fn is_of_process(&self) -> bool {
        self.syscall.is_empty()
    }
}

/// Why, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub cause: Cause,
    /// One sentence, for a person.
    pub why: String,
    pub evidence: Vec<Fact>,
    /// What to change, for each tool that a user may start containers with.
    pub fixes: Vec<Fix>,
    /// What it is not, and how that is known. Told where the cause is [`Cause::Undetermined`].
    pub ruled_out: Vec<String>,
}

/// Something that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub text: String,
    pub taken: Taken,
}

/// When and where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// From the process's calls before this one, in the trace.
    Before,
    /// In the kernel, on the task, as the call returned.
    Call,
    /// By the daemon, at once after the call.
    After,
    /// It holds for the kernel, always.
    Always,
}

impl Taken {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Call => "call",
            Self::After => "after",
            Self::Always => "always",
        }
    }
}

/// A line to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    pub place: Place,
    pub line: String,
}

/// Where a line is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Podman,
    Docker,
    Kubernetes,
    Systemd,
    /// The node itself: sysctl, cgroup, kernel.
    Host,
    /// What is in the image.
    Image,
    /// The program, or its configuration.
    Program,
}

impl Place {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
            Self::Systemd => "systemd",
            Self::Host => "host",
            Self::Image => "image",
            Self::Program => "program",
        }
    }
}

/// A cause. `docs/explain.md` has a section on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// A seccomp filter refused the call before the kernel's own function ran.
    Seccomp,
    /// A ptracer or syscall user dispatch skipped it.
    Skipped,
    /// A capability is missing that the task could be given.
    Capability,
    /// A capability is wanted in a user namespace above the container's: no flag can give it.
    UserNamespace,
    /// A resource limit.
    Rlimit,
    /// CONFIG_RT_GROUP_SCHED: the task's group has no real-time budget.
    RtGroup,
    /// `pids.max` of a cgroup.
    CgroupPids,
    /// A device that the device cgroup does not list.
    CgroupDevices,
    /// `memory.max` of a cgroup.
    CgroupMemory,
    /// A sysctl's limit.
    Sysctl,
    /// Mode, owner or ACL of a file or directory.
    Dac,
    /// A mount is read-only.
    ReadOnly,
    /// A mount is noexec.
    Noexec,
    /// A mount is nodev.
    Nodev,
    /// A mount is nosuid, and a set-user-ID program on it.
    Nosuid,
    /// no_new_privs keeps a set-user-ID program from gaining anything.
    NoNewPrivs,
    /// The runtime masks this path.
    Masked,
    /// Something of a kind that the file system does not take.
    FileSystem,
    /// A file, or a directory on the way to it, is not there.
    Missing,
    /// A program's loader, or a script's interpreter, is not there.
    Interpreter,
    /// A program for another machine.
    Architecture,
    /// A file that is no program.
    NoProgram,
    /// A security module.
    Lsm,
    /// An id that the container's user namespace does not map.
    UnmappedId,
    /// Nothing listens there.
    Refused,
    /// No route, or no answer.
    Unreachable,
    /// Somebody has that address.
    AddressInUse,
    /// A port that only CAP_NET_BIND_SERVICE may have.
    PrivilegedPort,
    /// No such interface, or no such address on this machine.
    NoInterface,
    /// The kernel does not have the call, or not this form of it.
    Unsupported,
    /// The program's own mistake: the kernel never takes such arguments.
    Arguments,
    /// Nothing is wrong: programs do this, and go on.
    Expected,
    /// Not known.
    Undetermined,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::Seccomp,
        Self::Skipped,
        Self::Capability,
        Self::UserNamespace,
        Self::Rlimit,
        Self::RtGroup,
        Self::CgroupPids,
        Self::CgroupDevices,
        Self::CgroupMemory,
        Self::Sysctl,
        Self::Dac,
        Self::ReadOnly,
        Self::Noexec,
        Self::Nodev,
        Self::Nosuid,
        Self::NoNewPrivs,
        Self::Masked,
        Self::FileSystem,
        Self::Missing,
        Self::Interpreter,
        Self::Architecture,
        Self::NoProgram,
        Self::Lsm,
        Self::UnmappedId,
        Self::Refused,
        Self::Unreachable,
        Self::AddressInUse,
        Self::PrivilegedPort,
        Self::NoInterface,
        Self::Unsupported,
        Self::Arguments,
        Self::Expected,
        Self::Undetermined,
    ];

    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Skipped => "skipped",
            Self::Capability => "capability",
            Self::UserNamespace => "user-namespace",
            Self::Rlimit => "rlimit",
            Self::RtGroup => "rt-group",
            Self::CgroupPids => "cgroup-pids",
            Self::CgroupDevices => "cgroup-devices",
            Self::CgroupMemory => "cgroup-memory",
            Self::Sysctl => "sysctl",
            Self::Dac => "dac",
            Self::ReadOnly => "read-only",
            Self::Noexec => "noexec",
            Self::Nodev => "nodev",
            Self::Nosuid => "nosuid",
            Self::NoNewPrivs => "no-new-privs",
            Self::Masked => "masked",
            Self::FileSystem => "file-system",
            Self::Missing => "missing",
            Self::Interpreter => "interpreter",
            Self::Architecture => "architecture",
            Self::NoProgram => "no-program",
            Self::Lsm => "lsm",
            Self::UnmappedId => "unmapped-id",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::AddressInUse => "address-in-use",
            Self::PrivilegedPort => "privileged-port",
            Self::NoInterface => "no-interface",
            Self::Unsupported => "unsupported",
            Self::Arguments => "arguments",
            Self::Expected => "expected",
            Self::Undetermined => "undetermined",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_word_in_the_schema_and_its_row_in_the_docs() {
        let schema = include_str!("../../schema/event.v1.json");
        let docs = include_str!("../../../docs/explain.md");
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            let name = cause.name();
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
            assert!(docs.contains(&format!("\n| `{name}` |")), "{name}");
            assert!(
                !Cause::ALL
                    .iter()
                    .skip(index + 1)
                    .any(|other| other.name() == name)
            );
        }
    }
}
