//! Looks at the running system right after a call failed, and fills a [`Scene`] with what may have been the reason.
//!
//! What is looked at depends on the call and its errno alone. Paths, names and contents are the container's choice: each
//! step of a path is opened by itself without following a link, nothing is opened that could wait or act, sizes are
//! bounded, and what could wait for a file server that the container runs is done aside, for a bounded time. The process
//! may be gone: then its container's first process stands for it, and [`Scene::gone`] says so.
//!
//! It must not know rules, sinks or how events come here.

mod amounts;
mod groups;
mod mounts;
mod network;
mod program;
mod stand_in;
mod sysctls;
mod walk;

use std::{
    cell::OnceCell,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    IdMap, Machine, MemoryGroup, Scene,
    arguments::{self, Address},
    scene::NOT_JOINED,
};
use crate::{
    cgroup,
    event::{Outcome, Syscall},
    follow::Earlier,
};

/// How long a file system may take to answer all questions about a call's paths.
const PATIENCE: Duration = Duration::from_millis(200);
/// What is read of a file of /proc or of a cgroup at most.
const MAX_TEXT: u64 = 4 << 20;

/// What is kept of a container from its application's first moment on, for its processes may be gone at once.
#[derive(Debug)]
pub struct Home {
    /// Its first process, on the host.
    pid: u32,
    root: Option<Arc<OwnedFd>>,
    /// Inodes of its mount and PID namespaces: a process that has one of them is its own.
    namespaces: Option<(u64, u64)>,
    /// Its mount and network namespaces themselves, which outlast its processes as long as these are held.
    spaces: Option<stand_in::Spaces>,
    uids: Option<Vec<IdMap>>,
    gids: Option<Vec<IdMap>>,
    mounts: Arc<Vec<mounts::Line>>,
    groups: Vec<cgroup::Member>,
    /// RLIMIT_STACK of its first process, once the application had begun.
    stack: Option<u64>,
    /// Why parts are missing.
    gone: Vec<String>,
    /// A file system did not answer: it is not asked again.
    silent: AtomicBool,
}

impl Home {
    /// Of the container whose first process has that process id on the host, and runs its application. What cannot be
    /// had is left out, and each [`look`] tells why.
    #[cfg(test)]
    fn of(pid: u32) -> Self {
        let mut home = Self::early(pid);
        home.begin();
        home
    }

    /// The same before the application has begun: the root is still the container runtime's.
    pub fn early(pid: u32) -> Self {
        let mut gone = Vec::new();
        let mut text = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            read(&path)
                .map_err(|error| gone.push(format!("read {path}: {error}")))
                .ok()
        };
        let uids = text("uid_map").map(|text| id_map(&text));
        let gids = text("gid_map").map(|text| id_map(&text));
        let groups = text("cgroup")
            .map(|text| cgroup::parse(&text))
            .unwrap_or_default();
        Self {
            pid,
            root: None,
            namespaces: namespaces(pid),
            spaces: stand_in::Spaces::of(pid),
            uids,
            gids,
            mounts: Arc::default(),
            groups,
            stack: None,
            gone,
            silent: AtomicBool::new(false),
        }
    }

    /// The application has begun: takes what is its own from then on.
    pub fn begin(&mut self) {
        let pid = self.pid;
        if self.root.is_some() || self.namespaces.is_none() || namespaces(pid) != self.namespaces {
            return;
        }
        self.root = open_root(pid).ok().map(Arc::new);
        self.stack = amounts::stack(pid);
        // Only now is it where the container runtime wants it.
        if let Ok(text) = read(&format!("/proc/{pid}/cgroup")) {
            self.groups = cgroup::parse(&text);
        }
        if let Ok(text) = read(&format!("/proc/{pid}/mountinfo")) {
            self.mounts = Arc::new(mounts::parse(&text));
        }
    }

    /// Its memory cgroup and those above it, as far as they can be read now; and the paths of all of them.
    pub(super) fn memory(&self) -> (Vec<MemoryGroup>, Vec<String>) {
        let groups = groups::memory(&self.groups).unwrap_or_default();
        (groups, groups::memory_paths(&self.groups))
    }

    /// The host's number of the call's task, while it lives and is this container's.
    fn task(&self, call: &Syscall) -> Option<u32> {
        let tid = call.task.host_tid;
        let (mnt, pid) = self.namespaces?;
        let its = namespaces(tid)?;
        (its.0 == mnt || its.1 == pid).then_some(tid)
    }
}

/// The surroundings of a failed call, as far as they can have to do with how it failed. Takes some milliseconds; never
/// fails, never waits longer than a fraction of a second.
pub fn look(call: &Syscall, earlier: Earlier, home: &Home) -> Scene {
    let mut scene = Scene {
        earlier,
        uids: home.uids.clone(),
        gids: home.gids.clone(),
        gone: home.gone.clone(),
        machine: machine(),
        ..Scene::default()
    };
    let Outcome::Error(errno) = call.outcome else {
        return scene;
    };
    let errno = i32::from(errno);
    let name = call.name.as_ref();
    let task = home.task(call);
    let first = || Some(home.pid).filter(|pid| namespaces(*pid) == home.namespaces);
    let witness = Witness {
        process: task.or_else(first),
        home,
        stand_in: OnceCell::new(),
    };
    if task.is_none() {
        scene.gone.push(
            "the process had ended before it could be looked at: what it did not share is not known"
                .to_owned(),
        );
    }
    let pid = task.unwrap_or(home.pid);
    scene.groups = supplementary(pid);
    if matches!(errno, libc::EACCES | libc::EPERM) {
        scene.label = label(pid);
        scene.lsms = read("/sys/kernel/security/lsm")
            .ok()
            .map(|text| text_of(&text).trim().split(',').map(str::to_owned).collect());
    }
    paths(call, home, task, &witness, &mut scene);
    let members = task.and_then(members);
    let members = members.unwrap_or_else(|| home.groups.clone());
    groups::look(call, errno, &members, &mut scene);
    if task.is_none() && groups::concerns(name, errno) {
        scene
            .gone
            .push("a cgroup that was removed with its container has no limits to read".to_owned());
    }
    scene.sysctls = sysctls::of(name, errno);
    scene.open_files = task
        .filter(|_| errno == libc::EMFILE)
        .and_then(amounts::open_files);
    scene.mappings = task.filter(|_| errno == libc::ENOMEM).and_then(amounts::mappings);
    if errno == libc::E2BIG {
        scene.stack = task.and_then(amounts::stack).or(home.stack);
    }
    if network::concerns(name, errno) {
        scene.network = witness.sees(|pid| network::look(call, pid));
    }
    if witness.was_refused() {
        scene.gone.push(NOT_JOINED.to_owned());
    }
    scene
}

/// What a task may do in its network, of a call that did not fail and so has no evidence.
pub(super) fn rights(call: &Syscall, home: &Home, scene: &mut Scene) {
    let task = home.task(call);
    let first = Some(home.pid).filter(|pid| namespaces(*pid) == home.namespaces);
    scene.effective = task.and_then(capabilities).map(|(effective, _)| effective);
    let held = task.or(first).and_then(capabilities);
    scene.bounding = held.map(|(_, bounding)| bounding);
    let witness = Witness {
        process: task.or(first),
        home,
        stand_in: OnceCell::new(),
    };
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let its = witness.sees(|pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok());
    scene.host_network = own.zip(its).map(|(own, its)| own == its);
}

/// Whoever sees what the task saw: itself, else its container's first process, else a thread of our own, which is none
/// of the container's and sees its files and network.
struct Witness<'a> {
    process: Option<u32>,
    home: &'a Home,
    stand_in: OnceCell<io::Result<stand_in::StandIn>>,
}

impl Witness<'_> {
    /// What can be seen through /proc by the witness's number. A process may end at any moment: then the thread is asked.
    fn sees<T>(&self, look: impl Fn(u32) -> Option<T>) -> Option<T> {
        self.process.and_then(&look).or_else(|| {
            let spaces = self.home.spaces.as_ref()?;
            let start = || stand_in::StandIn::start(spaces);
            look(self.stand_in.get_or_init(start).as_ref().ok()?.tid)
        })
    }

    /// Whether it lacked the right to stand in for a process that had ended.
    fn was_refused(&self) -> bool {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        matches!(self.stand_in.get(), Some(Err(error)) if refused(error))
    }
}

/// Where a task's paths begin.
struct Place {
    root: Arc<OwnedFd>,
    /// The path of that directory in its mount namespace, which /proc's links of the task begin with.
    root_path: Vec<u8>,
    mounts: Arc<Vec<mounts::Line>>,
    /// The task's number in the container: what `/proc/self` means.
    own: u32,
}

/// What the walk to the process's own program is called by.
const PROGRAM: &str = "the program";

/// The file that it executes, where it may matter what rights that gave it.
fn own_program(call: &Syscall, earlier: &Earlier) -> Option<arguments::Given> {
    let wants_rights = matches!(call.outcome, Outcome::Error(errno) if [libc::EPERM, libc::EACCES].contains(&i32::from(errno)));
    let path = earlier.program.as_ref().filter(|_| wants_rights)?;
    Some(arguments::Given {
        arg: PROGRAM,
        path: path.to_vec(),
        from: None,
        follow: true,
    })
}

fn paths(call: &Syscall, home: &Home, task: Option<u32>, witness: &Witness<'_>, scene: &mut Scene) {
    let mut given = arguments::paths(call);
    if given.is_empty() {
        given.extend(by_descriptor(call, &scene.earlier, task));
    }
    given.extend(own_program(call, &scene.earlier));
    if given.is_empty() {
        return;
    }
    if home.silent.load(Relaxed) {
        scene
            .gone
            .push("paths: a file system of the container does not answer".to_owned());
        return;
    }
    let own_root = witness.sees(|tid| {
        let mounts = read(&format!("/proc/{tid}/mountinfo")).ok()?;
        Some((open_root(tid).ok()?, link(tid, "root")?, mounts::parse(&mounts)))
    });
    let place = match own_root {
        Some((root, root_path, mounts)) => Place {
            root: Arc::new(root),
            root_path,
            mounts: Arc::new(mounts),
            own: call.task.pid,
        },
        None => match &home.root {
            Some(root) => Place {
                root: Arc::clone(root),
                root_path: b"/".to_vec(),
                mounts: Arc::clone(&home.mounts),
                own: call.task.pid,
            },
            None => {
                scene
                    .gone
                    .push("paths: the container's root was gone before it could be opened".to_owned());
                return;
            }
        },
    };
    let mut wanted = Vec::new();
    for given in given {
        let base = if given.path.starts_with(b"/") {
            Some(Vec::new())
        } else {
            base(call, &given, &scene.earlier, task, &place.root_path)
        };
        match base {
            Some(base) => wanted.push((base, given)),
            None => scene.gone.push(format!(
                "{}: it is relative, and the directory that it begins at is not known any more",
                given.arg
            )),
        }
    }
    let execute = matches!(call.name.as_ref(), "execve" | "execveat");
    let (tell, told) = mpsc::channel();
    // A file system's server may be a process of the container. One that does not answer costs this thread, once.
    let started = thread::Builder::new().name("look".into()).spawn(move || {
        let found: Vec<_> = wanted
            .iter()
            .map(|(base, given)| walk::walk(&place, base, given, execute || given.arg == PROGRAM))
            .collect();
        // Nobody listens any more when it took too long.
        drop(tell.send(found));
    });
    match started.map(|_| told.recv_timeout(PATIENCE)) {
        Ok(Ok(found)) => {
            for (path, gone) in found {
                if path.arg == PROGRAM {
                    scene.program = Some(path);
                } else {
                    scene.paths.push(path);
                    scene.gone.extend(gone);
                }
            }
        }
        Ok(Err(_)) => {
            home.silent.store(true, Relaxed);
            scene
                .gone
                .push("paths: a file system of the container does not answer".to_owned());
        }
        Err(error) => scene.gone.push(format!("paths: start a thread: {error}")),
    }
}

/// What a descriptor stands for, where the call has no path.
fn by_descriptor(call: &Syscall, earlier: &Earlier, task: Option<u32>) -> Option<arguments::Given> {
    let arg = call
        .args
        .list
        .iter()
        .find(|arg| matches!(arg.name, "fd" | "out_fd" | "fd_out"))?;
    let fd = arg.raw as u32 as i32;
    let path = match call.args.file_of(arg) {
        Some(file) if !file.cut && !file.deleted => file.path.clone(),
        Some(_) => return None,
        None => task
            .and_then(|task| link(task, &format!("fd/{fd}")))
            .or_else(|| followed(earlier, Some(fd)))?,
    };
    path.starts_with(b"/").then_some(arguments::Given {
        arg: arg.name,
        path,
        from: None,
        follow: false,
    })
}

/// What its calls told of a descriptor, or of the working directory.
fn followed(earlier: &Earlier, fd: Option<i32>) -> Option<Vec<u8>> {
    let (_, path) = earlier.directories.iter().find(|(from, _)| *from == fd)?;
    arguments::unquote(&format!("\"{path}\""))
}

/// The directory that a relative path begins at, as a path in the container.
fn base(
    call: &Syscall,
    given: &arguments::Given,
    earlier: &Earlier,
    task: Option<u32>,
    root: &[u8],
) -> Option<Vec<u8>> {
    // As it was at the call; what /proc has may be of a moment later.
    if let Some(path) = followed(earlier, given.from) {
        return Some(path);
    }
    let file = match given.from {
        None => "cwd".to_owned(),
        Some(fd) => {
            let names = ["dfd", "olddfd", "newdfd", "from_dfd", "to_dfd", "fd"];
            let known = call.args.list.iter().find_map(|arg| {
                let is = names.contains(&arg.name) && arg.raw as u32 as i32 == fd;
                is.then(|| call.args.file_of(arg)).flatten()
            });
            if let Some(file) = known.filter(|file| !file.cut && file.path.starts_with(b"/")) {
                return Some(file.path.clone());
            }
            format!("fd/{fd}")
        }
    };
    let path = link(task?, &file)?;
    let below = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    (below.is_empty() || below.starts_with(b"/")).then(|| below.to_vec())
}

fn machine() -> Machine {
    Machine {
        elf_machine: if cfg!(target_arch = "aarch64") {
            program::EM_AARCH64
        } else {
            program::EM_X86_64
        },
        page_size: rustix::param::page_size() as u64,
        memory: amounts::memory(),
    }
}

/// The label that a security module keeps of a task.
fn label(pid: u32) -> Option<String> {
    let text = read(&format!("/proc/{pid}/attr/current")).ok()?;
    let text = text_of(&text);
    let text = text.trim_end_matches(['\0', '\n']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The cgroups of a task that does not end. One that does is shown in the root of each hierarchy of version 1
/// (`proc_cgroup_show`, kernel/cgroup/cgroup.c), and once it has lost its namespaces in that of version 2 too: whether it
/// ends is asked after they were read.
fn members(tid: u32) -> Option<Vec<cgroup::Member>> {
    let text = read(&format!("/proc/{tid}/cgroup")).ok()?;
    let stat = read(&format!("/proc/{tid}/stat")).ok()?;
    (!ends(&text_of(&stat))?).then(|| cgroup::parse(&text))
}

/// Whether a task is on its way out, by its line of `/proc/TID/stat` (proc_pid_stat(5)).
fn ends(stat: &str) -> Option<bool> {
    /// include/linux/sched.h: set before a task gives back the first of what it has.
    const PF_EXITING: u32 = 4;
    // Its name is in parentheses and may hold any character; the flags are the seventh field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let flags: u32 = fields.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & PF_EXITING != 0)
}

fn supplementary(pid: u32) -> Option<Vec<u32>> {
    let text = read(&format!("/proc/{pid}/status")).ok()?;
    let text = text_of(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    Some(line.split_whitespace().filter_map(|id| id.parse().ok()).collect())
}

/// The effective and the bounding set of a task (proc_pid_status(5)).
fn capabilities(pid: u32) -> Option<(u64, u64)> {
    let text = read(&format!("/proc/{pid}/status")).ok()?;
    let text = text_of(&text);
    let set = |name: &str| {
        let hex = text.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(hex.trim(), 16).ok()
    };
    Some((set("CapEff:")?, set("CapBnd:")?))
}

/// Lines of a uid_map: three numbers each (user_namespaces(7)).
fn id_map(text: &[u8]) -> Vec<IdMap> {
    text_of(text)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some(IdMap {
                inside: numbers.next()??,
                outside: numbers.next()??,
                count: numbers.next()??,
            })
        })
        .collect()
}

fn namespaces(pid: u32) -> Option<(u64, u64)> {
    let inode = |kind: &str| Some(std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?.ino());
    Some((inode("mnt")?, inode("pid")?))
}

fn open_root(pid: u32) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())
}

/// Where one of /proc's links of a task leads, as a path in its mount namespace.
fn link(tid: u32, file: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let target: PathBuf = std::fs::read_link(format!("/proc/{tid}/{file}")).ok()?;
    let target = target.into_os_string().into_vec();
    (target.starts_with(b"/") && !target.ends_with(b" (deleted)")).then_some(target)
}

/// A file of /proc, /sys or a cgroup: the kernel's own.
fn read(path: &str) -> std::io::Result<Vec<u8>> {
    // Most fit: else it is read in small pieces first.
    let mut bytes = Vec::with_capacity(1024);
    File::open(path)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text_of(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::rules::testing::failed;

    fn own() -> u32 {
        std::process::id()
    }

    /// A failed call of this very process.
    fn call(name: &'static str, errno: i32, args: &[(&'static str, u64, &str)]) -> Syscall {
        let mut call = failed(name, errno, args);
        call.task.host_pid = own();
        call.task.host_tid = own();
        call.task.pid = own();
        call
    }

    #[test]
    fn a_task_that_ends_is_told_by_its_flags() {
        let stat = |flags: u32| format!("9 (a) b) S 1 9 9 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 55 0 0");
        assert_eq!(ends(&stat(0x0040_0100)), Some(false));
        assert_eq!(ends(&stat(0x0040_0104)), Some(true));
        assert_eq!(ends("9 (a) S"), None);
        let own = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        assert!(members(own).is_some());
    }

    #[test]
    fn a_task_that_has_ended_is_in_no_group() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while !read(&format!("/proc/{pid}/stat")).is_ok_and(|stat| ends(&text_of(&stat)) == Some(true)) {
            std::thread::yield_now();
        }
        // Not waited for yet, it is shown in the root of version 1.
        assert!(read(&format!("/proc/{pid}/cgroup")).is_ok());
        assert_eq!(members(pid), None);
        child.wait().unwrap();
    }

    #[test]
    fn a_relative_path_begins_where_the_process_is() {
        let args = [
            ("dfd", 0xffff_ff9c, "AT_FDCWD"),
            ("filename", 1, "\"no-such-file\""),
        ];
        let scene = look(
            &call("openat", libc::ENOENT, &args),
            Earlier::default(),
            &Home::of(own()),
        );
        assert_eq!(scene.gone, Vec::<String>::new());
        let [path] = scene.paths.try_into().unwrap();
        assert_eq!(
            (path.missing.as_deref(), path.left),
            (Some(&b"no-such-file"[..]), 0)
        );
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            path.steps.last().unwrap().path,
            here.as_os_str().as_encoded_bytes()
        );
        assert!(path.mount.is_some());
        assert!(scene.uids.is_some_and(|map| !map.is_empty()) && scene.groups.is_some());
    }

    #[test]
    fn a_descriptor_leads_to_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(file.as_file()) as u64;
        let scene = look(
            &call("write", libc::ENOSPC, &[("fd", fd, "x")]),
            Earlier::default(),
            &Home::of(own()),
        );
        let [path] = scene.paths.try_into().unwrap();
        assert_eq!(path.given, file.path().as_os_str().as_encoded_bytes());
        assert!(!path.is_named() && path.file_system.is_some());
    }

    #[test]
    fn what_proc_calls_self_is_the_task() {
        let args = [("filename", 1, "\"/proc/self/status\"")];
        let scene = look(
            &call("open", libc::EACCES, &args),
            Earlier::default(),
            &Home::of(own()),
        );
        let [path] = scene.paths.try_into().unwrap();
        let status = format!("/proc/{}/status", own());
        assert_eq!(path.steps.last().unwrap().path, status.as_bytes());
    }

    #[test]
    fn counts_and_sysctls_are_those_that_the_failure_wants() {
        let home = Home::of(own());
        let scene = look(&call("socket", libc::EMFILE, &[]), Earlier::default(), &home);
        assert!(scene.open_files.is_some_and(|open| open >= 3) && scene.mappings.is_none());
        let scene = look(&call("mmap", libc::ENOMEM, &[]), Earlier::default(), &home);
        assert!(scene.mappings.is_some_and(|mappings| mappings > 3));
        assert!(scene.sysctls.contains_key("vm.max_map_count"));
        assert!(scene.machine.memory > 0 && scene.paths.is_empty() && scene.stack.is_none());
        let scene = look(&call("execve", libc::E2BIG, &[]), Earlier::default(), &home);
        assert!(scene.stack.is_some_and(|stack| stack >= 1 << 16));
    }

    #[test]
    fn of_a_process_that_is_gone_it_says_so() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let mut call = call("openat", libc::ENOENT, &[("filename", 1, "\"/x\"")]);
        call.task.host_tid = pid;
        let scene = look(&call, Earlier::default(), &Home::of(pid));
        assert!(scene.paths.is_empty() && scene.uids.is_none());
        assert!(scene.gone.len() > 2, "{:?}", scene.gone);
    }

    #[test]
    fn a_thread_of_another_container_is_not_looked_at() {
        let mut home = Home::of(own());
        home.namespaces = Some((1, 1));
        let args = [("filename", 1, "\"no-such-file\"")];
        let scene = look(&call("open", libc::ENOENT, &args), Earlier::default(), &home);
        assert!(scene.paths.is_empty(), "its working directory is not known");
        assert!(scene.gone.iter().any(|why| why.contains("had ended")));
    }

    #[test]
    fn id_maps() {
        let map = id_map(b"         0       1000          1\n         1     100000      65536\n");
        assert_eq!((map.len(), map[1].outside, map[1].count), (2, 100_000, 65536));
    }
}
