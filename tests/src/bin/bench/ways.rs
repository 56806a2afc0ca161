//! The tracers that are compared, and how each is called to do the same job: every call of a program and of its children,
//! with result and duration, into a file.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};
use tracer_tests::{programs, wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Untraced,
    /// Two empty programs at the same tracepoints: what any tracer there pays at least.
    Empty,
    Ours,
    Recording,
    Strace,
    PerfTrace,
    Bpftrace,
}

/// bpftrace has no option for this. It leaves out the arguments: they would cost it more.
const SCRIPT: &str = r#"
tracepoint:sched:sched_process_fork /@in[args->parent_pid]/ { @in[args->child_pid] = 1; }
tracepoint:sched:sched_process_exit /@in[tid]/ { delete(@in[tid]); delete(@begin[tid]); }
tracepoint:raw_syscalls:sys_enter /@in[tid]/ { @begin[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@begin[tid]/ {
    printf("%d %d = %ld <%d>\n", tid, args->id, args->ret, nsecs - @begin[tid]);
    delete(@begin[tid]);
}
END { clear(@in); clear(@begin); }
"#;

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Empty => "empty programs",
            Self::Ours => "`tracer run -w FILE`",
            Self::Recording => "`tracer record -w FILE`",
            Self::Strace => "`strace -f -T -o FILE`",
            Self::PerfTrace => "`perf trace -o FILE`",
            Self::Bpftrace => "`bpftrace -o FILE`",
        }
    }

    /// It slows what it traces so much that a part of the work tells as much.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::Strace | Self::PerfTrace | Self::Bpftrace)
    }

    /// Starts with `command` under it.
    pub(crate) fn of_command(self, command: &[&str], out: &Path) -> Result<Command> {
        let out = out.to_str().context("path")?;
        let tracer = programs::tracer()?;
        let tracer = tracer.to_str().context("path")?;
        let words: &[&str] = match self {
            Self::Untraced | Self::Empty => &[],
            Self::Ours => &[tracer, "run", "-w", out, "--"],
            Self::Recording => &[tracer, "record", "-w", out, "--"],
            Self::Strace => &["strace", "-f", "-T", "-o", out, "--"],
            Self::PerfTrace => &["perf", "trace", "-o", out, "--"],
            Self::Bpftrace => {
                let script = format!("BEGIN {{ @in[cpid] = 1; }}{SCRIPT}");
                let mut bpftrace = bpftrace(&script, out);
                bpftrace.args(["-c", &command.join(" ")]);
                return Ok(bpftrace);
            }
        };
        let words = [words, command].concat();
        let (program, args) = words.split_first().context("no command")?;
        let mut command = programs::command(program);
        command.args(args);
        Ok(command)
    }

    /// Traces a process that runs already, until it is told to end; of those that are not ours.
    pub(crate) fn of_process(self, pid: u32, out: &Path) -> Result<Option<Attached>> {
        let pid = pid.to_string();
        let path = out.to_str().context("path")?;
        let mut command = match self {
            Self::Strace => {
                let mut strace = programs::command("strace");
                strace.args(["-f", "-T", "-o", path, "-p", &pid]);
                strace
            }
            Self::PerfTrace => {
                let mut perf = programs::command("perf");
                perf.args(["trace", "-o", path, "-p", &pid]);
                perf
            }
            Self::Bpftrace => {
                let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
                let threads =
                    threads.map(|entry| Ok(format!("@in[{}] = 1;", entry?.file_name().to_string_lossy())));
                let threads: String = threads.collect::<Result<_>>()?;
                bpftrace(&format!("BEGIN {{ {threads} }}{SCRIPT}"), path)
            }
            _ => return Ok(None),
        };
        let log = out.with_extension("log");
        command.stdout(File::create(&log)?).stderr(File::create(&log)?);
        let child = command.spawn().with_context(|| programs::show(&command))?;
        Ok(Some(Attached(child)))
    }

    /// How many calls of that name and number are in what it wrote.
    pub(crate) fn seen(self, out: &Path, name: &str, number: libc::c_long) -> Result<Option<usize>> {
        let needle = match self {
            Self::Untraced | Self::Empty => return Ok(None),
            Self::Recording => {
                let mut replay = programs::command(programs::tracer()?);
                replay
                    .arg("replay")
                    .arg(out)
                    .args(["-e", &format!("trace={name}")]);
                let mut replay = replay.stdout(Stdio::piped()).spawn().context("tracer replay")?;
                let lines = count(replay.stdout.take().context("stdout")?, &format!("{name}("))?;
                ensure!(replay.wait()?.success(), "tracer replay failed");
                return Ok(Some(lines));
            }
            Self::Ours | Self::Strace | Self::PerfTrace => format!("{name}("),
            Self::Bpftrace => format!(" {number} = "),
        };
        Ok(Some(count(File::open(out)?, &needle)?))
    }
}

fn count(from: impl std::io::Read, needle: &str) -> Result<usize> {
    let mut lines = 0;
    for line in BufReader::with_capacity(1 << 20, from).split(b'\n') {
        lines += usize::from(String::from_utf8_lossy(&line?).contains(needle));
    }
    Ok(lines)
}

fn bpftrace(script: &str, out: &str) -> Command {
    let mut command = programs::command("bpftrace");
    // 16 MiB a CPU for what waits to be printed, or it loses most.
    command.env("BPFTRACE_PERF_RB_PAGES", "4096");
    command.args(["-o", out, "-e", script]);
    command
}

/// A tracer of a running process.
pub(crate) struct Attached(Child);

impl Attached {
    /// Whether its file has grown: it has taken the process.
    pub(crate) fn sees(&mut self, out: &Path) -> Result<bool> {
        let ended = self.0.try_wait()?;
        ensure!(
            ended.is_none(),
            "a tracer ended: {}",
            fs::read_to_string(out.with_extension("log"))?
        );
        Ok(fs::metadata(out).is_ok_and(|file| file.len() > 2048))
    }

    pub(crate) fn end(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        wait::exit(&mut self.0, "a tracer", wait::LONG)?;
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// The empty programs, attached until this is dropped.
pub(crate) struct Empty {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

impl Empty {
    pub(crate) fn attach() -> Result<Self> {
        let inside = programs::target()?.join("release/examples/bench");
        let mut command = programs::command(inside);
        command.arg("empty").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| programs::show(&command))?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(
            line == "attached\n",
            "the empty programs are not attached: {line}"
        );
        Ok(Self {
            child,
            _stdout: stdout,
        })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
