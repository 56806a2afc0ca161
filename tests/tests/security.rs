//! Attacks: each does what docs/security.md says cannot be done. The page names the test beside the claim.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Stdio,
};
use tracer_tests::{
    Bundle, Daemon, HookStage, Rootfs, Runtime, hook, podman::Podman, programs, unique_id, user::User, wait,
};

const TRACED: [&str; 2] = ["--annotation", "container-tracer.io/trace=true"];

/// The daemon answers, and takes a container and sees all of it.
fn unharmed(daemon: &Daemon) -> Result<()> {
    let bundle = Bundle::traced("after", Rootfs::Busybox, &["/bin/true"], daemon)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    daemon.verdict_at_end(container.id())?.whole()
}

/// Of each thread of a process, a line of its status.
fn statuses(pid: u32, name: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may just have ended.
        let Ok(text) = fs::read_to_string(entry?.path().join("status")) else {
            continue;
        };
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        all.push(line.with_context(|| name.to_owned())?.trim().to_owned());
    }
    Ok(all)
}

/// What each system call returns that is made in the daemon's name by whoever has taken it over.
fn call(daemon: &Daemon, number: i64, arguments: &[&str]) -> Result<i64> {
    let mut inject = programs::command(programs::workload("inject")?);
    inject
        .args([daemon.id().to_string(), number.to_string()])
        .args(arguments);
    let said = programs::success(&mut inject)?;
    said.trim().parse().with_context(|| said.clone())
}

#[test]
fn the_daemon_keeps_few_rights_and_fewer_calls() -> Result<()> {
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, SYS_CHROOT, SYS_PTRACE, SYS_ADMIN, SYS_NICE, PERFMON, BPF
    // (include/uapi/linux/capability.h).
    const KEPT: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 18 | 1 << 19 | 1 << 21 | 1 << 23 | 1 << 38 | 1 << 39;
    let daemon = Daemon::start()?;
    for (name, most) in [
        ("CapEff", KEPT),
        ("CapPrm", KEPT),
        ("CapBnd", KEPT),
        ("CapInh", 0),
        ("CapAmb", 0),
    ] {
        for set in statuses(daemon.id(), name)? {
            let set = u64::from_str_radix(&set, 16)?;
            ensure!(set & !most == 0, "{name} {set:x}");
        }
    }
    for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let all = statuses(daemon.id(), name)?;
        ensure!(
            all.len() > 2 && all.iter().all(|one| one == value),
            "{name}: {all:?}"
        );
    }

    // What it may: its own pid. What it may not, is refused before its arguments are looked at.
    assert_eq!(call(&daemon, libc::SYS_getpid, &[])?, i64::from(daemon.id()));
    let denied = [
        (libc::SYS_execve, "execve"),
        (libc::SYS_execveat, "execveat"),
        (0x4000_0000 + 520, "execve of x32"),
        (libc::SYS_fork, "fork"),
        (libc::SYS_mount, "mount"),
        (libc::SYS_move_mount, "move_mount"),
        (libc::SYS_chroot, "chroot"),
        (libc::SYS_open_by_handle_at, "open_by_handle_at"),
        (libc::SYS_process_vm_writev, "process_vm_writev"),
        (libc::SYS_finit_module, "finit_module"),
        (libc::SYS_kexec_load, "kexec_load"),
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_setuid, "setuid"),
        (libc::SYS_keyctl, "keyctl"),
    ];
    for (number, name) in denied {
        assert_eq!(call(&daemon, number, &[])?, -i64::from(libc::EPERM), "{name}");
    }
    unharmed(&daemon)
}

/// An id is its maker's word. A user who gives a container of its own the id of another's learns nothing of that one, ends
/// nothing, and is in nobody's way; nor does a name do it.
#[test]
fn an_id_that_is_anothers_gives_nothing() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/bin/sh", "-c", "echo ready; while :; do sleep 1009; done"];
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    let user = podman.user().context("a user's podman")?;
    let own = podman.create(&TRACED, &["/bin/sleep", "1009"])?;
    let pid = podman.start_detached(&own)?;
    // As its owner may register it under any id, once root's `detach` has let it go.
    let register = |id: &str| {
        let mut command = programs::command(programs::workload("register")?);
        let words = [id.to_owned(), pid.to_string(), user.uid.to_string()];
        programs::success(command.arg(daemon.dir()).args(words))
    };
    let asks = |id: &str, verb: &str| -> Result<(Option<i32>, String)> {
        let out = programs::output(daemon.client_of(user, verb)?.args(["-o", "json", id]))?;
        Ok((out.status.code(), programs::both(&out)))
    };
    let mut roots = Runtime::Runc.start(Bundle::traced("roots", Rootfs::Busybox, &args, &daemon)?)?;
    roots.printed("ready")?;
    let id = roots.id().to_owned();

    // Root's is there first: refused.
    daemon.detach(&own)?;
    let answer = register(&id)?;
    ensure!(
        answer.contains("another user's container has this id"),
        "{answer}"
    );
    assert_eq!(daemon.status()?["refused"]["id_taken"], 1);
    for verb in ["verify", "stats", "caps", "explain"] {
        let (code, said) = asks(&id, verb)?;
        ensure!(code == Some(2) && said.contains("no container"), "{verb}: {said}");
    }
    // Also when it has ended, and its books are kept.
    roots.kill("KILL")?;
    roots.wait()?;
    daemon.verdict_at_end(&id)?;
    let answer = register(&id)?;
    ensure!(
        answer.contains("another user's container has this id"),
        "{answer}"
    );

    // The user's is there first: root's takes the id, and the user's is traced no more.
    let later = Bundle::traced("later", Rootfs::Busybox, &args, &daemon)?;
    let id = later.id.clone();
    ensure!(register(&id)?.contains("ready"));
    assert_eq!(asks(&id, "verify")?.0, Some(0), "its own");
    let mut later = Runtime::Runc.start(later)?;
    later.printed("ready")?;
    let (code, said) = asks(&id, "verify")?;
    ensure!(code == Some(2) && said.contains("no container"), "{said}");
    let rows: Vec<Value> = daemon.ps()?.into_iter().filter(|row| row["id"] == *id).collect();
    ensure!(
        matches!(&rows[..], [row] if row["state"] == "live" && row["complete"] == true),
        "{rows:?}"
    );

    // A name that is root's id is in nobody's way.
    let named = format!("container-tracer.io/name={id}");
    let squatter = podman.create(&[&TRACED[..], &["--annotation", &named]].concat(), &["/bin/true"])?;
    podman.start(&squatter)?;
    daemon.verdict_at_end(&squatter)?;
    later.kill("KILL")?;
    later.wait()?;
    assert_eq!(daemon.verdict_at_end(&id)?.0["container"]["id"], *id);
    Ok(())
}

/// The characters that a terminal or a reader of logs takes for more than text.
fn is_harmful(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// Ids, names, annotations, and what no hook would say: nothing of it begins a line of the daemon's log, and nothing drives
/// a terminal.
#[test]
fn nothing_is_written_into_logs_and_terminals() -> Result<()> {
    let mut daemon = Daemon::quiet()?;
    let id = format!("{}\u{202e}gol", unique_id("bidi"));
    let init = hook::Init::start()?;
    let mut state = hook::state(&id, init.pid);
    state["annotations"]["container-tracer.io/name"] = "web\u{1b}[2J\nroot\u{9b}".into();
    state["annotations"]["container-tracer.io/labels"] = "tier=\u{1b}]0;x\u{7}".into();
    state["annotations"]["container-tracer.io/mode"] = "\u{1b}[31m\u{202e}\ntracer: forged".into();
    state["annotations"]["container-tracer.io/\u{202e}\u{1b}[0m"] = "x".into();
    let out = hook::patient(
        daemon.dir(),
        &["--fail-closed", "createRuntime"],
        state.to_string().as_bytes(),
    )?;
    ensure!(out.status.success(), "{}", programs::both(&out));
    for message in [
        "{\"op\":\"a\\ntracer: forged\",\"v\":1}\n",
        "{\"op\":\"register\",\"v\":1,\"id\":\"a\\u001b[2J\\ntracer: forged\",\"bundle\":\"\"}\n",
        "{\"op\":\"register\",\"v\":1,\"id\":7,\"\u{202e}\u{1b}[2Jtracer: forged\":1}\n",
    ] {
        let mut stream = UnixStream::connect(daemon.hook_socket())?;
        stream.set_read_timeout(Some(wait::LONG))?;
        stream.write_all(message.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains("refused"), "{answer}");
    }
    let shown = |args: &[&str]| -> Result<String> {
        let out = programs::output(daemon.client(args[0]).args(&args[1..]))?;
        Ok(programs::both(&out))
    };
    for args in [
        &["ps"][..],
        &["status"],
        &["verify", &id],
        &["stats", &id],
        &["caps", &id],
        &["explain", &id],
        &["top", "--once"],
        &["verify", "no\u{202e}body"],
    ] {
        let text = shown(args)?;
        ensure!(!text.contains(is_harmful), "{args:?}: {}", text.escape_debug());
    }
    drop(init);
    wait::until("its end", wait::LONG, || {
        Ok((daemon.status()?["containers"] == 0).then_some(()))
    })?;
    daemon.stop()?;
    let log = daemon.log();
    ensure!(log.contains("it is ignored"), "nothing was told: {log}");
    ensure!(!log.contains(is_harmful), "{}", log.escape_debug());
    for line in log.lines() {
        ensure!(
            line.starts_with("tracer: ") && !line.starts_with("tracer: forged"),
            "{line}"
        );
    }
    Ok(())
}

/// Bits of a mode that nobody but owner and group has.
const OTHERS: u32 = 0o007;

fn mode(path: &Path) -> Result<u32> {
    let data = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    Ok(data.permissions().mode() & 0o7777)
}

/// Started with no umask at all: whatever it makes is made with the mode that it shall have or less, and no socket takes a
/// connection before it has it.
#[test]
fn modes_are_safe_from_the_first_instant() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tt-umask-").tempdir()?;
    let (run, trace, config) = (
        dir.path().join("run"),
        dir.path().join("strace"),
        dir.path().join("tracer.toml"),
    );
    let file = |name: &str| dir.path().join(name);
    fs::write(
        &config,
        format!(
            "[metrics]\nlisten = \"{}\"\n[flight_recorder]\ndump_on = \"exit\"\ndump_dir = {:?}\n\
             [[sink]]\nkind = \"file\"\npath = {:?}\n\
             [[sink]]\nkind = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\nspool_directory = {:?}\n",
            file("metrics.sock").display(),
            file("dumps"),
            file("events.jsonl"),
            file("spool"),
        ),
    )?;
    let log = fs::File::create(file("log"))?;
    let mut command = programs::command("sh");
    let script = r#"umask 0; exec strace -f -y -e trace=openat,open,creat,mkdir,mkdirat,bind,listen,rename,chmod,fchmod,fchmodat -o "$1" "$2" daemon --config "$3" --runtime-dir "$4""#;
    command
        .args(["-c", script, "sh"])
        .args([&trace, &programs::tracer()?, &config, &run])
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null());
    let mut strace = command.spawn()?;
    let said = || fs::read_to_string(file("log"));
    let ready = wait::until("the daemon to be ready", wait::LONG, || {
        Ok((said()?.contains("ready: ") || strace.try_wait()?.is_some()).then_some(()))
    });
    // One that ends with an error leaves notes, a dump, a batch in the spool.
    let traced = ready.and_then(|()| {
        let bundle = Bundle::new("modes", Rootfs::Busybox, &["/bin/sh", "-c", "exit 3"])?
            .hook(HookStage::CreateRuntime, &run)?
            .annotate("true");
        let mut container = Runtime::Runc.start(bundle)?;
        let code = container.wait()?.code();
        ensure!(code == Some(3), "{code:?}");
        wait::until("its dump", wait::LONG, || {
            let dumps = fs::read_dir(file("dumps")).into_iter().flatten().count();
            Ok((dumps > 0).then_some(()))
        })
    });
    let daemon = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id()))?;
    let modes = [
        ("hook.sock", 0o666),
        ("user.sock", 0o666),
        ("control.sock", 0o660),
        ("lock", 0o600),
    ]
    .map(|(name, wanted)| (name, wanted, mode(&run.join(name))));
    let metrics = mode(&file("metrics.sock"));
    for pid in daemon.split_whitespace() {
        let pid = Pid::from_raw(pid.parse()?).context("a pid")?;
        kill_process(pid, Signal::TERM)?;
    }
    wait::exit(&mut strace, "strace", wait::LONG)?;
    traced.with_context(|| said().unwrap_or_default())?;
    for (name, wanted, is) in modes {
        assert_eq!(is?, wanted, "{name}");
    }
    assert_eq!(metrics?, 0o660);

    let text = fs::read_to_string(&trace)?;
    let (mut made, mut bound) = (0, 0);
    // Of a call that others came into the middle of, the first line has the arguments.
    let lines = text.lines().filter(|line| !line.contains(" resumed>"));
    let mut sockets: Vec<&str> = Vec::new();
    for line in lines {
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
        let name = call.split('(').next().unwrap_or_default();
        // strace writes a mode where there is one, as the last argument.
        let given = call
            .rsplit_once(") = ")
            .or_else(|| call.rsplit_once(" <unfinished"))
            .and_then(|(head, _)| head.rsplit_once(", 0"))
            .and_then(|(_, mode)| u32::from_str_radix(mode, 8).ok());
        match name {
            "openat" | "open" | "creat" if call.contains("O_CREAT") => {
                let given = given.with_context(|| call.to_owned())?;
                ensure!(given & (OTHERS | 0o022) == 0, "others have a part in it: {call}");
                made += 1;
            }
            "mkdir" | "mkdirat" => {
                let given = given.with_context(|| call.to_owned())?;
                // The runtime directory is everybody's to look into, and nobody's else to write to.
                ensure!(given & 0o022 == 0, "others may write there: {call}");
                made += 1;
            }
            "fchmod" if call.contains("socket:") => {
                ensure!(given == Some(0o600), "{call}");
                sockets.extend(call.split('<').nth(1).and_then(|rest| rest.split('>').next()));
            }
            "bind" if call.contains("AF_UNIX") && call.contains("sun_path=\"/") => {
                let socket = call.split('<').nth(1).and_then(|rest| rest.split('>').next());
                ensure!(
                    socket.is_some_and(|socket| sockets
                        .iter()
                        .any(|safe| socket.contains(safe) || safe.contains(socket))),
                    "bound with another mode: {call}"
                );
                bound += 1;
            }
            _ => {}
        }
    }
    ensure!(made > 5 && bound == 4, "{made} files, {bound} sockets\n{text}");
    Ok(())
}

/// Whoever may open the daemon's lock may hold it, and no daemon would start any more.
#[test]
fn nobody_locks_the_daemon_out() -> Result<()> {
    let mut daemon = Daemon::start()?;
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755))?;
    let user = User::new()?;
    let lock = daemon.dir().join("lock");
    let held = |user: &User| {
        let mut command = user.command("flock");
        programs::output(command.args(["--nonblock"]).arg(&lock).arg("true"))
    };
    let out = held(&user)?;
    ensure!(
        !out.status.success() && programs::both(&out).contains("Permission denied"),
        "{}",
        programs::both(&out)
    );
    // Nor by one that an older daemon left open to all.
    daemon.stop()?;
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644))?;
    daemon.restart()?;
    assert_eq!(mode(&lock)?, 0o600);
    let out = held(&user)?;
    ensure!(!out.status.success(), "{}", programs::both(&out));
    Ok(())
}
