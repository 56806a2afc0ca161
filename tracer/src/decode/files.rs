//! What descriptors stand for: reads the kernel side's [`record::File`]s and writes what strace has between `<` and `>`.
//!
//! Names are bytes that a container chose: all but printable ASCII is escaped, and so are the angle brackets.

use std::net::{Ipv4Addr, Ipv6Addr};

use tracer_common::record::{self, file};

use super::{
    Reader, Undecodable, names,
    show::{Call, Out},
    values,
};
use crate::event;

/// A file of a call.
#[derive(Clone, Debug)]
pub(super) struct File {
    fd: i32,
    /// As it was when the call returned.
    at_exit: bool,
    what: event::File,
}

// File systems without directories: include/uapi/linux/magic.h.
const PIPEFS: u32 = 0x5049_5045;
const SOCKFS: u32 = 0x534f_434b;
const ANON_INODES: u32 = 0x0904_1934;
const NSFS: u32 = 0x6e73_6673;
const PIDFS: u32 = 0x5049_4446;
const DMA_BUFS: u32 = 0x444d_4142;

/// Reads the body of a section.
pub(super) fn read(bytes: &[u8]) -> Result<File, Undecodable> {
    let mut reader = Reader::of(bytes);
    let head = record::File {
        fd: reader.u32()?.cast_signed(),
        flags: reader.u16()?,
        mode: reader.u16()?,
        magic: reader.u32()?,
        rdev: reader.u32()?,
        ino: reader.u64()?,
        len: reader.u16()?,
        _pad: [reader.u16()?, reader.u16()?, reader.u16()?],
    };
    let rest = reader.take(usize::from(head.len))?;
    let has = |bit: u16| head.flags & bit != 0;
    let detail = if has(file::SOCKET) {
        socket(rest, head.ino)?
    } else {
        device(&head).or_else(|| has(file::PID).then(|| format!("pid:{}", head.rdev)))
    };
    let names: Vec<&[u8]> = if has(file::SOCKET) {
        Vec::new()
    } else {
        rest.split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .collect()
    };
    let (path, deleted) = if has(file::PSEUDO) {
        pseudo(&head, names.first().copied().unwrap_or_default())
    } else {
        (path(&names, has(file::CUT)), has(file::DELETED))
    };
    let follows = has_device(head.mode);
    let text = written(&path, None, deleted);
    let full = detail.as_ref().map(|detail| {
        if follows {
            written(&path, Some(detail), deleted)
        } else {
            format!("<{detail}>")
        }
    });
    Ok(File {
        fd: head.fd,
        at_exit: has(file::AT_EXIT),
        what: event::File {
            path,
            deleted,
            cut: has(file::CUT),
            detail,
            text,
            full,
        },
    })
}

/// `</etc/passwd>`, `</dev/null<char 1:3>>`, `</tmp/x>(deleted)`.
fn written(path: &[u8], device: Option<&String>, deleted: bool) -> String {
    let mut text = String::with_capacity(path.len() + 2);
    let mut out = Out::new(&mut text);
    out.str("<");
    out.in_angles(path);
    if let Some(device) = device {
        out.str("<");
        out.str(device);
        out.str(">");
    }
    out.str(if deleted { ">(deleted)" } else { ">" });
    text
}

/// The names of a path come last first.
fn path(names: &[&[u8]], cut: bool) -> Vec<u8> {
    let mut path = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    if cut {
        path.extend_from_slice(b"...");
    }
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// What is in no directory, as `d_path` of the kernel has it (its `d_dname` functions), and whether that says that it is
/// deleted.
fn pseudo(head: &record::File, name: &[u8]) -> (Vec<u8>, bool) {
    let numbered = |what: &[u8]| [what, format!(":[{}]", head.ino).as_bytes()].concat();
    match head.magic {
        PIPEFS => (numbered(b"pipe"), false),
        SOCKFS => (numbered(b"socket"), false),
        NSFS => (numbered(name), false),
        ANON_INODES => ([b"anon_inode:", name].concat(), false),
        PIDFS => (b"anon_inode:[pidfd]".to_vec(), false),
        DMA_BUFS => ([b"/dmabuf:", name].concat(), false),
        // Memory without a name in any directory: memfd, shared memory of System V, what is left of a mapping.
        _ => ([b"/", name].concat(), true),
    }
}

fn has_device(mode: u16) -> bool {
    let kind = u32::from(mode) & libc::S_IFMT;
    kind == libc::S_IFCHR || kind == libc::S_IFBLK
}

/// `char 1:3`
fn device(head: &record::File) -> Option<String> {
    let kind = match u32::from(head.mode) & libc::S_IFMT {
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        _ => return None,
    };
    // MKDEV, include/linux/kdev_t.h.
    Some(format!("{kind} {}:{}", head.rdev >> 20, head.rdev & 0xf_ffff))
}

/// `TCP:[127.0.0.1:80->127.0.0.1:4711]`; none for a protocol that strace tells nothing of.
fn socket(bytes: &[u8], ino: u64) -> Result<Option<String>, Undecodable> {
    let mut reader = Reader::of(bytes);
    let socket = record::Socket {
        family: reader.u16()?,
        kind: reader.u16()?,
        protocol: reader.u16()?,
        port: reader.u16()?,
        peer_port: u16::from_be_bytes(reader.array()?),
        state: reader.u16()?,
        portid: reader.u32()?,
        peer_ino: reader.u64()?,
        address: reader.array()?,
        peer_address: reader.array()?,
        name: reader.array()?,
    };
    let name = socket.name.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut text = String::new();
    let mut out = Out::new(&mut text);
    out.in_angles(name);
    out.str(":[");
    match i32::from(socket.family) {
        family @ (libc::AF_INET | libc::AF_INET6) => {
            let raw = i32::from(socket.kind) == libc::SOCK_RAW;
            // Neither has a port of its own.
            if raw || socket.port == 0 {
                out.unsigned(ino);
            } else {
                out.str(&address(family, &socket.address));
                out.ufield(":", socket.port.into());
                if socket.peer_port != 0 || socket.peer_address != [0; 16] {
                    out.str("->");
                    out.str(&address(family, &socket.peer_address));
                    out.ufield(":", socket.peer_port.into());
                }
            }
        }
        libc::AF_UNIX => {
            out.unsigned(ino);
            if socket.peer_ino != 0 {
                out.ufield("->", socket.peer_ino);
            }
            match reader.rest().split_first() {
                None => {}
                Some((0, name)) => {
                    out.str(",@");
                    out.quoted(name);
                }
                Some((_, _)) => {
                    let path = reader.rest();
                    out.str(",");
                    out.quoted(path.split(|byte| *byte == 0).next().unwrap_or_default());
                }
            }
        }
        libc::AF_NETLINK => {
            if socket.portid == 0 {
                out.unsigned(ino);
            } else {
                match names::NETLINK.get(socket.protocol.into()) {
                    Some(name) => out.str(name.strip_prefix("NETLINK_").unwrap_or(name)),
                    None => out.unsigned(socket.protocol.into()),
                }
                out.ufield(":", socket.portid.into());
            }
        }
        _ => return Ok(None),
    }
    out.str("]");
    Ok(Some(text))
}

fn address(family: i32, bytes: &[u8; 16]) -> String {
    if family == libc::AF_INET {
        let [a, b, c, d, ..] = *bytes;
        Ipv4Addr::new(a, b, c, d).to_string()
    } else {
        format!("[{}]", Ipv6Addr::from(*bytes))
    }
}

/// Files and where their descriptors stand in the text.
pub(super) fn marked(
    files: &[File],
    marks: Vec<event::Mark>,
    returned: Option<i64>,
) -> Option<Box<event::Files>> {
    if files.is_empty() {
        return None;
    }
    let returned = returned
        .and_then(|ret| i32::try_from(ret).ok())
        .and_then(|fd| position(files, fd, true));
    Some(Box::new(event::Files {
        list: files.iter().map(|file| file.what.clone()).collect(),
        marks,
        returned,
    }))
}

fn position(files: &[File], fd: i32, at_exit: bool) -> Option<usize> {
    files
        .iter()
        .position(|file| file.fd == fd && file.at_exit == at_exit)
}

impl<'a> Out<'a> {
    pub(super) fn new(text: &'a mut String) -> Self {
        Self {
            text,
            marks: Vec::new(),
            truncated: false,
            fault: false,
        }
    }
}

impl Out<'_> {
    /// What stands between angle brackets: they are escaped in it, too.
    pub(super) fn in_angles(&mut self, bytes: &[u8]) {
        self.escaped(bytes, |byte| matches!(byte, b'<' | b'>'));
    }

    /// A descriptor that the call was given.
    pub(super) fn descriptor(&mut self, call: &Call<'_>, fd: i32) {
        self.signed(fd.into());
        self.mark(call, fd, false);
    }

    /// A descriptor that the call made.
    pub(super) fn made_descriptor(&mut self, call: &Call<'_>, fd: i32) {
        self.signed(fd.into());
        self.mark(call, fd, true);
    }

    fn mark(&mut self, call: &Call<'_>, fd: i32, at_exit: bool) {
        if let Some(file) = position(&call.files, fd, at_exit) {
            self.marks.push(event::Mark {
                at: self.text.len(),
                file,
            });
        }
    }

    /// The directory that a path begins at.
    pub(super) fn directory(&mut self, call: &Call<'_>, value: u64) {
        values::dirfd(self, call, value);
        self.mark(call, super::show::signed(value), false);
    }
}

#[cfg(test)]
mod tests;
