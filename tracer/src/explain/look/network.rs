//! The network namespace of a task, from `/proc/PID/net` (proc_pid_net(5)). Tables are the kernel's, but their length is
//! what containers make it: they are read up to a bound.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Address, arguments, read, text_of};
use crate::{
    event::Syscall,
    explain::{Listener, Network},
};

/// Listeners that are told.
const MAX_LISTENERS: usize = 16;
/// Processes whose descriptors are looked through for a socket's owner.
const MAX_PROCESSES: usize = 4096;
/// Descriptors of one process that are.
const MAX_FDS: usize = 4096;

/// States of include/net/tcp_states.h that hold a port.
const TCP_LISTEN: u8 = 10;
const TCP_CLOSE: u8 = 7;

/// Whether the network has to do with such a failure.
pub(super) fn concerns(name: &str, errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EADDRINUSE
            | libc::EADDRNOTAVAIL
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::ETIMEDOUT
    ) && name != "futex"
        || (matches!(errno, libc::ENODEV | libc::ENXIO)
            && matches!(name, "ioctl" | "setsockopt" | "bind" | "sendto" | "sendmsg"))
        || (name == "bind" && errno == libc::EACCES)
}

pub(super) fn look(call: &Syscall, pid: u32) -> Option<Network> {
    let text = |file: &str| read(&format!("/proc/{pid}/net/{file}")).map(|text| text_of(&text).into_owned());
    let interfaces = interfaces(&text("dev").ok()?);
    let mut network = Network {
        interfaces,
        default_route: is_routed(
            &text("route").unwrap_or_default(),
            &text("ipv6_route").unwrap_or_default(),
        ),
        addresses: addresses(
            &text("fib_trie").unwrap_or_default(),
            &text("if_inet6").unwrap_or_default(),
        ),
        ..Network::default()
    };
    // A sysctl of a network namespace is seen from within it alone.
    let same = fs::read_link("/proc/self/ns/net").ok() == fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if same {
        network.unprivileged_from = read("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .ok()
            .and_then(|text| text_of(&text).trim().parse().ok());
    }
    let mut holders = Vec::new();
    match arguments::address(call) {
        Some(Address::Inet(_, port)) if port != 0 => {
            for protocol in ["tcp", "tcp6", "udp", "udp6"] {
                if let Ok(table) = text(protocol) {
                    holders.extend(bound_to(&table, protocol, port));
                }
            }
        }
        Some(Address::Unix(path)) if !path.is_empty() => {
            let path = String::from_utf8_lossy(&path).into_owned();
            if let Ok(table) = text("unix") {
                holders.extend(bound_to_path(&table, &path));
            }
        }
        _ => {}
    }
    holders.truncate(MAX_LISTENERS);
    name_owners(&mut holders, pid);
    network.listeners = holders.into_iter().map(|(_, listener)| listener).collect();
    Some(network)
}

fn interfaces(dev: &str) -> Vec<String> {
    dev.lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

/// Whether a route leads out of any interface but the loopback.
fn is_routed(route: &str, ipv6_route: &str) -> bool {
    let four = route
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().next().is_some_and(|name| name != "lo"));
    // The last field is the interface; link-local and multicast routes lead nowhere else.
    let six = ipv6_route.lines().any(|line| {
        let interface = line.split_whitespace().next_back();
        interface.is_some_and(|name| name != "lo") && !line.starts_with("fe80") && !line.starts_with("ff00")
    });
    four || six
}

fn addresses(fib_trie: &str, if_inet6: &str) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    let mut last = None;
    for line in fib_trie.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
            && !all.contains(&address.into())
        {
            all.push(address.into());
        }
    }
    for line in if_inet6.lines() {
        let address = line
            .split_whitespace()
            .next()
            .and_then(|hex| u128::from_str_radix(hex, 16).ok());
        all.extend(address.map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
    }
    all
}

/// Sockets of a table, by inode, that hold that port: TCP ones that listen, UDP ones that are bound.
fn bound_to(table: &str, protocol: &'static str, port: u16) -> Vec<(u64, Listener)> {
    let tcp = protocol.starts_with("tcp");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (address, its) = fields.nth(1)?.split_once(':')?;
            let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
            let its = u16::from_str_radix(its, 16).ok()?;
            let inode = fields.nth(5)?.parse().ok()?;
            let holds = if tcp {
                state == TCP_LISTEN
            } else {
                state == TCP_CLOSE
            };
            if its != port || !holds {
                return None;
            }
            let address = match hex_address(address)? {
                IpAddr::V4(address) => format!("{address}:{port}"),
                IpAddr::V6(address) => format!("[{address}]:{port}"),
            };
            let listener = Listener {
                address,
                protocol,
                state: if tcp { "LISTEN" } else { "UNCONN" }.to_owned(),
                process: None,
            };
            Some((inode, listener))
        })
        .take(MAX_LISTENERS)
        .collect()
}

/// Words of four bytes, each as this machine has it in memory.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn bound_to_path(table: &str, path: &str) -> Vec<(u64, Listener)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            // Flags: __SO_ACCEPTCON of net/unix/af_unix.c.
            let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
            let inode = fields.nth(2)?.parse().ok()?;
            // A name may have spaces.
            let name = fields.next()?;
            let whole = line.get(line.find(name)?..)?;
            let listener = Listener {
                address: path.to_owned(),
                protocol: "unix",
                state: if flags & 0x10000 != 0 { "LISTEN" } else { "UNCONN" }.to_owned(),
                process: None,
            };
            (whole == path).then_some((inode, listener))
        })
        .take(MAX_LISTENERS)
        .collect()
}

/// Finds which processes of the same network namespace have the sockets.
fn name_owners(listeners: &mut [(u64, Listener)], pid: u32) {
    if listeners.is_empty() {
        return;
    }
    let Ok(net) = fs::read_link(format!("/proc/{pid}/ns/net")) else {
        return;
    };
    let Ok(all) = fs::read_dir("/proc") else {
        return;
    };
    let pids = all
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .take(MAX_PROCESSES);
    for pid in pids {
        if fs::read_link(format!("/proc/{pid}/ns/net")).ok().as_ref() != Some(&net) {
            continue;
        }
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in fds.take(MAX_FDS).filter_map(Result::ok) {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse::<u64>()
                    .ok()
            });
            let owned = listeners
                .iter_mut()
                .find(|(its, listener)| Some(*its) == inode && listener.process.is_none());
            if let Some((_, listener)) = owned {
                listener.process = describe(pid);
            }
        }
        if listeners.iter().all(|(_, listener)| listener.process.is_some()) {
            return;
        }
    }
}

/// A process's number in its own PID namespace, and its name.
fn describe(pid: u32) -> Option<(u32, String)> {
    let text = read(&format!("/proc/{pid}/status")).ok()?;
    let text = text_of(&text);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let inner = field("NSpid:")
        .and_then(|numbers| numbers.split_whitespace().next_back())
        .and_then(|number| number.parse().ok());
    Some((inner.unwrap_or(pid), field("Name:")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::rules::testing::failed;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text =
            format!(r#"{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("127.0.0.1")}}"#);
        let call = failed("bind", libc::EADDRINUSE, &[("umyaddr", 1, &text)]);
        let network = look(&call, std::process::id()).unwrap();
        let [found] = network.listeners.try_into().unwrap();
        assert_eq!(found.address, format!("127.0.0.1:{port}"));
        assert_eq!(found.process.unwrap().0, std::process::id());
        assert!(network.addresses.contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(network.interfaces.contains(&"lo".to_owned()));
    }

    #[test]
    fn a_socket_file_that_is_listened_on_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let text = format!(r#"{{sa_family=AF_UNIX, sun_path="{}"}}"#, path.display());
        let call = failed("connect", libc::ECONNREFUSED, &[("uservaddr", 1, &text)]);
        let [found] = look(&call, std::process::id())
            .unwrap()
            .listeners
            .try_into()
            .unwrap();
        assert_eq!((&*found.state, found.protocol), ("LISTEN", "unix"));
    }

    #[test]
    fn tables_are_read() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n";
        let six = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(
            addresses(trie, six),
            [IpAddr::from([10, 0, 0, 7]), IpAddr::from(Ipv6Addr::LOCALHOST)]
        );
        assert!(!is_routed("Iface\tDestination\n", "fe80000 40 0 eth0\n"));
        assert!(is_routed("Iface\tDestination\neth0\t00000000\n", ""));
        assert_eq!(
            hex_address("00000000000000000000000001000000"),
            cfg!(target_endian = "little").then_some(Ipv6Addr::LOCALHOST.into())
        );
    }
}
