//! Walks a path as the process would, one name at a time from its root, and never out of it: each step is opened by
//! itself with O_PATH and O_NOFOLLOW, which neither waits for the other end of a FIFO nor wakes a device, and links are
//! followed here.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Statx, StatxAttributes, StatxFlags, fstatfs, openat, readlinkat, statx},
    io::Errno,
};

use super::{Place, mounts, program};
use crate::explain::{Acl, Component, Filesystem, Kind, Mount, Path, Program, arguments::Given};

/// As many links as the kernel follows (MAXSYMLINKS of include/linux/namei.h).
const MAX_LINKS: u32 = 40;
/// Names of a path that are walked, links' targets included: PATH_MAX holds no more, and links multiply.
const MAX_STEPS: usize = 4096;
/// Names of a directory that are compared with one that is not there.
const MAX_NAMES: usize = 4096;
/// Names that are shown.
const MAX_NEAR: usize = 3;
/// A directory's root in procfs.
const PROC_ROOT_INO: u64 = 1;

/// Directories for programs and libraries (hier(7), ld.so(8)).
const USUAL: &[&[u8]] = &[
    b"/usr/local/sbin",
    b"/usr/local/bin",
    b"/usr/sbin",
    b"/usr/bin",
    b"/sbin",
    b"/bin",
    b"/usr/local/lib",
    b"/usr/lib",
    b"/lib",
    b"/lib64",
    b"/usr/lib64",
    b"/usr/lib/x86_64-linux-gnu",
    b"/usr/lib/aarch64-linux-gnu",
    b"/etc",
];

/// What is at the path, and why parts of the answer are missing.
pub(super) fn walk(place: &Place, base: &[u8], given: &Given, execute: bool) -> (Path, Vec<String>) {
    let mut whole = base.to_vec();
    whole.push(b'/');
    whole.extend_from_slice(&given.path);
    let mut walk = Walk::of(place);
    walk.go(&whole, given.follow);
    let mut path = std::mem::take(&mut walk.path);
    path.arg = given.arg;
    path.given = given.path.clone();
    if let Some(line) = mounts::of(&place.mounts, walk.mount, &walk.here()) {
        path.mount = Some(Mount { ..line.mount.clone() });
        path.masked = mounts::masks(line);
    }
    path.file_system = file_system(walk.fd());
    path.ended_in = walk.here();
    if let Some(missing) = &path.missing {
        path.near = near(walk.fd(), missing);
        if path.left == 0 {
            path.elsewhere = elsewhere(place, missing, &walk.here());
        }
    }
    let is_file = path.missing.is_none()
        && path.left == 0
        && path.steps.last().is_some_and(|step| step.kind == Kind::File);
    if execute && is_file {
        path.program = program::of(walk.fd(), &|file| exists(place, file));
        let lost = path.program.as_ref().and_then(Program::lost);
        path.lost = lost.map(|file| Box::new(way_to(place, file)));
        path.file_capabilities = file_capabilities(walk.fd());
    }
    (path, walk.gone)
}

/// Whether there is a file at an absolute path.
fn exists(place: &Place, file: &[u8]) -> bool {
    let mut walk = Walk::of(place);
    walk.go(file, true);
    walk.path.missing.is_none() && walk.path.left == 0 && walk.gone.is_empty()
}

/// How far an absolute path leads.
fn way_to(place: &Place, file: &[u8]) -> Path {
    let mut walk = Walk::of(place);
    walk.go(file, true);
    Path {
        given: file.to_vec(),
        ended_in: walk.here(),
        ..walk.path
    }
}

struct Walk<'a> {
    place: &'a Place,
    /// The directories from the root down to here, each with its name.
    stack: Vec<(Arc<OwnedFd>, Vec<u8>)>,
    /// The number of the mount that the last step is on.
    mount: Option<u64>,
    path: Path,
    gone: Vec<String>,
}

impl<'a> Walk<'a> {
    fn of(place: &'a Place) -> Self {
        Self {
            place,
            stack: Vec::new(),
            mount: None,
            path: Path::default(),
            gone: Vec::new(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.stack
            .last()
            .map_or(self.place.root.as_fd(), |(fd, _)| fd.as_fd())
    }

    /// The path of the last step.
    fn here(&self) -> Vec<u8> {
        let mut path = Vec::new();
        for (_, name) in &self.stack {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    fn go(&mut self, whole: &[u8], follow: bool) {
        let mut names = split(whole);
        // A slash at the end follows a link, and wants a directory.
        let follow = follow || whole.ends_with(b"/");
        let mut links = 0;
        self.step_at_root();
        for _ in 0..MAX_STEPS {
            let Some(name) = names.pop_front() else {
                return;
            };
            match &*name {
                b"." => continue,
                b".." => {
                    self.stack.pop();
                    continue;
                }
                _ => {}
            }
            let name = self.own(name);
            let opened = openat(
                self.fd(),
                &*name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            );
            let fd = match opened {
                Ok(fd) => Arc::new(fd),
                Err(error) => {
                    self.path.left = names.len();
                    match error {
                        Errno::NOENT => self.path.missing = Some(name),
                        // The step before is no directory.
                        Errno::NOTDIR => self.path.left += 1,
                        error => {
                            self.path.left += 1;
                            self.gone.push(format!("paths: open a step: {error}"));
                        }
                    }
                    return;
                }
            };
            let Ok(stat) = look_at(fd.as_fd()) else {
                self.path.left = names.len() + 1;
                self.gone.push("paths: statx of a step failed".to_owned());
                return;
            };
            let kind = kind(u32::from(stat.stx_mode));
            self.stack.push((fd, name));
            self.note(&stat, kind);
            if kind != Kind::Link || (names.is_empty() && !follow) {
                continue;
            }
            let target = match readlinkat(self.fd(), c"", Vec::new()) {
                Ok(target) => target.into_bytes(),
                Err(error) => {
                    self.path.left = names.len() + 1;
                    self.gone.push(format!("paths: read a link: {error}"));
                    return;
                }
            };
            if let Some(step) = self.path.steps.last_mut() {
                step.target = Some(target.clone());
            }
            if self.is_magic() {
                self.path.left = names.len() + 1;
                self.gone
                    .push("paths: a link of /proc leads to an object, not to a path".to_owned());
                return;
            }
            links += 1;
            if links > MAX_LINKS {
                self.path.ring = true;
                self.path.left = names.len() + 1;
                return;
            }
            self.stack.pop();
            if target.starts_with(b"/") {
                self.stack.clear();
            }
            for name in split(&target).into_iter().rev() {
                names.push_front(name);
            }
        }
        self.path.left = names.len();
        self.gone.push("paths: one has too many steps".to_owned());
    }

    fn step_at_root(&mut self) {
        if let Ok(stat) = look_at(self.place.root.as_fd()) {
            self.note(&stat, Kind::Directory);
        }
    }

    fn note(&mut self, stat: &Statx, kind: Kind) {
        if stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
            self.mount = Some(stat.stx_mnt_id);
        }
        let hard = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        self.path.steps.push(Component {
            path: self.here(),
            target: None,
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            acl: (kind != Kind::Link).then(|| acl(self.fd())).flatten(),
            immutable: stat.stx_attributes.intersects(hard),
        });
    }

    /// In procfs, `self` is who asks: the task, not this process.
    fn own(&self, name: Vec<u8>) -> Vec<u8> {
        if !self.is_proc_root() {
            return name;
        }
        match &*name {
            b"self" | b"thread-self" => self.place.own.to_string().into_bytes(),
            _ => name,
        }
    }

    fn on_proc(&self) -> bool {
        mounts::of(&self.place.mounts, self.mount, &self.here()).is_some_and(|line| line.mount.kind == "proc")
    }

    fn is_proc_root(&self) -> bool {
        self.on_proc() && look_at(self.fd()).is_ok_and(|stat| stat.stx_ino == PROC_ROOT_INO)
    }

    /// A link below `/proc/PID`: its text is for people, the kernel goes to the object itself.
    fn is_magic(&self) -> bool {
        let below_pid = self
            .stack
            .iter()
            .rev()
            .skip(1)
            .any(|(_, name)| !name.is_empty() && name.iter().all(u8::is_ascii_digit));
        below_pid && self.on_proc()
    }
}

fn split(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// What is known without asking a file server again.
fn look_at(fd: BorrowedFd<'_>) -> rustix::io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    statx(fd, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

fn kind(mode: u32) -> Kind {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFLNK => Kind::Link,
        libc::S_IFCHR => Kind::Character,
        libc::S_IFBLK => Kind::Block,
        libc::S_IFIFO => Kind::Fifo,
        libc::S_IFSOCK => Kind::Socket,
        _ => Kind::File,
    }
}

/// This process's name of a descriptor, which leads to the object itself, whatever its path is by now.
pub(super) fn by_number(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Longest ACL that is read; what a file system takes is about as long (XATTR_SIZE_MAX is 64 KiB).
const MAX_ACL: usize = 8192;

/// Ids in it are those of this process's user namespace, the initial one.
fn acl(fd: BorrowedFd<'_>) -> Option<Acl> {
    let mut bytes = [0; MAX_ACL];
    let read = rustix::fs::getxattr(by_number(fd), c"system.posix_acl_access", &mut bytes[..]);
    match read {
        Ok(0) => None,
        Ok(size) => Some(bytes.get(..size).and_then(Acl::read).unwrap_or_default()),
        // There is one, and it is too long (getxattr(2)).
        Err(Errno::RANGE) => Some(Acl::default()),
        Err(_none) => None,
    }
}

/// `struct vfs_cap_data` of include/uapi/linux/capability.h, versions 2 and 3: a word of magic and flags, then permitted
/// and inheritable, low words first. Only with the effective bit does execve(2) fail for want of one.
fn file_capabilities(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut data = [0; 24];
    let size = rustix::fs::getxattr(by_number(fd), c"security.capability", &mut data[..]).ok()?;
    let word = |at: usize| {
        let bytes = data.get(..size)?.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let magic = word(0)?;
    let is_effective = magic & 1 != 0;
    let versions = [0x0200_0000, 0x0300_0000];
    (is_effective && versions.contains(&(magic & 0xff00_0000)))
        .then(|| Some(u64::from(word(4)?) | u64::from(word(12)?) << 32))?
}

fn file_system(fd: BorrowedFd<'_>) -> Option<Filesystem> {
    let stat = fstatfs(fd).ok()?;
    let block = u64::try_from(stat.f_bsize).ok()?;
    Some(Filesystem {
        bytes: stat.f_blocks.saturating_mul(block),
        free_bytes: stat.f_bavail.saturating_mul(block),
        free_inodes: stat.f_ffree,
        inodes: stat.f_files,
    })
}

/// Names in that directory that may have been meant.
fn near(directory: BorrowedFd<'_>, missing: &[u8]) -> Vec<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(opened) = openat(directory, c".", flags, Mode::empty()) else {
        return Vec::new();
    };
    let Ok(names) = rustix::fs::Dir::new(opened) else {
        return Vec::new();
    };
    let mut found: Vec<(usize, Vec<u8>)> = names
        .take(MAX_NAMES)
        .map_while(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().to_bytes().to_vec();
            Some((likeness(missing, &name)?, name))
        })
        .collect();
    found.sort();
    found.truncate(MAX_NEAR);
    found.into_iter().map(|(_, name)| name).collect()
}

/// How far a name is from the wanted one; `None` where it is no candidate.
fn likeness(wanted: &[u8], name: &[u8]) -> Option<usize> {
    if name == b"." || name == b".." || name.len() > 255 || wanted.len() > 255 {
        return None;
    }
    if wanted.eq_ignore_ascii_case(name) {
        return Some(0);
    }
    // `python` for `python3`, `libx.so` for `libx.so.1`.
    let shorter = wanted.len().min(name.len());
    if shorter >= 3 && (name.starts_with(wanted) || wanted.starts_with(name)) {
        return Some(1);
    }
    let bound = (wanted.len() / 3).min(2);
    let distance = distance(wanted, name);
    (distance <= bound).then_some(distance)
}

/// Edits that make one name of the other: insertions, deletions, replacements, and two neighbours that change places.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows = [
        vec![0; b.len() + 1],
        (0..=b.len()).collect(),
        vec![0; b.len() + 1],
    ];
    for (i, from) in a.iter().enumerate() {
        let [before, last, row] = &mut rows;
        let mut left = i + 1;
        row.clear();
        row.push(left);
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (left + 1)
                .min(at(last, j + 1) + 1)
                .min(at(last, j) + usize::from(from != to));
            if i > 0 && j > 0 && b.get(j - 1) == Some(from) && a.get(i - 1) == Some(to) {
                best = best.min(at(before, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        rows.rotate_left(1);
    }
    let [_, last, _] = &rows;
    last.last().copied().unwrap_or(a.len())
}

fn elsewhere(place: &Place, missing: &[u8], directory: &[u8]) -> Vec<Vec<u8>> {
    if missing.len() > 255 {
        return Vec::new();
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    for usual in USUAL {
        if *usual == directory {
            continue;
        }
        let mut file = usual.to_vec();
        file.push(b'/');
        file.extend_from_slice(missing);
        if found.len() < MAX_NEAR && exists(place, &file) {
            found.push(file);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::explain::Program;

    /// A container's root in a directory of the test's own.
    fn root() -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
        let place = Place {
            root: Arc::new(root),
            root_path: b"/".to_vec(),
            mounts: Arc::new(mounts::parse(&fs::read("/proc/self/mountinfo").unwrap())),
            own: 1,
        };
        (directory, place)
    }

    fn look(place: &Place, path: &str, follow: bool) -> Path {
        let given = Given {
            arg: "filename",
            path: path.into(),
            from: None,
            follow,
        };
        let (path, gone) = walk(place, b"", &given, true);
        assert_eq!(gone, Vec::<String>::new());
        path
    }

    fn steps(path: &Path) -> Vec<(&str, Kind)> {
        path.steps
            .iter()
            .map(|step| (std::str::from_utf8(&step.path).unwrap(), step.kind))
            .collect()
    }

    #[test]
    fn links_are_followed_and_never_out_of_the_root() {
        let (directory, place) = root();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "x").unwrap();
        symlink("/a/b", at("link")).unwrap();
        symlink("../../../../../../a", at("up")).unwrap();
        symlink("/etc/passwd", at("out")).unwrap();
        assert_eq!(
            steps(&look(&place, "/link/file", true)),
            [
                ("/", Kind::Directory),
                ("/link", Kind::Link),
                ("/a", Kind::Directory),
                ("/a/b", Kind::Directory),
                ("/a/b/file", Kind::File)
            ]
        );
        let up = look(&place, "/up/b/../b/./file", true);
        assert_eq!(steps(&up).last(), Some(&("/a/b/file", Kind::File)));
        let out = look(&place, "/out", true);
        assert_eq!((out.missing.as_deref(), out.left), (Some(&b"etc"[..]), 1));
        assert_eq!(
            steps(&look(&place, "/out", false)).last(),
            Some(&("/out", Kind::Link))
        );
    }

    #[test]
    fn a_ring_of_links_ends() {
        let (directory, place) = root();
        symlink("ring", directory.path().join("ring")).unwrap();
        assert!(look(&place, "/ring", true).ring);
    }

    #[test]
    fn what_is_missing_has_its_place_and_neighbours() {
        let (directory, place) = root();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("usr/bin")).unwrap();
        fs::create_dir_all(at("opt")).unwrap();
        fs::write(at("usr/bin/python3"), "#!/none").unwrap();
        fs::write(at("opt/Config"), "").unwrap();
        fs::write(at("opt/file"), "").unwrap();
        let missing = look(&place, "/usr/bin/python", true);
        assert_eq!(missing.missing.as_deref(), Some(&b"python"[..]));
        assert_eq!(missing.near, [b"python3"]);
        assert_eq!(look(&place, "/opt/config", true).near, [b"Config"]);
        assert_eq!(look(&place, "/opt/flie", true).near, [b"file"]);
        assert_eq!(
            look(&place, "/opt/python3", true).elsewhere,
            [b"/usr/bin/python3"]
        );
        let below_file = look(&place, "/opt/file/x", true);
        assert_eq!((below_file.missing, below_file.left), (None, 1));
        symlink("/opt/gone", at("opt/dangling")).unwrap();
        assert_eq!(look(&place, "/opt/dangling", true).ended_in, b"/opt");
        let deep = look(&place, "/none/of/it", true);
        assert_eq!(deep.ended_in, b"/");
        assert_eq!((deep.missing.as_deref(), deep.left), (Some(&b"none"[..]), 2));
    }

    #[test]
    fn modes_and_programs_are_told() {
        let (directory, place) = root();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("script"), "#!/usr/bin/none -x\r\nx").unwrap();
        fs::set_permissions(at("script"), fs::Permissions::from_mode(0o4750)).unwrap();
        let path = look(&place, "/script", true);
        assert_eq!(path.steps.last().unwrap().mode, 0o4750);
        assert!(path.mount.is_some() && path.file_system.is_some());
        assert_eq!(
            path.program,
            Some(Program::Script {
                interpreter: b"/usr/bin/none".to_vec(),
                there: false,
                carriage_return: false
            })
        );
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let (directory, place) = root();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        let path = look(&place, "/fifo", true);
        assert_eq!(path.steps.last().unwrap().kind, Kind::Fifo);
        assert_eq!(path.program, None);
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("file", "flie", 1),
            ("a", "", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
        assert_eq!(likeness(b"ab", b"cd"), None);
    }
}
