//! What stands around the daemon, and the daemon itself.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::Need;
use crate::{cli, client, config, control::Request, report::Status};

const GROUP: &str = "tracer";

/// Descriptors: two or three a container, of which there can be 1022, one a subscriber.
const DESCRIPTORS: u64 = 4096;

/// The running daemon's, else those that one started from here would have.
pub(super) fn limits(runtime_dir: &Path) -> Need {
    let running = pid(runtime_dir).and_then(|pid| {
        let path = format!("/proc/{pid}/limits");
        let text = fs::read_to_string(&path).ok()?;
        let row = text.lines().find(|line| line.starts_with("Max open files"))?;
        let soft = row.split_whitespace().nth(3)?.parse().ok()?;
        Some((soft, format!("{path}: {row}")))
    });
    let (soft, evidence) = running.unwrap_or_else(|| {
        let own = getrlimit(Resource::Nofile);
        (
            own.current.unwrap_or(u64::MAX),
            format!("of this process: RLIMIT_NOFILE {own:?}"),
        )
    });
    let found = if soft < DESCRIPTORS {
        Err(format!(
            "{soft} descriptors do for about {} containers; all 1022 need {DESCRIPTORS}: ulimit -n, or LimitNOFILE=",
            soft / 4
        ))
    } else {
        Ok(format!("{soft} descriptors"))
    };
    Need::useful("limits", found).with([evidence])
}

/// Who serves that directory: the daemon has its lock.
fn pid(runtime_dir: &Path) -> Option<u32> {
    let lock = fs::metadata(runtime_dir.join("lock")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|row| {
        // 1: FLOCK  ADVISORY  WRITE 708 fe:00:1234 0 EOF (proc_locks(5))
        let words: Vec<&str> = row.split_whitespace().collect();
        let inode = words.get(5)?.rsplit(':').next()?;
        (words.get(1) == Some(&"FLOCK") && inode.parse() == Ok(lock.ino()))
            .then(|| words.get(4)?.parse().ok())
            .flatten()
    })
}

pub(super) fn group() -> Need {
    match nix::unistd::Group::from_name(GROUP) {
        Ok(Some(group)) => Need::useful("group", Ok(format!("{GROUP}: its members see all containers")))
            .with([format!("gid {}, members: {}", group.gid, group.mem.join(" "))]),
        _ => Need::useful(
            "group",
            Err(format!(
                "there is no group {GROUP}: only root sees all containers; groupadd --system {GROUP}"
            )),
        ),
    }
}

/// The file that a daemon started from here would read.
pub(super) fn configuration() -> Need {
    let path = std::env::var_os(cli::CONFIG_ENV).map_or_else(|| config::DEFAULT_PATH.into(), PathBuf::from);
    let found = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(format!("{} is not there: all has its default", path.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(text) => match config::read(&text) {
            Ok(_) => Ok(format!("{} is valid", path.display())),
            Err(problems) => {
                let lines = problems
                    .iter()
                    .map(|problem| format!("{}:{problem}", path.display()));
                let lines: Vec<String> = lines.collect();
                let first = lines.first().cloned().unwrap_or_default();
                return Need::required("configuration", Err(first)).with(lines);
            }
        },
    };
    Need::useful("configuration", found)
}

/// Who may open them is by their modes.
pub(super) fn sockets(runtime_dir: &Path) -> Need {
    const SOCKETS: [(&str, u32); 3] = [
        ("hook.sock", 0o666),
        ("user.sock", 0o666),
        ("control.sock", 0o660),
    ];
    let mut wrong = Vec::new();
    let mut evidence = Vec::new();
    for (name, mode) in SOCKETS {
        let path = runtime_dir.join(name);
        match fs::metadata(&path) {
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
            Ok(file) => {
                let found = file.permissions().mode() & 0o7777;
                if !file.file_type().is_socket() {
                    wrong.push(format!("{} is no socket", path.display()));
                } else if found != mode {
                    wrong.push(format!(
                        "{} has mode {found:04o} instead of {mode:04o}",
                        path.display()
                    ));
                }
                evidence.push(format!(
                    "{}: mode {found:04o}, uid {}, gid {}",
                    path.display(),
                    file.uid(),
                    file.gid()
                ));
            }
        }
    }
    let found = if wrong.is_empty() {
        Ok(format!("in {}, with their modes", runtime_dir.display()))
    } else {
        Err(format!("{}; the daemon makes them", wrong.join("; ")))
    };
    Need::useful("sockets", found).with(evidence)
}

/// One of another version is a program that was installed under a daemon that still runs.
pub(super) fn answers(runtime_dir: &Path) -> Need {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let asked = client::ask::<Status>(runtime_dir, &Request::Status);
    let found = match &asked {
        Err(error) => Err(format!("{error:#}")),
        Ok(status) if status.version != OWN => Err(format!(
            "version {} answers, and this program is {OWN}: systemctl restart tracer",
            status.version
        )),
        Ok(status) => Ok(format!("version {} answers", status.version)),
    };
    let evidence = asked.iter().map(|status| {
        format!(
            "containers {}, missed {}, programs {}",
            status.containers,
            status.missed,
            if status.attached { "attached" } else { "detached" }
        )
    });
    let pid = pid(runtime_dir).map(|pid| format!("process {pid} has the lock of {}", runtime_dir.display()));
    Need::useful("daemon", found).with(evidence.chain(pid).collect::<Vec<_>>())
}
