//! Our text line equals strace's, argument by argument, on programs of Debian and on workloads that make the calls which
//! these do not make.
//!
//! Each accepted difference is a row of `docs/strace-differences.md`. `WORKLOADS=name,name` runs only these;
//! `REPORT=1` prints what differs although it is accepted.

use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};
use tracer_tests::{
    compare::{self, Place, Report},
    line::{self, Tasks},
    programs,
};

/// Of all arguments, in percent: what is reached, rounded down.
const THRESHOLD: f64 = 99.0;
/// Places outside the document that may differ, by chance, over all workloads together.
const UNLISTED: usize = 2;
/// A workload whose calls depend on who is faster is tried so often.
const SAMPLES: usize = 5;

const DIFFERENCES: &str = include_str!("../../docs/strace-differences.md");

/// Programs that nobody wrote for this test. A line is a name and a command of the shell, run in a folder with files.
const DEBIAN: &str = "\
ls: exec ls -la --color=always .
ls-proc: exec ls -l /proc/self/fd /dev/pts /sys/kernel
find: exec find . -type f -size +1k -newer words
tar: exec tar -czf out.tar.gz tree
untar: tar -cf out.tar tree; mkdir there; exec tar -xf out.tar -C there
gzip: gzip -k words; exec gunzip -c words.gz
xz: exec xz -k -T1 words
bzip2: exec bzip2 -k words
zstd: exec zstd -q -k words
cat: cat words tree/a/file-1 nothing; exec cat -
cp: cp -a tree copy; exec cp --sparse=always words hole
grep: exec grep -rn needle tree
sort: exec sort -u -o sorted words
sed: exec sed -i s/one/1/ words
awk: exec awk '{n[$1]++} END {for (w in n) print w, n[w]}' words
perl: exec perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); syswrite A, \"x\"; sysread B, $b, 1; print sort <*>; utime 1, 2, \"words\"; rename \"words\", \"w\"; local $SIG{ALRM} = sub { print \"a\" }; alarm 1; select undef, undef, undef, 3; print join \",\", stat \"w\"'
perl-fork: exec perl -e 'pipe R, W; if (!fork) { print W \"x\"; exit 7 } wait; print $? >> 8, getpgrp'
python: exec /usr/bin/python3 -I -S -B -c 'print(sum(range(9)))'
python-net: exec /usr/bin/python3 -I -S -B -c 'import socket, select, os; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((\"127.0.0.1\", 4711)); s.listen(5); c = socket.create_connection((\"127.0.0.1\", 4711)); a, b = s.accept(); c.sendall(b\"x\" * 99); print(a.recv(200), a.getsockname(), c.getpeername()); select.select([a], [c], [], 0.01); p = select.poll(); p.register(c, 5); p.poll(10); e = select.epoll(); e.register(c, 5); e.poll(0.01); a.sendmsg([b\"ab\", b\"cd\"]); c.recvmsg(10, 100); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((\"127.0.0.1\", 4712)); u.sendto(b\"hi\", (\"127.0.0.1\", 4712)); u.recvfrom(9); a.shutdown(2)'
python-thread: exec /usr/bin/python3 -I -S -B -c 'import threading, time; t = threading.Thread(target=lambda: time.sleep(0.05)); t.start(); t.join()'
python-process: exec /usr/bin/python3 -I -S -B -c 'import subprocess, os, signal; print(subprocess.run([\"/bin/echo\", \"x\"], capture_output=True)); signal.signal(signal.SIGUSR1, lambda *a: None); os.kill(os.getpid(), signal.SIGUSR1); os.writev(1, [b\"a\", b\"b\"]); os.sched_getaffinity(0); print(os.statvfs(\"/\").f_bsize, os.uname().sysname, os.getgroups(), os.times()[0] > 9)'
python-unix: exec /usr/bin/python3 -I -S -B -c 'import socket, array; a, b = socket.socketpair(); a.sendmsg([b\"x\"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array(\"i\", [1]))]); print(b.recvmsg(9, 99)); s = socket.socket(socket.AF_UNIX); s.bind(\"\\0abstract\"); s.listen(); t = socket.socket(socket.AF_UNIX); t.connect(\"\\0abstract\"); s.accept()'
git-status: exec git -C repo status --short
git-log: exec git --no-pager -C repo log --oneline
git-commit: cd repo; echo x > y; git add y; exec git -c user.name=t -c user.email=t@localhost -c maintenance.auto=false commit -q -m y
pipeline: cat words | tr a-z A-Z | sort | uniq -c | head -n 3
shell: for i in 1 2 3; do test -f words && echo $i >> log; done; (cd tree; pwd); x=$(cat words); echo ${#x}; umask 077; ulimit -n; trap 'echo t' USR1; kill -USR1 $$; wait
bash: exec bash -c 'read -t 0.01 x < /dev/zero; echo ${BASH_VERSION}; cat <<< here; wait'
date: exec date -u -d @86400 +%F
id: exec id
ps: exec ps -ef
df: exec df .
stat: exec stat words tree /dev/null
touch: touch new; touch -d @5 -a words; mkdir -p x/y; ln words hard; ln -s words soft; mv words moved; chmod 600 moved; chown 0:0 moved; truncate -s 100 moved; rm -r x soft; readlink -f hard; mkfifo pipe; exec rmdir nothing
dd: exec dd if=/dev/zero of=zeros bs=4k count=5 conv=fsync status=none
tee: exec tee copy < words
timeout: exec timeout 0.05 sleep 1
timeout-ok: exec timeout 5 true
xargs: exec xargs -n 2 echo < words
sleep: exec sleep 0.01
ip: exec ip addr
ss: exec ss -ltn
openssl: exec openssl dgst -sha256 words
gcc: echo 'int main(void) { return 0; }' > hello.c; exec gcc -c hello.c
make: printf 'all:\\n\\t@echo made\\n' > Makefile; exec make
file: exec file words
jq: exec jq -nc '[1, 2]'
sqlite: exec sqlite3 base 'create table t (x); insert into t values (1); select * from t'
curl: exec curl -sS --max-time 2 http://127.0.0.1:9/
bc: echo '2^99' | exec bc
diff: exec diff words tree/a/file-1
nice: exec nice -n 5 ionice -c 2 -n 3 chrt -b 0 taskset -c 0 true
mount: mkdir m; mount -t tmpfs -o size=1m none m; mount --bind tree m; umount m; umount m; exec unshare -u hostname inside
flock: exec flock lock true
setsid: exec setsid -w prlimit --nofile=64:128 env -i /bin/true
capsh: exec setpriv --no-new-privs --clear-groups --bounding-set -sys_boot true
split: split -n 3 words part.; cat part.* | exec sha256sum
getent: exec getent hosts localhost
dmesg: exec logger --no-act -s x
ipcs: ipcmk -M 4096 -Q -S 3; exec ipcs
";

/// Groups of calls that the programs above do not make: see `tests/src/bin/sys.rs`.
const OURS: &str = "files xattr descriptors vectors memory signals timers processes scheduling ids sockets messages \
                    options ipc queues events mounts modern keys wrong aio uring programs rules policies controls \
                    watches system traced secrets devices locks";

struct Workload {
    name: String,
    args: Vec<String>,
}

fn workloads() -> Result<Vec<Workload>> {
    let only: Option<Vec<String>> = env::var("WORKLOADS")
        .ok()
        .map(|list| list.split(',').map(str::to_owned).collect());
    let debian = DEBIAN
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, command)| Workload {
            name: name.to_owned(),
            args: ["/bin/sh", "-c", command].map(str::to_owned).into(),
        });
    let sys = programs::workload("sys")?.display().to_string();
    let ours = OURS.split_whitespace().map(|group| Workload {
        name: format!("sys-{group}"),
        args: vec![sys.clone(), group.to_owned()],
    });
    let all = debian.chain(ours);
    Ok(all
        .filter(|one| only.as_ref().is_none_or(|only| only.contains(&one.name)))
        .collect())
}

/// The folder that every run finds as the one before it did.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn refill(&self) -> Result<PathBuf> {
        let here = self.path("here");
        if here.exists() {
            fs::remove_dir_all(&here)?;
        }
        let tree = here.join("tree/a/b");
        fs::create_dir_all(&tree)?;
        for n in 0..5 {
            fs::write(
                here.join(format!("tree/a/file-{n}")),
                "hay needle hay\n".repeat(n * 97),
            )?;
            fs::write(tree.join(format!("deep-{n}")), "hay\n".repeat(n * 997))?;
        }
        fs::write(here.join("words"), "one\ntwo\nthree\ntwo\none\n".repeat(50))?;
        repository(&here.join("repo"))?;
        // The same times in each run.
        programs::success(programs::command("find").arg(&here).args([
            "-exec",
            "touch",
            "-h",
            "-d",
            "@1000000000",
            "{}",
            "+",
        ]))?;
        Ok(here)
    }

    /// Without address space randomization: so the same addresses mean the same on both sides.
    fn run(&self, wrapper: &[&str], args: &[String], to: &Path) -> Result<Tasks> {
        let here = self.refill()?;
        let mut command: Command = programs::command("setarch");
        command
            .arg("-R")
            .args(wrapper)
            .arg("--")
            .args(args)
            .current_dir(here);
        let out = programs::output(&mut command)?;
        let text = fs::read(to).with_context(|| programs::both(&out))?;
        Ok(line::parse(&String::from_utf8_lossy(&text)))
    }

    fn strace(&self, args: &[String], options: &[&str]) -> Result<Tasks> {
        let to = self.path("strace");
        let path = to.display().to_string();
        let namespaces = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ];
        // Task numbers that are no descriptors, so that neither is taken for the other.
        let numbers = [
            "sh",
            "-c",
            "echo 3000 > /proc/sys/kernel/ns_last_pid; exec env -u PWD \"$@\"",
            "sh",
        ];
        let strace = ["strace", "-f", "-s", "32", "-o", &path];
        let wrapper = [&namespaces[..], &numbers[..], &strace[..], options].concat();
        self.run(&wrapper, args, &to)
    }

    fn traced(&self, args: &[String], options: &[&str]) -> Result<Tasks> {
        let to = self.path("tracer");
        let (tracer, path) = (
            programs::tracer()?.display().to_string(),
            to.display().to_string(),
        );
        let tracer = [&tracer, "run", "-o", "text", "--phase", "app", "-w", &path];
        self.run(&[&tracer[..], options].concat(), args, &to)
    }
}

fn repository(at: &Path) -> Result<()> {
    let at = at.to_str().context("path")?;
    programs::git(&["init", "--quiet", "--initial-branch=main", at])?;
    fs::write(Path::new(at).join("file"), "x")?;
    programs::git(&["-C", at, "add", "file"])?;
    programs::git(&["-C", at, "commit", "--quiet", "--message", "first"])
}

/// The rows: system call, argument, and whether it differs in each run; those that come by chance stand under a heading
/// of their own.
fn accepted() -> Result<BTreeMap<Place, bool>> {
    let (mut rows, mut always) = (BTreeMap::new(), true);
    for line in DIFFERENCES.lines() {
        always &= line != "## By chance";
        if !line.starts_with("| `") {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [call, argument, reason] = cells[..] else {
            anyhow::bail!("no row of three cells: {line}");
        };
        ensure!(reason.len() > 10, "no reason: {line}");
        for argument in argument.split(", ") {
            rows.insert((call.trim_matches('`').to_owned(), argument.to_owned()), always);
        }
    }
    Ok(rows)
}

#[test]
fn our_lines_are_straces() -> Result<()> {
    let accepted = accepted()?;
    let place = Scratch::new()?;
    let (mut total, mut workloads_run) = (Report::default(), 0);
    for workload in workloads()? {
        let mut best: Option<Report> = None;
        for _ in 0..SAMPLES {
            let first = place.strace(&workload.args, &[])?;
            let ours = place.traced(&workload.args, &[])?;
            let second = place.strace(&workload.args, &[])?;
            let report = compare::compare(&ours, &first, &second);
            let done = report
                .differences
                .keys()
                .all(|place| accepted.contains_key(place));
            let better = best
                .as_ref()
                .is_none_or(|best| report.different() < best.different());
            if better {
                best = Some(report);
            }
            if done || env::var_os("REPORT").is_some() {
                break;
            }
        }
        let report = best.unwrap_or_default();
        ensure!(report.calls > 0, "{}: nothing to compare", workload.name);
        println!("{:16} {}", workload.name, report.summary());
        workloads_run += 1;
        total.add(report);
    }
    println!("{workloads_run} workloads: {}", total.summary());
    if env::var_os("REPORT").is_some() {
        println!("{}", total.worst(400));
        println!("{}", total.syscalls.iter().cloned().collect::<Vec<_>>().join(" "));
    }
    let gone: Vec<_> = accepted
        .iter()
        .filter(|(place, always)| **always && !total.differences.contains_key(*place))
        .map(|(place, _)| place)
        .collect();
    ensure!(
        gone.is_empty() || env::var_os("WORKLOADS").is_some(),
        "docs/strace-differences.md names differences that are no more: {gone:?}"
    );
    ensure!(
        total.percent() >= THRESHOLD,
        "{:.2} % are below {THRESHOLD} %",
        total.percent()
    );
    let new: BTreeSet<_> = total
        .differences
        .keys()
        .filter(|place| !accepted.contains_key(*place))
        .collect();
    let mut only_new = total.clone();
    only_new.differences.retain(|place, _| new.contains(place));
    let told = format!(
        "{} places differ and are not in docs/strace-differences.md:\n{}",
        new.len(),
        only_new.worst(400)
    );
    println!("{told}");
    // Two runs of a program differ now and then in a place where they never did; a decoder that breaks differs more.
    ensure!(new.len() <= UNLISTED, "{told}");
    Ok(())
}

/// Workloads that ask for structures which strace abbreviates without `-v`.
const ABBREVIATED: [&str; 12] = [
    "ls",
    "find",
    "tar",
    "cp",
    "python",
    "perl-fork",
    "git-status",
    "stat",
    "touch",
    "df",
    "make",
    "sys-files",
];

#[test]
fn structures_are_whole_with_v() -> Result<()> {
    let place = Scratch::new()?;
    let mut total = Report::default();
    for workload in workloads()?
        .iter()
        .filter(|one| ABBREVIATED.contains(&one.name.as_str()))
    {
        let first = place.strace(&workload.args, &["-v"])?;
        let ours = place.traced(&workload.args, &["-v"])?;
        let second = place.strace(&workload.args, &["-v"])?;
        let report = compare::compare(&ours, &first, &second);
        println!("{:16} {}", workload.name, report.summary());
        total.add(report);
    }
    // The environment is not copied: strace shows it whole.
    let executes = |name: &str| name.starts_with("execve");
    total
        .differences
        .retain(|(name, arg), _| !(executes(name) && arg == "2"));
    // Whatever else differs is the other test's.
    let whole = ["fstat", "newfstatat", "statx", "getdents64", "wait4"];
    let wrong: Vec<_> = total
        .differences
        .iter()
        .filter(|((name, _), _)| whole.contains(&name.as_str()))
        .flat_map(|(place, seen)| seen.iter().map(move |one| (place, one)))
        .filter(|(_, one)| {
            [&one.ours, &one.theirs]
                .iter()
                .all(|text| text.starts_with(['{', '[']))
        })
        .collect();
    println!("{}", total.worst(20));
    ensure!(wrong.is_empty(), "{wrong:#?}");
    for name in whole {
        ensure!(total.syscalls.contains(name), "no workload calls {name}");
    }
    Ok(())
}
