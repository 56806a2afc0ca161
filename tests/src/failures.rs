//! Calls that fail in real containers, each for a known reason: how the container is started, what fails, what
//! `tracer explain` must say of it, and the change after which the same program does not fail.
//!
//! A row says only that; [`Ground`] has the files that the containers see, and runs rows.

mod bundles;
mod itself;
mod mounts;
mod podman;
mod rootless;
mod starts;
mod well;

use crate::{
    Bundle, Daemon, Event, HookStage, Rootfs, Runtime, bundle, event, image, podman::Podman, programs,
    user::User,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A failure.
pub struct Failure {
    /// What a person would call it.
    pub name: &'static str,
    pub how: How,
    /// The command: words, or `sh: ` and a script. `fail` ends with the errno of its call.
    pub run: &'static str,
    /// The call that fails, with its errno; [`NONE`] where none must, [`KILLED`] where the kernel ends the process.
    pub call: &'static str,
    pub errno: i32,
    /// A piece of the call's text, to know it by.
    pub part: &'static str,
    /// `Cause::name()` of the verdict; of several, each would be right.
    pub causes: &'static [&'static str],
    /// What the sentence or the evidence must name.
    pub names: &'static [&'static str],
    pub fix: Fix,
}

/// No failing call is looked for.
pub const NONE: &str = "none";
/// No call fails: the process is killed. The errno is 0 then.
pub const KILLED: &str = "";

/// How a container is started.
#[derive(Clone, Copy)]
pub enum How {
    /// Root's runc: what is changed in the bundle. The folder is the [`Ground`]'s.
    Runc(fn(Bundle, &Path) -> Bundle),
    /// Root's podman with these options.
    Podman(&'static str),
    /// The same of a user who is not root.
    Rootless(&'static str),
}

/// After which the same program does not fail.
pub enum Fix {
    /// The container is started so.
    Start(How),
    /// The program is run so.
    Run(&'static str),
    /// A file in the [`Ground`] is changed.
    File(fn(&Path) -> Result<()>),
    /// A sysctl of the host has that value meanwhile.
    Sysctl(&'static str, &'static str),
    /// There is one, and why this machine cannot show it; or there is none.
    Unshown(&'static str),
    /// Nothing is wrong.
    Needless,
}

/// All rows where something is wrong.
pub fn all() -> Vec<Failure> {
    [
        bundles::rows(),
        mounts::rows(),
        itself::rows(),
        podman::rows(),
        rootless::rows(),
        starts::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Rows where nothing is wrong, or where nobody can know.
pub fn well() -> Vec<Failure> {
    well::rows()
}

/// A daemon, the files that the containers see, and who starts containers.
pub struct Ground {
    // The order is that of their ends.
    podman: Podman,
    rootless: Podman,
    daemon: Daemon,
    dir: TempDir,
}

impl Ground {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-ground-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let root = dir.path().join("root");
        make_root(&root).context("the root file system")?;
        make_share(dir.path()).context("what is mounted")?;
        make_profile(&dir.path().join("vmsplice.json")).context("the seccomp profile")?;
        let tar = image::tar(&root)?;
        fs::set_permissions(&tar, fs::Permissions::from_mode(0o644))?;
        let daemon = Daemon::start()?;
        Ok(Self {
            podman: Podman::of(&tar, daemon.dir(), None)?,
            rootless: Podman::of(&tar, daemon.dir(), Some(User::new()?))?,
            daemon,
            dir,
        })
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The user whose containers the rootless ones are.
    pub fn user(&self) -> Result<&User> {
        self.rootless.user().context("a user's podman")
    }

    /// Runs a command in a container to its end: its id, and its exit code.
    pub fn run(&self, how: How, run: &str, traced: bool) -> Result<Ended> {
        let words = words(run);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (podman, options) = match how {
            How::Runc(change) => return self.runc(change, &words, traced),
            How::Podman(options) => (&self.podman, options),
            How::Rootless(options) => (&self.rootless, options),
        };
        let options = options.replace("{ground}", &self.path().display().to_string());
        let mut options: Vec<&str> = options.split_whitespace().collect();
        if traced {
            options.extend(["--annotation", "container-tracer.io/trace=true"]);
        }
        let id = podman.create(&options, &words)?;
        let out = podman.attempt(&id)?;
        Ok(Ended {
            id,
            code: out.status.code(),
            said: programs::both(&out),
        })
    }

    fn runc(&self, change: fn(Bundle, &Path) -> Bundle, words: &[&str], traced: bool) -> Result<Ended> {
        let mut bundle = Bundle::sharing("fails", &self.path().join("root"), words)?;
        if traced {
            bundle = bundle
                .hook(HookStage::CreateRuntime, self.daemon.dir())?
                .annotate("true");
        }
        let bundle = change(bundle, self.path());
        let (status, container) = Runtime::Runc.run(bundle)?;
        let container = container.quiet();
        Ok(Ended {
            id: container.id().to_owned(),
            code: status.code(),
            said: container.outputs(),
        })
    }

    /// Why calls of that container failed, by `tracer explain`, after its end.
    pub fn explain(&self, id: &str) -> Result<Vec<Event>> {
        self.daemon.verdict_at_end(id)?;
        let mut command = self.daemon.client("explain");
        event::parse(&programs::success(command.args(["-o", "json", id]))?)
    }

    /// Runs a row: its verdict must be right, and its fix must do.
    pub fn judge(&self, row: &Failure) -> Result<String> {
        let ended = self.run(row.how, row.run, true)?;
        if row.errno != 0 && row.run.starts_with("fail ") && !matches!(row.fix, Fix::Needless) {
            ensure!(ended.code == Some(row.errno), "{ended:?}");
        }
        let mut verdict = row
            .verdict(&self.explain(&ended.id)?)
            .with_context(|| format!("{ended:?}"));
        // A cgroup that was removed before it was looked at says nothing (docs/explain.md): on a busy machine, now and then.
        for _ in 0..2 {
            if verdict.is_ok() || !row.causes.iter().any(|cause| cause.starts_with("cgroup")) {
                break;
            }
            let again = self.run(row.how, row.run, true)?;
            verdict = row.verdict(&self.explain(&again.id)?);
        }
        if std::env::var("REPORT").is_ok_and(|report| report == "text") {
            let said = programs::success(self.daemon.client("explain").arg(&ended.id))?;
            eprintln!("\n=== {}: {}\n{said}", row.name, row.run);
        }
        // The fix is tried even if the verdict is wrong: who repairs the verdict knows then that the row is right.
        match (verdict, self.fix(row)) {
            (Ok(line), Ok(())) => Ok(line),
            (Err(why), Ok(())) | (Ok(_), Err(why)) => Err(why),
            (Err(why), Err(fix)) => Err(why.context(format!("{fix:#}"))),
        }
    }

    fn fix(&self, row: &Failure) -> Result<()> {
        let ended = match &row.fix {
            Fix::Start(how) => self.run(*how, row.run, false)?,
            Fix::Run(run) => self.run(row.how, run, false)?,
            Fix::File(change) => {
                change(self.path())?;
                self.run(row.how, row.run, false)?
            }
            Fix::Sysctl(name, value) => {
                let path = format!("/proc/sys/{}", name.replace('.', "/"));
                let before = fs::read_to_string(&path).with_context(|| path.clone())?;
                fs::write(&path, value).with_context(|| path.clone())?;
                let ended = self.run(row.how, row.run, false);
                fs::write(&path, before).with_context(|| path.clone())?;
                ended?
            }
            Fix::Unshown(_) | Fix::Needless => return Ok(()),
        };
        ensure!(ended.code == Some(0), "the fix does not help: {ended:?}");
        Ok(())
    }
}

/// A container that ended.
#[derive(Debug)]
pub struct Ended {
    pub id: String,
    pub code: Option<i32>,
    pub said: String,
}

impl Failure {
    /// The line of its diagnosis, if that is right.
    fn verdict(&self, found: &[Event]) -> Result<String> {
        if matches!(self.fix, Fix::Needless) {
            let wrong = found
                .iter()
                .find(|event| !self.causes.contains(&event.text("cause")));
            if let Some(wrong) = wrong {
                bail!("a false verdict: {}", wrong.0);
            }
            if self.call == NONE {
                return Ok("nothing".to_owned());
            }
        }
        let errno = name(self.errno)?;
        let mine = |event: &&Event| {
            event.syscall() == self.call
                && event.text("errno") == errno
                && event.text("call").contains(self.part)
        };
        let Some(event) = found.iter().find(mine) else {
            let others: Vec<_> = found
                .iter()
                .map(|event| format!("{} {}", event.text("call"), event.text("errno")))
                .collect();
            bail!(
                "no diagnosis of {} {errno} with {:?}: {others:#?}",
                self.call,
                self.part
            );
        };
        let told = event.0.to_string();
        ensure!(
            self.causes.contains(&event.text("cause")),
            "the cause is {:?}: {told}",
            self.causes
        );
        let rests_on = format!("{} {}", event.0["why"], event.0["evidence"]);
        for name in self.names {
            ensure!(
                rests_on.contains(name),
                "neither why nor evidence names {name:?}: {told}"
            );
        }
        let undetermined = event.text("cause") == "undetermined";
        if !matches!(self.fix, Fix::Needless) && !undetermined {
            ensure!(
                event.0["fixes"].as_array().is_some_and(|fixes| !fixes.is_empty()),
                "no fix: {told}"
            );
        }
        Ok(format!("{}: {}", event.text("cause"), event.text("why")))
    }
}

fn words(run: &str) -> Vec<String> {
    match run.strip_prefix("sh: ") {
        Some(script) => ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        None => run.split_whitespace().map(str::to_owned).collect(),
    }
}

/// The kernel's own (include/linux/errno.h): the program sees EINTR.
const ERESTARTNOHAND: i32 = 514;

/// Its name, of those that rows have.
fn name(errno: i32) -> Result<&'static str> {
    Ok(match errno {
        0 => "",
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::E2BIG => "E2BIG",
        libc::EINTR => "EINTR",
        libc::ENOEXEC => "ENOEXEC",
        libc::EBADF => "EBADF",
        libc::ECHILD => "ECHILD",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EEXIST => "EEXIST",
        libc::EBUSY => "EBUSY",
        libc::EXDEV => "EXDEV",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENOTTY => "ENOTTY",
        libc::ETXTBSY => "ETXTBSY",
        libc::EFBIG => "EFBIG",
        libc::ENOSPC => "ENOSPC",
        libc::ESPIPE => "ESPIPE",
        libc::EROFS => "EROFS",
        libc::ESRCH => "ESRCH",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EPIPE => "EPIPE",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EINPROGRESS => "EINPROGRESS",
        ERESTARTNOHAND => "ERESTARTNOHAND",
        other => bail!("errno {other} has no name here"),
    })
}

/// busybox, `fail` with its libraries, and in `/srv` what fails.
fn make_root(root: &Path) -> Result<()> {
    bundle::make_rootfs(root, Rootfs::Busybox)?;
    let fail = programs::workload("fail")?;
    for program in [fail.as_path(), Path::new("/usr/bin/chrt")] {
        install(root, program)?;
    }
    for dir in [
        "mnt",
        "srv/private",
        "srv/drop",
        "srv/sticky",
        "srv/links",
        "usr/bin",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    let srv = root.join("srv");
    let program = fs::read(&fail)?;
    let put = |name: &str, bytes: &[u8], mode: u32| -> Result<()> {
        fs::write(srv.join(name), bytes)?;
        Ok(fs::set_permissions(
            srv.join(name),
            fs::Permissions::from_mode(mode),
        )?)
    };
    put("private/key", b"key\n", 0o644)?;
    put("secret", b"secret\n", 0o600)?;
    put("roots", b"secret\n", 0o600)?;
    put("own", b"own\n", 0o644)?;
    put("grouped", b"grouped\n", 0o640)?;
    std::os::unix::fs::chown(srv.join("grouped"), None, Some(42))?;
    put("sticky/note", b"note\n", 0o644)?;
    put("unwritable", b"\n", 0o444)?;
    put("tool", &program, 0o644)?;
    put("gains", &program, 0o4755)?;
    put("script-sh", b"#!/usr/bin/sh\necho ok\n", 0o755)?;
    put("script-dos", b"#!/bin/sh\r\necho ok\r\n", 0o755)?;
    put("script-link", b"#!/srv/links/sh\necho ok\n", 0o755)?;
    symlink("/opt/sh", srv.join("links/sh"))?;
    symlink("/opt/7/tool", srv.join("links/tool"))?;
    put("text", b"echo ok\n", 0o755)?;
    put("loader", &other_loader(program.clone())?, 0o755)?;
    put("arm-alone", &other_machine(program.clone())?, 0o755)?;
    put("serves", &program, 0o755)?;
    serves(&srv.join("serves"))?;
    put("arm", &other_machine(program)?, 0o755)?;
    for (dir, mode) in [("private", 0o700), ("sticky", 0o1777)] {
        fs::set_permissions(srv.join(dir), fs::Permissions::from_mode(mode))?;
    }
    Ok(symlink("releases/7", srv.join("current"))?)
}

/// A program and its libraries.
fn install(root: &Path, program: &Path) -> Result<()> {
    fs::copy(
        program,
        root.join("bin").join(program.file_name().context("no name")?),
    )?;
    let libraries = programs::success(programs::command("ldd").arg(program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(library, to).with_context(|| library.to_owned())?;
    }
    Ok(())
}

/// The loader's name in a program, and one of the same length that no system has.
const LOADER: &[u8] = b"ld-linux-x86-64.so.2\0";
const NO_LOADER: &[u8] = b"ld-musl-x86-64.so.1\0\0";

fn other_loader(mut program: Vec<u8>) -> Result<Vec<u8>> {
    let at = program.windows(LOADER.len()).position(|bytes| bytes == LOADER);
    let at = at.context("no loader in a program of x86-64")?;
    program[at..at + NO_LOADER.len()].copy_from_slice(NO_LOADER);
    Ok(program)
}

/// `e_machine` is EM_AARCH64.
fn other_machine(mut program: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(program.starts_with(b"\x7fELF"), "no ELF file");
    program[18..20].copy_from_slice(&183u16.to_le_bytes());
    Ok(program)
}

/// It may listen below port 1024, whoever executes it: `struct vfs_cap_data`, revision 2, effective
/// (include/uapi/linux/capability.h).
fn serves(program: &Path) -> Result<()> {
    const NET_BIND_SERVICE: u32 = 10;
    let words = [0x0200_0001u32, 1 << NET_BIND_SERVICE, 0, 0, 0];
    let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    rustix::fs::setxattr(
        program,
        c"security.capability",
        &data,
        rustix::fs::XattrFlags::empty(),
    )
    .with_context(|| program.display().to_string())
}

/// What containers have mounted: `tools`, `devices`, an overlay's layers, and for podman `open` and `roots`.
fn make_share(dir: &Path) -> Result<()> {
    for (name, mode) in [
        ("tools", 0o755),
        ("devices", 0o755),
        ("open", 0o777),
        ("roots", 0o755),
        ("hosts", 0o755),
        ("foreign", 0o755),
        ("lower", 0o755),
        ("lower/old", 0o755),
        ("upper", 0o755),
        ("work", 0o755),
    ] {
        fs::create_dir(dir.join(name))?;
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode))?;
    }
    fs::copy(programs::workload("fail")?, dir.join("tools/fail"))?;
    fs::copy(programs::workload("fail")?, dir.join("tools/gains"))?;
    fs::set_permissions(dir.join("tools/gains"), fs::Permissions::from_mode(0o4755))?;
    fs::copy(programs::workload("fail")?, dir.join("tools/serves"))?;
    serves(&dir.join("tools/serves"))?;
    fs::write(dir.join("roots/key"), "key\n")?;
    fs::set_permissions(dir.join("roots/key"), fs::Permissions::from_mode(0o600))?;
    let null = dir.join("devices/null");
    programs::success(
        programs::command("mknod")
            .args(["-m", "666"])
            .arg(&null)
            .args(["c", "1", "3"]),
    )?;
    Ok(())
}

/// podman's own profile with one line more, as the verdict has it.
fn make_profile(path: &Path) -> Result<()> {
    let text = fs::read_to_string("/usr/share/containers/seccomp.json")?;
    let mut profile: Value = serde_json::from_str(&text)?;
    let rules = profile["syscalls"]
        .as_array_mut()
        .context("no syscalls in the profile")?;
    for rule in rules.iter_mut().filter(|rule| rule["action"] == "SCMP_ACT_ERRNO") {
        // libseccomp takes the first action of a call.
        if let Some(names) = rule["names"].as_array_mut() {
            names.retain(|name| name != "vmsplice");
        }
    }
    rules.push(json!({"names": ["vmsplice"], "action": "SCMP_ACT_ALLOW"}));
    fs::write(path, profile.to_string())?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o644))?)
}

/// A path below the ground's root file system.
fn in_root(ground: &Path, path: &str) -> PathBuf {
    ground.join("root").join(path)
}
