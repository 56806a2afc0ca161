//! redis in a podman container, and what redis-benchmark gets from it while it is traced.

use crate::{
    figure::{Figure, Goals, percent},
    ways::{Empty, Way},
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tracer_tests::{Daemon, Rootfs, bundle, image, podman::Podman, programs, wait};

/// Percent of what it gets untraced.
const GOAL: f64 = 85.0;

/// How the server is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    By(Way),
    /// Our daemon; with a mode of its own, and with a reader or none.
    Daemon {
        mode: &'static str,
        tail: bool,
    },
}

const FULL: How = How::Daemon {
    mode: "full",
    tail: false,
};

const NO_DURATION: How = How::Daemon {
    mode: "no-duration",
    tail: false,
};

const HOWS: [How; 8] = [
    How::By(Way::Empty),
    How::Daemon {
        mode: "counts",
        tail: false,
    },
    NO_DURATION,
    FULL,
    How::Daemon {
        mode: "full",
        tail: true,
    },
    How::By(Way::Strace),
    How::By(Way::PerfTrace),
    How::By(Way::Bpftrace),
];

impl How {
    fn name(self) -> String {
        match self {
            Self::By(way @ (Way::Untraced | Way::Empty)) => way.name().into(),
            Self::By(way) => way.name().replace("-o FILE", "-p PID -o FILE"),
            Self::Daemon { mode, tail: false } => format!("`tracer daemon`, `{mode}`"),
            Self::Daemon { mode, tail: true } => {
                format!("`tracer daemon`, `{mode}`, and a `tracer tail -w FILE`")
            }
        }
    }
}

#[derive(Default)]
struct Rounds {
    rates: Figure,
    /// Of what it is untraced, right before and right after.
    shares: Figure,
    requests: u32,
    events: u64,
    lost: u64,
    /// Seconds of the daemon's CPU.
    cpu: f64,
}

/// A container with the server in it.
struct Server {
    podman: Podman,
    id: String,
    pid: u32,
    socket: PathBuf,
    scratch: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("tt-redis-").tempdir()?;
        let root = scratch.path().join("rootfs");
        bundle::make_rootfs(&root, Rootfs::Host)?;
        // Hooks of a daemon that is not there: the container is attached to and detached from as it runs.
        let podman = Podman::of(&image::tar(&root)?, scratch.path(), None)?;
        let shared = scratch.path().join("shared");
        fs::create_dir(&shared)?;
        let mount = format!("{}:/scratch", shared.display());
        let options = [
            "-v",
            "/usr:/usr:ro",
            "-v",
            "/etc/ld.so.cache:/etc/ld.so.cache:ro",
            "-v",
            &mount,
        ];
        let server = [
            "/usr/bin/redis-server",
            "--port",
            "0",
            "--unixsocket",
            "/scratch/redis.sock",
            "--unixsocketperm",
            "777",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let id = podman.create(&options, &server)?;
        let pid = podman.start_detached(&id)?;
        let socket = shared.join("redis.sock");
        wait::until("redis's socket", wait::LONG, || Ok(socket.exists().then_some(())))?;
        Ok(Self {
            podman,
            id,
            pid,
            socket,
            scratch,
        })
    }

    /// Requests a second: the mean of GET and SET.
    fn rate(&self, requests: u32) -> Result<f64> {
        let mut command = programs::command("redis-benchmark");
        command.arg("-s").arg(&self.socket);
        command.args(["-n", &requests.to_string(), "-c", "50", "-t", "set,get", "--csv"]);
        let out = programs::success(&mut command)?;
        let rates = out.lines().filter_map(|line| {
            let mut cells = line.split(',').map(|cell| cell.trim_matches('"'));
            let name = cells.next()?;
            let rate = cells.next()?;
            matches!(name, "SET" | "GET").then(|| rate.parse::<f64>().ok())?
        });
        let rates: Vec<f64> = rates.collect();
        anyhow::ensure!(rates.len() == 2, "redis-benchmark said {out}");
        Ok(rates.iter().sum::<f64>() / 2.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(why) = self.podman.remove(&self.id) {
            eprintln!("bench: {why:#}");
        }
    }
}

pub(crate) fn print(quick: bool, goals: &mut Goals) -> Result<()> {
    let (rounds, requests) = if quick { (1_u32, 5_000) } else { (9, 50_000) };
    let server = Server::start()?;
    server.rate(requests)?;
    let mut results: Vec<(How, Rounds)> = HOWS.iter().map(|how| (*how, Rounds::default())).collect();
    let mut untraced = Figure::default();
    for round in 0..rounds {
        let mut before = server.rate(requests)?;
        untraced.push(before);
        for (how, result) in &mut results {
            let slow = matches!(how, How::By(way) if way.is_slow());
            if slow && round >= rounds.div_ceil(3) {
                continue;
            }
            eprintln!("bench: redis {how:?} {round}");
            let traced = if slow { requests / 10 } else { requests };
            let rate = measure(&server, *how, traced, result).with_context(|| format!("redis, {how:?}"))?;
            let after = server.rate(requests)?;
            untraced.push(after);
            result.rates.push(rate);
            result.shares.push(rate / ((before + after) / 2.0));
            result.requests += 2 * traced;
            before = after;
        }
    }
    println!("## redis in a podman container\n");
    println!(
        "Requests a second of redis-benchmark (`-c 50 -t set,get`, a unix socket), which runs outside the container, on the same CPUs: {rounds} rounds, the peers in a third of \
         them. Each measurement stands between two of the untraced server, and is taken as a share of their mean: so it does not matter what else the machine does in the one round \
         or the other. Medians (the least and the most of the rounds). The server runs already and is attached to; a peer traces its process.\n"
    );
    println!(
        "| traced by | requests a second | of untraced | events a request | lost | daemon's CPU a million events |\n| --- | --- | --- | --- | --- | --- |"
    );
    println!("| untraced | {:.0} | 100 % |  |  |  |", untraced.median());
    for (how, result) in &results {
        let (mut events, mut lost, mut cpu) = (String::new(), String::new(), String::new());
        if result.events > 0 {
            events = format!("{:.2}", result.events as f64 / f64::from(result.requests));
            lost = result.lost.to_string();
            cpu = format!("{:.2} s", result.cpu / (result.events as f64 / 1e6));
        }
        println!(
            "| {} | {:.0} | {} | {events} | {lost} | {cpu} |",
            how.name(),
            result.rates.median(),
            percent(&result.shares)
        );
    }
    let share = |wanted: How| {
        let found = results.iter().find(|(how, _)| *how == wanted);
        found.map_or(f64::NAN, |(_, rounds)| rounds.shares.median() * 100.0)
    };
    let (full, empty) = (share(FULL), share(How::By(Way::Empty)));
    let limit = format!(
        "empty programs leave {empty:.0} %, calls without durations {:.0} %",
        share(NO_DURATION)
    );
    let verdict = goals.at_least(
        "redis, of its untraced rate, with all events",
        full,
        GOAL,
        " %",
        &limit,
    );
    println!(
        "\nFull events, of the untraced rate: {full:.0} %, goal {verdict}. No tracer at these tracepoints can leave more than the {empty:.0} % that the empty programs do; \
         `counts` is what it costs to count each call and queue no event. The daemon's CPU comes from the CPUs that server and benchmark run on.\n"
    );
    Ok(())
}

/// The rate while it is traced so.
fn measure(server: &Server, how: How, requests: u32, result: &mut Rounds) -> Result<f64> {
    let out = server.scratch.path().join("out");
    drop(fs::remove_file(&out));
    match how {
        How::By(way) => {
            let empty = (way == Way::Empty).then(Empty::attach).transpose()?;
            let mut attached = way.of_process(server.pid, &out)?;
            if let Some(attached) = &mut attached {
                attached.warm(server, &out)?;
            }
            let rate = server.rate(requests)?;
            attached.map(super::ways::Attached::end).transpose()?;
            drop(empty);
            Ok(rate)
        }
        How::Daemon { mode, tail } => {
            let daemon = Daemon::start_with(&["--mode", mode])?.silent();
            daemon.attach(&[&server.pid.to_string(), "--name", "redis"])?;
            let mut reader = tail
                .then(|| {
                    let mut reader = daemon.client("tail");
                    reader
                        .args(["--phase", "all", "--until-gone", "-w"])
                        .arg(&out)
                        .arg("redis");
                    reader.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
                })
                .transpose()?;
            let cpu = crate::node::cpu(daemon.id())?;
            let rate = server.rate(requests)?;
            let verdict = programs::output(daemon.client("detach").args(["-o", "json", "redis"]))?;
            let verdict: Value =
                serde_json::from_slice(&verdict.stdout).with_context(|| programs::both(&verdict))?;
            result.cpu += crate::node::cpu(daemon.id())? - cpu;
            result.lost += verdict["lost"].as_u64().context("no lost")?;
            for name in ["decoded", "counted"] {
                result.events += verdict["books"][name]
                    .as_u64()
                    .with_context(|| format!("no {name}: {verdict}"))?;
            }
            if let Some(reader) = &mut reader {
                let status = wait::exit(reader, "tracer tail", wait::LONG)?;
                // 1: what it lost itself.
                result.lost += u64::from(!status.success());
            }
            Ok(rate)
        }
    }
}

impl super::ways::Attached {
    /// Waits until it has taken the server, which answers few requests until then.
    fn warm(&mut self, server: &Server, out: &Path) -> Result<()> {
        wait::until("a tracer to see calls", wait::LONG, || {
            server.rate(100)?;
            Ok(self.sees(out)?.then_some(()))
        })
    }
}
