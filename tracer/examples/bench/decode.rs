//! How many recorded calls a core decodes and writes. The recording is made first, of programs as they come with a
//! system: paths, structures, buffers, failures, forks.

use std::{
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{Arc, mpsc::sync_channel},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use tracer::{
    decode, event, identity,
    sinks::{json, text},
    source::{
        self, Item, QUEUE_BATCHES,
        kernel::{Kernel, Options},
    },
};
use tracer_common::filter::{Container, state};

/// Events that a figure rests on.
pub(super) const EVENTS: usize = 1_000_000;
/// Least million events a second.
const GOAL: f64 = 1.0;

const PROGRAMS: &str = "read go
    ls -lR /etc; find /usr/share -maxdepth 3 -name '*.conf'
    for i in 1 2 3 4 5 6 7; do cat /etc/passwd /nonexistent | sort | uniq -c; done
    exec grep -r root /etc";

/// Prints the figures; whether they reach the goal, or nobody checks.
pub(super) fn bench(check: bool) -> Result<bool> {
    let records = record().context("record programs")?;
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!(
        "{} records of sh, ls, find, cat, sort, uniq and grep, {} bytes each",
        records.len(),
        bytes / records.len().max(1)
    );
    let mut within = true;
    for format in ["text", "json"] {
        let (rate, each) = rate(&records, format)?;
        within &= rate >= GOAL;
        println!(
            "decoded and written as {format}: {rate:.2} M/s on one core, {each} bytes each  goal >= {GOAL:.2} M/s"
        );
    }
    Ok(within || !check)
}

/// Records of some programs, all of them.
pub(super) fn record() -> Result<Vec<Vec<u8>>> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", PROGRAMS]).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call, between fork and exec.
    unsafe { command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNS)?)) };
    let mut child = command.spawn().context("start sh")?;

    let options = decode::Options::native();
    let (mut kernel, ring) = Kernel::load(&Options::default(), decode::plans(options.arch, options.limits))?;
    let (queue, items) = sync_channel::<Item<()>>(QUEUE_BATCHES);
    let sink = std::thread::spawn(move || {
        let mut records = Vec::new();
        for item in items {
            if let Item::Records(batch) = item {
                records.extend(batch.by_time().into_iter().map(<[u8]>::to_vec));
            }
        }
        records
    });
    let (marks, begin, reader) = source::read_ring(ring, queue, |_record| false)?;
    begin.begin();
    let init =
        tracer_hook::identity::Init::open(child.id().into()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    kernel.attach(true)?;
    let container = Container {
        generation: 1,
        state: state::LIVE,
        mnt_ns: identity.mnt_ns,
        pid_ns: identity.pid_ns,
        init_tgid: identity.init_tgid,
        ..Container::default()
    };
    kernel.arm(1, container, true, false)?;
    // The shell goes on when its standard input closes.
    drop(child.stdin.take());
    child.wait().context("wait for sh")?;
    drop(marks);
    if reader.join().is_err() {
        bail!("the ring's reader panicked");
    }
    let records = sink.join().unwrap_or_default();
    ensure!(records.len() > 1000, "only {} records came", records.len());
    Ok(records)
}

/// The event of a record.
pub(super) fn event_of(
    record: &[u8],
    options: &decode::Options,
    container: &Arc<event::Container>,
) -> Result<event::Event> {
    let decoded = decode::decode(record, options)?;
    let body = match decoded.body {
        decode::Body::Syscall(call) => event::Body::Syscall(call),
        decode::Body::Process(process) => event::Body::Process(process),
    };
    let ktime = decoded.ktime;
    Ok(event::Event {
        time_ns: ktime,
        ktime,
        container: container.clone(),
        body,
    })
}

/// Million events a second, and bytes written of each.
fn rate(records: &[Vec<u8>], format: &str) -> Result<(f64, usize)> {
    let options = decode::Options::native();
    let text_options = text::TextOptions::default();
    let container = Arc::new(event::Container {
        id: "bench".into(),
        ..event::Container::default()
    });
    let mut out = Vec::with_capacity(1 << 20);
    let mut written = 0;
    let begin = Instant::now();
    for record in records.iter().cycle().take(EVENTS) {
        let event = event_of(std::hint::black_box(record), &options, &container)?;
        if format == "text" {
            text::write_event(&mut out, &event, &text_options);
        } else {
            json::write_event(&mut out, &event, event::Descriptors::Numbers);
        }
        if out.len() > 1 << 19 {
            written += out.len();
            std::hint::black_box(&out);
            out.clear();
        }
    }
    let rate = EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6;
    Ok((rate, (written + out.len()) / EVENTS))
}
