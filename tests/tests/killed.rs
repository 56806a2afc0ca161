//! The hook, the runtime and the container are killed at each step on the way: the container starts, or its runtime says that
//! it does not, as the OCI specification has it; the daemon closes its books and keeps nothing.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tracer_tests::{
    Bundle, Container, Daemon, HookStage, Rootfs, Runtime, bundle, hook,
    leaks::{self, Held},
    programs, unique_id, wait,
};

/// More calls than the hook makes.
const STEPS: usize = 400;

/// A daemon, a root file system for all, and what the daemon holds when nothing is registered.
struct Scene {
    daemon: Daemon,
    root: TempDir,
    before: Held,
}

impl Scene {
    fn new() -> Result<Self> {
        let daemon = Daemon::start()?;
        let root = tempfile::tempdir()?;
        bundle::make_rootfs(root.path(), Rootfs::Busybox)?;
        let mut scene = Self {
            before: Held::of(daemon.id())?,
            daemon,
            root,
        };
        // The first opens what stays open.
        let mut first = scene.start(Runtime::Runc, scene.bundle("first", &["/bin/true"])?)?;
        first.success()?;
        scene.daemon.verdict_at_end(first.id())?.whole()?;
        scene.daemon.detached()?;
        scene.before = Held::of(scene.daemon.id())?;
        Ok(scene)
    }

    fn bundle(&self, what: &str, args: &[&str]) -> Result<Bundle> {
        let bundle = Bundle::sharing(what, self.root.path(), args)?;
        Ok(bundle
            .hook(HookStage::CreateRuntime, self.daemon.dir())?
            .annotate("true"))
    }

    fn start(&self, runtime: Runtime, bundle: Bundle) -> Result<Container> {
        Ok(runtime.start(bundle)?.quiet())
    }

    /// The container is in nobody's books any more, or they are closed; whether the daemon knew of it.
    fn is_over(&self, id: &str) -> Result<bool> {
        let known = wait::until("the end of a killed container", wait::LONG, || {
            let row = self.daemon.row(id)?;
            Ok(match row {
                None => Some(false),
                Some(row) if row["state"] == "live" => None,
                Some(_) => Some(true),
            })
        })?;
        if known {
            let verdict = self.daemon.verify_now(id)?;
            if verdict.state() == "gone" {
                verdict.balances()?;
                ensure!(
                    verdict.number("/lost")? == 0 && verdict.book("in_flight")? == 0,
                    "{}",
                    verdict.0
                );
            }
        }
        Ok(known)
    }

    /// Nothing of all that is left in the daemon.
    fn holds_nothing(&self) -> Result<()> {
        self.daemon.detached()?;
        let held = wait::until("the daemon to hold what it held", wait::LONG, || {
            Ok((Held::of(self.daemon.id())? == self.before).then_some(()))
        });
        ensure!(
            held.is_ok(),
            "before {:#?}\nafter {:#?}",
            self.before,
            Held::of(self.daemon.id())?
        );
        let left = leaks::processes(self.daemon.dir())?;
        ensure!(left.len() == 1, "processes are left: {left:?}");
        for name in ["traced/missed", "missed"] {
            let markers = self.daemon.dir().join(name);
            let left = fs::read_dir(&markers).map_or(0, Iterator::count);
            ensure!(name == "missed" || left == 0, "{left} notes are left in {name}");
        }
        let next = self.bundle("after", &["/bin/true"])?;
        let mut next = self.start(Runtime::Runc, next)?;
        next.success()?;
        self.daemon.verdict_at_end(next.id())?.whole()
    }
}

/// Has the hook killed at its n-th system call, which is not made any more.
fn kill_at(bundle: &mut Bundle, stage: &str, n: usize) -> Result<()> {
    let hook = &mut bundle.config["hooks"][stage][0];
    let path = hook["path"].take();
    let args = hook["args"].as_array().context("no args")?.clone();
    let mut words = vec![json!("kill_at"), json!(n.to_string()), path];
    words.extend(args.into_iter().skip(1));
    hook["path"] = json!(programs::workload("kill_at")?);
    hook["args"] = Value::Array(words);
    Ok(())
}

#[test]
fn a_hook_that_is_killed_at_any_step_leaves_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let (mut before, mut after) = (0, 0);
    for step in 1..STEPS {
        // The container is its init alone, as the runtime has made it by then.
        let init = hook::Init::start()?;
        let id = unique_id("step");
        let mut command = programs::command(programs::workload("kill_at")?);
        command.arg(step.to_string()).arg(programs::hook()?);
        command.arg("--runtime-dir").arg(scene.daemon.dir()).args([
            "--timeout",
            hook::PATIENCE,
            "createRuntime",
        ]);
        let out = programs::output_with(&mut command, hook::state(&id, init.pid).to_string().as_bytes())?;
        let registered = scene.daemon.row(&id)?;
        drop(init);
        if out.status.success() {
            ensure!(
                registered.is_some(),
                "it ran to its end: {}",
                programs::both(&out)
            );
            scene.daemon.verdict_at_end(&id)?.whole()?;
            break;
        }
        assert_eq!(
            out.status.signal(),
            Some(libc::SIGKILL),
            "{}",
            programs::both(&out)
        );
        if scene.is_over(&id).with_context(|| format!("step {step}"))? {
            after += 1;
        } else {
            before += 1;
        }
    }
    eprintln!("{before} steps before the daemon knows of the container, {after} after");
    ensure!(before > 20 && after > 4, "{before} steps before, {after} after");

    // Real runtimes, at every sixth step. A hook that fails fails the container (OCI runtime specification, "Lifecycle"); to
    // crun up to 1.8 one that was killed has not failed, and the container starts. A real state has other lengths, so the
    // last steps may be none.
    for (runtime, first) in [(Runtime::Runc, 4), (Runtime::Crun, 8)] {
        let mut failed = 0;
        for step in (first..before + after).step_by(6) {
            let mut bundle = scene.bundle("hook", &["/bin/true"])?;
            kill_at(&mut bundle, "createRuntime", step)?;
            let mut container = scene.start(runtime, bundle)?;
            if !container.wait()?.success() {
                failed += 1;
                let said = container.outputs();
                ensure!(said.contains("hook"), "step {step}: {said}");
            }
            let state = programs::output(&mut runtime.command(&["state", container.id()]))?;
            ensure!(!state.status.success(), "step {step}: {runtime:?} has kept it");
            scene
                .is_over(container.id())
                .with_context(|| format!("step {step}"))?;
        }
        ensure!(
            runtime == Runtime::Crun || failed > 6,
            "{runtime:?}: {failed} failed"
        );
    }
    scene.holds_nothing()
}

#[test]
fn a_poststop_hook_that_is_killed_costs_nothing() -> Result<()> {
    let scene = Scene::new()?;
    for step in (5..STEPS).step_by(17) {
        let mut bundle = scene.bundle("poststop", &["/bin/true"])?;
        kill_at(&mut bundle, "poststop", step)?;
        let mut container = scene.start(Runtime::Runc, bundle)?;
        container.success()?;
        scene.daemon.verdict_at_end(container.id())?.whole()?;
        // runc warns of a hook that fails.
        if !container.outputs().contains("hook") {
            ensure!(step > 30, "no step at all");
            return scene.holds_nothing();
        }
    }
    anyhow::bail!("the hook makes more than {STEPS} calls")
}

/// The hook within a script that stops before and behind it, until it is let go on.
struct Script {
    dir: TempDir,
}

impl Script {
    /// In place of the bundle's own: `steps` are lines of the script; `hook` in them is the hook, `kill_init` kills the container's
    /// process and waits until it is dead, and `stop` waits.
    fn new(bundle: &mut Bundle, steps: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let hook = &mut bundle.config["hooks"]["createRuntime"][0];
        let path = hook["path"].as_str().context("path")?.to_owned();
        let args: Vec<_> = hook["args"].as_array().context("args")?.iter().skip(1).collect();
        let args: Vec<_> = args.iter().filter_map(|word| word.as_str()).collect();
        let at = dir.path().display();
        bundle::fifo(&dir.path().join("go"))?;
        let script = format!(
            "cd {at}; cat >state; init=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' state)\n\
             hook() {{ {path} {} <state; }}\n\
             stop() {{ echo >stopped; read line <go; }}\n\
             kill_init() {{ kill -9 $init; while [ -e /proc/$init ] && ! grep -q '^State:.Z' /proc/$init/status; do \
             sleep 0.01; done; }}\n{steps}",
            args.join(" ")
        );
        hook["path"] = json!("/bin/sh");
        hook["args"] = json!(["sh", "-c", script]);
        Ok(Self { dir })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn stopped(&self) -> Result<()> {
        wait::until("the hook's script", wait::LONG, || {
            Ok(self.file("stopped").exists().then_some(()))
        })
    }

    /// Lets it go on, and waits for its end.
    fn goes_on(&self) -> Result<()> {
        fs::write(self.file("go"), "go\n")?;
        over(self.dir.path())
    }
}

/// Waits until no process names this directory.
fn over(dir: &Path) -> Result<()> {
    wait::until("the end of the hook's script", wait::LONG, || {
        Ok(leaks::processes(dir)?.is_empty().then_some(()))
    })
}

fn delete(runtime: Runtime, id: &str) -> Result<()> {
    programs::output(&mut runtime.command(&["delete", "--force", id])).map(drop)
}

#[test]
fn a_runtime_that_is_killed_while_it_creates_leaves_nothing() -> Result<()> {
    let scene = Scene::new()?;
    for runtime in [Runtime::Runc, Runtime::Crun] {
        for (steps, knows) in [("stop; hook", false), ("hook; stop", true)] {
            let mut bundle = scene.bundle("runtime", &["/bin/true"])?;
            let script = Script::new(&mut bundle, steps)?;
            let mut container = scene.start(runtime, bundle)?;
            script.stopped()?;
            assert_eq!(scene.daemon.row(container.id())?.is_some(), knows, "{steps}");
            container.kill_runtime()?;
            script.goes_on()?;
            delete(runtime, container.id())?;
            scene
                .is_over(container.id())
                .with_context(|| format!("{runtime:?}: {steps}"))?;
        }
    }
    scene.holds_nothing()
}

#[test]
fn a_container_that_is_killed_in_any_phase_is_booked() -> Result<()> {
    let scene = Scene::new()?;
    for runtime in [Runtime::Runc, Runtime::Crun] {
        // In its hook, before and after it was registered.
        for (steps, knows) in [("kill_init; hook", false), ("hook; kill_init", true)] {
            let mut bundle = scene.bundle("phase", &["/bin/true"])?;
            let script = Script::new(&mut bundle, steps)?;
            let mut container = scene.start(runtime, bundle)?;
            ensure!(!container.wait()?.success(), "{runtime:?}: {steps}: it ran");
            over(script.dir.path())?;
            let known = scene.is_over(container.id())?;
            assert_eq!(known, knows, "{runtime:?}: {steps}");
            delete(runtime, container.id())?;
        }
        // Created and never started; then at the moment of its start.
        for starts in [false, true] {
            let bundle = scene.bundle("created", &["/bin/sleep", "1009"])?;
            bundle.write()?;
            let id = bundle.id.clone();
            let path = bundle.path().to_str().context("a path")?;
            let mut create = runtime.command(&["create", "-b", path, &id]);
            // Its init has our standard output, and would hold a pipe open.
            create
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            ensure!(create.status()?.success(), "{runtime:?} create");
            let row = scene.daemon.row(&id)?.context("it is not traced")?;
            assert_eq!(
                (&row["state"], &row["complete"]),
                (&"live".into(), &true.into()),
                "{row}"
            );
            if starts {
                programs::success(&mut runtime.command(&["start", &id]))?;
            }
            programs::success(&mut runtime.command(&["kill", &id, "KILL"]))?;
            ensure!(scene.is_over(&id)?, "the daemon does not know it");
            let verdict = scene.daemon.verify_now(&id)?;
            // At its start it may have come to its execve, or not.
            ensure!(starts || verdict.0["first_exec_ktime"].is_null(), "{}", verdict.0);
            delete(runtime, &id)?;
        }
        // Under load, between any two instructions.
        for calls in [1_000, 30_000] {
            // Some 80,000, for which the ring has room whoever gets a processor.
            let script = "i=0; while [ $i -lt 12000 ]; do i=$((i+1)); : </dev/null; done; exec sleep 1009";
            let args = ["/bin/sh", "-c", script];
            let mut container = scene.start(runtime, scene.bundle("load", &args)?)?;
            let id = container.id().to_owned();
            wait::until("calls", wait::LONG, || {
                if scene.daemon.row(&id)?.is_none() {
                    return Ok(None);
                }
                let verdict = scene.daemon.verify_now(&id)?;
                Ok((verdict.book("admitted")? > calls).then_some(()))
            })?;
            container.kill("KILL")?;
            assert_eq!(container.wait()?.code(), Some(137), "{}", container.outputs());
            ensure!(scene.is_over(&id)?, "the daemon does not know it");
            scene.daemon.verify(&id)?.whole()?;
        }
    }
    scene.holds_nothing()
}
