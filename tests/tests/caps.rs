//! Capabilities: what a container needs, proved by running it with just that, and with one less.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeSet, fs};
use tracer_tests::{Daemon, leaks, podman::Podman, programs, user::User};

const TRACED: [&str; 2] = ["--annotation", "container-tracer.io/trace=true"];

/// Gives a file away, serves on a low port as another user, says so.
const SERVER: &str =
    "echo hello >/tmp/page && chown 33:33 /tmp/page && httpd -p 80 -u 33:33 -h /tmp && echo served";
const NEEDS: [&str; 4] = ["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"];

struct Told(Value);

impl Told {
    fn of(daemon: &Daemon, id: &str) -> Result<Self> {
        // At its end: the books wait for all that it did.
        daemon.verdict_at_end(id)?.whole()?;
        let told = programs::success(daemon.client("caps").args(["-o", "json", id]))?;
        let told = Self(serde_json::from_str(&told)?);
        ensure!(
            told.0["unseen"].is_null() && told.0["overflow"] == 0,
            "{}",
            told.0
        );
        Ok(told)
    }

    /// Those of that verdict, as runtimes write them.
    fn with(&self, verdict: &str) -> Result<BTreeSet<&str>> {
        let all = self.0["capabilities"].as_array().context("no list")?;
        all.iter()
            .filter(|capability| capability["verdict"] == verdict)
            .map(|capability| {
                let name = capability["name"].as_str().context("no name")?;
                name.strip_prefix("CAP_").context("no capability")
            })
            .collect()
    }

    fn capability(&self, name: &str) -> Result<&Value> {
        let name = format!("CAP_{name}");
        let all = self.0["capabilities"].as_array().context("no list")?;
        let found = all.iter().find(|capability| capability["name"] == name.as_str());
        found.with_context(|| format!("no {name} in {}", self.0))
    }
}

fn only(capabilities: &[&str]) -> Vec<String> {
    let mut options = vec!["--cap-drop=ALL".to_owned()];
    options.extend(capabilities.iter().map(|name| format!("--cap-add={name}")));
    options
}

fn serve(podman: &Podman, options: &[String]) -> Result<(String, Result<String>)> {
    let mut all = TRACED.to_vec();
    all.extend(options.iter().map(String::as_str));
    let id = podman.create(&all, &["/bin/sh", "-c", SERVER])?;
    let printed = podman.start(&id);
    Ok((id, printed))
}

#[test]
fn a_server_runs_with_what_it_needs_and_with_nothing_less() -> Result<()> {
    leaks::no_programs_after(|| {
        let mut daemon = Daemon::start()?;
        let podman = Podman::new(daemon.dir())?;
        let needs = BTreeSet::from(NEEDS);

        // With what podman gives by itself.
        let (id, printed) = serve(&podman, &[])?;
        assert_eq!(printed?, "served\n");
        let told = Told::of(&daemon, &id)?;
        assert_eq!(told.with("needed")?, needs, "{}", told.0);
        assert_eq!(told.with("denied")?, BTreeSet::new(), "{}", told.0);
        ensure!(told.with("never-used")?.contains("KILL"), "{}", told.0);
        // Asked for at each mapping, held by nobody, and nothing failed.
        assert_eq!(told.capability("SYS_ADMIN")?["verdict"], "noise");
        // Once for the user, once for the group.
        let chown = &told.capability("CHOWN")?["asked"][0];
        assert_eq!(
            (&chown["granted"], &chown["checks"], &chown["succeeded"]),
            (&true.into(), &2.into(), &1.into()),
            "{chown}"
        );
        let text = programs::success(daemon.client("caps").arg(&id))?;
        let line = "podman, docker --cap-drop ALL --cap-add CHOWN --cap-add SETGID --cap-add SETUID --cap-add \
                    NET_BIND_SERVICE";
        ensure!(text.lines().any(|found| found == line), "{text}");

        // With only those, as the profile has them.
        let profile = programs::success(daemon.client("profile").args(["capabilities", &id]))?;
        let options: Vec<_> = profile.split_whitespace().map(str::to_owned).collect();
        assert_eq!(
            options.iter().collect::<BTreeSet<_>>(),
            only(&NEEDS).iter().collect::<BTreeSet<_>>()
        );
        let (id, printed) = serve(&podman, &options)?;
        assert_eq!(printed?, "served\n");
        let told = Told::of(&daemon, &id)?;
        assert_eq!(told.with("needed")?, needs, "{}", told.0);
        assert_eq!(told.with("denied")?, BTreeSet::new(), "{}", told.0);
        assert_eq!(told.with("never-used")?, BTreeSet::new(), "{}", told.0);

        // With one less.
        for left_out in NEEDS {
            let rest: Vec<_> = NEEDS.into_iter().filter(|name| *name != left_out).collect();
            let (id, printed) = serve(&podman, &only(&rest))?;
            ensure!(
                printed.as_ref().map_or(true, |text| !text.contains("served")),
                "it served without {left_out}"
            );
            let told = Told::of(&daemon, &id)?;
            assert_eq!(told.with("denied")?, BTreeSet::from([left_out]), "{}", told.0);
            let denied = told.capability(left_out)?;
            assert_eq!(
                (
                    &denied["held"],
                    &denied["out_of_reach"],
                    &denied["asked"][0]["refused"]
                ),
                (&false.into(), &false.into(), &1.into()),
                "{denied}"
            );
        }
        daemon.detached()?;
        ensure!(daemon.stop()?.success(), "{}", daemon.log());
        daemon.leaves_nothing()
    })
}

#[test]
fn what_a_rootless_container_can_never_have() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    let args = [
        "/bin/sh",
        "-c",
        "renice -n -5 -p $$ || chown 7 /tmp && echo gone on",
    ];
    let options = [&TRACED[..], &["--cap-add=SYS_NICE"]].concat();
    let id = podman.create(&options, &args)?;
    assert_eq!(podman.start(&id)?, "gone on\n");
    let told = Told::of(&daemon, &id)?;
    assert_eq!(told.0["held"]["user_ns_level"], 1, "{}", told.0);
    assert_eq!(told.with("denied")?, BTreeSet::from(["SYS_NICE"]), "{}", told.0);
    let nice = told.capability("SYS_NICE")?;
    assert_eq!(
        (&nice["held"], &nice["out_of_reach"]),
        (&true.into(), &true.into()),
        "{nice}"
    );
    let asked = &nice["asked"][0];
    assert_eq!(
        (&asked["syscall"], &asked["user_ns_level"], &asked["own_user_ns"]),
        (&"setpriority".into(), &0.into(), &false.into()),
        "{asked}"
    );
    let chown = told.capability("CHOWN")?;
    assert_eq!(
        (&chown["verdict"], &chown["asked"][0]["own_user_ns"]),
        (&"needed".into(), &true.into()),
        "{chown}"
    );
    let text = programs::success(daemon.client("caps").arg(&id))?;
    ensure!(text.contains("out of reach   SYS_NICE"), "{text}");
    Ok(())
}

/// The last line that `tracer run --caps` writes.
fn run(options: &[&str], script: &str) -> Result<Told> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("out");
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "--caps", "-o", "json", "-w"]).arg(&file);
    programs::success(command.args(options).args(["--", "/bin/sh", "-c", script]))?;
    let text = fs::read_to_string(&file)?;
    let line = text.lines().last().context("nothing was written")?;
    Ok(Told(serde_json::from_str(line)?))
}

#[test]
fn every_mode_counts_checks() -> Result<()> {
    // (options, calls of which the end is known)
    let modes: [(&[&str], u64); 4] = [
        (&[], 1),
        (&["-c"], 1),
        (&["--mode", "no-duration"], 1),
        (&["--mode", "counts"], 0),
    ];
    let filtered: (&[&str], u64) = (&["-e", "trace=getppid"], 0);
    for (options, known) in modes.into_iter().chain([filtered]) {
        let told = run(options, "f=$(mktemp) && chown 7 $f && rm $f")?;
        let chown = told.capability("CHOWN")?;
        let asked = &chown["asked"][0];
        assert_eq!(
            (&chown["verdict"], &asked["checks"], &asked["succeeded"]),
            (&"needed".into(), &1.into(), &known.into()),
            "{options:?}: {chown}"
        );
        assert_eq!(asked["syscall"], "fchownat", "{options:?}: {chown}");
    }
    Ok(())
}
