//! A terminal: a program on the other end of it, what it prints there, and what is typed.

use crate::{programs, wait};
use anyhow::{Context, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Pid,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::Instant,
};

pub struct Terminal {
    master: File,
    child: Child,
    /// How it was set before anything ran on it.
    as_made: Termios,
    seen: String,
}

impl Terminal {
    /// Starts it with a terminal of so many columns as all its streams. It becomes the controlling one only to what asks
    /// for it, as `setsid --ctty` does.
    pub fn start(command: &mut Command, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("open a pty")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size)?;
        let name = ptsname(&master, Vec::new())?;
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let open = || -> Result<File> {
            let mut options = OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOCTTY);
            Ok(options.read(true).write(true).open(path)?)
        };
        command.stdin(open()?).stdout(open()?).stderr(open()?);
        let as_made = tcgetattr(&master)?;
        let child = command.spawn()?;
        // The command holds its own ends of the terminal until they are replaced.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        Ok(Self {
            master: File::from(master),
            child,
            as_made,
            seen: String::new(),
        })
    }

    /// Makes it so large; who has it as the controlling terminal gets SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.master, size)?)
    }

    /// How it is set: echo, lines, signals.
    pub fn settings(&self) -> Result<Termios> {
        Ok(tcgetattr(&self.master)?)
    }

    /// The process id of what was started.
    pub fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("no pid")
    }

    /// Types that.
    pub fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits until it has printed that, and returns what came before; what comes later is kept.
    pub fn prints(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + wait::LONG;
        loop {
            if let Some((before, after)) = self.seen.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.seen = after;
                return Ok(before);
            }
            if Instant::now() >= end || !self.read()? {
                bail!("no {text:?} in {:?}\n{}", self.seen, self.threads()?);
            }
        }
    }

    /// What runs on it: states, what it waits for, signals that wait for it.
    fn threads(&self) -> Result<String> {
        let name = ptsname(&self.master, Vec::new())?;
        let mut ps = programs::command("ps");
        ps.args([
            "-L",
            "-o",
            "pid,tid,ppid,pgid,tpgid,stat,wchan:24,pending,blocked,args",
            "-t",
        ]);
        Ok(programs::output(ps.arg(name.to_string_lossy().into_owned()))?).map(|out| programs::both(&out))
    }

    /// The same as [`Self::ends`], and the terminal is set as it was made.
    pub fn ends_as_made(self) -> Result<(String, ExitStatus)> {
        // The terminal outlives the last that has it open.
        let (master, before) = (self.master.try_clone()?, self.as_made.clone());
        let ended = self.ends()?;
        let after = tcgetattr(&master)?;
        ensure!(
            (before.local_modes, before.input_modes, before.output_modes)
                == (after.local_modes, after.input_modes, after.output_modes),
            "it left the terminal in other modes: {before:?}, {after:?}"
        );
        Ok(ended)
    }

    /// All that it prints to its end, lines without carriage returns, and its exit status.
    pub fn ends(mut self) -> Result<(String, ExitStatus)> {
        let end = Instant::now() + wait::LONG;
        while self.read()? {
            if Instant::now() >= end {
                self.child.kill()?;
                bail!("it does not end: {:?}", self.seen);
            }
        }
        let status = wait::exit(&mut self.child, "a program on a terminal", wait::LONG)?;
        Ok((self.seen.replace('\r', ""), status))
    }

    /// Reads what there is, for at most a second; `false` when nobody has the terminal any more.
    fn read(&mut self) -> Result<bool> {
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut ready, Some(&second))? == 0 {
            return Ok(true);
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.seen += &String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            // EIO: the last that had the other end has closed it; pty(7).
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing where it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
