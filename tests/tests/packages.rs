//! The packages: what Debian's and RPM's own checkers say, and a life on a real machine: install, start, upgrade, remove,
//! purge, with nothing left. Manual pages and completions as the real readers and shells take them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tracer_tests::{
    Daemon, Verdict,
    daemon::Stats,
    machine::{Machine, Root},
    programs, wait,
};

/// What `cargo xtask package` made.
fn package(kind: &str) -> Result<PathBuf> {
    let path = programs::target()?.join(format!("release/package/container-tracer.{kind}"));
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo xtask package`",
        path.display()
    );
    Ok(path)
}

/// The same package as an older version, whose configuration file had another line.
fn older(deb: &Path, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join("older");
    let mut command = programs::command("dpkg-deb");
    programs::success(command.arg("--raw-extract").arg(deb).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .context("no version")?;
    fs::write(&control, text.replace(version, "Version: 0.0.1-1"))?;
    let config = tree.join("etc/tracer/tracer.toml");
    fs::write(&config, fs::read_to_string(&config)? + "# of an older version\n")?;
    let older = dir.join("older.deb");
    let mut command = programs::command("dpkg-deb");
    programs::success(
        command
            .args(["--root-owner-group", "--build"])
            .arg(&tree)
            .arg(&older),
    )?;
    Ok(older)
}

/// A service; its first process, which takes no other signal, does not keep the machine from ending.
const RUN: [&str; 4] = [
    "systemd-run",
    "--quiet",
    "--unit=rounds",
    "--property=KillSignal=SIGKILL",
];

/// Makes a call that nothing else makes, until it is told to end; then it says how often.
const ROUNDS: &str = "until [ -e /run/begin ]; do sleep 0.05; done; n=0; until [ -e /run/end ]; do kill -0 1; n=$((n+1)); \
                      sleep 0.01; done; echo $n > /run/rounds";

/// Something on the machine that is traced.
struct Traced<'a>(&'a Machine);

impl<'a> Traced<'a> {
    fn start(machine: &'a Machine) -> Result<Self> {
        // The first has nothing of it, and goes on when it has ended.
        let unshare = [
            "unshare", "--pid", "--fork", "unshare", "--mount", "/bin/sh", "-c", ROUNDS,
        ];
        machine.run(&[&RUN[..], &unshare].concat())?;
        let child = "pid=$(systemctl show --value --property MainPID rounds.service); cat /proc/$pid/task/$pid/children";
        let child = wait::until("its first process", wait::LONG, || {
            let children = machine.run(&["sh", "-c", child])?;
            Ok(children.split_whitespace().next().map(str::to_owned))
        })?;
        machine.run(&["tracer", "attach", &child, "--name", "rounds"])?;
        machine.run(&["touch", "/run/begin"])?;
        let traced = Self(machine);
        let counted = || Ok((traced.calls()? > 0).then_some(()));
        wait::until("its calls", wait::LONG, counted)?;
        Ok(traced)
    }

    fn verdict(&self) -> Result<Verdict> {
        // What was attached is never complete, which is another exit code.
        let mut verify = self.0.command(&["tracer", "verify", "-o", "json", "rounds"]);
        Verdict::parse(&String::from_utf8(programs::output(&mut verify)?.stdout)?)
    }

    /// How many of its own calls were counted.
    fn calls(&self) -> Result<u64> {
        let stats = Stats::parse(&self.0.run(&["tracer", "stats", "-o", "json", "rounds"])?)?;
        Ok(stats.counts()?.get("kill").copied().unwrap_or_default())
    }

    /// Ends it: each of its calls was counted, and came out.
    fn missed_nothing(&self) -> Result<()> {
        self.0.run(&["touch", "/run/end"])?;
        let verdict = wait::until("its end", wait::LONG, || {
            let verdict = self.verdict()?;
            Ok((verdict.state() == "gone").then_some(verdict))
        })?;
        verdict.balances()?;
        ensure!(
            verdict.number("/lost")? == 0 && verdict.0["gaps"] == json!([]) && verdict.0["away"] == json!([]),
            "{}",
            verdict.0
        );
        assert_eq!(
            verdict.book("decoded")?,
            verdict.book("admitted")?,
            "{}",
            verdict.0
        );
        let rounds: u64 = self.0.run(&["cat", "/run/rounds"])?.trim().parse()?;
        assert_eq!(self.calls()?, rounds);
        Ok(())
    }
}

#[test]
fn lintian_has_nothing_to_say() -> Result<()> {
    let mut lintian = programs::command("lintian");
    lintian.args([
        "--allow-root",
        "--fail-on",
        "error,warning",
        "--tag-display-limit",
        "0",
    ]);
    let out = programs::success(lintian.arg(package("deb")?))?;
    assert_eq!(out, "");
    Ok(())
}

#[test]
fn a_debian_machine_has_it_and_has_it_no_more() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let deb = package("deb")?;
    let machine = Machine::boot()?;
    let before = machine.root().paths()?;
    let (old, new) = (machine.put(&older(&deb, dir.path())?)?, machine.put(&deb)?);
    let apt = |words: &[&str]| {
        let always = [
            "apt-get",
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            "Dpkg::Options::=--force-confold",
        ];
        machine.run(&[&always, words].concat())
    };
    let of = |unit: &str, name: &str| -> Result<String> {
        let said = machine.run(&["systemctl", "show", "--value", "--property", name, unit])?;
        Ok(said.trim().to_owned())
    };

    // It is enabled and runs, with its group.
    apt(&["install", &old])?;
    assert_eq!(
        machine.run(&["systemctl", "is-enabled", "tracer.service", "tracer.socket"])?,
        "enabled\nenabled\n"
    );
    let log = || {
        machine
            .run(&["journalctl", "--no-pager", "-u", "tracer.service"])
            .unwrap_or_default()
    };
    assert_eq!(of("tracer.service", "ActiveState")?, "active", "{}", log());
    let pid = of("tracer.service", "MainPID")?;
    let gid = machine.run(&["getent", "group", "tracer"])?;
    let gid = gid.split(':').nth(2).context("gid")?.to_owned();
    let socket = |name: &str| machine.run(&["stat", "-c", "%a %g", &format!("/run/tracer/{name}")]);
    assert_eq!(socket("control.sock")?.trim(), format!("660 {gid}"));
    assert_eq!(socket("hook.sock")?.trim(), "666 0");
    let status: Value = serde_json::from_str(&machine.run(&["tracer", "status", "-o", "json"])?)?;
    assert_eq!(status["ready"], true);
    let needs: Vec<Value> = serde_json::from_str(&machine.run(&["tracer", "check", "-o", "json"])?)?;
    for name in ["daemon", "sockets", "group", "hook", "limits"] {
        let need = needs.iter().find(|need| need["need"] == name).context(name)?;
        ensure!(need["ok"] == true, "{need}");
    }
    ensure!(machine.run(&["man", "tracer"])?.contains("OVERHEAD"));

    // An upgrade takes the place of the daemon, and of nothing else: hooks find the same socket all the time, and what is
    // traced is handed over.
    let traced = Traced::start(&machine)?;
    let hook = machine.run(&["stat", "-c", "%i", "/run/tracer/hook.sock"])?;
    machine.run(&["sh", "-c", "echo '# mine' >> /etc/tracer/tracer.toml"])?;
    apt(&["install", &new])?;
    assert_eq!(of("tracer.service", "ActiveState")?, "active", "{}", log());
    ensure!(of("tracer.service", "MainPID")? != pid, "the old daemon runs on");
    traced.missed_nothing().with_context(log)?;
    assert_eq!(
        machine.run(&["stat", "-c", "%i", "/run/tracer/hook.sock"])?,
        hook,
        "another socket"
    );
    let config = machine.run(&["cat", "/etc/tracer/tracer.toml"])?;
    ensure!(config.ends_with("# of an older version\n# mine\n"), "{config}");

    // What it wrote into a runtime's configuration goes with it, and is told; the configuration file stays.
    machine.run(&["tracer", "hook", "install", "--runtime", "podman", "--write"])?;
    let hooked = "/usr/share/containers/oci/hooks.d/10-tracer.json";
    machine.run(&["test", "-e", hooked])?;
    let told = apt(&["remove", "container-tracer"])?;
    ensure!(
        told.contains("the hook is taken out of podman") && told.contains(hooked),
        "{told}"
    );
    machine.run(&["test", "!", "-e", hooked])?;
    machine.run(&["test", "-e", "/etc/tracer/tracer.toml"])?;
    assert_eq!(of("tracer.service", "LoadState")?, "not-found");
    machine.run(&["test", "!", "-e", "/run/tracer"])?;

    apt(&["purge", "container-tracer"])?;
    // Debian's own books of what was done.
    const OTHERS: [&str; 7] = [
        "var/lib/apt/",
        "var/log/",
        "var/lib/dpkg/",
        "var/lib/systemd/",
        "var/cache/",
        "etc/group",
        "etc/gshadow",
    ];
    let left: BTreeSet<String> = machine.root().paths()?;
    let others =
        |path: &&String| OTHERS.iter().any(|other| path.starts_with(other)) || path.starts_with("root/");
    let left: Vec<&String> = left.difference(&before).filter(|path| !others(path)).collect();
    ensure!(left.is_empty(), "left: {left:?}");
    let named = machine.root().paths()?;
    let named: Vec<&String> = named
        .iter()
        .filter(|path| path.contains("tracer") && !before.contains(*path))
        // What the test put there, and man's cache of what it showed.
        .filter(|path| !path.starts_with("root/") && !path.starts_with("var/cache/man/"))
        .collect();
    ensure!(named.is_empty(), "left: {named:?}");
    Ok(())
}

/// By rpm itself, into a root of its own. No distribution of that family is to be had where this runs: the same minimal
/// Debian stands in, with what the scripts call.
#[test]
fn rpm_installs_it_and_takes_it_back() -> Result<()> {
    let rpm = package("rpm")?;
    programs::success(programs::command("rpm").args(["-K", "--nosignature"]).arg(&rpm))?;
    let root = Root::new()?;
    let before = root.paths()?;
    let act = |words: &[&str]| {
        let mut command = programs::command("rpm");
        command.arg("--root").arg(root.path()).args(words);
        let out = programs::output(&mut command)?;
        // A script that fails is a warning, and 0.
        ensure!(
            out.status.success() && !String::from_utf8_lossy(&out.stderr).contains("failed"),
            "{}",
            programs::both(&out)
        );
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let path = rpm.to_str().context("path")?;
    act(&["--install", "--nodeps", "--nosignature", path])?;
    let mode = |path: &str| -> Result<(u32, u32)> {
        let file = fs::metadata(root.path().join(path)).with_context(|| path.to_owned())?;
        Ok((file.permissions().mode() & 0o7777, file.uid()))
    };
    for program in ["usr/bin/tracer", "usr/libexec/oci/hooks.d/tracer-hook"] {
        assert_eq!(mode(program)?, (0o755, 0), "{program}");
    }
    assert_eq!(mode("etc/tracer/tracer.toml")?, (0o644, 0));
    let version = programs::success(&mut root.command(&["tracer", "--version"]))?;
    ensure!(version.starts_with("tracer "), "{version}");
    programs::success(&mut root.command(&["getent", "group", "tracer"]))?;
    let enabled = ["etc/systemd/system/sockets.target.wants/tracer.socket"];
    for link in enabled {
        fs::symlink_metadata(root.path().join(link)).with_context(|| link.to_owned())?;
    }
    assert_eq!(act(&["--verify", "container-tracer", "--nodeps"])?, "");
    // Over itself, as an upgrade: nothing is taken away.
    act(&["--upgrade", "--force", "--nodeps", "--nosignature", path])?;
    for link in enabled {
        fs::symlink_metadata(root.path().join(link)).with_context(|| link.to_owned())?;
    }
    act(&["--erase", "--nodeps", "container-tracer"])?;
    let others = |path: &&String| {
        [
            "var/lib/rpm",
            "var/log/",
            "etc/group",
            "etc/gshadow",
            "root/.rpmdb",
            "usr/libexec/oci",
            "usr/share/fish",
            "usr/share/licenses",
            "usr/share/zsh/site-functions",
        ]
        .iter()
        .any(|other| path.starts_with(other))
    };
    let left = root.paths()?;
    let left: Vec<&String> = left.difference(&before).filter(|path| !others(path)).collect();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}

#[test]
fn manual_pages_are_sound() -> Result<()> {
    let dir = tempfile::tempdir()?;
    programs::success(
        programs::command(programs::tracer()?)
            .args(["man", "--out"])
            .arg(dir.path()),
    )?;
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man");
    let mut pages = Vec::new();
    for folder in [dir.path(), &written] {
        for entry in fs::read_dir(folder)? {
            pages.push(entry?.path());
        }
    }
    ensure!(pages.len() > 20, "{pages:?}");
    let mut mandoc = programs::command("mandoc");
    let out = programs::output(mandoc.args(["-Tlint", "-Wwarning"]).args(&pages))?;
    ensure!(
        out.status.success() && out.stdout.is_empty(),
        "{}",
        programs::both(&out)
    );
    for page in &pages {
        let mut groff = programs::command("groff");
        let out = programs::output(groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(page))?;
        ensure!(
            out.status.success() && out.stderr.is_empty(),
            "{}: {}",
            page.display(),
            programs::both(&out)
        );
    }
    let page = programs::success(
        programs::command("man")
            .arg("-l")
            .arg(dir.path().join("tracer.1")),
    )?;
    for section in [
        "OVERHEAD",
        "CAVEATS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
    ] {
        ensure!(page.lines().any(|line| line == section), "no {section}:\n{page}");
    }
    Ok(())
}

/// As a person at a prompt has them: bash's own completion functions are called with a line and a cursor.
#[test]
fn shells_complete() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = programs::success(programs::command(programs::tracer()?).args(["completions", shell]))?;
        let path = dir.path().join(shell);
        fs::write(&path, script)?;
        programs::success(programs::command(shell).arg("-n").arg(&path))?;
    }
    let daemon = Daemon::quiet()?;
    let mut attached = programs::command("unshare");
    attached.args(["--pid", "--mount", "--fork", "--kill-child", "sleep", "600"]);
    let mut attached = attached.spawn()?;
    let child = wait::until("its child", wait::LONG, || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", attached.id()))?;
        Ok(children.split_whitespace().next().map(str::to_owned))
    })?;
    let named = programs::success(daemon.client("attach").args([&child, "--name", "robot-7"]));
    let complete = |words: &[&str]| -> Result<Vec<String>> {
        const COMPLETE: &str = r#"
            . "$1"; shift
            PATH=$1:$PATH; shift
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
            [[ $(complete -p tracer) =~ -F\ ([^ ]+) ]]
            "${BASH_REMATCH[1]}" tracer "${@: -1}" "${@: -2:1}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let tracer = programs::tracer()?;
        let mut bash = programs::command("bash");
        bash.args(["-c", COMPLETE, "bash"]).arg(dir.path().join("bash"));
        bash.arg(tracer.parent().context("its folder")?).args(words);
        bash.env("TRACER_RUNTIME_DIR", daemon.dir());
        Ok(programs::success(&mut bash)?.lines().map(str::to_owned).collect())
    };
    let all = (|| -> Result<()> {
        named.context("attach")?;
        for (words, wanted) in [
            (&["tracer", "veri"][..], "verify"),
            (&["tracer", "verify", "robo"], "robot-7"),
            (&["tracer", "hook", "install", "--runtime", "pod"], "podman"),
            (
                &["tracer", "run", "-e", "openat,sched_setsch"],
                "openat,sched_setscheduler",
            ),
            (&["tracer", "tail", "--since"], "--since-start"),
        ] {
            let offered = complete(words)?;
            ensure!(offered == [wanted], "{words:?}: {offered:?}");
        }
        Ok(())
    })();
    attached.kill()?;
    attached.wait()?;
    all
}
