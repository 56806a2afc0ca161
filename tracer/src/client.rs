//! The command line's end of `control.sock`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{SigSet, Signal};
use serde::de::DeserializeOwned;

use crate::{
    control::{Answer, Ended, Request, Tail},
    recording::{self, Recording},
};

/// Most bytes of one frame: the daemon's frames are smaller.
const MAX_FRAME: u32 = 128 << 20;
/// Bytes that are read at once: an answer about many containers has hundreds of thousands.
const ANSWER: usize = 256 << 10;

fn connect(runtime_dir: &Path, request: &Request) -> Result<BufReader<UnixStream>> {
    let path = runtime_dir.join("control.sock");
    let connected = UnixStream::connect(&path).or_else(|error| match error.kind() {
        // Who may not see all sees its own.
        ErrorKind::PermissionDenied => UnixStream::connect(runtime_dir.join("user.sock")),
        _ => Err(error),
    });
    let mut stream = connected.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            anyhow!("{}: you may not connect to the daemon", runtime_dir.display())
        }
        _ => anyhow!(
            "no daemon answers on {} ({}): start it with `systemctl start tracer` or `tracer daemon`, or say with \
             --runtime-dir where it is",
            path.display(),
            match error.kind() {
                ErrorKind::NotFound => "there is no such socket".to_owned(),
                ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
                _ => error.to_string(),
            }
        ),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    match stream.write_all(&line) {
        // It has refused, and why can be read, before it was asked.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        sent => sent.context("ask the daemon")?,
    }
    Ok(BufReader::with_capacity(ANSWER, stream))
}

fn answer<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    from.read_line(&mut line).context("read the daemon's answer")?;
    if line.is_empty() {
        bail!("the daemon closed the connection without an answer");
    }
    match serde_json::from_str(&line)
        .context("the daemon's answer is not understood; are both of one version?")?
    {
        Answer::Ok(value) => Ok(value),
        Answer::Error(error) => bail!(error),
    }
}

/// Asks, and waits for the answer.
///
/// # Errors
/// The daemon's, or that there is none.
pub fn ask<T: DeserializeOwned>(runtime_dir: &Path, request: &Request) -> Result<T> {
    answer(&mut connect(runtime_dir, request)?)
}

/// Follows events into `to`; `waits_for` hears of each word that no container has yet. `None` when the daemon ended
/// first.
///
/// # Errors
/// The daemon's, or the writer's.
pub fn tail(
    runtime_dir: &Path,
    tail: Tail,
    to: &mut impl Write,
    waits_for: impl Fn(&str),
) -> Result<Option<Ended>> {
    let interruptible = tail.recording;
    let mut from = connect(runtime_dir, &Request::Tail(tail))?;
    if interruptible {
        end_on_signal(from.get_ref())?;
    }
    let unknown: Vec<String> = answer(&mut from)?;
    unknown.iter().for_each(|word| waits_for(word));
    if !frames(&mut from, to)? {
        return Ok(None);
    }
    answer(&mut from).map(Some)
}

/// Fetches what is held of a container, as a recording.
///
/// # Errors
/// The daemon's, or that there is none.
pub fn dump(runtime_dir: &Path, container: &str) -> Result<Vec<u8>> {
    let request = Request::Dump {
        container: container.to_owned(),
    };
    let mut from = connect(runtime_dir, &request)?;
    answer::<()>(&mut from)?;
    let mut recording = Vec::new();
    let mut to = recording::Writer::new(&mut recording);
    if !frames(&mut from, &mut to)? {
        bail!("the daemon ended before it had sent all of the recording");
    }
    to.finish()?;
    Ok(recording)
}

/// A recording: the file of that name, or what the daemon holds of the container of that name
/// ([`recording::is_file`] tells which is meant).
///
/// # Errors
/// The system's or the daemon's; or that it is no recording.
pub fn recording(runtime_dir: &Path, word: &str) -> Result<Recording> {
    if recording::is_file(word) || word == "-" {
        Recording::open(Path::new(word))
    } else {
        Recording::of(dump(runtime_dir, word)?)
    }
}

/// Copies frames up to the empty one; false when the daemon ended before it.
fn frames(from: &mut impl Read, to: &mut impl Write) -> Result<bool> {
    let mut bytes = Vec::new();
    loop {
        let mut len = [0; 4];
        if from.read_exact(&mut len).is_err() {
            return Ok(false);
        }
        let len = u32::from_le_bytes(len);
        if len == 0 {
            return Ok(true);
        }
        if len > MAX_FRAME {
            bail!("the daemon's answer is not understood: a frame of {len} bytes");
        }
        bytes.resize(len as usize, 0);
        if from.read_exact(&mut bytes).is_err() {
            return Ok(false);
        }
        to.write_all(&bytes)?;
        to.flush()?;
    }
}

/// On SIGINT or SIGTERM tells the daemon that it was enough; the second such signal ends the program.
fn end_on_signal(stream: &UnixStream) -> Result<()> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGINT);
    ends.add(Signal::SIGTERM);
    // Before the thread: one of the two must be there to take it.
    ends.thread_block().context("block signals")?;
    let stream = stream.try_clone().context("watch for signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if ends.wait().is_ok() {
                // Gone already: then all is there.
                let _gone = stream.shutdown(Shutdown::Write);
            }
            if let Ok(again) = ends.wait() {
                std::process::exit(128 + again as i32);
            }
        })
        .context("start a thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_refusal_that_comes_before_the_question_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let line = serde_json::to_string(&Answer::<()>::Error("no room".into())).unwrap();
            stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        });
        // Longer than what the socket holds: it is being written when the other end closes.
        let request = Request::Dump {
            container: "x".repeat(4 << 20),
        };
        let error = ask::<()>(directory.path(), &request).unwrap_err();
        daemon.join().unwrap();
        assert_eq!(error.to_string(), "no room");
    }
}
