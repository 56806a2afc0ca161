//! Markers of containers that started untraced: one file each in `<runtime-dir>/missed`, which the daemon reports
//! when it comes back.
//!
//! The hook writes as root into a directory that only root can change, under a name made from the container's id,
//! and whole or not at all. What a marker says proves nothing; the daemon takes the identity afresh.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, fchmod, fstat, mkdirat, openat, renameat, unlinkat},
    process::geteuid,
};
use serde::{Deserialize, Serialize};

/// Version of the marker's form.
pub const VERSION: u32 = 1;

/// Markers that are kept; further containers get none, so that a daemon that never comes back fills no memory.
pub const MAX_MARKERS: usize = 1024;

/// Bytes of a marker that a reader accepts.
const MAX_MARKER: u64 = 128 * 1024;

/// A container that started untraced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// [`VERSION`].
    pub v: u32,
    /// The runtime's id.
    pub id: String,
    /// Path of the bundle.
    pub bundle: String,
    /// Why it is untraced, for people; one line, harmless to a terminal.
    pub reason: String,
    /// When: UTC as in RFC 3339, to the millisecond.
    pub time: String,
    /// What [`crate::annotations::useful`] left.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Init, as the hook's PID namespace numbers it.
    pub pid: i64,
    /// Start time of init in clock ticks since boot; absent, as the next two, when it could not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_start: Option<u64>,
    /// Inode of its PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_ns: Option<u64>,
    /// Inode of its mount namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mnt_ns: Option<u64>,
    /// What manages the container; only in the daemon's own notes, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Until when, and from when on again, the daemon was away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<(String, String)>,
}

/// The directory of the markers.
pub fn directory(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("missed")
}

/// Writes a marker, in place of an older one of the same id, and returns its path. The daemon believes root's only.
pub fn write(runtime_dir: &Path, marker: &Marker) -> io::Result<PathBuf> {
    let parent = private_dir(CWD, runtime_dir, Mode::from_raw_mode(0o755))?;
    let dir = private_dir(&parent, Path::new("missed"), Mode::from_raw_mode(0o700))?;
    if Dir::read_from(&dir)?.take(MAX_MARKERS + 2).count() >= MAX_MARKERS + 2 {
        return Err(io::Error::other(format!("there are {MAX_MARKERS} already")));
    }
    let name = file_name(&marker.id);
    let temporary = format!(".{name}");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, &temporary, flags, Mode::from_raw_mode(0o600))?;
    let written = serde_json::to_vec(marker)
        .map_err(io::Error::from)
        .and_then(|text| File::from(file).write_all(&text))
        .and_then(|()| Ok(renameat(&dir, &temporary, &dir, &name)?));
    if let Err(error) = written {
        unlinkat(&dir, &temporary, AtFlags::empty()).ok();
        return Err(error);
    }
    Ok(directory(runtime_dir).join(name))
}

/// Removes the marker of that id, if there is one.
pub fn remove(runtime_dir: &Path, id: &str) -> io::Result<()> {
    match std::fs::remove_file(directory(runtime_dir).join(file_name(id))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// All markers, by path; the reader removes those that it has reported. No directory is no marker.
pub fn read_all(runtime_dir: &Path) -> io::Result<Vec<(PathBuf, io::Result<Marker>)>> {
    let entries = match std::fs::read_dir(directory(runtime_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut markers = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue; // not whole yet
        }
        let path = entry.path();
        let read = || -> io::Result<Marker> {
            let mut text = Vec::new();
            File::open(&path)?.take(MAX_MARKER).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        let marker = read();
        markers.push((path, marker));
    }
    markers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(markers)
}

/// Opens a directory that nobody but this user can change, and makes it first where there is none. Another user's
/// directory, or one that others can write to, could hold anything under any name.
fn private_dir(at: impl AsFd, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let made = match mkdirat(&at, path, mode) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(errno) => return Err(told(errno.into())),
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(&at, path, flags, Mode::empty()).map_err(|errno| told(errno.into()))?;
    let stat = fstat(&dir)?;
    if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(told(io::Error::other(
            "others can change this directory; make it root's, mode 0755",
        )));
    }
    if made {
        fchmod(&dir, mode)?; // whatever the umask is
    }
    Ok(dir)
}

/// A file name for an id, one for each id: what is not `[A-Za-z0-9_-.]`, and a dot in front, is written `%XX`; a name
/// that would be too long ends in a hash of the id.
fn file_name(id: &str) -> String {
    const LONGEST: usize = 200;
    let mut name = String::new();
    for (at, byte) in id.bytes().enumerate() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > LONGEST {
        // FNV-1a, 64 bits.
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        name.truncate(LONGEST);
        name.push_str(&format!("%%{hash:016x}"));
    }
    name.push_str(".json");
    name
}

/// UTC as in RFC 3339, to the millisecond; a clock before 1970 is 1970.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date in the proleptic Gregorian calendar, in years that begin in March so that the leap day is last:
    // <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let date = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        time::Duration,
    };

    use proptest::prelude::*;

    use super::*;

    fn marker(id: &str) -> Marker {
        Marker {
            v: VERSION,
            id: id.into(),
            pid: 7,
            pid_ns: Some(4026531836),
            ..Marker::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = dir.path().join("tracer");
        assert!(read_all(&runtime_dir).unwrap().is_empty());
        for id in ["web", "../../etc/passwd", "web"] {
            let path = write(&runtime_dir, &marker(id)).unwrap();
            assert_eq!(path.parent(), Some(directory(&runtime_dir).as_path()));
        }
        std::fs::write(directory(&runtime_dir).join("torn.json"), "{\"v\":1").unwrap();
        std::fs::write(directory(&runtime_dir).join(".web.json"), "").unwrap();
        let mut read = read_all(&runtime_dir).unwrap().into_iter();
        let (path, odd) = read.next().unwrap();
        assert_eq!(path.file_name().unwrap(), "%2E.%2F..%2Fetc%2Fpasswd.json");
        assert_eq!(odd.unwrap(), marker("../../etc/passwd"));
        assert!(read.next().unwrap().1.is_err());
        assert_eq!(read.next().unwrap().1.unwrap(), marker("web"));
        assert!(read.next().is_none());
        for id in ["web", "web", "../../etc/passwd"] {
            remove(&runtime_dir, id).unwrap();
        }
        assert_eq!(read_all(&runtime_dir).unwrap().len(), 1, "the torn one");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&runtime_dir), mode(&directory(&runtime_dir))),
            (0o755, 0o700)
        );
    }

    #[test]
    fn nothing_is_written_where_others_can_write() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(write(dir.path(), &marker("web")).is_err());
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), directory(dir.path())).unwrap();
        assert!(write(dir.path(), &marker("web")).is_err());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn markers_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..MAX_MARKERS {
            write(dir.path(), &marker(&n.to_string())).unwrap();
        }
        assert!(
            write(dir.path(), &marker("one more"))
                .unwrap_err()
                .to_string()
                .contains("1024 already")
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn any_id_makes_a_plain_file_name(id in "\\PC{1,400}") {
            let name = file_name(&id);
            prop_assert!(name.len() <= 254 && !name.contains('/') && !name.starts_with('.'), "{}", name);
        }

        #[test]
        fn two_ids_make_two_names(a in "[./%a-c]{1,6}", b in "[./%a-c]{1,6}") {
            prop_assert_eq!(a == b, file_name(&a) == file_name(&b));
        }
    }
}
