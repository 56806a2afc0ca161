//! `kill_at N COMMAND…`: runs a command that is killed at its n-th system call, which is not made any more, and ends as it
//! did (ptrace(2)). One that makes fewer ends as it wants to.

use std::{
    env,
    ffi::OsString,
    io::Error,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    ptr::null_mut,
};

fn request(request: libc::c_uint, pid: libc::pid_t, data: usize) -> Result<(), Error> {
    let data = std::ptr::without_provenance_mut::<libc::c_void>(data);
    // SAFETY: none of the requests that are made here reads or writes memory of ours.
    match unsafe { libc::ptrace(request, pid, null_mut::<libc::c_void>(), data) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let calls = words.next().and_then(|word| word.to_str()?.parse::<u32>().ok());
    let command: Vec<OsString> = words.collect();
    let (Some(calls), Some((program, arguments))) = (calls, command.split_first()) else {
        return ExitCode::from(2);
    };
    match run(calls, program, arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("kill_at: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(calls: u32, program: &OsString, arguments: &[OsString]) -> Result<ExitCode, Error> {
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: one system call between fork and execve.
    unsafe { command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0)) };
    let child = command.spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(Error::other)?;
    let (mut status, mut begun, mut made, mut enters) = (0, false, 0, false);
    loop {
        // SAFETY: `status` lives during the call.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
            return Err(Error::last_os_error());
        }
        if libc::WIFEXITED(status) {
            return Ok(ExitCode::from(
                u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(1),
            ));
        }
        if libc::WIFSIGNALED(status) {
            // As it did.
            // SAFETY: a number.
            unsafe { libc::raise(libc::WTERMSIG(status)) };
        }
        let mut deliver = 0;
        if !begun {
            // The stop behind its execve.
            request(
                libc::PTRACE_SETOPTIONS,
                pid,
                (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL) as usize,
            )?;
            begun = true;
        } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
            enters = !enters;
            made += u32::from(enters);
            if enters && made == calls {
                // SAFETY: numbers.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                continue;
            }
        } else {
            deliver = usize::try_from(libc::WSTOPSIG(status)).unwrap_or(0);
        }
        request(libc::PTRACE_SYSCALL, pid, deliver)?;
    }
}
