//! `tracer profile seccomp`: a container runs under the profile that was made from it, with all that it does; the profile
//! has what strace saw, and without one call of it exactly that one fails.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Output,
};
use tempfile::TempDir;
use tracer_tests::{
    Bundle, Daemon, Rootfs, Runtime, daemon::Stats, event, podman::Podman, process::children, programs,
    strace, wait,
};

const SAMPLES: usize = 11;

const PORT: &str = "8000";

/// What the server can do: files, folders with and without an index, redirects, conditions, heads, errors.
const REQUESTS: &str = "\
import http.client, sys
date = {'If-Modified-Since': 'Fri, 01 Jan 2100 00:00:00 GMT'}
for method, path, headers in [('GET', '/file', {}), ('HEAD', '/file', {}), ('GET', '/file', date), ('GET', '/folder', {}),
        ('GET', '/folder/', {}), ('GET', '/indexed/', {}), ('GET', '/missing', {}), ('POST', '/file', {})]:
    connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    print(method, path, answer.status, len(answer.read()))
";

/// python3 -m http.server, which ends by SIGINT whatever whoever started it has made of that signal.
const SERVER: &str = "\
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[1:] = ['--bind', '127.0.0.1', '--directory', '/site', sys.argv[1]]
runpy.run_module('http.server', run_name='__main__', alter_sys=True)
";

/// What redis can do: values of each kind, scripts, transactions, messages, both kinds of files by children of its own,
/// freeing in another thread, and its end.
const COMMANDS: &str = "\
import socket, sys
class Client:
    def __init__(self):
        self.socket = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30)
        self.file = self.socket.makefile('rb')
    def ask(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b'*%d\\r\\n' % len(words) + b''.join(b'$%d\\r\\n%s\\r\\n' % (len(word), word) for word in words))
        return self.reply()
    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:].strip()
        assert kind != b'-', line
        if kind == b'$':
            return self.file.read(int(rest) + 2)[:-2] if rest != b'-1' else None
        return [self.reply() for _ in range(int(rest))] if kind == b'*' else rest
one, other = Client(), Client()
for words in ['SET a 1', 'INCR a', 'EXPIRE a 100', 'RPUSH l 1 2 3', 'HSET h k v', 'ZADD z 1 m', 'CONFIG SET maxmemory 64mb',
        'MULTI', 'GET a', 'EXEC', 'INFO']:
    one.ask(*words.split())
assert one.ask('EVAL', 'return redis.call(\"GET\", KEYS[1])', 1, 'a') == b'2'
other.ask('SUBSCRIBE', 'c')
assert one.ask('PUBLISH', 'c', 'hello') == b'1' and other.reply()[2] == b'hello'
one.ask('SET', 'big', 'x' * 1000000)
assert len(one.ask('GET', 'big')) == 1000000
for command, busy in [('BGSAVE', b'rdb_bgsave_in_progress:1'), ('BGREWRITEAOF', b'aof_rewrite_in_progress:1')]:
    one.ask(command)
    while busy in one.ask('INFO', 'persistence'):
        pass
one.ask('FLUSHALL', 'ASYNC')
assert one.ask('DBSIZE') == b'0'
one.socket.sendall(b'SHUTDOWN NOSAVE\\r\\n')
one.file.read()
print('done')
";

const ANSWERS: [&str; 8] = [
    "GET /file 200 70000",
    "HEAD /file 200 0",
    "GET /file 304 0",
    "GET /folder 301 0",
    "GET /folder/ 200",
    "GET /indexed/ 200 5",
    "GET /missing 404",
    "POST /file 501",
];

/// A server of Debian.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Python,
    Redis,
}

/// It in podman, with this machine's `/usr`.
struct Server {
    program: Program,
    podman: Podman,
    dir: TempDir,
}

type Names = BTreeSet<String>;

impl Server {
    fn new(daemon: &Daemon, program: Program) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-profile-").tempdir()?;
        let site = dir.path().join("site");
        for folder in ["folder/inner", "indexed"] {
            fs::create_dir_all(site.join(folder))?;
        }
        fs::write(site.join("file"), vec![b'x'; 70_000])?;
        fs::write(site.join("folder/leaf"), "leaf")?;
        fs::write(site.join("indexed/index.html"), "index")?;
        fs::create_dir(dir.path().join("scratch"))?;
        Ok(Self {
            program,
            podman: Podman::new(daemon.dir())?,
            dir,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container that serves, by these words before its command line.
    fn create(&self, options: &[&str], before: &[&str]) -> Result<String> {
        let mount = |from: &Path, to: &str| format!("--volume={}:{to}", from.display());
        let mounts = [
            mount(Path::new("/usr"), "/usr:ro"),
            mount(Path::new("/usr/lib"), "/lib:ro"),
            mount(Path::new("/usr/lib64"), "/lib64:ro"),
            mount(&self.path("site"), "/site:ro"),
            mount(&self.path("scratch"), "/scratch"),
        ];
        let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
        let server: &[&str] = match self.program {
            Program::Python => &["/usr/bin/python3", "-I", "-S", "-B", "-c", SERVER, PORT],
            Program::Redis => &[
                "/usr/bin/redis-server",
                "--bind",
                "127.0.0.1",
                "--port",
                PORT,
                "--dir",
                "/scratch",
                "--appendonly",
                "yes",
            ],
        };
        // Each begins with nothing.
        let scratch = self.path("scratch");
        fs::remove_dir_all(&scratch)?;
        fs::create_dir(&scratch)?;
        self.podman
            .create(&[&mounts, options].concat(), &[before, server].concat())
    }

    /// Has it do all that it can, and ends it, python's as a terminal does.
    fn serve(&self, id: &str) -> Result<()> {
        let pid = self.podman.start_detached(id)?;
        let net = format!("--net=/proc/{pid}/ns/net");
        let ask = |script: &str| {
            let mut client = programs::command("nsenter");
            programs::output(client.args([net.as_str(), "/usr/bin/python3", "-I", "-c", script, PORT]))
        };
        wait::until("the server to listen", wait::LONG, || {
            let probe =
                "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()";
            Ok(ask(probe)?.status.success().then_some(()))
        })?;
        let ended = || {
            wait::until("the server's end", wait::LONG, || {
                Ok((!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(()))
            })
        };
        if self.program == Program::Redis {
            let out = ask(COMMANDS)?;
            ensure!(out.status.success(), "{}", programs::both(&out));
            return ended();
        }
        let out = ask(REQUESTS)?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success(), "{}", programs::both(&out));
        let lines: Vec<&str> = said.lines().collect();
        ensure!(
            lines.len() == ANSWERS.len()
                && lines
                    .iter()
                    .zip(ANSWERS)
                    .all(|(line, answer)| line.starts_with(answer)),
            "{said}"
        );
        // Under strace it is the child.
        let server = children(pid)?.first().copied().unwrap_or(pid);
        kill_process(Pid::from_raw(server.try_into()?).context("pid 0")?, Signal::INT)?;
        ended()
    }

    fn save(&self, name: &str, profile: &Value) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, profile.to_string())?;
        Ok(path.display().to_string())
    }
}

/// `tracer profile`; its exit code, standard output and what it complained of.
fn profile(daemon: &Daemon, words: &[&str]) -> Result<(i32, String, String)> {
    let out: Output = programs::output(daemon.client("profile").args(words))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = out.status.code().context("killed")?;
    Ok((code, text(&out.stdout), text(&out.stderr)))
}

/// `tracer profile seccomp` of a container that has ended; it must have nothing to complain of.
fn made(daemon: &Daemon, id: &str, options: &[&str]) -> Result<Value> {
    let (code, out, err) = profile(daemon, &[&["seccomp", id], options].concat())?;
    ensure!(code == 0 && err.is_empty(), "{code}: {err}");
    serde_json::from_str(&out).context(out)
}

/// The names that a profile has, with the action of each without conditions.
fn names(profile: &Value) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in profile["syscalls"].as_array().context("no syscalls")? {
        for name in entry["names"].as_array().context("no names")? {
            let name = name.as_str().context("a name")?.to_owned();
            all.insert(name, entry["action"].as_str().context("no action")?.to_owned());
        }
    }
    Ok(all)
}

/// The profile without that call.
fn without(profile: &Value, name: &str) -> Result<Value> {
    let mut cut = profile.clone();
    for entry in cut["syscalls"].as_array_mut().context("no syscalls")? {
        entry["names"]
            .as_array_mut()
            .context("no names")?
            .retain(|given| given != name);
    }
    ensure!(
        names(profile)?.contains_key(name) && !names(&cut)?.contains_key(name),
        "{name}"
    );
    Ok(cut)
}

/// What the application alone called, by our profile; with what strace does not count, for it never returns.
fn by_us(daemon: &Daemon, server: &Server) -> Result<(String, Names, Names)> {
    let id = server.create(&["--annotation", "container-tracer.io/trace=true"], &[])?;
    server.serve(&id)?;
    daemon.verdict_at_end(&id)?.whole()?;
    let names: Names = names(&made(daemon, &id, &["--base", "none"])?)?
        .into_keys()
        .collect();
    let stats = programs::success(daemon.client("stats").args(["-o", "json", &id]))?;
    let returned: Names = Stats::parse(&stats)?.counts()?.into_keys().collect();
    let unfinished: Names = names.difference(&returned).cloned().collect();
    Ok((id, &names - &unfinished, unfinished))
}

fn by_strace(server: &Server) -> Result<Names> {
    let before = [
        &["/usr/bin/strace"],
        &strace::args("/scratch/strace")[..],
        &["--"],
    ]
    .concat();
    let id = server.create(&["--cap-add", "SYS_PTRACE"], &before)?;
    server.serve(&id)?;
    let table = fs::read_to_string(server.path("scratch/strace"))?;
    Ok(strace::parse(&table)?.into_keys().collect())
}

#[test]
fn a_server_runs_under_its_own_profile_and_not_with_one_call_less() -> Result<()> {
    runs_under_its_own(Program::Python)
}

#[test]
fn redis_runs_under_its_own_profile_and_not_with_one_call_less() -> Result<()> {
    runs_under_its_own(Program::Redis)
}

fn runs_under_its_own(program: Program) -> Result<()> {
    let daemon = Daemon::start()?;
    let server = Server::new(&daemon, program)?;

    // Threads differ from run to run, on both sides: one sample of ours must be one of strace's.
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let id = loop {
        let (id, names, unfinished) = by_us(&daemon, &server)?;
        ensure!(
            unfinished
                .iter()
                .all(|name| ["exit", "exit_group"].contains(&name.as_str())),
            "{unfinished:?}"
        );
        ours.push(names);
        theirs.push(by_strace(&server)?);
        if ours.iter().any(|names| theirs.contains(names)) {
            break id;
        }
        if ours.len() >= SAMPLES {
            let (a, b) = (ours.last().context("none")?, theirs.last().context("none")?);
            bail!("only ours: {:?}; only strace's: {:?}", a - b, b - a);
        }
    };

    let whole = made(&daemon, &id, &[])?;
    assert_eq!(whole["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(whole["defaultErrnoRet"], libc::ENOSYS);
    assert_eq!(whole["architectures"], json!(["SCMP_ARCH_X86_64"]));
    let file = server.save("whole.json", &whole)?;
    // All that any run called: what this server does by chance must not fail.
    let union = ours.iter().flatten();
    let given: Names = names(&whole)?.into_keys().collect();
    let missing: Vec<_> = union.filter(|name| !given.contains(*name)).collect();
    ensure!(missing.is_empty() || ours.len() > 1, "{missing:?}");
    let files: Result<Vec<_>> = (0..2)
        .map(|round| {
            let (id, ..) = by_us(&daemon, &server)?;
            server.save(&format!("run-{round}.json"), &made(&daemon, &id, &[])?)
        })
        .collect();
    let files = files?;
    let (code, merged, err) = profile(&daemon, &["merge", &file, &files[0], &files[1]])?;
    ensure!(code == 0 && err.is_empty(), "{err}");
    let merged: Value = serde_json::from_str(&merged)?;
    let file = server.save("merged.json", &merged)?;

    // Under it, all works.
    let option = format!("seccomp={file}");
    let traced = ["--annotation", "container-tracer.io/trace=true", "--security-opt"];
    let id = server.create(&[&traced[..], &[&option]].concat(), &[])?;
    let tail = daemon.tail_all(&id)?;
    server.serve(&id)?;
    let events = tail.events()?;
    let denied: Vec<_> = events
        .iter()
        .filter(|event| event.text("denied_by") == "seccomp")
        .collect();
    ensure!(denied.is_empty(), "{}", denied[0].0);
    daemon.verdict_at_end(&id)?.whole()?;
    let (code, said, err) = profile(&daemon, &["check", &file, &id])?;
    ensure!(code == 0 && said.starts_with("fits "), "{said}{err}");

    // Without `listen`, exactly that fails.
    let cut = server.save("cut.json", &without(&merged, "listen")?)?;
    let (code, said, _) = profile(&daemon, &["check", "-o", "json", &cut, &id])?;
    let said: Value = serde_json::from_str(&said)?;
    assert_eq!(code, 1);
    assert_eq!(said["refused"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(
        (&said["refused"][0]["syscall"], &said["refused"][0]["answer"]),
        (&json!("listen"), &json!("ENOSYS"))
    );
    let (code, said, _) = profile(&daemon, &["diff", &cut, &file])?;
    assert_eq!((code, said.as_str()), (1, "+listen allowed\n"));
    let (code, said, _) = profile(&daemon, &["diff", &file, &file])?;
    assert_eq!((code, said.as_str()), (0, ""));

    let option = format!("seccomp={cut}");
    let id = server.create(&[&traced[..], &[&option]].concat(), &[])?;
    let tail = daemon.tail_all(&id)?;
    let out = server.podman.attempt(&id)?;
    ensure!(
        !out.status.success() && programs::both(&out).contains("Function not implemented"),
        "{}",
        programs::both(&out)
    );
    let events = tail.events()?;
    let denied: Vec<_> = events
        .iter()
        .filter(|event| event.text("denied_by") == "seccomp")
        .collect();
    assert_eq!(
        denied.len(),
        1,
        "{:?}",
        denied.iter().map(|event| event.syscall()).collect::<Vec<_>>()
    );
    assert_eq!(
        (denied[0].syscall(), denied[0].text("errno")),
        ("listen", "ENOSYS")
    );
    daemon.verdict_at_end(&id)?.whole()?;
    // And why is told, with the line that lets it pass.
    let said = programs::success(daemon.client("explain").args(["-o", "json", &id]))?;
    let found = event::parse(&said)?;
    let told = found.iter().find(|event| event.syscall() == "listen");
    let told = told.with_context(|| format!("{said}: no diagnosis of listen"))?;
    assert_eq!((told.text("cause"), told.text("errno")), ("seccomp", "ENOSYS"));
    let fixes = told.0["fixes"].to_string();
    ensure!(
        fixes.contains("listen") && fixes.contains("SCMP_ACT_ALLOW"),
        "{fixes}"
    );
    Ok(())
}

#[test]
fn each_runtime_starts_a_container_under_a_profile() -> Result<()> {
    let daemon = Daemon::start()?;
    let dir = tempfile::tempdir()?;
    let allow = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}]});
    for runtime in [Runtime::Runc, Runtime::Crun] {
        // With no_new_privs the filter is loaded last, without it before capabilities are given up.
        for no_new_privs in [true, false] {
            let bundle = |seccomp: Option<&Value>| -> Result<Bundle> {
                let mut bundle = Bundle::traced("base", Rootfs::Host, &["/workloads/calls", "3"], &daemon)?;
                bundle.config["process"]["noNewPrivileges"] = json!(no_new_privs);
                if let Some(seccomp) = seccomp {
                    bundle.config["linux"]["seccomp"] = seccomp.clone();
                }
                Ok(bundle)
            };
            let run = |seccomp: Option<&Value>| -> Result<String> {
                let mut container = runtime.start(bundle(seccomp)?)?;
                container.success()?;
                daemon.verdict_at_end(container.id())?.whole()?;
                Ok(container.id().to_owned())
            };
            let without = run(None)?;
            let (code, _, err) = profile(&daemon, &["seccomp", "--base", "seen", &without])?;
            ensure!(code == 2 && err.contains("was not seen"), "{code}: {err}");
            let under = run(Some(&allow))?;
            let list = match runtime {
                Runtime::Runc => "runc",
                Runtime::Crun => "crun",
            };
            // runc's threads may call something else each time; its own list is for that.
            let bases: &[(&str, &str)] = match runtime {
                Runtime::Runc => &[(&without, "all"), (&without, list), (&under, "all")],
                Runtime::Crun => &[
                    (&without, "all"),
                    (&without, list),
                    (&under, "all"),
                    (&under, "seen"),
                ],
            };
            for (id, base) in bases {
                let made = made(&daemon, id, &["--base", base])?;
                run(Some(&made)).with_context(|| format!("{runtime:?} {base} {no_new_privs}"))?;
                let file = dir.path().join("profile.json");
                fs::write(&file, made.to_string())?;
                let file = file.display().to_string();
                let (code, said, _) = profile(&daemon, &["check", &file, &under])?;
                ensure!(code == 0, "{runtime:?} {base} {no_new_privs}: {said}");
            }
        }
    }
    Ok(())
}

/// What docs/migrating.md says of the users of oci-seccomp-bpf-hook.
#[test]
fn their_annotation_is_a_request_only_where_the_operator_says_so() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    let dir = tempfile::tempdir()?;
    let (output, input) = (dir.path().join("out.json"), dir.path().join("in.json"));
    fs::write(&input, "{}")?;
    let value = format!(
        "io.containers.trace-syscall=if:{};of:{}",
        input.display(),
        output.display()
    );
    let run = || -> Result<String> {
        let id = podman.create(&["--annotation", &value], &["/bin/true"])?;
        podman.start(&id)?;
        Ok(id)
    };
    let untold = run()?;
    ensure!(daemon.row(&untold)?.is_none(), "it was traced");
    podman.hook(
        daemon.dir(),
        &["--all"],
        "^io\\.containers\\.trace-syscall$",
        ".+",
    )?;
    let id = run()?;
    daemon.verdict_at_end(&id)?.whole()?;
    ensure!(
        names(&made(&daemon, &id, &[])?)?.contains_key("execve"),
        "no execve"
    );
    // Nobody opened what the container named.
    ensure!(!output.exists(), "{} was written", output.display());
    assert_eq!(fs::read_to_string(&input)?, "{}");
    Ok(())
}
