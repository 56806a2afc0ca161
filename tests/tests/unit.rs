//! The daemon as the installed unit runs it: under systemd, with four capabilities, its filter of system calls and its
//! own view of the file system. What it is for works there, and what does not says so.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, os::unix::net::UnixStream};
use tracer_tests::{
    Bundle, Container, HookStage, Rootfs, Runtime, Verdict, held::Held, programs, service::Service, wait,
};

/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF (include/uapi/linux/capability.h).
const CAPABILITIES: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39;

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(found.with_context(|| name.to_owned())?.trim().to_owned())
}

fn traced(service: &Service, args: &[&str]) -> Result<Container> {
    let bundle = Bundle::new("unit", Rootfs::Busybox, args)?
        .hook(HookStage::CreateRuntime, &service.runtime_dir())?
        .annotate("true");
    Runtime::Runc.start(bundle)
}

/// Fails when it is told to.
const ON_SIGNAL: &str = "trap 'cat /nowhere; exit 1' USR1; echo up; while :; do sleep 0.1; done";

fn json(service: &Service, words: &[&str]) -> Result<Value> {
    let out = programs::output(&mut service.client(words)?)?;
    serde_json::from_slice(&out.stdout).with_context(|| programs::both(&out))
}

/// The container's row of `ps`.
fn row(service: &Service, id: &str) -> Result<Value> {
    json(service, &["ps", "-o", "json", id])
}

fn ended(service: &Service, id: &str) -> Result<Verdict> {
    wait::until("the end of the traced container", wait::LONG, || {
        let out = programs::output(&mut service.client(&["verify", "-o", "json", id])?)?;
        let text = String::from_utf8_lossy(&out.stdout);
        let verdict = Verdict::parse(&text).with_context(|| programs::both(&out))?;
        Ok((verdict.state() == "gone").then_some(verdict))
    })
}

#[test]
fn it_traces_with_the_rights_of_its_unit() -> Result<()> {
    let service = Service::start("")?;
    // Nobody started it: the first who comes does.
    assert_eq!(service.property("tracer.service", "ActiveState")?, "inactive");
    drop(UnixStream::connect(service.runtime_dir().join("hook.sock"))?);
    let pid = service.ready()?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(
            u64::from_str_radix(&status(pid, set)?, 16)?,
            CAPABILITIES,
            "{set}"
        );
    }
    assert_eq!(
        (status(pid, "NoNewPrivs")?, status(pid, "Seccomp")?),
        ("1".into(), "2".into())
    );
    let (its, own) = (
        fs::read_link(format!("/proc/{pid}/ns/mnt"))?,
        fs::read_link("/proc/self/ns/mnt")?,
    );
    assert_ne!(its, own, "it has the machine's mounts");

    let row = explained_late(&service, pid)?;
    ensure!(says_what_it_lacks(&row), "{row}");

    let needs = json(&service, &["check", "-o", "json"])?;
    let needs = needs.as_array().context("a list")?;
    for name in ["daemon", "sockets", "limits"] {
        let need = needs.iter().find(|need| need["need"] == name).context(name)?;
        ensure!(need["ok"] == true, "{need}");
    }
    programs::success(&mut service.systemctl(&["stop", "tracer.service"]))?;
    assert_eq!(
        service.property("tracer.service", "Result")?,
        "success",
        "{}",
        service.log()
    );
    Ok(())
}

/// Why the call of a container failed that is looked at when the container's processes have ended. Its namespaces may not
/// be joined then by a daemon that has only its unit's rights; what was kept before does.
fn explained_late(service: &Service, daemon: u32) -> Result<Value> {
    let mut container = traced(service, &["/bin/sh", "-c", ON_SIGNAL])?;
    container.printed("up")?;
    let hold = Held::thread(daemon, "explain")?;
    container.kill("USR1")?;
    assert_eq!(container.wait()?.code(), Some(1), "{}", container.outputs());
    hold.release()?;
    ended(service, container.id())?.whole()?;
    let out = programs::success(&mut service.client(&["explain", "-o", "json", container.id()])?)?;
    let told: Vec<Value> = out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let calls = |row: &Value| row["call"].as_str().is_some_and(|call| call.contains("/nowhere"));
    let row = told.into_iter().find(calls).with_context(|| out.clone())?;
    ensure!(row["cause"] == "missing", "{row}");
    Ok(row)
}

fn says_what_it_lacks(row: &Value) -> bool {
    let mut not_it = row["ruled_out"].as_array().into_iter().flatten();
    not_it.any(|what| what.as_str().is_some_and(|what| what.contains("CAP_SYS_ADMIN")))
}

/// What docs/install.md has for those who want all causes more than small rights.
#[test]
fn with_one_more_right_it_looks_into_what_has_ended() -> Result<()> {
    let service =
        Service::start("CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_CHROOT\nRestrictNamespaces=mnt net")?;
    drop(UnixStream::connect(service.runtime_dir().join("hook.sock"))?);
    let pid = service.ready()?;
    let row = explained_late(&service, pid)?;
    ensure!(!says_what_it_lacks(&row), "{row}");
    Ok(())
}

/// Containers run on, those that come meanwhile wait for it in the socket's queue, and the next daemon goes on with what this
/// one traced: nothing is missing between them.
#[test]
fn a_restart_breaks_no_container() -> Result<()> {
    let service = Service::start("")?;
    drop(UnixStream::connect(service.runtime_dir().join("hook.sock"))?);
    let before = service.ready()?;
    let mut stays = traced(
        &service,
        &["/bin/sh", "-c", "echo up; while :; do sleep 0.1; done"],
    )?;
    stays.printed("up")?;
    let mut restart = service.systemctl(&["restart", "tracer.service"]).spawn()?;
    let mut comes = traced(&service, &["/bin/echo", "hello"])?;
    comes.success()?;
    let restarted = wait::exit(&mut restart, "systemctl restart", wait::LONG)?;
    ensure!(restarted.success(), "{restarted}\n{}", service.log());
    ensure!(service.ready()? != before, "the same process");
    let row = wait::until("the container to be traced again", wait::LONG, || {
        let row = row(&service, stays.id())?;
        Ok((row["state"] == "live").then_some(row))
    })?;
    assert_eq!(row["complete"], true, "{row}\n{}", service.log());
    stays.kill("KILL")
}

/// Not the daemon's timer feeds the watchdog, but answers: with the pipeline's or the ring's thread held, and all others
/// at work, the service manager takes it for dead and starts another.
#[test]
fn the_watchdog_sees_a_thread_that_hangs() -> Result<()> {
    for name in ["pipeline", "ring"] {
        let service = Service::start("WatchdogSec=3s\nTimeoutAbortSec=5s\nLimitCORE=0")?;
        drop(UnixStream::connect(service.runtime_dir().join("hook.sock"))?);
        let pid = service.ready()?;
        let hold = Held::thread(pid, name)?;
        let restarted = wait::until("another daemon", wait::LONG, || {
            let restarts = service.property("tracer.service", "NRestarts")?;
            Ok((restarts.parse() == Ok(1)).then_some(()))
        });
        hold.release()?;
        restarted.with_context(|| format!("{name} held\n{}", service.log()))?;
        ensure!(service.ready()? != pid, "the same process");
        ensure!(service.log().contains("not well: "), "{}", service.log());
    }
    Ok(())
}
