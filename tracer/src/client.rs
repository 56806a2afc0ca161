//! The command line's end of `control.sock`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;

use crate::control::{Answer, Ended, Request, Tail};

/// Most bytes of one frame: the daemon's frames are smaller.
const MAX_FRAME: u32 = 128 << 20;

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
        _ => anyhow!(error).context(format!(
            "no daemon answers on {}; start `tracer daemon`, or give --runtime-dir",
            path.display()
        )),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("ask the daemon")?;
    Ok(BufReader::new(stream))
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
    let mut from = connect(runtime_dir, &Request::Tail(tail))?;
    let unknown: Vec<String> = answer(&mut from)?;
    unknown.iter().for_each(|word| waits_for(word));
    let mut lines = Vec::new();
    loop {
        let mut len = [0; 4];
        if from.read_exact(&mut len).is_err() {
            return Ok(None);
        }
        let len = u32::from_le_bytes(len);
        if len == 0 {
            return answer(&mut from).map(Some);
        }
        if len > MAX_FRAME {
            bail!("the daemon's answer is not understood: a frame of {len} bytes");
        }
        lines.resize(len as usize, 0);
        from.read_exact(&mut lines)
            .context("the daemon ended in the middle of a line")?;
        to.write_all(&lines)?;
        to.flush()?;
    }
}
