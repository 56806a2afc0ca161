//! What befalls the machine costs what it must and no more: what cannot be written is counted, who waits for it waits
//! alone, containers and other readers lose nothing. docs/reliability.md has one row for each of these.

use anyhow::{Context, Result, ensure};
use rustix::{process::Signal, time::ClockId};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};
use tracer_tests::{
    Bundle, Container, Daemon, Event, Rootfs, Runtime, Verdict, bundle, event,
    event::Sequence,
    faults::{self, Disk, Memory, Step, silent},
    hook,
    leaks::Held,
    programs,
    sink::{self, Caller},
    unique_id, wait,
};

/// Of a container that was whole, its reader has every call.
fn has_all(verdict: &Verdict, lines: &[String]) -> Result<()> {
    let calls = lines
        .iter()
        .filter(|line| line.starts_with("{\"type\":\"syscall\""))
        .count() as u64;
    let decoded = verdict.book("decoded")?;
    ensure!(calls == decoded && calls > 0, "{calls} lines of {decoded} calls");
    Ok(())
}

/// A container that makes calls until it is told to end, told nobody but the daemon.
fn lives(daemon: &Daemon, what: &str) -> Result<Container> {
    let args = ["/bin/sh", "-c", "echo ready; exec sleep 1009"];
    let mut container = Runtime::Runc.start(Bundle::traced(what, Rootfs::Busybox, &args, daemon)?)?;
    container.printed("ready")?;
    Ok(container.quiet())
}

fn kill(container: &mut Container) -> Result<()> {
    container.kill("KILL")?;
    container.wait().map(drop)
}

#[test]
fn a_full_state_directory_stops_no_container() -> Result<()> {
    let daemon = Daemon::start()?;
    let traced = Disk::small(daemon.dir().join("traced"), "64k")?;
    traced.fill(0)?;
    let caller = Caller::start(&daemon, "state", 151)?;
    ensure!(
        daemon.log().contains("its note could not be written"),
        "{}",
        daemon.log()
    );
    faults::all_finished(&traced.path().join("missed"))?;
    let (verdict, lines) = caller.end(&daemon)?;
    has_all(&verdict, &lines)?;

    // The hook's marker, too: the container starts, and its line says that nobody will be told.
    let away = tempfile::tempdir()?;
    let missed = Disk::small(away.path().join("missed"), "64k")?;
    missed.fill(0)?;
    let init = hook::Init::start()?;
    let state = hook::state(&unique_id("full"), init.pid).to_string();
    let (out, _) = hook::run(away.path(), &["createRuntime"], state.as_bytes())?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success() && said.contains("not noted") && said.contains("No space left"),
        "{}",
        programs::both(&out)
    );
    faults::all_finished(missed.path())?;

    // With room again, both write again.
    missed.relieve()?;
    let (out, _) = hook::run(away.path(), &["createRuntime"], state.as_bytes())?;
    ensure!(
        String::from_utf8_lossy(&out.stderr).contains("noted in"),
        "{}",
        programs::both(&out)
    );
    traced.relieve()?;
    let mut next = lives(&daemon, "room")?;
    assert_eq!(fs::read_dir(traced.path().join("missed"))?.count(), 1);
    kill(&mut next)
}

#[test]
fn a_recording_on_a_full_disk_is_whole_as_far_as_it_goes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::small(dir.path().join("disk"), "256k")?;
    let dumps = disk.path().join("dumps");
    let place = dumps.to_str().context("a path")?;
    let daemon = Daemon::start_with(&["--dump-on", "exit", "--dump-dir", place])?;
    let caller = Caller::start(&daemon, "record", 151)?;
    let file = disk.path().join("calls.trec");
    let mut record = daemon.client("record");
    record.arg("-w").arg(&file).args(["--since-start", caller.id()]);
    let out = programs::output(&mut record)?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.code() == Some(2) && said.contains("No space left"),
        "{}",
        programs::both(&out)
    );
    ensure!(said.contains("calls.trec"), "it does not say which file: {said}");
    let mut replay = programs::command(programs::tracer()?);
    replay
        .arg("replay")
        .arg(&file)
        .args(["-o", "json", "--phase", "all"]);
    let out = programs::output(&mut replay)?;
    ensure!(
        out.status.code() == Some(1) && String::from_utf8_lossy(&out.stderr).contains("not whole"),
        "replay: {}",
        out.status
    );
    let events = event::parse(&String::from_utf8(out.stdout)?)?;
    Sequence::of(&events)?.whole(false)?;
    ensure!(events.len() > 151, "{} events", events.len());

    // The flight recorder, for which there is no room either: told, and nothing half-made stays.
    let fails = |what: &str| -> Result<String> {
        let bundle = Bundle::traced(what, Rootfs::Busybox, &["/bin/sh", "-c", "exit 1"], &daemon)?;
        let (_, container) = Runtime::Runc.run(bundle)?;
        let container = container.quiet();
        daemon.verdict_at_end(container.id())?.whole()?;
        Ok(container.id().to_owned())
    };
    disk.fill(0)?;
    let id = fails("nodump")?;
    wait::until("the word of a dump that is not there", wait::LONG, || {
        Ok(daemon
            .log()
            .contains(&format!("no dump of container {id}: "))
            .then_some(()))
    })?;
    assert_eq!(fs::read_dir(&dumps)?.count(), 0, "something is left of it");
    disk.relieve()?;
    fs::remove_file(&file)?;
    fails("dump")?;
    wait::until("a dump", wait::LONG, || {
        Ok((fs::read_dir(&dumps)?.count() == 1).then_some(()))
    })?;
    let (verdict, lines) = caller.end(&daemon)?;
    has_all(&verdict, &lines)
}

#[test]
fn a_disk_that_hangs_holds_up_its_sink_alone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut disk = Disk::ext4(dir.path().join("disk"))?;
    let sink = |name: &str, path: &Path| {
        format!(
            "[[sink]]\nkind = \"file\"\nname = {name:?}\npath = {path:?}\nphases = \"all\"\nqueue = \"256M\"\nrotate_size = 0\n"
        )
    };
    let (hung, other) = (disk.path().join("calls"), dir.path().join("calls"));
    let mut daemon = sink::daemon(dir.path(), &(sink("hung", &hung) + &sink("other", &other)))?;
    let caller = Caller::start(&daemon, "hangs", 151)?;
    let id = caller.id().to_owned();
    let written = |name: &str| sink::books(&daemon.verify_now(&id)?, name).map(|books| books.written);
    wait::until("lines on the disk", wait::LONG, || {
        Ok((written("hung")? > 1000).then_some(()))
    })?;
    disk.freeze()?;
    let before = written("other")?;
    wait::until("lines that wait", wait::LONG, || {
        Ok((sink::books(&daemon.verify_now(&id)?, "hung")?.queued > 2000).then_some(()))
    })?;
    wait::until("the other sink, which does not wait", wait::LONG, || {
        Ok((written("other")? > before + 1000).then_some(()))
    })?;
    let (verdict, lines) = sink::run(&daemon, "meanwhile", 1009)?;
    has_all(&verdict, &lines)?;
    disk.thaw()?;
    let (verdict, lines) = caller.end(&daemon)?;
    has_all(&verdict, &lines)?;
    let decoded = verdict.book("decoded")?;
    for name in ["hung", "other"] {
        let books = sink::settled(&daemon, &id, name)?;
        assert_eq!((books.written, books.dropped), (decoded, 0), "{name}");
    }

    // A daemon that shall end does not wait for it for ever: what is not written by then is told as lost.
    disk.freeze()?;
    sink::run(&daemon, "last", 1009)?;
    daemon.signal(Signal::TERM)?;
    wait::until("the daemon to give the sink up", wait::LONG, || {
        Ok(daemon.log().contains("a sink hangs").then_some(()))
    })?;
    disk.thaw()?;
    ensure!(daemon.wait()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()?;
    for path in [&hung, &other] {
        let text = fs::read_to_string(path)?;
        ensure!(text.ends_with('\n'), "{} ends within a line", path.display());
        event::parse(&text)?;
    }
    Ok(())
}

#[test]
fn receivers_that_never_answer_cost_nobody_anything() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("fifo");
    bundle::fifo(&fifo)?;
    let delivery = |kind: &str, to: &str| {
        format!(
            "[[sink]]\nkind = {kind:?}\n{to}\nphases = \"all\"\nspool_directory = {:?}\nretry_max = \"500ms\"\n\
             timeout = \"1s\"\n",
            dir.path().join(kind)
        )
    };
    let text = format!("[[sink]]\nkind = \"file\"\npath = {fifo:?}\nphases = \"all\"\n")
        + &delivery("otlp", &format!("endpoint = \"http://127.0.0.1:{}\"", silent()?))
        + &delivery(
            "nats",
            &format!(
                "servers = [\"nats://127.0.0.1:{}\"]\nstream = \"TRACER\"",
                silent()?
            ),
        );
    let mut daemon = sink::daemon(dir.path(), &text)?;
    let (verdict, lines) = sink::run(&daemon, "silent", 5003)?;
    has_all(&verdict, &lines)?;
    for name in ["file", "otlp", "nats"] {
        let books = sink::books(&verdict, name)?;
        assert_eq!(
            (books.written, books.dropped, books.queued),
            (0, 0, verdict.book("decoded")?),
            "{name}"
        );
    }
    // Each says why nothing arrives.
    let word = |name: &str| {
        wait::until(&format!("the state of {name}"), wait::LONG, || {
            Ok(sink::status(&daemon, name)?["down"].as_str().map(str::to_owned))
        })
    };
    for name in ["otlp", "nats"] {
        let down = word(name)?;
        ensure!(down.contains("time") || down.contains("answer"), "{name}: {down}");
    }
    wait::until("the word of the pipe", wait::LONG, || {
        Ok(daemon.log().contains("it is no regular file").then_some(()))
    })?;
    let began = std::time::Instant::now();
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(20), "its end took {took:?}");
    for kind in ["otlp", "nats"] {
        ensure!(
            fs::read_dir(dir.path().join(kind))?.count() > 0,
            "nothing of {kind} is kept for the next daemon"
        );
    }
    Ok(())
}

/// `tracer tail` that is stopped, and its two files.
struct Stopped {
    tail: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Stopped {
    fn start(daemon: &Daemon, number: usize, id: &str) -> Result<Self> {
        let (out, err) = (
            daemon.dir().join(format!("stopped-{number}")),
            daemon.dir().join(format!("stopped-{number}.err")),
        );
        let mut tail = daemon.client("tail");
        tail.args(["-o", "json", "--phase", "all", "--until-gone", id]);
        tail.stdout(File::create(&out)?).stderr(File::create(&err)?);
        let tail = tail.spawn()?;
        let stopped = Self { tail, out, err };
        wait::until("the tail to be open", wait::LONG, || {
            Ok(fs::read_to_string(&stopped.err)?
                .contains("waiting for container")
                .then_some(()))
        })?;
        stopped.signal(Signal::STOP)?;
        Ok(stopped)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.tail);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Goes on; its calls, and what its stream and its last line say that it missed.
    fn goes_on(mut self) -> Result<(u64, u64, String)> {
        self.signal(Signal::CONT)?;
        let status = wait::exit(&mut self.tail, "tracer tail", 2 * wait::LONG)?;
        let said = fs::read_to_string(&self.err)?;
        assert_eq!(status.code(), Some(1), "{said}");
        let (mut calls, mut told) = (0, 0);
        event::each(&self.out, |event| {
            calls += u64::from(event.is_syscall());
            if event.text("reason") == "sink_drop" {
                told += event.number("count")?;
            }
            Ok(())
        })?;
        fs::remove_file(&self.out)?;
        Ok((calls, told, said))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ended = self.tail.kill();
        let _ended = self.tail.wait();
    }
}

/// All readers but one are stopped, and the daemon may have so much memory and no more: it stays below.
#[test]
fn readers_that_stop_cost_themselves_and_no_memory_without_bound() -> Result<()> {
    const READERS: usize = 12;
    const CALLS: u64 = 150_011;
    /// The ring and the tables of the kernel side, what is held, 256 MiB that wait for readers.
    const LIMIT: u64 = 512 << 20;
    let memory = Memory::limit(LIMIT)?;
    {
        let daemon = Daemon::start_as(memory.command(&programs::tracer()?), &[])?;
        let script = format!(
            "read line </scratch/go; exec /workloads/calls {CALLS} {}",
            sink::CALL
        );
        let bundle = Bundle::traced("readers", Rootfs::Host, &["/bin/sh", "-c", &script], &daemon)?;
        let go = bundle.fifo("go")?;
        let id = bundle.id.clone();
        let reader = daemon
            .tail_of("reader", &["-o", "text", "--phase", "all", &id])?
            .opened()?;
        let stopped: Vec<_> = (0..READERS)
            .map(|number| Stopped::start(&daemon, number, &id))
            .collect::<Result<_>>()?;
        let mut container = Runtime::Runc.start(bundle)?;
        fs::write(&go, "go\n")?;
        container.success()?;
        let verdict = daemon.verdict_at_end(&id)?;
        verdict.whole()?;
        let decoded = verdict.book("decoded")?;
        // The one that reads has all of it.
        let text = reader.text()?;
        let calls = text.lines().filter(|line| line.starts_with("[pid ")).count() as u64;
        let processes = text
            .lines()
            .filter(|line| line.starts_with("[pid ") && !line.contains('('))
            .count() as u64;
        assert_eq!(calls - processes, decoded, "lines of the one that reads");
        let (peak, kills) = (memory.peak()?, memory.kills()?);
        eprintln!("{} MiB of {} MiB at most", peak >> 20, LIMIT >> 20);
        ensure!(kills == 0, "killed for want of memory");
        // Each of the others has what its queue had room for; the rest is counted, and told to it.
        let mut dropped = 0;
        for stopped in stopped {
            let (calls, told, said) = stopped.goes_on()?;
            ensure!(told > 0, "it missed nothing: was it stopped? {said}");
            assert_eq!(calls + told, decoded, "{calls} and {told}: {said}");
            ensure!(
                said.contains(&format!("{told} dropped for this tail")),
                "of {told}: {said}"
            );
            dropped += told;
        }
        eprintln!(
            "{dropped} of {} dropped for {READERS} readers",
            READERS as u64 * decoded
        );
    }
    Ok(())
}

#[test]
fn a_clock_that_is_set_moves_no_duration_and_no_order() -> Result<()> {
    /// More than a call takes, on whatever machine.
    const STEP: i64 = 60;
    const DAY: i128 = 86_400_000_000_000;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("calls");
    let text = format!(
        "[[sink]]\nkind = \"file\"\npath = {path:?}\nphases = \"all\"\nrotate_every = \"2s\"\nkeep = 0\n"
    );
    let daemon = sink::daemon(dir.path(), &text)?;
    // Between two looks this thread may have to wait for a processor: the pair that were nearest to each other tells.
    let offset = || {
        let from = faults::now(ClockId::Monotonic);
        let wall = faults::now(ClockId::Realtime);
        (faults::now(ClockId::Monotonic) - from, wall - from)
    };
    let (_, before) = (0..100).map(|_| offset()).min().context("no look")?;
    let caller = Caller::start(&daemon, "clock", 151)?;
    let admitted = || daemon.verify_now(caller.id())?.book("admitted");
    let more = || {
        let from = admitted()?;
        wait::until("calls", wait::LONG, || {
            Ok((admitted()? > from + 1000).then_some(()))
        })
    };
    more()?;
    {
        let _step = Step::forward(STEP)?;
        more()?;
    }
    more()?;
    let id = caller.id().to_owned();
    let (verdict, lines) = caller.end(&daemon)?;
    has_all(&verdict, &lines)?;
    let books = sink::settled(&daemon, &id, "file")?;
    assert_eq!((books.written, books.dropped), (verdict.book("decoded")?, 0));

    let events = event::parse(&lines.join("\n"))?;
    Sequence::of(&events)?.whole(true)?;
    let mut last = std::collections::BTreeMap::<u64, (u64, u64)>::new();
    let mut ahead = Vec::new();
    for event in events.iter().filter(|event| event.is_syscall()) {
        let (cpu, seq, ktime) = (event.number("cpu")?, event.number("seq")?, event.number("ktime")?);
        if let Some((seq_before, ktime_before)) = last.insert(cpu, (seq, ktime)) {
            ensure!(
                seq > seq_before && ktime >= ktime_before || seq < seq_before,
                "{}",
                event.0
            );
        }
        // The container's longest call is its pause of 50 ms.
        if let Some(duration) = event.0["duration_ns"].as_u64() {
            let step = STEP.unsigned_abs() * 1_000_000_000;
            ensure!(duration < step, "a call of {duration} ns: {}", event.0);
        }
        // Days do not matter to how far it is ahead.
        let ran = (wall(event)? - i128::from(ktime) - before).rem_euclid(DAY);
        ahead.push((if ran > DAY / 2 { ran - DAY } else { ran }) / 100_000_000);
    }
    // In tenths of a second: before, while it was ahead, after. A call that waited in the ring over a step has the new time.
    let steps: Vec<_> = ahead
        .chunk_by(|a, b| (a - b).abs() <= 1)
        .map(|same| same[0])
        .collect();
    ensure!(
        steps.len() == 3
            && steps[0].abs() <= 1
            && (steps[1] - 10 * i128::from(STEP)).abs() <= 1
            && steps[2].abs() <= 1,
        "the time ran {steps:?} tenths of a second ahead"
    );
    Ok(())
}

/// An event's time of day, in nanoseconds since the midnight before it.
fn wall(event: &Event) -> Result<i128> {
    let time = event.text("time").trim_end_matches('Z');
    let (_, clock) = time.split_once('T').context("no time")?;
    let (clock, fraction) = clock.split_once('.').context("no fraction")?;
    let mut seconds: i128 = 0;
    for part in clock.split(':') {
        seconds = 60 * seconds + part.parse::<i128>()?;
    }
    Ok(seconds * 1_000_000_000 + fraction.parse::<i128>()?)
}

#[test]
fn without_descriptors_it_refuses_and_goes_on() -> Result<()> {
    const LIMIT: &str = "--nofile=128";
    // Fewer than it needs: it says so at once, and what to do.
    let dir = tempfile::tempdir()?;
    let mut few = programs::command("prlimit");
    few.arg("--nofile=64").arg(programs::tracer()?);
    let out = programs::output(few.args(["daemon", "--runtime-dir"]).arg(dir.path()))?;
    ensure!(
        out.status.code() == Some(2) && String::from_utf8_lossy(&out.stderr).contains("LimitNOFILE"),
        "{}",
        programs::both(&out)
    );

    let mut command = programs::command("prlimit");
    command.arg(LIMIT).arg(programs::tracer()?);
    let daemon = Daemon::start_as(command, &[])?;
    let caller = Caller::start(&daemon, "first", 151)?;
    // Each of these takes descriptors for as long as it lives.
    let mut inits = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        ensure!(
            inits.len() < 64,
            "128 descriptors are enough for {} containers",
            inits.len()
        );
        let init = hook::Init::start()?;
        let state = hook::state(&unique_id("many"), init.pid).to_string();
        let (out, took) = hook::run(
            daemon.dir(),
            &["--timeout", hook::PATIENCE, "createRuntime"],
            state.as_bytes(),
        )?;
        inits.push(init);
        // It is told at once, not when its time is over, and why; the container starts.
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "{}", programs::both(&out));
        ensure!(took < Duration::from_secs(15), "it took {took:?}: {said}");
        if !said.is_empty() {
            ensure!(said.contains("refused") && said.contains("LimitNOFILE"), "{said}");
            refused += 1;
        }
    }
    // Commands are still answered, then tails take what is left, and the next one hears why not.
    assert_eq!(daemon.status()?["refused"]["descriptors"], 3);
    let mut tails: Vec<Tail> = Vec::new();
    let refusal = wait::until("a tail to be refused", wait::LONG, || {
        for tail in &mut tails {
            if let Some(status) = tail.tail.try_wait()? {
                let said = fs::read_to_string(&tail.err)?;
                return Ok(Some(format!("{status}: {said}")));
            }
        }
        ensure!(tails.len() < 64, "{} tails", tails.len());
        let of = |what: &str| daemon.dir().join(format!("many-{}.{what}", tails.len()));
        let (out, err) = (of("out"), of("err"));
        let mut tail = daemon.client("tail");
        tail.arg(caller.id())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        tails.push(Tail {
            tail: tail.spawn()?,
            err,
        });
        // The container goes on making calls: a tail that is open shows some.
        wait::until("the tail to be open", wait::LONG, || {
            let ended = tails.last_mut().map(|tail| tail.tail.try_wait()).transpose()?;
            Ok((ended.flatten().is_some() || fs::metadata(&out)?.len() > 0).then_some(()))
        })?;
        Ok(None)
    })?;
    ensure!(refusal.contains("LimitNOFILE"), "{refusal}");
    let held = Held::of(daemon.id())?;
    // Those that were in lose nothing; with room again, others come in.
    drop(tails);
    inits.drain(..6);
    wait::until("room", wait::LONG, || {
        let status = programs::output(daemon.client("status").args(["-o", "json"]))?;
        Ok(status.status.success().then_some(()))
    })?;
    wait::until("room for a container", wait::LONG, || {
        let init = hook::Init::start()?;
        let state = hook::state(&unique_id("again"), init.pid).to_string();
        let out = hook::patient(daemon.dir(), &["createRuntime"], state.as_bytes())?;
        Ok(out.stderr.is_empty().then_some(()))
    })?;
    drop(inits);
    let (verdict, lines) = caller.end(&daemon)?;
    has_all(&verdict, &lines)?;
    daemon.detached()?;
    let after: usize = Held::of(daemon.id())?.fds.values().sum();
    ensure!(after < held.fds.values().sum(), "{held:?}");
    Ok(())
}

/// A client that is killed with this.
struct Tail {
    tail: Child,
    err: PathBuf,
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ended = self.tail.kill();
        let _ended = self.tail.wait();
    }
}
