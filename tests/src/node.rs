//! A node for the documents: this machine as it looks after an installation, in a mount namespace of its own. What is
//! written below /etc, /usr, /run and the runtimes' storage is gone with it, and so is every process that it started.
//!
//! It knows the documents' two people, root and a second user, and nothing of pages.

use crate::{image, programs, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The second user's name; its home lies below /srv.
pub const USER: &str = "ann";

/// The images that the documents run, under their public names. No registry is asked: one is busybox, the other has a
/// few of this machine's programs with their libraries, as Debian's has them.
pub const IMAGES: [&str; 2] = ["busybox", "debian"];

/// A command of the documents takes at most so long.
const LIMIT: Duration = Duration::from_secs(100);

/// Root's first shell.
pub const ROOT: usize = 0;

/// Whose shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    Root,
    User,
}

/// The node. Its processes end when it is dropped.
pub struct Node {
    dir: TempDir,
    shells: Vec<Shell>,
    started: u32,
}

impl Node {
    /// With our programs where the packages put them, and nothing running.
    pub fn new() -> Result<Self> {
        // What loses its parent becomes this process's child, and so can be found and ended.
        set_child_subreaper(Some(getpid()))?;
        let dir = tempfile::Builder::new().prefix("tt-node-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["over", "files"] {
            fs::create_dir(dir.path().join(name))?;
        }
        fs::set_permissions(dir.path().join("files"), fs::Permissions::from_mode(0o1777))?;
        let tar = image::rootfs_tar(&dir.path().join("files"))?;
        let mut node = Self {
            dir,
            shells: Vec::new(),
            started: 0,
        };
        let mut command = programs::command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-euc",
            SET_UP,
            "bash",
        ]);
        command.arg(node.dir.path().join("over"));
        command.args([programs::tracer()?, programs::hook()?, tar]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        node.shells.push(Shell::new(command)?);
        node.success("cd /run/work").context("the set-up of a node")?;
        Ok(node)
    }

    /// The number of another shell of that person, for the words of [`Node::start`].
    pub fn shell(&mut self, who: Who) -> Result<usize> {
        let root = self.shells.first().context("no shell")?.child.id().to_string();
        let mut command = programs::command("nsenter");
        command.args(["--mount", "--target", &root, "--"]);
        match who {
            Who::Root => command.arg("bash"),
            Who::User => command.args([
                "setpriv",
                "--reuid",
                USER,
                "--regid",
                USER,
                "--init-groups",
                "bash",
            ]),
        };
        self.shells.push(Shell::new(command)?);
        let number = self.shells.len() - 1;
        let begin = match who {
            Who::Root => "cd /run/work".to_owned(),
            Who::User => format!(
                "export HOME=/srv/{USER} USER={USER} XDG_RUNTIME_DIR=/run/user/$(id -u); cd \"$HOME\""
            ),
        };
        let began = self.start(number, &begin)?.end()?;
        ensure!(began.code == Some(0), "{}", began.text);
        Ok(number)
    }

    /// Runs a command in root's first shell, which has to succeed.
    pub fn success(&mut self, text: &str) -> Result<()> {
        let said = self.start(ROOT, text)?.end()?;
        ensure!(said.code == Some(0), "{text}: {:?}\n{}", said.code, said.text);
        Ok(())
    }

    /// Starts a command in that shell.
    pub fn start(&mut self, shell: usize, text: &str) -> Result<Started> {
        self.started += 1;
        let base = self.dir.path().join("files").join(self.started.to_string());
        let [script, out, code] = ["sh", "out", "code"].map(|kind| base.with_extension(kind));
        fs::write(&script, text)?;
        // Root makes the files, and whoever runs the command may write them.
        for file in [&out, &code] {
            File::create(file)?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o666))?;
        }
        let line = format!(
            ". {} </dev/null >>{} 2>&1; echo $? >{}\n",
            script.display(),
            out.display(),
            code.display()
        );
        let shell = self.shells.get_mut(shell).context("no such shell")?;
        let input = shell.child.stdin.as_mut().context("a shell without input")?;
        input.write_all(line.as_bytes())?;
        Ok(Started {
            text: text.to_owned(),
            out,
            code,
        })
    }
}

/// A command that was started.
pub struct Started {
    text: String,
    out: PathBuf,
    code: PathBuf,
}

/// What it said, and its exit code once it has ended.
#[derive(Clone, Debug)]
pub struct Said {
    pub text: String,
    pub code: Option<i32>,
}

impl Started {
    /// What it has said until now, standard output and error together.
    pub fn said(&self) -> Result<Said> {
        // The code first: when it is there, the output is whole.
        let code = fs::read_to_string(&self.code)?;
        Ok(Said {
            text: String::from_utf8_lossy(&fs::read(&self.out)?).into_owned(),
            code: code.trim().parse().ok().filter(|_| code.ends_with('\n')),
        })
    }

    /// Waits until it has ended.
    pub fn end(&self) -> Result<Said> {
        self.until(|said| said.code.is_some())
    }

    /// Waits until that holds.
    pub fn until(&self, holds: impl Fn(&Said) -> bool) -> Result<Said> {
        wait::until(&self.text, LIMIT, || {
            let said = self.said()?;
            Ok(holds(&said).then_some(said))
        })
        .with_context(|| {
            format!(
                "it said: {}",
                self.said().map(|said| said.text).unwrap_or_default()
            )
        })
    }
}

/// A bash that reads commands.
struct Shell {
    child: Child,
}

impl Shell {
    fn new(mut command: Command) -> Result<Self> {
        command.env("HOME", "/srv/root").env("LANG", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| programs::show(&command))?;
        Ok(Self { child })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First as a service manager does, so that a tracer daemon closes its books; then whatever is left.
        for (signal, rounds) in [(Signal::TERM, 200), (Signal::KILL, 400)] {
            for round in 0..rounds {
                let left = descendants();
                if left.is_empty() {
                    return;
                }
                for pid in left {
                    if round == 0 || signal == Signal::KILL {
                        // It may have ended by now.
                        kill_process(pid, signal).ok();
                    }
                    waitpid(Some(pid), WaitOptions::NOHANG).ok();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        eprintln!("processes of the node do not end: {:?}", descendants());
    }
}

/// All processes that descend from this one, by /proc.
fn descendants() -> Vec<Pid> {
    let mut parents: HashMap<i32, i32> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the state and the parent stand after it.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let me = getpid().as_raw_nonzero().get();
    let mut found = HashSet::from([me]);
    while let Some(next) = parents
        .iter()
        .find(|(pid, parent)| found.contains(parent) && !found.contains(pid))
        .map(|(pid, _)| *pid)
    {
        found.insert(next);
    }
    found.remove(&me);
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// Arguments: the folder for the overlays, tracer, tracer-hook, the image's tar file, the checkout.
///
/// `systemctl` is a stand-in for systemd, which no test may ask to start services of this machine: it starts the
/// program of a unit's ExecStart, tells it by a signal to read its configuration, or ends it.
const SET_UP: &str = r#"
over=$1 tracer=$2 hook=$3 tar=$4 checkout=$5
mount -t tmpfs tt-node "$over"
cp "$tracer" "$over/tracer"; cp "$hook" "$over/tracer-hook"
for dir in etc usr; do
    mkdir "$over/$dir" "$over/work-$dir"
    mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$over/$dir,workdir=$over/work-$dir" "/$dir"
done
mount -t tmpfs -o mode=0755 tt-run /run
mount -t tmpfs -o mode=0755 tt-srv /srv
for dir in lib/containers lib/docker lib/containerd log; do
    mkdir -p "/var/$dir"
    mount -t tmpfs tt-var "/var/$dir"
done
# Every user may make tunnels, as on an ordinary machine.
if [ -e /dev/net/tun ]; then
    mknod -m 0666 /run/tun c 10 200
    mount --bind /run/tun /dev/net/tun
fi
# crun refuses a cgroup2 mounted beside v1 controllers.
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mkdir -p /run/work /srv/root /etc/containers /etc/docker
install -m 0755 "$over/tracer" /usr/bin/tracer
install -D -m 0755 "$over/tracer-hook" /usr/libexec/oci/hooks.d/tracer-hook
mkdir /run/images
cp "$tar" /run/images/busybox.tar
root=$over/debian
mkdir -p "$root"/{etc,proc,sys,dev,tmp,root,run,usr/bin,usr/lib64,opt,srv}
for link in bin lib lib64; do ln -s "usr/$link" "$root/$link"; done
for program in bash cat chmod chown chrt env false id ls mkdir mount sh sleep touch true; do
    cp -L "/usr/bin/$program" "$root/usr/bin/"
    for library in $(ldd "/usr/bin/$program" | grep -o '/[^ ]*'); do
        install -D -m 0755 "$library" "$root/usr/${library#/usr}"
    done
done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"; printf 'root:x:0:\n' >"$root/etc/group"
touch "$root/etc/ld.so.conf"; /sbin/ldconfig -r "$root"
tar -C "$root" -cf /run/images/debian.tar .
install -D -m 0644 -t /usr/share/doc/container-tracer/examples "$checkout"/hooks/oci/*.json
rm -f /usr/share/containers/oci/hooks.d/* /etc/containers/oci/hooks.d/*
# Limits that a machine may refuse to raise even to root; no networks, which would be the machine's.
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:8192"]
netns = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
cat >/etc/docker/daemon.json <<END
{
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}}
}
END
cat >/usr/bin/systemctl <<'END'
#!/bin/bash
verb= units= dir=/run rootful=1
for word; do case $word in --user) dir=$XDG_RUNTIME_DIR rootful= ;; --*) ;; *) if [ -z "$verb" ]; then verb=$word; else units="$units ${word%.service}"; fi ;; esac; done
end() {
    [ -e $pidfile ] || return 0
    pid=$(cat $pidfile); kill "$pid" || return 0
    while [ -e /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status; do sleep 0.01; done
    rm $pidfile
}
begin() {
    $program >$dir/unit-$unit.log 2>&1 </dev/null & echo $! >$pidfile
    for _ in $(seq 3000); do $answers >/dev/null 2>&1 && return 0; sleep 0.02; done
    cat $dir/unit-$unit.log >&2; exit 1
}
for unit in $units; do
    pidfile=$dir/unit-$unit.pid
    case $unit$rootful in
    docker) program=/usr/share/docker.io/contrib/dockerd-rootless.sh answers="docker -H unix://$dir/docker.sock info" ;;
    tracer1) program='/usr/bin/tracer daemon' answers='tracer status' ;;
    tracer-nri1) program='/usr/bin/tracer nri' answers=true ;;
    docker1) program=/usr/sbin/dockerd answers='docker info' ;;
    containerd1) program=/usr/bin/containerd answers='ctr version' ;;
    *) echo "Failed to $verb $unit.service: Unit $unit.service not found." >&2; exit 5 ;;
    esac
    case $verb in
    start | enable) begin ;;
    restart) end; begin ;;
    reload) kill -HUP "$(cat $pidfile)" ;;
    stop | disable) end ;;
    esac
done
END
chmod 0755 /usr/bin/systemctl
exec bash --noprofile --norc
"#;

/// What the second user needs: account, home, runtime directory.
pub const ADD_USER: &str = "mkdir -p /run/user && useradd --create-home --home-dir /srv/ann --shell /bin/bash ann \
     && install -d -m 0700 -o ann -g ann /run/user/$(id -u ann) \
     && install -D -m 0644 /etc/docker/daemon.json /srv/ann/.config/docker/daemon.json \
     && chown -R ann: /srv/ann/.config";
