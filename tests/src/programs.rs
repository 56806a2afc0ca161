//! Where the programs under test are, and how other programs are run.

use anyhow::{Context, Result, bail, ensure};
use rustix::{fs::Mode, process::umask};
use std::{
    env,
    ffi::OsStr,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Once,
};

/// The folder that cargo built this test into (`target/release`).
fn built() -> Result<PathBuf> {
    let mut dir = env::current_exe()?;
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    Ok(dir)
}

fn found(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} is not built: run `cargo xtask test`",
        path.display()
    );
    Ok(path)
}

/// `tracer`.
pub fn tracer() -> Result<PathBuf> {
    found(built()?.join("tracer"))
}

/// cargo's folder.
pub fn target() -> Result<PathBuf> {
    Ok(built()?.parent().context("no target folder")?.to_owned())
}

/// `tracer-hook`, built as it ships.
pub fn hook() -> Result<PathBuf> {
    found(target()?.join("hook/tracer-hook"))
}

/// The folder with the workloads of `src/bin`.
pub fn workloads() -> Result<PathBuf> {
    found(built()?.join("calls"))?;
    built()
}

/// A workload of `src/bin`.
pub fn workload(name: &str) -> Result<PathBuf> {
    found(built()?.join(name))
}

/// Python with the packages that the tests need.
pub fn python() -> Result<PathBuf> {
    found(target()?.join("python/bin/python"))
}

/// A command without our environment, so that what it does depends on nothing around the tests.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    static ORDINARY: Once = Once::new();
    // What is made here is read by other users, of containers too.
    ORDINARY.call_once(|| {
        let _before = umask(Mode::from_raw_mode(0o022));
    });
    let mut command = Command::new(program);
    command.env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.env("HOME", "/root").env("LANG", "C").stdin(Stdio::null());
    command
}

/// Runs it to its end; the output is collected.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("start {}", show(command)))
}

/// Runs it with `input` on stdin. A program that does not read it all is no error.
pub fn output_with(command: &mut Command, input: &[u8]) -> Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", show(command)))?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    // A broken pipe: it had read enough.
    drop(writer.join());
    Ok(output)
}

/// Its stdout; anything but success is an error with both outputs.
pub fn success(command: &mut Command) -> Result<String> {
    let out = output(command)?;
    if !out.status.success() {
        bail!("{}: {}\n{}", show(command), out.status, both(&out));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs git as an author who is the same everywhere and at all times.
pub fn git(args: &[&str]) -> Result<()> {
    let mut command = command("git");
    for (name, value) in [
        ("NAME", "t"),
        ("EMAIL", "t@localhost"),
        ("DATE", "2026-01-01T00:00:00Z"),
    ] {
        command
            .env(format!("GIT_AUTHOR_{name}"), value)
            .env(format!("GIT_COMMITTER_{name}"), value);
    }
    success(command.args(args)).map(|_| ())
}

/// Both outputs, for a message.
pub fn both(out: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    format!(
        "--- stdout\n{}\n--- stderr\n{}",
        stdout.trim_end(),
        stderr.trim_end()
    )
}

/// A command as it would be typed.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
