//! A soak: mixed load, containers that come and go, readers that stay and readers that change, for as long as it is told; what
//! the daemon holds meanwhile; whether that stays flat. `cargo xtask soak` and a test share it.
//!
//! Flat means: over the samples behind the first quarter, in which caches fill, the slope (Theil and Sen: the median of the
//! slopes between any two samples, which a single odd one does not move) times their time is no more than a bound.

use crate::{
    Bundle, Container, Daemon, Rootfs, Runtime, bundle,
    leaks::{self, Held},
    programs,
    sink::{self, CALL, Caller},
    wait,
};
use anyhow::{Context, Result, bail, ensure};
use rustix::time::ClockId;
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Samples of a run: enough for a slope, whatever its length.
const SAMPLES: u32 = 60;
/// Rows of the table that show how it went.
const ROWS: usize = 12;
/// Between two containers that come and go.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the books of those that have gone.
const LOOK: Duration = Duration::from_secs(1);
/// Samples for which one recording lasts.
const RECORDED: usize = 10;

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Since the begin, in seconds.
    pub at: f64,
    /// Memory: resident, and of that its own; in MiB.
    pub rss: f64,
    pub own: f64,
    pub fds: f64,
    /// Of its hash maps in the kernel.
    pub entries: f64,
    /// From a call to its line in a reader's hands, in ms: the median and the 99th percentile since the sample before.
    pub p50: f64,
    pub p99: f64,
    /// Containers that have come and gone, and events of all.
    pub containers: u64,
    pub events: u64,
}

/// What is looked at, and how much it may drift over the run.
struct Measure {
    name: &'static str,
    of: fn(&Sample) -> f64,
    bound: f64,
}

const MEASURES: [Measure; 6] = [
    Measure {
        name: "resident memory, MiB",
        of: |sample| sample.rss,
        bound: 6.0,
    },
    Measure {
        name: "its own memory, MiB",
        of: |sample| sample.own,
        bound: 6.0,
    },
    Measure {
        name: "file descriptors",
        of: |sample| sample.fds,
        bound: 3.0,
    },
    Measure {
        name: "entries of hash maps",
        of: |sample| sample.entries,
        bound: 64.0,
    },
    Measure {
        name: "latency, median, ms",
        of: |sample| sample.p50,
        bound: 5.0,
    },
    Measure {
        name: "latency, 99th percentile, ms",
        of: |sample| sample.p99,
        bound: 25.0,
    },
];

/// What came of a soak.
#[derive(Debug)]
pub struct Report {
    pub length: Duration,
    pub samples: Vec<Sample>,
    /// Containers whose books did not balance or that lost something, with what.
    pub wrong: Vec<String>,
    /// What the daemon held at the end and not at the begin.
    pub left: Option<String>,
    pub recordings: usize,
}

impl Report {
    /// The samples that count.
    fn warm(&self) -> &[Sample] {
        self.samples.get(self.samples.len() / 4..).unwrap_or_default()
    }

    fn drift(&self, measure: &Measure) -> f64 {
        let warm = self.warm();
        let span = warm.last().map_or(0.0, |last| last.at) - warm.first().map_or(0.0, |first| first.at);
        slope(warm, measure.of) * span
    }

    /// All that is not as it must be.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.wrong.clone();
        complaints.extend(self.left.clone());
        for measure in &MEASURES {
            let drift = self.drift(measure);
            if drift > measure.bound {
                complaints.push(format!(
                    "{}: drifted by {drift:.2}, more than {}",
                    measure.name, measure.bound
                ));
            }
        }
        complaints
    }

    /// In Markdown.
    pub fn table(&self) -> Result<String> {
        let last = self.samples.last().copied().unwrap_or_default();
        let mut text = String::new();
        writeln!(text, "{}\n", machine()?)?;
        writeln!(
            text,
            "{:.0} minutes: {} containers came and went, {} events, {} recordings; {} containers with losses or books that do not \
             balance; afterwards the daemon holds {}. Verdict: {}.\n",
            self.length.as_secs_f64() / 60.0,
            last.containers,
            last.events,
            self.recordings,
            self.wrong.len(),
            self.left
                .as_deref()
                .unwrap_or("what it held before, to the descriptor and the map entry"),
            if self.complaints().is_empty() {
                "flat"
            } else {
                "NOT flat"
            },
        )?;
        writeln!(
            text,
            "| | least | most | drift | bound |\n| --- | --- | --- | --- | --- |"
        )?;
        for measure in &MEASURES {
            let values = || self.warm().iter().map(measure.of);
            writeln!(
                text,
                "| {} | {:.1} | {:.1} | {:+.2} | {:+.0} |",
                measure.name,
                values().fold(f64::INFINITY, f64::min),
                values().fold(0.0, f64::max),
                self.drift(measure),
                measure.bound
            )?;
        }
        writeln!(
            text,
            "\n| at | resident MiB | own MiB | descriptors | map entries | median ms | p99 ms | containers | events |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )?;
        let step = self.samples.len().div_ceil(ROWS).max(1);
        for sample in self.samples.iter().skip(step - 1).step_by(step) {
            writeln!(
                text,
                "| {:.0} s | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {} | {} |",
                sample.at,
                sample.rss,
                sample.own,
                sample.fds,
                sample.entries,
                sample.p50,
                sample.p99,
                sample.containers,
                sample.events
            )?;
        }
        Ok(text)
    }
}

/// The median of the slopes between any two samples, a second.
fn slope(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut slopes = Vec::new();
    for (at, first) in samples.iter().enumerate() {
        for second in samples.iter().skip(at + 1) {
            slopes.push((of(second) - of(first)) / (second.at - first.at));
        }
    }
    percentile(&mut slopes, 0.5)
}

fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

/// The machine and what ran on it.
fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = kib
        .and_then(|kib| kib.split_whitespace().next())
        .context("MemTotal")?
        .parse()?;
    let version = |program: &str| -> Result<String> {
        let text = programs::success(programs::command(program).arg("--version"))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(format!(
        "{} x {}, {} GiB; Linux {}; {}; {}; {}",
        thread::available_parallelism()?,
        model.map_or("CPU", |(_, model)| model),
        kib >> 20,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        version("runc")?,
        version("crun")?,
        programs::success(programs::command(programs::tracer()?).arg("--version"))?.trim(),
    ))
}

/// A client that is killed with this.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// The reader that takes the time: of a container that makes one call each 10 ms.
struct Beats {
    _client: Client,
    container: Container,
    latencies: Arc<Mutex<Vec<f64>>>,
    reader: Option<JoinHandle<Result<()>>>,
}

impl Beats {
    fn start(daemon: &Daemon) -> Result<Self> {
        let args = ["/workloads/storm", "beats", "10"];
        let bundle = Bundle::traced("beats", Rootfs::Host, &args, daemon)?;
        let mut tail = daemon.client("tail");
        let filter = format!("trace={CALL}");
        tail.args(["-o", "json", "-e", &filter, "--until-gone", &bundle.id]);
        tail.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tail = Client(tail.spawn()?);
        let lines = BufReader::new(tail.0.stdout.take().context("its output")?).lines();
        let latencies = Arc::<Mutex<Vec<f64>>>::default();
        let into = latencies.clone();
        let reader = thread::spawn(move || {
            for line in lines {
                let line = line?;
                let now = crate::faults::now(ClockId::Monotonic);
                let event = crate::Event::parse(&line)?;
                if event.is_syscall() {
                    let ns = now - i128::from(event.number("ktime")?);
                    let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                    into.push(ns as f64 / 1e6);
                }
            }
            Ok(())
        });
        Ok(Self {
            _client: tail,
            container: Runtime::Runc.start(bundle)?.quiet(),
            latencies,
            reader: Some(reader),
        })
    }

    /// Those since the last time.
    fn latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(mut self) -> Result<String> {
        self.container.kill("KILL")?;
        self.container.wait()?;
        let reader = self.reader.take().context("ended already")?;
        reader.join().ok().context("the reader panicked")??;
        Ok(self.container.id().to_owned())
    }
}

/// Containers that come and go.
struct Churn {
    stop: Arc<AtomicBool>,
    gone: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<Result<()>>,
}

impl Churn {
    /// One after the other, under runc and crun in turn, some of which fail.
    fn start(dir: &std::path::Path) -> Result<Self> {
        let (stop, gone) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (stopped, into, dir) = (stop.clone(), gone.clone(), dir.to_owned());
        let root = tempfile::tempdir()?;
        bundle::make_rootfs(root.path(), Rootfs::Busybox)?;
        let thread = thread::spawn(move || {
            for number in 0_u64.. {
                if stopped.load(Relaxed) {
                    break;
                }
                let code = number % 3;
                let script = format!("ls -R /etc; cat /nonexistent; (exit 7); exit {code}");
                let bundle = Bundle::sharing("soak", root.path(), &["/bin/sh", "-c", &script])?
                    .hook(bundle::HookStage::CreateRuntime, &dir)?
                    .annotate("true");
                let runtime = if number % 2 == 0 {
                    Runtime::Runc
                } else {
                    Runtime::Crun
                };
                let mut container = runtime.start(bundle)?.quiet();
                let status = container.wait()?;
                ensure!(
                    status.code() == Some(code as i32),
                    "{status}: {}",
                    container.outputs()
                );
                let mut gone = into.lock().unwrap_or_else(PoisonError::into_inner);
                gone.push(container.id().to_owned());
                drop(gone);
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        Ok(Self { stop, gone, thread })
    }

    fn gone(&self) -> Vec<String> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(self) -> Result<Vec<String>> {
        self.stop.store(true, Relaxed);
        let gone = self.gone.clone();
        self.thread.join().ok().context("the churn panicked")??;
        Ok(std::mem::take(
            &mut gone.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// A recording of a container, begun anew from time to time.
struct Recorder {
    dir: TempDir,
    client: Option<Child>,
    made: usize,
}

impl Recorder {
    fn begin(&mut self, daemon: &Daemon, id: &str) -> Result<()> {
        self.made += 1;
        let mut record = daemon.client("record");
        record.arg("-w").arg(self.dir.path().join("calls.trec")).arg(id);
        self.client = Some(record.stderr(Stdio::null()).spawn()?);
        Ok(())
    }

    /// Ends it as a user does; it is a whole recording.
    fn end(&mut self) -> Result<()> {
        let Some(mut client) = self.client.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&client);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let status = wait::exit(&mut client, "tracer record", wait::LONG)?;
        ensure!(status.success(), "tracer record: {status}");
        let file = self.dir.path().join("calls.trec");
        let mut replay = programs::command(programs::tracer()?);
        replay.arg("replay").arg(&file).args(["-c"]);
        programs::success(&mut replay)?;
        Ok(fs::remove_file(file)?)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            let _ended = client.kill();
            let _ended = client.wait();
        }
    }
}

/// Runs a soak; `told` gets a line a sample.
pub fn run(length: Duration, mut told: impl FnMut(&Sample)) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("calls.jsonl");
    let config = format!(
        "[[sink]]\nkind = \"file\"\npath = {path:?}\nphases = \"all\"\nrotate_size = \"4M\"\nkeep = 3\ncompress = \"gzip\"\n"
    );
    let daemon = sink::daemon(dir.path(), &config)?;
    // The first opens what stays open.
    sink::run(&daemon, "warm", 11)?;
    daemon.detached()?;
    let before = Held::of(daemon.id())?;

    let beats = Beats::start(&daemon)?;
    let steady = Caller::start(&daemon, "steady", 151)?;
    let mut all = daemon.client("tail");
    all.args(["-o", "text", "--phase", "all"]);
    let all = Client(all.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let mut recorder = Recorder {
        dir: tempfile::tempdir()?,
        client: None,
        made: 0,
    };
    let churn = Churn::start(daemon.dir())?;
    let mut report = Report {
        length,
        samples: Vec::new(),
        wrong: Vec::new(),
        left: None,
        recordings: 0,
    };
    let (began, every) = (Instant::now(), length / SAMPLES);
    let (mut containers, mut ended_events) = (0, 0);
    for number in 1..=SAMPLES {
        if report.samples.len().is_multiple_of(RECORDED) {
            recorder.end()?;
            recorder.begin(&daemon, steady.id())?;
        }
        // More often than a sample is due: the daemon keeps the books of the last 64 that have gone.
        loop {
            for id in churn.gone() {
                containers += 1;
                ended_events += check(&daemon, &id, &mut report.wrong)?;
            }
            let rest = (every * number).saturating_sub(began.elapsed());
            if rest.is_zero() {
                break;
            }
            thread::sleep(rest.min(LOOK));
        }
        if churn.thread.is_finished() {
            break;
        }
        let mut latencies = beats.latencies();
        let held = Held::of(daemon.id())?;
        let live: u64 = [steady.id(), beats.container.id()]
            .iter()
            .map(|id| daemon.verify_now(id)?.book("decoded"))
            .sum::<Result<u64>>()?;
        let sample = Sample {
            at: began.elapsed().as_secs_f64(),
            rss: leaks::resident(daemon.id())? as f64 / f64::from(1 << 20),
            own: leaks::memory(daemon.id())? as f64 / f64::from(1 << 20),
            fds: held.fds.values().sum::<usize>() as f64,
            entries: held.entries.values().sum::<usize>() as f64,
            p50: percentile(&mut latencies, 0.5),
            p99: percentile(&mut latencies, 0.99),
            containers,
            events: ended_events + live,
        };
        told(&sample);
        report.samples.push(sample);
    }
    for id in churn.end()? {
        check(&daemon, &id, &mut report.wrong)?;
    }
    recorder.end()?;
    report.recordings = recorder.made;
    let id = beats.end()?;
    check(&daemon, &id, &mut report.wrong)?;
    let (verdict, lines) = steady.end(&daemon)?;
    let calls = lines
        .iter()
        .filter(|line| line.starts_with("{\"type\":\"syscall\""))
        .count() as u64;
    if calls != verdict.book("decoded")? {
        report
            .wrong
            .push(format!("{calls} lines of the steady one: {}", verdict.0));
    }
    drop(all);
    daemon.detached()?;
    let held = wait::until("the daemon to hold what it held", wait::LONG, || {
        Ok((Held::of(daemon.id())? == before).then_some(()))
    });
    if held.is_err() {
        report.left = Some(format!(
            "not what it held: before {before:?}, after {:?}",
            Held::of(daemon.id())?
        ));
    }
    let files = fs::read_dir(dir.path())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let files = files.filter(|name| name.starts_with("calls.jsonl")).count();
    if files > 5 {
        bail!("{files} files of a sink that keeps 3");
    }
    if report.samples.len() < SAMPLES as usize {
        bail!("the containers stopped coming");
    }
    Ok(report)
}

/// Looks at the books of a container that has gone; its events.
fn check(daemon: &Daemon, id: &str, wrong: &mut Vec<String>) -> Result<u64> {
    let verdict = daemon.verdict_at_end(id)?;
    if let Err(why) = verdict.whole() {
        wrong.push(format!("{id}: {why:#}"));
    }
    verdict.book("decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(of: impl Fn(f64) -> f64) -> Report {
        let sample = |at: u32| Sample {
            at: f64::from(at),
            own: of(f64::from(at)),
            ..Sample::default()
        };
        Report {
            length: Duration::from_secs(60),
            samples: (1..=60).map(sample).collect(),
            wrong: Vec::new(),
            left: None,
            recordings: 0,
        }
    }

    #[test]
    fn what_grows_is_not_flat() {
        // A fifth of a MiB a second: 9 MiB over the 45 s that count.
        let complaints = report(|at| 20.0 + at / 5.0).complaints();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("its own memory"), "{complaints:?}");
    }

    #[test]
    fn what_fills_and_stays_is_flat() {
        assert_eq!(
            report(|at| 20.0 + at.min(14.0)).complaints(),
            Vec::<String>::new()
        );
        // Nor is it one odd sample, however odd.
        assert_eq!(
            report(|at| if at == 59.0 { 900.0 } else { 20.0 + at % 3.0 }).complaints(),
            Vec::<String>::new()
        );
    }
}
