//! `-y` and `-yy`: what a descriptor stands for, at the moment of the call. strace's own words for real programs, and the
//! kernel's own (readlink of /proc/self/fd) inside a real container.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use tracer_tests::{
    Bundle, Daemon, Event, Rootfs, Runtime, Verdict, compare, event,
    line::{self, Tasks},
    programs,
};

const PYTHON: [&str; 5] = ["/usr/bin/python3", "-I", "-S", "-B", "-c"];

/// One of each kind of file, and the calls that have descriptors in other places than their arguments.
const ALL_KINDS: &str = r#"
import array, ctypes, fcntl, os, resource, select, socket
d = os.path.abspath('od<d> "\\ \x1b')
os.mkdir(d)
f = os.open(d + '/f', os.O_CREAT | os.O_RDWR); os.fstat(f); os.unlink(d + '/f'); os.fstat(f); os.close(f)
os.rmdir(d)
f = os.open('/dev/null', os.O_RDWR); os.read(f, 1); os.dup2(f, 60); os.dup(f); fcntl.fcntl(f, fcntl.F_DUPFD, 70)
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048)); os.dup2(f, 1511); os.fstat(1511); os.close(1511)
m = os.memfd_create('me<m>'); os.fstat(m)
e = os.eventfd(0); os.fstat(e)
r, w = os.pipe(); os.write(w, b'x'); os.read(r, 1)
n = os.open('/proc/self/ns/net', os.O_RDONLY); os.fstat(n)
p = os.pidfd_open(os.getpid()); os.fstat(p)
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
c = socket.create_connection(s.getsockname()); a, _ = s.accept(); a.send(b'x'); c.recv(1)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); u.getsockname()
v = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); v.bind(('::', 0)); v.getsockname()
x, y = socket.socketpair(); x.send(b'x'); y.recv(1)
q = socket.socket(socket.AF_UNIX); q.bind('\0abs<>'); q.listen()
t = socket.socket(socket.AF_UNIX); t.connect('\0abs<>'); g, _ = q.accept(); t.send(b'x'); g.recv(1)
z = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); z.bind('so"ck'); z.getsockname(); os.unlink('so"ck')
l = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); l.bind((0, 0)); l.getsockname()
k = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); k.getsockname()
i = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); i.getsockname()
for closed in (-1, 99, 99999):
    try: os.read(closed, 1)
    except OSError: pass
o = select.poll(); o.register(r, 1); o.register(a, 4); o.poll(1)
b = select.epoll(); b.register(r, 1); b.poll(0.001); b.unregister(r)
os.set_inheritable(r, True); os.ftruncate(m, 4096)
import mmap; mmap.mmap(m, 4096).close()
x.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [m]))])
_, rights, _, _ = y.recvmsg(9, 99); os.fstat(array.array('i', rights[0][2][:4])[0])
o = os.open('.', os.O_RDONLY); os.fchdir(o); os.listdir(o); os.chdir('/')
if os.fork() == 0: os.fstat(c.fileno()); os._exit(0)
os.wait(); c.close(); os.fstat(a.fileno())
# At its end Python would close them one after the other: strace does not notice that a peer has gone.
os._exit(0)
"#;

/// Runs it under strace and under us, in the same folder, and compares like the lines of `tests/strace.rs`.
fn both(option: &str) -> Result<compare::Report> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().join("here");
    let to = dir.path().join("out").display().to_string();
    let run = |wrapper: &[&str]| -> Result<Tasks> {
        fs::create_dir_all(&here)?;
        let mut command = programs::command("setarch");
        command
            .arg("-R")
            .args(wrapper)
            .arg("--")
            .args(PYTHON)
            .arg(ALL_KINDS);
        programs::success(command.current_dir(&here))?;
        fs::remove_dir_all(&here)?;
        Ok(line::parse(&fs::read_to_string(&to)?))
    };
    let strace = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "strace",
        "-f",
        option,
        "-o",
        &to,
    ];
    let tracer = programs::tracer()?.display().to_string();
    let ours = [&tracer, "run", option, "-w", &to];
    let (first, ours, second) = (run(&strace)?, run(&ours)?, run(&strace)?);
    let calls = ours.values().flatten();
    let annotated =
        calls.filter(|call| call.args.iter().any(|arg| arg.contains('<')) || call.ret.contains('<'));
    ensure!(annotated.count() > 300, "few descriptors are told of: {ours:?}");
    Ok(compare::compare(&ours, &first, &second))
}

#[test]
fn descriptors_are_named_as_strace_names_them() -> Result<()> {
    for option in ["-y", "-yy"] {
        let report = both(option)?;
        println!("{option}: {}", report.summary());
        // What has angle brackets, on either side, is about descriptors.
        let differ: Vec<_> = report
            .differences
            .iter()
            .flat_map(|(place, seen)| seen.iter().map(move |one| (place, one)))
            .filter(|(_, one)| one.ours.contains('<') || one.theirs.contains('<'))
            // Messages and their control data are a difference of their own: docs/strace-differences.md.
            .filter(|((name, _), _)| !matches!(name.as_str(), "sendmsg" | "recvmsg"))
            .collect();
        ensure!(differ.is_empty(), "{option}: {differ:#?}");
    }
    Ok(())
}

/// Prints what the kernel says that each descriptor stands for, and makes one call with it.
const IN_CONTAINER: &str = r#"
import os, sys
def look(fd):
    name = os.readlink('/proc/self/fd/%d' % fd)
    print(name, flush=True)
    os.lseek(fd, 0, os.SEEK_CUR) if name.startswith('/') else None
    try: os.ftruncate(fd, 4711)
    except OSError: pass
os.makedirs('/over/up/x', exist_ok=True)
deep = '/scratch' + '/d' * 70
os.makedirs(deep)
long = '/scratch/' + 'n' * 255
for path in ['/', '/usr/bin/env', '/etc/ld.so.cache', '/scratch', '/over', '/over/up/x', '/over/low', '/proc/self/status',
             '/dev/null', '/proc/self/ns/net', '/data']:
    look(os.open(path, os.O_RDONLY))
look(os.open(long, os.O_RDWR | os.O_CREAT))
f = os.open('/scratch/gone', os.O_RDWR | os.O_CREAT); os.unlink('/scratch/gone'); look(f)
look(os.memfd_create('m')); look(os.eventfd(0)); look(os.pipe()[0])
look(os.open(deep, os.O_RDONLY))
"#;

#[test]
fn paths_in_a_container_are_the_containers() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = [&PYTHON[..], &[IN_CONTAINER]].concat();
    let mut bundle = Bundle::traced("paths", Rootfs::Host, &args, &daemon)?;
    for name in ["lower", "upper", "work"] {
        fs::create_dir(bundle.path().join(name))?;
    }
    fs::write(bundle.path().join("lower/low"), "x")?;
    let at = |name: &str| bundle.path().join(name).display().to_string();
    let layers = [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")]
        .map(|(option, name)| format!("{option}={}", at(name)));
    let overlay = json!({"destination": "/over", "type": "overlay", "source": "overlay", "options": layers});
    bundle.config["mounts"]
        .as_array_mut()
        .context("no mounts")?
        .push(overlay);
    let id = bundle.id.clone();
    let tail = daemon.tail(&id, &["-o", "json", "-y"])?.opened()?;
    let prefix = id.get(..id.len() - 1).context("an id")?;
    let quiet = daemon.tail(prefix, &["-o", "json"])?.opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let (events, others) = (tail.events()?, quiet.events()?);
    daemon.verdict_at_end(&id)?.whole()?;

    let printed = container.stdout();
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.is_app() && event.syscall() == "ftruncate")
        .map(|event| {
            let arg = &event.0["args"][0];
            let path = arg["path"].as_str().unwrap_or("none");
            let deleted = if arg["deleted"] == true { " (deleted)" } else { "" };
            format!("{path}{deleted}")
        })
        .collect();
    let kernel: Vec<&str> = printed.lines().collect();
    ensure!(kernel.len() == 17, "the program has printed {printed}");
    let (deep, rest) = kernel.split_last().context("lines")?;
    assert_eq!(told[..rest.len()], *rest);
    // Deeper than what is walked: said to be cut, and its end is right.
    let cut = told.last().context("a last call")?;
    let end = cut
        .strip_prefix("...")
        .with_context(|| format!("{cut} is not marked"))?;
    ensure!(deep.ends_with(end) && end.matches("/d").count() > 50, "{cut}");

    // Who has not asked is told nothing.
    let asked = |events: &[Event]| {
        events
            .iter()
            .any(|event| event.0["args"][0].get("path").is_some())
    };
    ensure!(
        asked(&events) && !asked(&others),
        "the other reader asked for nothing"
    );
    let returned = events
        .iter()
        .find(|event| event.syscall() == "openat" && event.0["ret"].as_i64() > Some(2));
    let returned = &returned.context("no file was opened")?.0;
    ensure!(
        returned["ret_file"]["fd"] == returned["ret"] && returned["ret_file"]["path"].is_string(),
        "{returned}"
    );
    Ok(())
}

/// Threads that share a table: one closes and opens, the other uses the number.
const RACE: &str = r#"
import os, random, threading, time
a, b = os.open('/etc/passwd', os.O_RDONLY), os.open('/etc/group', os.O_RDONLY)
def flip():
    # Pauses of chance, or the two threads fall into step and meet in one state only.
    for _ in range(2003):
        os.dup2(a, 99); time.sleep(random.random() / 1e5); os.close(99); os.dup2(b, 99); time.sleep(random.random() / 1e5)
t = threading.Thread(target=flip); t.start()
while t.is_alive():
    try: os.lseek(99, 0, os.SEEK_SET)
    except OSError: pass
    # Without it this one makes more calls than the ring holds, where the other waits long for a processor.
    time.sleep(random.random() / 1e5)
"#;

#[test]
fn a_number_that_changes_hands_is_one_file_or_none() -> Result<()> {
    let run = run(&["-y"], RACE)?;
    run.1.whole()?;
    let mut seen = BTreeMap::new();
    for event in run
        .0
        .iter()
        .filter(|event| event.syscall() == "lseek" && event.0["args"][0]["raw"] == 99)
    {
        let path = event.0["args"][0]["path"].as_str().unwrap_or("none");
        *seen.entry(path.to_owned()).or_insert(0) += 1;
    }
    println!("{seen:?}");
    let possible = BTreeSet::from(["/etc/group", "/etc/passwd", "none"]);
    ensure!(
        seen.keys().all(|path| possible.contains(path.as_str())),
        "{seen:?}"
    );
    ensure!(seen.len() > 1, "no thread was ever faster: {seen:?}");
    Ok(())
}

/// Events and verdict of `tracer run` on a program of Python.
fn run(options: &[&str], program: &str) -> Result<(Vec<Event>, Verdict)> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command
        .args(["run", "-o", "json", "-w"])
        .arg(path("events"))
        .arg("--verify")
        .arg(path("verify"));
    command.args(options).arg("--").args(PYTHON).arg(program);
    programs::success(command.current_dir(dir.path()))?;
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    Ok((
        event::parse(&read(&path("events"))?)?,
        Verdict::parse(&read(&path("verify"))?)?,
    ))
}

#[test]
fn json_has_them_as_the_schema_says() -> Result<()> {
    let (events, verdict) = run(&["-yy"], ALL_KINDS)?;
    verdict.whole()?;
    let schema = programs::success(programs::command(programs::tracer()?).arg("schema"))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    let mut details = BTreeSet::new();
    for event in &events {
        if let Err(why) = schema.validate(&event.0) {
            anyhow::bail!("{why}: {}", event.0);
        }
        let detail = event.0["args"][0]["detail"].as_str().unwrap_or_default();
        details.insert(detail.split(':').next().unwrap_or_default().to_owned());
    }
    let kinds = [
        "",
        "NETLINK",
        "RAW",
        "TCP",
        "UDP",
        "UDPv6",
        "UNIX",
        "UNIX-STREAM",
        "char 1",
        "pid",
    ];
    assert_eq!(details.iter().collect::<Vec<_>>(), kinds);
    let gone = events
        .iter()
        .map(|event| &event.0["args"][0])
        .find(|arg| arg["path"] == "/memfd:me<m>");
    ensure!(
        gone.is_some_and(|arg| arg["deleted"] == true),
        "no memfd: {gone:?}"
    );
    Ok(())
}

#[test]
fn a_path_is_found_by_its_descriptors_too() -> Result<()> {
    let program = "import os; f = os.open('/etc/passwd', 0); os.read(f, 1); g = os.dup(f); os.close(f); \
                   h = os.open('/etc/group', 0); os.read(h, 1); os.close(h); os.lseek(g, 0, 0)";
    let (events, verdict) = run(&["-P", "/etc/passwd"], program)?;
    verdict.whole()?;
    let calls: Vec<_> = events
        .iter()
        .filter(|event| event.is_syscall())
        .map(Event::syscall)
        .collect();
    assert_eq!(calls, ["openat", "read", "fcntl", "close", "lseek"]);
    // It asked for calls, not for names in them.
    ensure!(
        events
            .iter()
            .all(|event| event.0["args"][0].get("path").is_none()),
        "{events:?}"
    );
    Ok(())
}
