//! What `cargo xtask test-vm` runs in a machine with another kernel: the programs load, containers are traced whole, and
//! the verdicts are those of any other kernel. Prints one line of JSON, `{loads, detail, instructions, capabilities,
//! steps: [{step, ok, detail}]}`; fails when a step does.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::{fs, process::ExitCode};
use tracer_tests::{
    Bundle, Daemon, Rootfs, Runtime, Verdict, event, event::difference, manager::Manager, programs, whole,
};

/// Some of what a start-up does, with calls of all kinds of arguments, tasks, and two failures.
const SCRIPT: &str = "cat /etc/passwd >/tmp/copy && mkdir /tmp/d && mv /tmp/copy /tmp/d/e; cat /missing; \
                      i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done; chown 7 /tmp/d/e; echo done";

fn main() -> ExitCode {
    let report = report();
    match &report {
        Ok(report) => println!("{report}"),
        Err(why) => eprintln!("guest: {why:#}"),
    }
    let well = report.is_ok_and(|report| {
        let steps = report["steps"].as_array().cloned().unwrap_or_default();
        steps.iter().all(|step| step["ok"] == true)
    });
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn report() -> Result<Value> {
    let text = programs::output(programs::command(programs::tracer()?).args(["check", "-v", "-o", "json"]))?;
    let needs: Vec<Value> = serde_json::from_slice(&text.stdout).with_context(|| programs::both(&text))?;
    let need = |name: &str| {
        let found = needs.iter().find(|need| need["need"] == name);
        found.with_context(|| format!("check says nothing of {name}"))
    };
    let (load, attach, capabilities) = (
        need("programs load")?,
        need("programs attach")?,
        need("capability checks")?,
    );
    let loads = load["ok"] == true && attach["ok"] == true;
    let of = if load["ok"] == true { attach } else { load };
    let log = load["evidence"].as_array().cloned().unwrap_or_default();
    let mut figures = load["figures"].as_object().cloned().unwrap_or_else(Map::new);
    figures.retain(|name, _| !["instructions", "most_instructions"].contains(&name.as_str()));
    let steps = if loads { steps()? } else { Vec::new() };
    Ok(json!({
        "loads": loads,
        "detail": of["detail"],
        "log": if loads { Vec::new() } else { log },
        "instructions": figures,
        "capabilities": capabilities["detail"],
        "steps": steps,
    }))
}

/// With one daemon: to verify the programs takes seconds where a processor is emulated.
fn steps() -> Result<Vec<Value>> {
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?.silent();
    let steps = vec![
        step("container of runc", settled(|| container(Runtime::Runc, &daemon))),
        step("container of crun", settled(|| container(Runtime::Crun, &daemon))),
        step("more tasks than processors", settled(|| busy(&daemon))),
        step("restarts under load", settled(|| restarted(&mut daemon))),
        step("real-time policy", realtime(&daemon)),
        step("negative dentries", dentries(&daemon)),
    ];
    daemon.detached()?;
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    Ok(steps)
}

fn step(name: &str, done: Result<String>) -> Value {
    let ok = done.is_ok();
    let detail = done.unwrap_or_else(|why| format!("{why:#}"));
    json!({"step": name, "ok": ok, "detail": detail})
}

/// What is found when the kernel skips no run of a program meanwhile. It may skip one, by chance, while some task of the host is
/// preempted in a map; not time after time.
fn settled(mut found: impl FnMut() -> Result<Option<String>>) -> Result<String> {
    const TIMES: u32 = 5;
    for _ in 0..TIMES {
        if let Some(found) = found()? {
            return Ok(found);
        }
    }
    bail!("the kernel skipped tracing programs {TIMES} times of {TIMES}")
}

/// Whether runs of programs were skipped meanwhile: then it is said. Else nothing was lost.
fn was_skipped(verdict: &Verdict, daemon: &Daemon) -> Result<bool> {
    let verdict = &verdict.0;
    let missed = verdict["missed_runs"].as_u64().context("no missed runs")?;
    if missed == 0 {
        ensure!(verdict["complete"] == true, "{verdict}");
        return Ok(false);
    }
    let said = verdict["reason"].as_str().unwrap_or_default();
    ensure!(
        verdict["balanced"] == true
            && verdict["complete"] == false
            && (said.contains("skipped tracing programs") || said.contains("events were lost")),
        "{verdict}"
    );
    let text = programs::success(daemon.client("status").args(["-o", "json"]))?;
    let status: Value = serde_json::from_str(&text)?;
    let programs = status["missed_runs"].as_object().context("no missed runs")?;
    let told: u64 = programs.values().filter_map(Value::as_u64).sum();
    ensure!(told >= missed, "{text}");
    Ok(true)
}

/// A container from its start to its end: seen whole, counted alike by both ways of counting, its failures judged.
fn container(runtime: Runtime, daemon: &Daemon) -> Result<Option<String>> {
    let bundle = Bundle::traced("guest", Rootfs::Busybox, &["/bin/sh", "-c", SCRIPT], daemon)?;
    let tail = daemon.tail(&bundle.id, &["-o", "json", "--phase", "all", "-y"])?;
    let tail = tail.opened()?;
    let (status, container) = runtime.run(bundle)?;
    let container = container.quiet();
    ensure!(
        status.success() && container.stdout().ends_with("done\n"),
        "{status}: {}",
        container.outputs()
    );
    let id = container.id();
    let verdict = daemon.verdict_at_end(id)?;
    let (_, events, _) = tail.end()?;
    let events = event::parse(&events)?;
    if was_skipped(&verdict, daemon)? {
        return Ok(None);
    }
    whole::seen_whole(daemon, id, &events, "/bin/sh")?;
    let counted = daemon.stats(id)?.counts()?;
    if let Some(text) = difference("events", &event::counts(&events), "stats", &counted) {
        anyhow::bail!("events and counts differ:\n{text}");
    }
    let calls = |name: &str| {
        let all = events.iter().filter(move |event| event.is_app());
        all.filter(|event| event.syscall() == name).collect::<Vec<_>>()
    };
    let commands = calls("execve").iter().filter(|call| call.0["ret"] == 0).count();
    ensure!(commands >= 20, "{commands} programs were executed");
    // What an execve points to, and what a descriptor stands for, is kept in storages of their own.
    let last = calls("execve").last().map(|call| call.arg(0).to_owned());
    ensure!(
        calls("execve").iter().all(|call| call.arg(1).starts_with('['))
            && last.is_some_and(|path| path.starts_with("\"/bin/")),
        "an execve lacks its strings"
    );
    let opened = events.iter().find(|event| event.arg(1) == "\"/etc/passwd\"");
    let opened = opened.context("the open of /etc/passwd is not there")?;
    assert_eq!(opened.0["ret_file"]["path"], "/etc/passwd", "{}", opened.0);
    let failed = events.iter().find(|event| event.arg(1) == "\"/missing\"");
    let failed = failed.context("the open of /missing is not there")?;
    assert_eq!(failed.text("errno"), "ENOENT", "{}", failed.0);

    // What the kernel knew of the task as the call returned.
    let text = programs::success(daemon.client("explain").args(["-o", "json", id]))?;
    let told = event::parse(&text)?;
    let chown = told.iter().find(|found| found.syscall().contains("chown"));
    let chown = chown.with_context(|| format!("chown is not explained: {text}"))?;
    assert_eq!(chown.text("cause"), "capability", "{}", chown.0);
    let text = programs::success(daemon.client("caps").args(["-o", "json", id]))?;
    let told: Value = serde_json::from_str(&text)?;
    ensure!(told["unseen"].is_null() && told["overflow"] == 0, "{text}");
    let all = told["capabilities"].as_array().context("no capabilities")?;
    let of = |verdict: &str| {
        let with = all.iter().filter(|found| found["verdict"] == verdict);
        with.filter_map(|found| found["name"].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("denied"), ["CAP_CHOWN"], "{text}");
    assert_eq!(of("needed"), [""; 0], "{text}");
    assert_eq!(of("never-used").len(), 3, "{text}");
    Ok(Some(format!("{} events, whole", events.len())))
}

/// A container that is preempted in the middle of its calls, over and over: each of them is seen to begin and to end.
fn busy(daemon: &Daemon) -> Result<Option<String>> {
    const TASKS: u64 = 6;
    const CALLS: u64 = 60_000;
    const NAME: &str = "sched_get_priority_max";
    let script = format!(
        "i=0; while [ $i -lt {TASKS} ]; do /workloads/calls {CALLS} {NAME} >/dev/null & i=$((i+1)); done; wait"
    );
    // Nobody reads what they are, so that none is lost for want of a reader.
    let filter = ("container-tracer.io/filter", "trace=execve");
    let bundle = Bundle::traced("busy", Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
    let (status, container) = Runtime::Runc.run(bundle.annotations(&[filter]))?;
    let container = container.quiet();
    ensure!(status.success(), "{status}: {}", container.outputs());
    let verdict = daemon.verdict_at_end(container.id())?;
    if was_skipped(&verdict, daemon)? {
        return Ok(None);
    }
    let counted = daemon.stats(container.id())?.counts()?;
    ensure!(counted.get(NAME) == Some(&(TASKS * CALLS)), "{counted:?}");
    Ok(Some(format!("{TASKS} times {CALLS} calls, whole")))
}

/// A container that calls all the time, on more tasks than there are processors, while one daemon after the other has it:
/// its calls are all in the books of the last.
fn restarted(daemon: &mut Daemon) -> Result<Option<String>> {
    const TASKS: usize = 6;
    const TIMES: usize = 3;
    const NAME: &str = "sched_get_priority_max";
    let script = format!(
        "i=0; while [ $i -lt {TASKS} ]; do /workloads/calls /scratch/end {NAME} & i=$((i+1)); done; echo ready; wait"
    );
    let filter = ("container-tracer.io/filter", "trace=execve");
    let bundle = Bundle::traced("restarted", Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
    let scratch = bundle.scratch();
    let mut container = Runtime::Runc.start(bundle.annotations(&[filter]))?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    for _ in 0..TIMES {
        ensure!(daemon.stop()?.success(), "{}", daemon.log());
        daemon.restart()?;
    }
    fs::write(scratch.join("end"), "")?;
    container.success()?;
    let said = container.stdout();
    let made = said.lines().filter_map(|line| line.strip_prefix("done "));
    let made: Vec<u64> = made.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(made.len() == TASKS, "{said}");
    let verdict = daemon.verdict_at_end(&id)?;
    if was_skipped(&verdict, daemon)? {
        return Ok(None);
    }
    let (made, counted) = (made.iter().sum::<u64>(), daemon.stats(&id)?.counts()?);
    ensure!(counted.get(NAME) == Some(&made), "{made} were made: {counted:?}");
    Ok(Some(format!("{TIMES} restarts in {made} calls, none missed")))
}

/// How often the kernel did not run a program, since it was in progress on that CPU: those at functions are preempted.
fn missed_of_all() -> Result<u64> {
    let text = programs::success(programs::command("bpftool").args(["-j", "prog", "show"]))?;
    let all: Vec<Value> = serde_json::from_str(&text)?;
    Ok(all
        .iter()
        .filter_map(|program| program["recursion_misses"].as_u64())
        .sum())
}

/// A name that is not there is asked of the file system once, and of the cache from then on; as it is told while somebody
/// asks.
fn dentries(daemon: &Daemon) -> Result<String> {
    const TIMES: u64 = 101;
    let script = format!(
        "echo ready; read go </scratch/go; /workloads/missing /usr/no-such-name {TIMES}; read go </scratch/go"
    );
    let bundle = Bundle::traced("dentry", Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
    let go = bundle.fifo("go")?;
    let told = |id: &str, form: &str| programs::success(daemon.client("dentry").args(["-o", form, id]));
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    // That it is asked for begins it.
    let first = told(&id, "text")?;
    let detail = "kernel detail: fentry on lookup_fast, d_add, d_splice_alias since ";
    ensure!(first.contains(detail), "{first}");
    let before = missed_of_all()?;
    fs::write(&go, "\n")?;
    container.printed(&format!("missing {TIMES}"))?;
    let text = told(&id, "json")?;
    let report: Value = serde_json::from_str(&text)?;
    let paths = report["paths"].as_array().context("no paths")?;
    let row = paths.iter().find(|row| row["path"] == "/usr/no-such-name");
    let row = row.with_context(|| format!("the path is not there: {text}"))?;
    let count = |of: &str| row[of].as_u64().with_context(|| row.to_string());
    let (cached, looked_up) = (count("cached")?, count("looked_up")?);
    if missed_of_all()? == before {
        ensure!((cached, looked_up) == (TIMES - 1, 1), "{row}");
    } else {
        ensure!(looked_up <= 1 && cached < TIMES, "{row}");
    }
    fs::write(&go, "\n")?;
    container.success()?;
    Ok(format!("{cached} of {TIMES} look-ups were answered by the cache"))
}

/// A program that wants a real-time policy in a user namespace of its own, where no capability helps: refused by its
/// limit, which the verdict says; and with the limit that it names it has its policy.
fn realtime(daemon: &Daemon) -> Result<String> {
    const CHRT: [&str; 4] = ["/usr/bin/chrt", "-f", "50", "/bin/true"];
    let bundle = |what: &str| -> Result<Bundle> {
        let mut bundle = Bundle::traced(what, Rootfs::Host, &CHRT, daemon)?.capability("CAP_SYS_NICE");
        let linux = &mut bundle.config["linux"];
        let namespaces = linux["namespaces"].as_array_mut().context("no namespaces")?;
        namespaces.push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            linux[map] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
        }
        // What the host's root owns, nobody in there may enter.
        programs::success(
            programs::command("chown")
                .args(["-R", "200000:200000"])
                .arg(bundle.path()),
        )?;
        Ok(bundle)
    };
    let (status, container) = Runtime::Runc.run(bundle("refused")?)?;
    let container = container.quiet();
    ensure!(!status.success(), "it has its policy before it has its limit");
    daemon.verdict_at_end(container.id())?;
    let text = programs::success(daemon.client("explain").args(["-o", "json", container.id()]))?;
    let told = event::parse(&text)?;
    let found = told.iter().find(|found| found.syscall() == "sched_setscheduler");
    let found = &found
        .with_context(|| format!("no diagnosis of the call: {text}"))?
        .0;
    ensure!(
        found["errno"] == "EPERM"
            && found["cause"] == "rlimit"
            && found.to_string().contains("RLIMIT_RTPRIO is 0"),
        "{found}"
    );
    let fixes = found["fixes"].as_array().context("no fixes")?;
    for (place, line) in [("podman", "--ulimit rtprio=50:50"), ("systemd", "LimitRTPRIO=50")] {
        let named = |fix: &Value| {
            fix["place"] == place && fix["line"].as_str().is_some_and(|text| text.starts_with(line))
        };
        ensure!(fixes.iter().any(named), "{place} has no line {line}: {found}");
    }
    let mut allowed = bundle("allowed")?;
    allowed.config["process"]["rlimits"] = json!([{"type": "RLIMIT_RTPRIO", "soft": 50, "hard": 50}]);
    let (status, container) = Runtime::Runc.run(allowed)?;
    let container = container.quiet();
    ensure!(
        status.success(),
        "{status} with its limit: {}",
        container.outputs()
    );
    Ok("refused by RLIMIT_RTPRIO, explained so, allowed with the limit that was named".to_owned())
}
