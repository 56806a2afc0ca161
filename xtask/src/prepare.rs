//! What the end-to-end tests and the demo need of a machine: programs, a kernel with BTF, mounts, our own binaries.
//! On Debian and as root it installs what is missing; elsewhere it names it.

mod containerd;
mod python;

use crate::{sh, test_vm};
use anyhow::{Context, Result, bail, ensure};
use std::{fs, path::Path};

/// Program (or the path of another file), and the Debian package that has it.
const PROGRAMS: [(&str, &str); 54] = [
    ("runc", "runc"),
    ("crun", "crun"),
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("netavark", "netavark"),
    ("newuidmap", "uidmap"),
    ("containerd", "containerd"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("rootlesskit", "rootlesskit"),
    ("slirp4netns", "slirp4netns"),
    ("jq", "jq"),
    ("curl", "curl"),
    ("protoc", "protobuf-compiler"),
    ("busybox", "busybox-static"),
    ("strace", "strace"),
    ("bpftool", "bpftool"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("useradd", "passwd"),
    ("nsenter", "util-linux"),
    ("ps", "procps"),
    ("python3", "python3"),
    (
        "/usr/lib/python3/dist-packages/grpc/__init__.py",
        "python3-grpcio",
    ),
    ("/usr/lib/python3/dist-packages/yaml/__init__.py", "python3-yaml"),
    (
        "/usr/lib/python3/dist-packages/kubernetes/__init__.py",
        "python3-kubernetes",
    ),
    (
        "/usr/lib/python3/dist-packages/google/protobuf/__init__.py",
        "python3-protobuf",
    ),
    ("/usr/share/doc/python3-venv/copyright", "python3-venv"),
    ("chromium", "chromium"),
    ("/usr/sbin/nats-server", "nats-server"),
    ("openssl", "openssl"),
    ("git", "git"),
    ("find", "findutils"),
    ("tar", "tar"),
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("strip", "binutils"),
    ("gzip", "gzip"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("lintian", "lintian"),
    ("rpm", "rpm"),
    ("man", "man-db"),
    ("mandoc", "mandoc"),
    ("groff", "groff-base"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("/lib/systemd/systemd-journald", "systemd"),
    ("prometheus", "prometheus"),
    ("zstd", "zstd"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    (test_vm::FILES, "qemu-system-common"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
];

/// What `cargo xtask bench` compares us with, and what it has traced.
const BENCH: [(&str, &str); 11] = [
    ("strace", "strace"),
    ("perf", "linux-perf"),
    ("bpftrace", "bpftrace"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("cc", "gcc"),
    ("runc", "runc"),
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("busybox", "busybox-static"),
    ("nsenter", "util-linux"),
];

/// Makes the machine ready for the end-to-end tests, or says what is missing.
pub(crate) fn run() -> Result<()> {
    ensure!(
        is_root(),
        "end-to-end tests need root: `sudo -E cargo xtask test`, or `cargo xtask test --unit`"
    );
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "this kernel has no BTF (/sys/kernel/btf/vmlinux)"
    );
    install(&missing(&PROGRAMS))?;
    containerd::fetch()?;
    python::fetch()?;
    mount_tracefs()
}

/// Makes the machine ready for the bench.
pub(crate) fn bench() -> Result<()> {
    ensure!(is_root(), "the bench needs root: `sudo -E cargo xtask bench`");
    install(&missing(&BENCH))?;
    mount_tracefs()
}

/// Builds what the tests and the demo run, as it ships.
pub(crate) fn build() -> Result<()> {
    sh::run(&mut sh::cargo(["build", "--release", "--package", "tracer"]))?;
    // Static: it starts in half the time, and runs on a host with any libc. By `rustc`, since no profile can say it.
    sh::run(&mut sh::cargo([
        "rustc",
        "--profile",
        "hook",
        "--package",
        "tracer-hook",
        "--bin",
        "tracer-hook",
        "--",
        "--codegen=target-feature=+crt-static",
    ]))
}

/// Installs what a container under runc needs; `false` where that cannot be.
pub(crate) fn runc() -> bool {
    let wanted = [("runc", "runc"), ("busybox", "busybox-static")];
    is_root() && install(&missing(&wanted)).is_ok() && mount_tracefs().is_ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> = programs
        .iter()
        .filter(|(p, _)| !sh::have(p))
        .map(|(_, package)| *package)
        .collect();
    // A dynamic busybox does not start in a rootfs without libraries.
    let busybox = fs::read("/usr/bin/busybox")
        .or_else(|_| fs::read("/bin/busybox"))
        .unwrap_or_default();
    let dynamic = busybox.windows(7).any(|w| w == b"ld-linu");
    if dynamic && programs.iter().any(|(p, _)| *p == "busybox") {
        packages.push("busybox-static");
    }
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !sh::have("apt-get") {
        bail!("missing, and there is no apt-get to install them; Debian calls them: {list}");
    }
    let apt = |args: &[&str]| {
        let always = ["-q", "-y", "-o", "DPkg::Lock::Timeout=600"];
        let mut command = sh::command("apt-get", always.iter().chain(args));
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(std::process::Stdio::null());
        sh::run(&mut command)
    };
    let install: Vec<&str> = ["install", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    // Lists may be absent or old: refresh them only then.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .with_context(|| format!("install {list}"))
}

fn mount_tracefs() -> Result<()> {
    if Path::new("/sys/kernel/tracing/events").exists() {
        return Ok(());
    }
    sh::run(&mut sh::command(
        "mount",
        ["-t", "tracefs", "tracefs", "/sys/kernel/tracing"],
    ))
}
