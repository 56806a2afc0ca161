//! A virtual machine: another kernel on this machine's files. It sees them read-only, with a layer of its own above, so
//! that all that is installed and built here runs there as it is, and nothing that it does stays.

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
    /// Its standard error, after the kernel's words.
    pub console: String,
}

/// Boots the kernel and runs a command of the shell as root.
///
/// # Errors
/// When the machine does not come to the command's end within so many seconds; with the console's last lines.
pub(super) fn run(kernel: &Kernel, command: &str, seconds: u64) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("tt-vm-").tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let initramfs = initramfs(&dir, kernel, command)?;
    let socket = at("files.sock");
    let _files = Files::serve(&socket)?;
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
    for name in ["console", "output"] {
        qemu.arg("-serial").arg(format!("file:{}", at(name).display()));
    }
    qemu.arg("-chardev")
        .arg(format!("socket,id=files,path={}", socket.display()));
    qemu.args([
        "-device",
        "vhost-user-fs-pci,queue-size=1024,chardev=files,tag=host",
    ]);
    let status = qemu
        .stdin(Stdio::null())
        .status()
        .context("start qemu-system-x86_64")?;
    let read = |name: &str| {
        let bytes = fs::read(at(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    let (output, console) = (read("output"), read("console"));
    let end = output
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", output.trim_end()));
    let Some(code) = end.1.strip_prefix("exit ").and_then(|code| code.parse().ok()) else {
        let lines: Vec<&str> = console.lines().collect();
        let last = lines.len().saturating_sub(40);
        bail!(
            "the machine with {} ended ({status}) before its command did:\n{}\n{output}",
            kernel.version,
            lines[last..].join("\n")
        );
    };
    Ok(Outcome {
        status: code,
        output: end.0.to_owned(),
        console,
    })
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
    if usable { "kvm" } else { "tcg,thread=multi" }
}

/// busybox, the modules, the first process and the command.
fn initramfs(dir: &TempDir, kernel: &Kernel, command: &str) -> Result<PathBuf> {
    let root = dir.path().join("initramfs");
    for folder in ["bin", "proc", "dev", "host", "layer", "root"] {
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

/// The server of this machine's files; it ends with this.
struct Files(Child);

impl Files {
    fn serve(socket: &Path) -> Result<Self> {
        let mut command = Command::new(FILES);
        command.arg(format!("--socket-path={}", socket.display()));
        // Its other sandbox, of namespaces, wants a root that can be unmounted.
        command.args(["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut server = Self(command.spawn().with_context(|| format!("start {FILES}"))?);
        let end = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            ensure!(server.0.try_wait()?.is_none(), "{FILES} ended");
            ensure!(Instant::now() < end, "{FILES} makes no socket");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // It ends by itself when its machine does.
        let end = Instant::now() + Duration::from_secs(2);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}
