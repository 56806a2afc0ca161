//! What `cargo xtask test-vm` runs in a machine with another kernel: the programs load, containers are traced whole, and
//! the verdicts are those of any other kernel. Prints one line of JSON, `{loads, detail, instructions, capabilities,
//! steps: [{step, ok, detail}]}`; fails when a step does.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, event, event::difference, programs, whole};

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
    let steps = if loads {
        vec![
            step("container of runc", container(Runtime::Runc)),
            step("container of crun", container(Runtime::Crun)),
        ]
    } else {
        Vec::new()
    };
    Ok(json!({
        "loads": loads,
        "detail": of["detail"],
        "log": if loads { Vec::new() } else { log },
        "instructions": figures,
        "capabilities": capabilities["detail"],
        "steps": steps,
    }))
}

fn step(name: &str, done: Result<String>) -> Value {
    let ok = done.is_ok();
    let detail = done.unwrap_or_else(|why| format!("{why:#}"));
    json!({"step": name, "ok": ok, "detail": detail})
}

/// A container from its start to its end: seen whole, counted alike by both ways of counting, its failures judged.
fn container(runtime: Runtime) -> Result<String> {
    let mut daemon = Daemon::quiet()?;
    let bundle = Bundle::traced("guest", Rootfs::Busybox, &["/bin/sh", "-c", SCRIPT], &daemon)?;
    let tail = daemon.tail_all(&bundle.id)?.opened()?;
    let (status, container) = runtime.run(bundle)?;
    let container = container.quiet();
    ensure!(
        status.success() && container.stdout().ends_with("done\n"),
        "{status}: {}",
        container.outputs()
    );
    let id = container.id();
    let events = tail.events()?;
    whole::seen_whole(&daemon, id, &events, "/bin/sh")?;
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
    daemon.detached()?;
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    Ok(format!("{} events, whole", events.len()))
}
