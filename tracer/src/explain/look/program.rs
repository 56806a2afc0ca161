//! What the first bytes of a file say that is to be executed (fs/binfmt_elf.c, fs/binfmt_script.c; elf(5), execve(2)).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::pread,
};

use super::walk::by_number;
use crate::explain::Program;

/// `EM_X86_64` of include/uapi/linux/elf-em.h.
pub(super) const EM_X86_64: u16 = 62;
/// `EM_AARCH64`.
pub(super) const EM_AARCH64: u16 = 183;

/// BINPRM_BUF_SIZE: the kernel looks for `#!` and its line in so many bytes.
const LINE: usize = 256;
/// Program headers that are looked at; the kernel takes as many as fit into 64 KiB.
const MAX_HEADERS: u64 = 1024;
/// The longest path of a loader (PATH_MAX).
const MAX_LOADER: u64 = 4096;

const PT_INTERP: u64 = 3;

/// `None` when it could not be read. `exists` tells whether an absolute path of the container is there.
pub(super) fn of(file: BorrowedFd<'_>, exists: &dyn Fn(&[u8]) -> bool) -> Option<Program> {
    // It is a regular file, or nobody would be here: opening it has no effect.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, by_number(file), flags, Mode::empty()).ok()?;
    let mut head = [0; LINE];
    let read = pread(file.as_fd(), &mut head[..], 0).ok()?;
    let head = head.get(..read)?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return Some(script(line, exists));
    }
    Some(elf(head, &file, exists).unwrap_or(Program::Other {
        empty: head.is_empty(),
    }))
}

fn script(line: &[u8], exists: &dyn Fn(&[u8]) -> bool) -> Program {
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default();
    let interpreter = line
        .split(|byte| matches!(byte, b' ' | b'\t' | 0))
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    Program::Script {
        there: !interpreter.is_empty() && exists(interpreter),
        // Of `#!/bin/sh -e\r` the interpreter is right, and its argument has the end of line in it.
        carriage_return: interpreter.ends_with(b"\r"),
        interpreter: interpreter.to_vec(),
    }
}

fn elf(head: &[u8], file: impl AsFd, exists: &dyn Fn(&[u8]) -> bool) -> Option<Program> {
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        // e_ident[EI_DATA] is 2 for big endian.
        let big = head.get(5) == Some(&2);
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if big {
            field.iter().fold(0, fold)
        } else {
            field.iter().rev().fold(0, fold)
        })
    };
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = head.get(4) == Some(&2);
    let machine = u16::try_from(number(head, 18, 2)?).ok()?;
    let (at, size, count) = if wide {
        (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?)
    } else {
        (number(head, 28, 4)?, number(head, 42, 2)?, number(head, 44, 2)?)
    };
    let mut loader = None;
    for index in 0..count.min(MAX_HEADERS) {
        let mut header = [0; 56];
        let Some(place) = size.checked_mul(index).and_then(|offset| at.checked_add(offset)) else {
            break;
        };
        let Ok(read) = pread(file.as_fd(), &mut header[..], place) else {
            break;
        };
        let header = header.get(..read)?;
        if number(header, 0, 4) != Some(PT_INTERP) {
            continue;
        }
        let (offset, length) = if wide {
            (number(header, 8, 8)?, number(header, 32, 8)?)
        } else {
            (number(header, 4, 4)?, number(header, 16, 4)?)
        };
        let mut path = vec![0; usize::try_from(length.min(MAX_LOADER)).ok()?];
        let read = pread(file.as_fd(), &mut path[..], offset).ok()?;
        path.truncate(read);
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let there = exists(&path);
        loader = Some((path, there));
        break;
    }
    Some(Program::Elf {
        machine,
        wide,
        loader,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use super::*;

    fn program(bytes: &[u8], there: bool) -> Program {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        of(file.as_file().as_fd(), &|_| there).unwrap()
    }

    #[test]
    fn scripts() {
        let script = |line: &str| match program(line.as_bytes(), true) {
            Program::Script {
                interpreter,
                carriage_return,
                there,
            } => {
                assert!(there);
                (String::from_utf8(interpreter).unwrap(), carriage_return)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(script("#!/bin/sh\n"), ("/bin/sh".into(), false));
        assert_eq!(
            script("#! \t/usr/bin/env python\nx"),
            ("/usr/bin/env".into(), false)
        );
        assert_eq!(script("#!/bin/sh\r\nx"), ("/bin/sh\r".into(), true));
        assert_eq!(
            program(b"#!\n", true),
            Program::Script {
                interpreter: Vec::new(),
                there: false,
                carriage_return: false
            }
        );
    }

    #[test]
    fn what_is_no_program() {
        assert_eq!(program(b"", true), Program::Other { empty: true });
        assert_eq!(program(b"echo hello\n", true), Program::Other { empty: false });
        assert_eq!(program(b"\x7fELF", true), Program::Other { empty: false });
        // A table of headers that lies outside of the file.
        let mut torn = b"\x7fELF\x02\x01\x01".to_vec();
        torn.resize(64, 0xff);
        assert!(matches!(
            program(&torn, true),
            Program::Elf {
                machine: 0xffff,
                loader: None,
                ..
            }
        ));
    }

    #[test]
    fn this_very_program_has_a_loader() {
        let file = File::open("/proc/self/exe").unwrap();
        let machine = if cfg!(target_arch = "x86_64") {
            EM_X86_64
        } else {
            EM_AARCH64
        };
        match of(file.as_fd(), &|path| {
            std::path::Path::new(std::str::from_utf8(path).unwrap()).exists()
        }) {
            Some(Program::Elf {
                machine: its,
                wide,
                loader: Some((_, there)),
            }) => {
                assert_eq!((its, wide, there), (machine, true, true));
            }
            other => panic!("{other:?}"),
        }
    }
}
