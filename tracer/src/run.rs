//! `tracer run`: no daemon and no runtime. The command starts in a PID and a mount namespace of its own, under a small
//! init that reaps (`init`), and is held before its execve until the proof round has come back; then the same registry,
//! filter, ring and sinks as in the daemon, while signals and stops go between command and caller (`job`).

mod command;
mod init;
mod job;

use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::mpsc::channel,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{
    event,
    freezer::Made,
    identity,
    node::{self, Node},
    options::Options,
    report::{Stats, Verdict, capabilities::Capabilities},
    sinks::{Output, Phases},
};
pub use command::{Command, User, Variable};
use init::GO;

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub command: Command,
    /// Whose calls [`Outcome::stats`] counts.
    pub phases: Phases,
    pub node: node::Settings,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The command's exit code, 128 + n for a signal.
    pub code: u8,
    pub verdict: Verdict,
    pub stats: Stats,
    pub capabilities: Capabilities,
}

/// Runs the command to the end of all its processes. `outputs` makes the sinks, which are opened before anything runs.
///
/// # Errors
/// A set-up error: the command has not run.
pub fn run(settings: &Settings, outputs: impl FnOnce(&Node) -> Result<Vec<Output>>) -> Result<Outcome> {
    let path = settings.command.resolve()?;
    // All threads inherit the mask; the signals are read where the command is waited for.
    job::awaited().thread_block().context("block signals")?;
    let init::Started {
        reaper,
        mut link,
        stops,
        goes_on,
    } = init::start(&settings.command, &path)?;

    let (node, threads) = Node::start(&settings.node, None)?;
    node.begin();
    node.exclude(reaper.as_raw().cast_unsigned())?;
    let mut sinks = Vec::new();
    for output in outputs(&node)? {
        sinks.push(output.id);
        node.open(output, false)?;
    }

    // The reaper makes the command's process, which makes its mounts and waits for the nonce.
    link.write_all(&[GO]).context("start the command's init")?;
    let pid = told_pid(&mut link)?;
    let init = tracer_hook::identity::Init::open(pid.into())
        .map_err(|error| anyhow!("look at the command's process: {error}"))?;
    let mut identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    // The PID namespace is the command's: its first process is our own reaper, which is excluded.
    identity.owns_pid_ns = true;
    let info = event::Container {
        id: format!("run-{pid}"),
        name: name(&path),
        ..event::Container::default()
    };
    let id = info.id.clone();
    // What it starts is in it too. Gone when all of them are.
    let cgroup = settings.node.lossless.then(|| Made::around(pid)).transpose()?;
    let options = Options {
        lossless: settings.node.lossless,
        ..Options::default()
    };
    let admitted = node.register(info, Some("tracer run".into()), identity, false, options)?;
    ensure!(
        !settings.node.lossless || node.is_held_back(admitted.slot),
        "the command cannot be frozen: leave --lossless out"
    );
    let (seen, proof_seen) = channel();
    let proof = node.begin_proof(admitted.slot, identity.init_tgid, move || {
        // Whoever waited may have given up.
        let _gone = seen.send(());
    })?;
    link.write_all(&proof.nonce.to_le_bytes())
        .context("hand out the nonce")?;
    link.read_exact(&mut [0])
        .context("the command's process has ended before its proof")?;
    node.finish_proof(&proof, &proof_seen)?;
    link.write_all(&[GO]).context("start the command")?;

    let code = job::wait(reaper, init.pidfd.as_fd(), job::Stops::new(stops, goes_on)?)?;
    drop(link);
    let verdict = node
        .end(admitted)?
        .context("the command's container has ended before its command")?;
    let stats = node
        .stats(&id, settings.phases)?
        .context("the command's counts are gone")?;
    let capabilities = node
        .capabilities(&id)?
        .context("the command's capability checks are gone")?;
    let closed: Vec<_> = sinks.into_iter().map(|sink| node.close(sink)).collect();
    drop(node);
    drop(cgroup);
    threads.join();
    closed.into_iter().collect::<Result<()>>()?;
    Ok(Outcome {
        code,
        verdict,
        stats,
        capabilities,
    })
}

/// The command's process id, once its namespaces are made.
fn told_pid(link: &mut UnixStream) -> Result<u32> {
    let mut pid = [0; 4];
    if link.read_exact(&mut pid).is_err() {
        bail!("the command's namespaces could not be made");
    }
    Ok(u32::from_le_bytes(pid))
}

/// What the command is called.
fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
