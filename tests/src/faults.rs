//! What can befall a machine, made and undone again: a disk that is full or hangs, a group with little memory, a clock that
//! is set, a receiver that never answers.

use crate::{programs, unique_id, wait};
use anyhow::{Context, Result, bail, ensure};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// A file system of its own, mounted on a directory; it goes with this.
pub struct Disk {
    path: PathBuf,
    frozen: bool,
}

impl Disk {
    /// One of so many bytes (`4M`), as of tmpfs(5), root's alone.
    pub fn small(path: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let options = CString::new(format!("size={size},mode=700"))?;
        mount(
            "none",
            &path,
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .with_context(|| format!("mount a tmpfs on {}", path.display()))?;
        Ok(Self { path, frozen: false })
    }

    /// ext4 in a file of 64 MiB beside it, which [`Self::freeze`] can stop.
    pub fn ext4(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let image = path.with_extension("img");
        File::create(&image)?.set_len(64 << 20)?;
        programs::success(programs::command("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        programs::success(
            programs::command("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&path),
        )?;
        Ok(Self { path, frozen: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Leaves no room on it, but for so many bytes.
    pub fn fill(&self, but: usize) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let block = vec![0; 4096];
        loop {
            match ballast.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => bail!("fill {}: {error}", self.path.display()),
            }
        }
        let len = ballast.metadata()?.len();
        Ok(ballast.set_len(len.saturating_sub(but as u64))?)
    }

    /// Gives the room back.
    pub fn relieve(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    /// Whoever writes to it waits, in the kernel and whatever signal comes, as on a disk that does not answer.
    pub fn freeze(&mut self) -> Result<()> {
        programs::success(programs::command("fsfreeze").arg("--freeze").arg(&self.path))?;
        self.frozen = true;
        Ok(())
    }

    pub fn thaw(&mut self) -> Result<()> {
        programs::success(programs::command("fsfreeze").arg("--unfreeze").arg(&self.path))?;
        self.frozen = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen
            && let Err(why) = self.thaw()
        {
            eprintln!("{why:#}");
        }
        let _gone = unmount(&self.path, UnmountFlags::DETACH);
    }
}

/// A memory cgroup with a limit, of v1 or v2; what is in it must have ended before this goes.
pub struct Memory {
    group: PathBuf,
    v1: bool,
}

impl Memory {
    /// With so many bytes, and no swap.
    pub fn limit(bytes: u64) -> Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let is_v1 = v1.join("memory.limit_in_bytes").exists();
        let root = if is_v1 {
            v1
        } else {
            // Where a test runs in the root of all, this is on already.
            let _on = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            Path::new("/sys/fs/cgroup")
        };
        let memory = Self {
            group: root.join(unique_id("memory")),
            v1: is_v1,
        };
        fs::create_dir(&memory.group).with_context(|| memory.group.display().to_string())?;
        let limit = if is_v1 {
            "memory.limit_in_bytes"
        } else {
            "memory.max"
        };
        let file = memory.group.join(limit);
        fs::write(&file, bytes.to_string()).with_context(|| file.display().to_string())?;
        Ok(memory)
    }

    /// That program, in the group from its first instruction.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = programs::command("sh");
        command.args(["-c", "echo $$ >\"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"]);
        command.arg(&self.group).arg(program);
        command
    }

    fn number(&self, v1: &str, v2: &str) -> Result<u64> {
        let path = self.group.join(if self.v1 { v1 } else { v2 });
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().parse()?)
    }

    /// The most that it has had at one time, in bytes.
    pub fn peak(&self) -> Result<u64> {
        self.number("memory.max_usage_in_bytes", "memory.peak")
    }

    /// How often the kernel killed one of its processes.
    pub fn kills(&self) -> Result<u64> {
        let name = if self.v1 {
            "memory.oom_control"
        } else {
            "memory.events"
        };
        let text = fs::read_to_string(self.group.join(name))?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.context("no oom_kill")?.trim().parse()?)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let gone = wait::until("an empty group", wait::LONG, || {
            Ok(fs::remove_dir(&self.group).ok())
        });
        if let Err(why) = gone {
            eprintln!("{}: {why:#}", self.group.display());
        }
    }
}

/// CLOCK_REALTIME, set forward by some seconds; it is set back when this goes.
pub struct Step(i64);

impl Step {
    pub fn forward(seconds: i64) -> Result<Self> {
        set(seconds).context("set the clock")?;
        Ok(Self(seconds))
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Err(why) = set(-self.0) {
            eprintln!("the clock stays {} s ahead: {why}", self.0);
        }
    }
}

fn set(seconds: i64) -> rustix::io::Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    clock_settime(
        ClockId::Realtime,
        Timespec {
            tv_sec: now.tv_sec + seconds,
            ..now
        },
    )
}

/// Nanoseconds of that clock.
pub fn now(clock: ClockId) -> i128 {
    let now = clock_gettime(clock);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// A port of 127.0.0.1 that takes every connection, reads what comes and never says a word.
pub fn silent() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // It ends with the test program: nobody waits for it.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut stream, mut bytes) = (stream, [0; 4096]);
                while stream.read(&mut bytes).is_ok_and(|len| len > 0) {}
            });
        }
    });
    Ok(port)
}

/// Files of that directory that nobody has finished: their names begin with a dot or end with `.tmp`.
pub fn unfinished(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with(".tmp") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// All of a directory is finished.
pub fn all_finished(directory: &Path) -> Result<()> {
    let left = unfinished(directory)?;
    ensure!(left.is_empty(), "left unfinished: {left:?}");
    Ok(())
}
