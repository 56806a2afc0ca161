//! OCI bundles, written by hand: a root file system, a config.json, our hook in it.

use crate::{Daemon, hook, programs, unique_id};
use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// What a container sees as `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootfs {
    /// busybox and its applets.
    Busybox,
    /// This machine's `/usr`, read-only; the workloads under `/workloads`; the bundle's own `/data` and `/scratch`.
    Host,
}

/// Where our hook is hung in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookStage {
    CreateRuntime,
    Prestart,
}

impl HookStage {
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::Prestart => "prestart",
        }
    }
}

/// A bundle; its folder goes with it.
pub struct Bundle {
    dir: TempDir,
    /// The container's id.
    pub id: String,
    /// The configuration, free to be changed before [`Bundle::write`].
    pub config: Value,
}

impl Bundle {
    /// A bundle that runs `args` in a root file system that others have too, without hook and annotation.
    pub fn sharing(what: &str, root: &Path, args: &[&str]) -> Result<Self> {
        let mut config = default_config(args);
        config["root"]["path"] = json!(root);
        Ok(Self {
            dir: tempfile::Builder::new().prefix("tt-bundle-").tempdir()?,
            id: unique_id(what),
            config,
        })
    }

    /// A bundle that runs `args`, without hook and annotation.
    pub fn new(what: &str, rootfs: Rootfs, args: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-bundle-").tempdir()?;
        let root = dir.path().join("rootfs");
        make_rootfs(&root, rootfs)?;
        let mut config = default_config(args);
        if rootfs == Rootfs::Host {
            for name in ["data", "scratch"] {
                fs::create_dir(dir.path().join(name))?;
            }
            let bind = |from: &Path, to: &str, how: &str| json!({"destination": to, "type": "bind", "source": from, "options": ["bind", how]});
            let mounts = [
                bind(Path::new("/usr"), "/usr", "ro"),
                bind(Path::new("/etc/ld.so.cache"), "/etc/ld.so.cache", "ro"),
                bind(&programs::workloads()?, "/workloads", "ro"),
                bind(&dir.path().join("data"), "/data", "ro"),
                bind(&dir.path().join("scratch"), "/scratch", "rw"),
            ];
            config["mounts"]
                .as_array_mut()
                .context("no mounts")?
                .extend(mounts);
        }
        Ok(Self {
            dir,
            id: unique_id(what),
            config,
        })
    }

    /// A bundle with our hook for that daemon and the annotation that turns tracing on.
    pub fn traced(what: &str, rootfs: Rootfs, args: &[&str], daemon: &Daemon) -> Result<Self> {
        Ok(Self::new(what, rootfs, args)?
            .hook(HookStage::CreateRuntime, daemon.dir())?
            .annotate("true"))
    }

    /// Hangs our hook in, at that stage and at poststop, in place of what was there.
    pub fn hook(self, stage: HookStage, runtime_dir: &Path) -> Result<Self> {
        let dir = runtime_dir.to_str().context("runtime directory")?;
        // Who tests the hook's own deadline says so: elsewhere a container is traced, however long a busy machine takes.
        let args = ["tracer-hook", "--runtime-dir", dir, "--timeout", hook::PATIENCE];
        Ok(self.program_as_hook(stage, &programs::hook()?, &args))
    }

    /// The hook that is hung in waits for so long at most.
    pub fn deadline(mut self, time: &str) -> Result<Self> {
        let hooks = self.config["hooks"].as_object_mut().context("no hooks")?;
        for hook in hooks.values_mut() {
            let args = hook[0]["args"].as_array_mut().context("no args")?;
            args.extend(["--timeout", time].map(|word| json!(word)));
        }
        Ok(self)
    }

    /// Hangs another program in so, with these words and its stage.
    pub fn program_as_hook(mut self, stage: HookStage, program: &Path, words: &[&str]) -> Self {
        let entry = |stage: &str| {
            let args = [words, &[stage]].concat();
            json!([{ "path": program, "args": args, "timeout": 60 }])
        };
        self.config["hooks"] = json!({ stage.name(): entry(stage.name()), "poststop": entry("poststop") });
        self
    }

    /// Sets the annotation.
    pub fn annotate(mut self, value: &str) -> Self {
        self.config["annotations"]["container-tracer.io/trace"] = json!(value);
        self
    }

    /// Sets other annotations.
    pub fn annotations(mut self, pairs: &[(&str, &str)]) -> Self {
        for (key, value) in pairs {
            self.config["annotations"][key] = json!(value);
        }
        self
    }

    /// Takes a namespace away (then it is the host's), or joins the one of this path.
    pub fn namespace(mut self, kind: &str, path: Option<PathBuf>) -> Result<Self> {
        let list = self.config["linux"]["namespaces"]
            .as_array_mut()
            .context("no namespaces")?;
        list.retain(|namespace| namespace["type"] != kind);
        if let Some(path) = path {
            list.push(json!({"type": kind, "path": path}));
        }
        Ok(self)
    }

    /// Gives the container's processes a capability.
    pub fn capability(mut self, name: &str) -> Self {
        for set in ["bounding", "effective", "permitted"] {
            if let Some(set) = self.config["process"]["capabilities"][set].as_array_mut() {
                set.push(json!(name));
            }
        }
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `/data` of a [`Rootfs::Host`] bundle, from outside.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// `/scratch` of a [`Rootfs::Host`] bundle, from outside.
    pub fn scratch(&self) -> PathBuf {
        self.path().join("scratch")
    }

    /// A FIFO of that name in `/scratch`, from outside.
    pub fn fifo(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch().join(name);
        fifo(&path)?;
        Ok(path)
    }

    /// Writes config.json: the runtimes read it.
    pub fn write(&self) -> Result<()> {
        fs::write(
            self.path().join("config.json"),
            serde_json::to_vec_pretty(&self.config)?,
        )?;
        Ok(())
    }
}

/// Makes a FIFO: who opens it waits for the other end (fifo(7)).
pub fn fifo(path: &Path) -> Result<()> {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).with_context(|| path.display().to_string())
}

/// A seccomp profile that refuses one system call with EPERM.
pub fn refuse(syscall: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": [syscall], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    })
}

/// Fills `root`.
pub fn make_rootfs(root: &Path, kind: Rootfs) -> Result<()> {
    for dir in ["proc", "sys", "dev", "tmp", "etc", "root", "run"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    match kind {
        Rootfs::Busybox => {
            let bin = root.join("bin");
            fs::create_dir(&bin)?;
            let busybox = ["/usr/bin/busybox", "/bin/busybox"]
                .into_iter()
                .find(|path| Path::new(path).exists());
            fs::copy(busybox.context("no busybox")?, bin.join("busybox"))?;
            let applets = programs::success(programs::command(bin.join("busybox")).arg("--list"))?;
            for applet in applets.lines().filter(|applet| *applet != "busybox") {
                symlink("busybox", bin.join(applet)).with_context(|| applet.to_owned())?;
            }
        }
        Rootfs::Host => {
            for dir in ["usr", "workloads", "data", "scratch"] {
                fs::create_dir(root.join(dir))?;
            }
            fs::write(root.join("etc/ld.so.cache"), "")?;
            for link in ["bin", "sbin", "lib", "lib64"] {
                symlink(format!("usr/{link}"), root.join(link))?;
            }
        }
    }
    Ok(())
}

/// What `runc spec` writes, with no terminal and without what this project has no use for.
fn default_config(args: &[&str]) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "tt",
        "annotations": {},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}
