//! What `cargo xtask demo` shows: a runc container under a private daemon, its system calls from the application's
//! execve on, its exit, and the verdict. Cleans up after itself.

use anyhow::Result;
use std::process::ExitCode;
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, programs};

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("demo: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let script = "echo hello from a container; ls /; cat /nonexistent; exit 3";
    let daemon = Daemon::quiet()?;
    let bundle = Bundle::traced("demo", Rootfs::Busybox, &["/bin/sh", "-c", script], &daemon)?;
    let id = bundle.id.clone();
    println!("$ tracer tail {id} &\n$ runc run -b BUNDLE {id}    # {script}");
    let tail = daemon.tail(&id, &[])?;
    let mut container = Runtime::Runc.start(bundle)?.quiet();
    let status = container.wait()?;
    print!("{}", tail.text()?);
    println!("\nthe container printed:\n{}", container.outputs());
    println!("it ended with {status}\n\n$ tracer verify {id}");
    let verdict = programs::output(daemon.client("verify").arg(&id))?;
    print!(
        "{}{}",
        String::from_utf8_lossy(&verdict.stdout),
        String::from_utf8_lossy(&verdict.stderr)
    );
    Ok(verdict.status.success() && status.code() == Some(3))
}
