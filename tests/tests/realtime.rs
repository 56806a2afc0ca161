//! A program that wants a real-time policy at its start, in containers that do not let it have one: the verdict is right,
//! what it says to change is changed, and then the program has its policy.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};
use tracer_tests::{
    Bundle, Daemon, Event, Rootfs, Runtime, event, podman::Podman, programs, user::User, wait,
};

const TRACED: [&str; 2] = ["--annotation", "container-tracer.io/trace=true"];
/// It calls sched_setscheduler(2), and runs the program then.
const CHRT: [&str; 4] = ["/usr/bin/chrt", "-f", "50", "/bin/true"];
/// util-linux's chrt, in an image that has nothing of Debian.
const DEBIAN: [&str; 6] = [
    "-v",
    "/usr/bin/chrt:/usr/bin/chrt:ro",
    "-v",
    "/usr/lib:/lib:ro",
    "-v",
    "/usr/lib64:/lib64:ro",
];

/// The diagnosis of the call.
fn diagnosis(daemon: &Daemon, id: &str) -> Result<Event> {
    let text = programs::success(daemon.client("explain").args(["-o", "json", id]))?;
    let mut all = event::parse(&text)?;
    let at = all
        .iter()
        .position(|event| event.syscall() == "sched_setscheduler");
    let event = all.swap_remove(at.with_context(|| format!("no diagnosis of the call: {text}"))?);
    assert_eq!(event.text("errno"), "EPERM", "{}", event.0);
    Ok(event)
}

/// The lines to change at that place.
fn lines(event: &Event, place: &str) -> Vec<String> {
    let fixes = event.0["fixes"].as_array().cloned().unwrap_or_default();
    let here = fixes.iter().filter(|fix| fix["place"] == place);
    here.filter_map(|fix| Some(fix["line"].as_str()?.to_owned()))
        .collect()
}

/// Whether somebody has this capability here (the machine of a cloud may have taken it from root).
fn root_has_sys_resource() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = u64::from_str_radix(set.context("CapEff")?.trim(), 16)?;
    Ok(set & 1 << 24 != 0)
}

#[test]
fn a_users_container_needs_the_limit_and_no_capability_helps() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    for options in [&[][..], &["--cap-add", "SYS_NICE"][..]] {
        let id = podman.create(&[&TRACED[..], &DEBIAN, options].concat(), &CHRT)?;
        let out = podman.attempt(&id)?;
        ensure!(!out.status.success(), "{}", programs::both(&out));
        daemon.verdict_at_end(&id)?;
        let found = diagnosis(&daemon, &id)?;
        assert_eq!(found.text("cause"), "rlimit", "{}", found.0);
        ensure!(found.text("why").contains("RLIMIT_RTPRIO is 0"), "{}", found.0);
        let ours = lines(&found, "podman");
        ensure!(
            ours.iter().any(|line| line == "--ulimit rtprio=50:50"),
            "{ours:?}"
        );
        ensure!(!ours.iter().any(|line| line.contains("--cap-add")), "{ours:?}");
        let units = lines(&found, "systemd");
        ensure!(
            units.iter().any(|line| line.starts_with("LimitRTPRIO=50")),
            "{units:?}"
        );
    }
    if !root_has_sys_resource()? {
        eprintln!("root has no CAP_SYS_RESOURCE here: the limit cannot be raised, and the fix is not shown");
        return Ok(());
    }
    // As LimitRTPRIO= of user@.service does it.
    let user = User::new()?.with_limit("--rtprio=50:50");
    let podman = Podman::hooked(daemon.dir(), Some(user))?;
    let id = podman.create(&[&DEBIAN[..], &["--ulimit", "rtprio=50:50"]].concat(), &CHRT)?;
    podman.start(&id).map(drop)
}

#[test]
fn a_group_without_budget_is_given_one() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/bin/sh", "-c", "echo ready; while :; do sleep 1009; done"];
    let bundle = Bundle::traced("group", Rootfs::Host, &args, &daemon)?.capability("CAP_SYS_NICE");
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    ensure!(
        container.exec(&CHRT).is_err(),
        "it has its policy before it has a budget"
    );
    let found = diagnosis(&daemon, container.id())?;
    assert_eq!(found.text("cause"), "rt-group", "{}", found.0);
    let commands = lines(&found, "host");
    ensure!(!commands.is_empty(), "{}", found.0);
    for line in &commands {
        // A line that is told is one that works.
        programs::success(programs::command("sh").args(["-c", line]))?;
    }
    container.exec(&CHRT)?;
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

#[test]
fn both_walls_of_a_podman_container_of_root_are_told_at_once() -> Result<()> {
    // Put back last: a group keeps a budget as long as one below it has some of it.
    let mut groups = Vec::new();
    let daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    // It lives on: what is known of a cgroup that has gone is less.
    let script = format!("{}; exec sleep 1009", CHRT.join(" "));
    let id = podman.create(&[&TRACED[..], &DEBIAN].concat(), &["/bin/sh", "-c", &script])?;
    podman.start_detached(&id)?;
    let found = wait::until("the diagnosis", wait::LONG, || Ok(diagnosis(&daemon, &id).ok()))?;
    podman.remove(&id)?;
    assert_eq!(found.text("cause"), "rlimit", "{}", found.0);
    let ours = lines(&found, "podman");
    ensure!(ours.iter().any(|line| line == "--cap-add=SYS_NICE"), "{ours:?}");
    ensure!(
        ours.iter().any(|line| line.starts_with("--cpu-rt-runtime=95000")),
        "{ours:?}"
    );
    // The parents' budgets; the container's own group has gone with it, and the option makes the next one's.
    let parents = lines(&found, "host");
    let parents = parents.iter().filter(|line| !line.contains(&id));
    for line in parents {
        let path = line.rsplit("> ").next().unwrap_or_default().to_owned();
        groups.push(Group::remember(path)?);
        programs::success(programs::command("sh").args(["-c", line]))?;
    }
    ensure!(!groups.is_empty(), "{}", found.0);
    let fixed = ["--cap-add=SYS_NICE", "--cpu-rt-runtime=95000"];
    let id = podman.create(&[&DEBIAN[..], &fixed].concat(), &CHRT)?;
    podman.start(&id).map(drop)
}

/// A budget that is put back.
struct Group {
    path: String,
    before: String,
}

impl Group {
    fn remember(path: String) -> Result<Self> {
        ensure!(
            Path::new(&path).starts_with("/sys/fs/cgroup"),
            "{path} is no cgroup's"
        );
        let before = fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok(Self { path, before })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(why) = fs::write(&self.path, &self.before) {
            eprintln!("{}: {why}", self.path);
        }
    }
}
