//! A virtual machine: another kernel on this machine's files. It sees them read-only, with a layer of its own above, so
//! that all that is installed and built here runs there as it is, and nothing that it does stays. What its command says
//! comes back as files in a folder that it may write, so that nothing of the kernel's can come in between.

use super::kernels::{Kernel, MODULES};
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The server of files that comes with qemu 7 (Debian's package qemu-system-common).
pub(crate) const FILES: &str = "/usr/lib/qemu/virtiofsd";
const INIT: &str = include_str!("init.sh");
const MEMORY: &str = "2560M";

/// What a command in a guest came to.
pub(super) struct Outcome {
    /// Its exit status.
    pub status: i32,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Boots the kernel and runs a command of the shell as root.
///
/// # Errors
/// When the machine does not come to the command's end within so many seconds; with the console's last lines.
pub(super) fn run(kernel: &Kernel, command: &str, seconds: u64) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("tt-vm-").tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let initramfs = initramfs(&dir, kernel, command)?;
    let out = at("out");
    fs::create_dir(&out)?;
    let shares = [
        Share::serve("host", Path::new("/"), "cache=always", dir.path())?,
        Share::serve("out", &out, "cache=none", dir.path())?,
    ];
    let mut qemu = sh::command(
        "timeout",
        ["--kill-after=5", &seconds.to_string(), "qemu-system-x86_64"],
    );
    qemu.args(["-accel", accelerator(), "-cpu", "max", "-smp", "2", "-m", MEMORY]);
    // The server reads and writes the guest's memory.
    let memory = format!("memory-backend-memfd,id=memory,size={MEMORY},share=on");
    qemu.args(["-object", &memory, "-numa", "node,memdev=memory"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(&kernel.image);
    qemu.arg("-initrd").arg(&initramfs);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    qemu.arg("-serial")
        .arg(format!("file:{}", at("console").display()));
    for share in &shares {
        let (tag, socket) = (share.tag, share.socket.display());
        qemu.arg("-chardev").arg(format!("socket,id={tag},path={socket}"));
        let device = format!("vhost-user-fs-pci,queue-size=1024,chardev={tag},tag={tag}");
        qemu.args(["-device", &device]);
    }
    let status = qemu
        .stdin(Stdio::null())
        .status()
        .context("start qemu-system-x86_64")?;
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let (output, errors) = (read(&out.join("output")), read(&out.join("errors")));
    // Written last.
    let Ok(code) = read(&out.join("status")).trim_end().parse() else {
        let console = read(&at("console")).replace('\r', "");
        bail!(
            "the machine with {} ended ({status}) before its command did:\n{}\n{output}\n{}",
            kernel.version,
            last_lines(&console),
            last_lines(&errors),
        );
    };
    Ok(Outcome {
        status: code,
        output,
        errors,
    })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// KVM where this machine has it; not where it is itself a guest whose host only emulates it.
fn accelerator() -> &'static str {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtual_machines = flags
        .split_whitespace()
        .any(|flag| ["vmx", "svm"].contains(&flag));
    let usable = virtual_machines
        && fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
    // In one thread: with one for each processor a kernel that patches its code, as it does to attach a program, was seen to
    // execute a half-patched instruction.
    if usable { "kvm" } else { "tcg,thread=single" }
}

/// busybox, the modules, the first process and the command.
fn initramfs(dir: &TempDir, kernel: &Kernel, command: &str) -> Result<PathBuf> {
    let root = dir.path().join("initramfs");
    for folder in ["bin", "proc", "dev", "host", "layer", "out", "root"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.exists());
    fs::copy(busybox.context("no busybox")?, root.join("bin/busybox"))?;
    let mut modules = String::new();
    for module in MODULES {
        let file = format!("{module}.ko");
        if kernel.modules.join(&file).exists() {
            fs::copy(kernel.modules.join(&file), root.join(&file))?;
            modules += &format!("{module}\n");
        }
    }
    fs::write(root.join("modules"), modules)?;
    fs::write(root.join("command"), format!("{command}\n"))?;
    fs::write(root.join("init"), INIT)?;
    sh::run(sh::command("chmod", ["755"]).arg(root.join("init")))?;
    let file = dir.path().join("initramfs.cpio");
    let pack = "cd \"$1\" && find . | cpio --quiet -o -H newc >\"$2\"";
    sh::run(sh::command("sh", ["-c", pack, "sh"]).arg(&root).arg(&file))?;
    Ok(file)
}

/// A folder of this machine that a guest sees, by the server of its files; that ends with this.
struct Share {
    tag: &'static str,
    socket: PathBuf,
    server: Child,
}

impl Share {
    fn serve(tag: &'static str, source: &Path, cache: &str, dir: &Path) -> Result<Self> {
        let socket = dir.join(tag).with_extension("sock");
        let mut command = Command::new(FILES);
        command.arg(format!("--socket-path={}", socket.display()));
        command.arg("-o").arg(format!("source={}", source.display()));
        // Its other sandbox, of namespaces, wants a root that can be unmounted.
        command.args(["-o", cache, "-o", "sandbox=chroot"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = command.spawn().with_context(|| format!("start {FILES}"))?;
        let mut share = Self { tag, socket, server };
        let end = Instant::now() + Duration::from_secs(10);
        while !share.socket.exists() {
            ensure!(share.server.try_wait()?.is_none(), "{FILES} ended");
            ensure!(Instant::now() < end, "{FILES} makes no socket");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It ends by itself when its machine does.
        let end = Instant::now() + Duration::from_secs(2);
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.server.try_wait(), Ok(None)) && self.server.kill().is_ok() {
            drop(self.server.wait());
        }
    }
}
