//! Reads back what a call's arguments mean from their texts, which are strace's: paths, socket addresses, numbers. It
//! must not know rules nor the running system.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::Syscall;

/// Parameters that name a file, each with the descriptor that a relative one begins at.
const PATHS: &[(&str, &str)] = &[
    ("filename", "dfd"),
    ("pathname", "dfd"),
    ("path", "dfd"),
    ("oldname", "olddfd"),
    ("newname", "newdfd"),
    ("dir_name", ""),
    ("specialfile", ""),
    ("new_root", ""),
    ("put_old", ""),
    ("from_pathname", "from_dfd"),
    ("to_pathname", "to_dfd"),
    ("name", "dfd"),
];

/// A path that a call was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub arg: &'static str,
    pub path: Vec<u8>,
    /// The descriptor that it is relative to; `None` is the working directory.
    pub from: Option<i32>,
    /// Whether a link at its end is followed.
    pub follow: bool,
}

/// All paths of a call that could be read whole.
pub(super) fn paths(call: &Syscall) -> Vec<Given> {
    let name = call.name.as_ref();
    let mut all: Vec<Given> = Vec::new();
    for arg in &call.args.list {
        let Some((_, from)) = PATHS.iter().find(|(path, _)| *path == arg.name) else {
            continue;
        };
        // The text of a symbolic link is no file; a name of setxattr(2) and sethostname(2) is none either.
        let is_text = (arg.name == "oldname" && name.starts_with("symlink"))
            || (arg.name == "name" && !matches!(name, "umount2" | "acct" | "name_to_handle_at"));
        if is_text || arg.truncated || arg.fault {
            continue;
        }
        let Some(path) = unquote(call.args.text_of(arg)) else {
            continue;
        };
        all.push(Given {
            arg: arg.name,
            path,
            from: descriptor(call, from).or_else(|| descriptor_of_execveat(call)),
            follow: follows(call, arg.name),
        });
    }
    if name == "mount"
        && let Some(source) = call.args.list.iter().find(|arg| arg.name == "dev_name")
        && let Some(path) = unquote(call.args.text_of(source)).filter(|path| path.starts_with(b"/"))
    {
        all.push(Given {
            arg: "dev_name",
            path,
            from: None,
            follow: true,
        });
    }
    if let Some(Address::Unix(path)) = address(call)
        && !path.is_empty()
    {
        all.push(Given {
            arg: "sun_path",
            path,
            from: None,
            follow: true,
        });
    }
    all
}

/// The register of a descriptor; `None` for AT_FDCWD and where the call has none of that name.
fn descriptor(call: &Syscall, name: &str) -> Option<i32> {
    let arg = call.args.list.iter().find(|arg| arg.name == name)?;
    // A descriptor is an int: the upper half of the register is not looked at.
    let fd = arg.raw as u32 as i32;
    (fd != libc::AT_FDCWD).then_some(fd)
}

fn descriptor_of_execveat(call: &Syscall) -> Option<i32> {
    (call.name == "execveat").then(|| descriptor(call, "fd"))?
}

fn follows(call: &Syscall, arg: &str) -> bool {
    let said = |flag: &str| call.args.text.contains(flag);
    match call.name.as_ref() {
        "lstat" | "lchown" | "lsetxattr" | "lgetxattr" | "llistxattr" | "lremovexattr" | "unlink"
        | "rmdir" | "unlinkat" | "rename" | "renameat" | "renameat2" | "mkdir" | "mkdirat" | "mknod"
        | "mknodat" | "symlink" | "symlinkat" | "readlink" | "readlinkat" | "link" => false,
        "linkat" => arg == "oldname" && said("AT_SYMLINK_FOLLOW"),
        _ => {
            let exclusive = said("O_CREAT") && said("O_EXCL");
            !(exclusive || said("O_NOFOLLOW") || said("AT_SYMLINK_NOFOLLOW"))
        }
    }
}

/// Whether the call makes the file that its path names, so that it is no wonder when it is not there.
pub(super) fn creates(call: &Syscall, arg: &str) -> bool {
    match call.name.as_ref() {
        "mkdir" | "mkdirat" | "mknod" | "mknodat" | "symlink" | "symlinkat" | "creat" => true,
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => arg == "newname",
        "open" | "openat" | "openat2" => call.args.text.contains("O_CREAT"),
        "bind" => arg == "sun_path",
        _ => false,
    }
}

/// The bytes of a quoted string; `None` when it is none, or was cut short.
pub(super) fn unquote(text: &str) -> Option<Vec<u8>> {
    // What follows a cut string is `...`.
    quoted(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(bytes, _)| bytes)
}

/// The bytes of the quoted string that a text begins with, and what follows it.
pub(super) fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut bytes = inner.bytes().peekable();
    let mut out = Vec::new();
    loop {
        match bytes.next()? {
            b'"' => return Some((out, inner.get(inner.len() - bytes.len()..)?)),
            b'\\' => out.push(escape(&mut bytes)?),
            byte => out.push(byte),
        }
    }
}

fn escape(bytes: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> Option<u8> {
    Some(match bytes.next()? {
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        digit @ b'0'..=b'7' => {
            let mut value = u32::from(digit - b'0');
            for _ in 0..2 {
                let Some(digit) = bytes.next_if(|byte| matches!(byte, b'0'..=b'7')) else {
                    break;
                };
                value = value * 8 + u32::from(digit - b'0');
            }
            u8::try_from(value).ok()?
        }
        other => other,
    })
}

/// A socket address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Inet(IpAddr, u16),
    /// Of a file; empty for an abstract or unnamed one.
    Unix(Vec<u8>),
}

/// The address that a call on a socket was given.
pub(super) fn address(call: &Syscall) -> Option<Address> {
    address_of(["uservaddr", "umyaddr", "addr", "msg"].iter().find_map(|name| {
        let arg = call.args.list.iter().find(|arg| arg.name == *name)?;
        Some(call.args.text_of(arg)).filter(|text| text.contains("sa_family="))
    })?)
}

/// The address that strace writes so.
pub(super) fn address_of(text: &str) -> Option<Address> {
    if text.contains("sa_family=AF_UNIX") {
        let path = text.split_once("sun_path=").and_then(|(_, rest)| {
            let end = rest.rfind('"')?;
            unquote(rest.get(..=end)?)
        });
        return Some(Address::Unix(path.unwrap_or_default()));
    }
    let port = |word: &str| u16::try_from(number_after(text, word)?).ok();
    let quoted = |word: &str| Some(text.split_once(word)?.1.split('"').next()?.to_owned());
    if text.contains("sa_family=AF_INET6") {
        let address: Ipv6Addr = quoted("inet_pton(AF_INET6, \"")?.parse().ok()?;
        return Some(Address::Inet(address.into(), port("sin6_port=htons(")?));
    }
    let address: Ipv4Addr = quoted("inet_addr(\"")?.parse().ok()?;
    Some(Address::Inet(address.into(), port("sin_port=htons(")?))
}

/// The decimal number that follows a word in a text.
pub(super) fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.split_once(word)?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::rules::testing::failed;

    #[test]
    fn a_quoted_string_is_read_back() {
        assert_eq!(unquote(r#""/a b\n\1\0012\"\\""#).unwrap(), b"/a b\n\x01\x012\"\\");
        assert_eq!(unquote(r#""\303\244""#).unwrap(), "ä".as_bytes());
        for none in ["0x7fff", r#""cut"..."#, r#""open"#, r#""\777""#, "\"\\", ""] {
            assert_eq!(unquote(none), None, "{none}");
        }
    }

    #[test]
    fn addresses_are_read_back() {
        let of = |text| address(&failed("connect", libc::ECONNREFUSED, &[("uservaddr", 1, text)]));
        assert_eq!(
            of(r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}"#),
            Some(Address::Inet(Ipv4Addr::LOCALHOST.into(), 80))
        );
        assert_eq!(
            of(
                r#"{sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}"#
            ),
            Some(Address::Inet(Ipv6Addr::LOCALHOST.into(), 443))
        );
        assert_eq!(
            of(r#"{sa_family=AF_UNIX, sun_path="/run/x.sock"}"#),
            Some(Address::Unix(b"/run/x.sock".to_vec()))
        );
        assert_eq!(
            of(r#"{sa_family=AF_UNIX, sun_path=@"abs"}"#),
            Some(Address::Unix(Vec::new()))
        );
        assert_eq!(of("0x7fff"), None);
    }

    #[test]
    fn paths_have_their_directories_and_tell_whether_links_are_followed() {
        let call = failed(
            "renameat2",
            libc::ENOENT,
            &[
                ("olddfd", 0xffff_ff9c, "AT_FDCWD"),
                ("oldname", 1, "\"a\""),
                ("newdfd", 5, "5"),
                ("newname", 2, "\"b\""),
                ("flags", 0, "0"),
            ],
        );
        let [old, new] = paths(&call).try_into().unwrap();
        assert_eq!((old.from, old.follow, &*old.path), (None, false, &b"a"[..]));
        assert_eq!((new.from, new.arg), (Some(5), "newname"));
        assert!(creates(&call, "newname") && !creates(&call, "oldname"));
        let call = failed(
            "symlink",
            libc::EEXIST,
            &[("oldname", 1, "\"a\""), ("newname", 2, "\"b\"")],
        );
        assert_eq!(paths(&call).len(), 1);
    }
}
