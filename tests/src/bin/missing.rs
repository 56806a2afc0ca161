//! `missing PATH N`: looks N times for PATH by newfstatat(2), then how often nothing was there.

use std::{env, ffi::CString, os::unix::ffi::OsStringExt, process::ExitCode};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let (Some(path), Some(times)) = (args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    let (Ok(path), Some(Ok(times))) = (
        CString::new(path.into_vec()),
        times.to_str().map(str::parse::<u32>),
    ) else {
        return ExitCode::from(2);
    };
    let missing = (0..times).filter(|_| {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: a path that ends in NUL, and room for a stat that nobody reads.
        let ret = unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), 0) };
        ret == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT)
    });
    println!("missing {}", missing.count());
    ExitCode::SUCCESS
}
