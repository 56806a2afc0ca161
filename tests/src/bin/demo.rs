//! What `cargo xtask demo` shows: a runc container under a private daemon, its system calls from the application's
//! execve on, its exit, and the verdict. With `--tour`, what can be asked of one container, a line of why before each
//! question. Cleans up after itself.

use anyhow::{Context, Result, ensure};
use std::process::ExitCode;
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, programs};

fn main() -> ExitCode {
    let shown = match std::env::args().nth(1).as_deref() {
        Some("--tour") => tour(),
        _ => demo(),
    };
    match shown {
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

/// A question of the tour: why one asks, the words after `tracer` before the container's name, lines to show.
const QUESTIONS: &[(&str, &[&str], usize)] = &[
    (
        "What did it do? Each call from its first instruction on, as strace prints it. Here those that failed.",
        &["tail", "--since-start", "--until-gone", "-Z"],
        12,
    ),
    (
        "How often, how long, and with which errors? Counted in the kernel: complete even where events are lost.",
        &["stats", "-S", "errors", "-U", "name,calls,errors,p95,max,errnos"],
        12,
    ),
    (
        "Why did it fail? The cause, the evidence from the moment of the call, and the line to change.",
        &["explain"],
        40,
    ),
    (
        "Which capabilities does it need? What the kernel asked for, and what it was started with for nothing.",
        &["caps"],
        30,
    ),
    (
        "Is that all? The books: what the kernel admitted, what was decoded, and what was lost. Nothing.",
        &["verify"],
        20,
    ),
];

fn tour() -> Result<bool> {
    let script = "cat /etc/robot.conf; chrt -f 50 sleep 0.1";
    println!("A robot does not start. Its image has no strace, and it may not be ptraced.\n");
    let daemon = Daemon::quiet()?;
    let bundle = Bundle::traced("robot", Rootfs::Host, &["/bin/sh", "-c", script], &daemon)?;
    let id = bundle.id.clone();
    println!("$ runc run -b BUNDLE {id}    # sh -c '{script}'");
    let mut container = Runtime::Runc.start(bundle)?.quiet();
    let status = container.wait()?;
    println!("{}\nit ended with {status}", container.outputs());
    daemon.verdict_at_end(&id)?;
    let mut all = true;
    for (number, (why, words, lines)) in (1..).zip(QUESTIONS) {
        let (verb, options) = words.split_first().context("a question without a verb")?;
        println!(
            "\n--- {number} of {}. {why}\n$ tracer {} {id}",
            QUESTIONS.len() + 1,
            words.join(" ")
        );
        let out = programs::output(daemon.client(verb).args(options).arg(&id))?;
        let text = String::from_utf8_lossy(&out.stdout);
        for line in text.lines().take(*lines) {
            println!("{line}");
        }
        let more = text.lines().count().saturating_sub(*lines);
        if more > 0 {
            println!("… and {more} lines more");
        }
        all &= out.status.success() && !text.is_empty();
        ensure!(out.status.success(), "{}", programs::both(&out));
    }
    let page = programs::target()?.join("robot.html");
    programs::success(daemon.client("report").arg(&id).arg("-o").arg(&page))?;
    println!(
        "\n--- {0} of {0}. And for who was not here? One page with all of that and a timeline, for any browser.\n\
         $ tracer report {id} -o {1}",
        QUESTIONS.len() + 1,
        page.display()
    );
    println!("\nThe book begins at docs/README.md.");
    Ok(all)
}
