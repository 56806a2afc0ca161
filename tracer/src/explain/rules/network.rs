//! Sockets: nobody listens, no way there, an address that somebody has, that nobody may have, or that this machine has not.

use std::net::IpAddr;

use super::{Rule, capability::CAP_NET_BIND_SERVICE, words::shown};
use crate::{
    event::{Cause, Place},
    explain::{
        Case, Finding, Kind, Listener, Network,
        arguments::{self, Address, number_after, unquote},
        case::Found,
    },
};

pub(super) const RULE: Rule = Rule {
    name: "network",
    source: "connect(2), bind(2), ip(7), tcp(7), unix(7), netdevice(7); net/ipv4/af_inet.c: __inet_bind",
    judge,
};

const CONNECTS: &[&str] = &["connect", "sendto", "sendmsg", "sendmmsg"];

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::ECONNREFUSED) => refused(case),
        Some(libc::ECONNRESET) => reset(case),
        Some(libc::ENOENT) if case.is(CONNECTS) => no_socket(case),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN) => unreachable(case),
        Some(libc::ETIMEDOUT)
            if !case.is(&[
                "futex",
                "futex_wait",
                "futex_waitv",
                "mq_timedreceive",
                "mq_timedsend",
                "semtimedop",
                "rt_sigtimedwait",
                "clock_nanosleep",
                "io_getevents",
            ]) =>
        {
            no_answer(case)
        }
        Some(libc::EADDRINUSE) => in_use(case),
        Some(libc::EADDRNOTAVAIL) => not_available(case),
        Some(libc::EACCES) if case.is(&["bind"]) => privileged(case),
        Some(libc::EACCES) if case.is(CONNECTS) => broadcast(case),
        Some(libc::ENODEV | libc::ENXIO)
            if case.is(&["ioctl", "setsockopt", "bind", "sendto", "sendmsg"]) =>
        {
            no_interface(case)
        }
        _ => Finding::NotMine,
    }
}

/// The address that the call was given, or that its socket speaks to.
fn address(case: &Case<'_>) -> Option<Address> {
    let peer = || arguments::address_of(case.scene.earlier.peer.as_deref()?);
    arguments::address(case.call).or_else(peer)
}

fn written(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn listeners(network: &Network) -> Vec<String> {
    network.listeners.iter().map(listener).collect()
}

fn listener(listener: &Listener) -> String {
    let Listener {
        address,
        protocol,
        state,
        process,
    } = listener;
    match process {
        Some((pid, name)) => format!("{protocol} {address} {state}: process {pid} ({name})"),
        None => format!("{protocol} {address} {state}"),
    }
}

fn refused(case: &Case<'_>) -> Finding {
    match address(case) {
        Some(Address::Inet(to, port)) => {
            let target = written(to, port);
            let own = case
                .scene
                .network
                .as_ref()
                .map(|network| network.addresses.contains(&to));
            let here = to.is_loopback() || to.is_unspecified() || own == Some(true);
            let mut found = Found::new(
                Cause::Refused,
                if here {
                    format!("nobody listens on {target} in the container's network namespace")
                } else {
                    format!("nobody listens on {target}, or its host refuses")
                },
            );
            if let Some(network) = &case.scene.network {
                let all = listeners(network);
                found = match all.is_empty() {
                    true if here => {
                        found.after(format!("no socket of the namespace is bound to port {port}"))
                    }
                    true => found,
                    false => all.into_iter().fold(found, |found, line| found.after(line)),
                };
            }
            found = found.always("connect(2): ECONNREFUSED");
            if to.is_loopback() {
                found = found
                    .always(format!(
                        "{to} is the container itself, neither the host nor another container"
                    ))
                    .fix(
                        Place::Program,
                        "the name or address of the other container, or host.containers.internal (podman), host.docker.internal (docker) for the host",
                    )
                    .flag("--network=host, or a Pod that both containers are in, where localhost is meant to be shared")
                    .fix(Place::Kubernetes, "the name of a Service");
            } else {
                found = found
                    .fix(
                        Place::Program,
                        format!("start what is to listen on port {port} before, or try again later"),
                    )
                    .fix(Place::Program, "let it listen on 0.0.0.0 or ::, not on 127.0.0.1");
            }
            found.done()
        }
        Some(Address::Unix(path)) if path.is_empty() => Found::new(
            Cause::Refused,
            "nobody listens on that abstract socket in the container's network namespace",
        )
        .always("abstract names belong to a network namespace (unix(7))")
        .flag("--network=host, where the socket is the host's")
        .done(),
        Some(Address::Unix(path)) => {
            let file = shown(&path);
            let walked = case.scene.paths.first().and_then(|path| {
                path.steps
                    .last()
                    .filter(|_| path.missing.is_none() && path.left == 0)
            });
            if let Some(step) = walked.filter(|step| step.kind != Kind::Socket) {
                return Found::new(Cause::Refused, format!("{file} is no socket"))
                    .after(format!("{} is something else", shown(&step.path)))
                    .always("unix(7): ECONNREFUSED of a file that is no socket")
                    .flag(&format!(
                        "-v SOURCE:{file}: where SOURCE is not there, docker makes a directory of it"
                    ))
                    .done();
            }
            Found::new(
                Cause::Refused,
                format!("{file} is there, and nobody listens on it: its server has ended, or listens with a backlog that is full"),
            )
            .always("a socket's file outlives its server (unix(7))")
            .fix(Place::Program, format!("start the server of {file}; it removes the old file first"))
            .flag(&format!("mount the directory of {file}, not the file: a server that starts again makes another one"))
            .done()
        }
        None => match case.is(&["connect", "getsockopt"]) {
            true => Found::new(Cause::Refused, "nobody listens there, or its host refuses")
                .always("connect(2): ECONNREFUSED")
                .done(),
            // Of an earlier datagram.
            false => Found::new(
                Cause::Refused,
                "an earlier datagram came to a port that nobody listens on",
            )
            .always("udp(7), icmp(7): ECONNREFUSED tells of what was sent before")
            .done(),
        },
    }
}

fn reset(case: &Case<'_>) -> Finding {
    const SOURCE: &str = "tcp(7), recv(2): ECONNRESET";
    let to = match address(case) {
        Some(Address::Inet(to, port)) => written(to, port),
        Some(Address::Unix(path)) if !path.is_empty() => shown(&path),
        // A server's clients come and go.
        _ if case.scene.earlier.followed => {
            return Found::new(
                Cause::Expected,
                "the other end, which began the connection, has ended it",
            )
            .always(SOURCE)
            .done();
        }
        _ => return Finding::NotMine,
    };
    Found::new(Cause::Refused, format!("{to} has ended the connection before it was done"))
        .always(SOURCE)
        .fix(
            Place::Program,
            format!("what {to} says of it: it has ended, or does not take what was sent (TLS to a port without it), or something on the way did (a proxy's time limit)"),
        )
        .done()
}

fn no_socket(case: &Case<'_>) -> Finding {
    match address(case) {
        Some(Address::Unix(path)) if !path.is_empty() => {
            let file = shown(&path);
            let missing = case.scene.paths.first().filter(|path| path.missing.is_some());
            let mut found = Found::new(
                Cause::Missing,
                format!("there is no socket {file} in the container"),
            );
            if let Some(path) = missing {
                found = found.after(format!(
                    "{} has no {}",
                    shown(&path.ended_in),
                    shown(path.missing.as_deref().unwrap_or_default())
                ));
            }
            found
                .always("unix(7), connect(2): ENOENT")
                .flag(&format!("-v {file}:{file}, where the server is the host's"))
                .fix(
                    Place::Kubernetes,
                    format!("a hostPath volume with mountPath: {file}"),
                )
                .fix(Place::Program, format!("start the server of {file} before"))
                .done()
        }
        _ => Finding::NotMine,
    }
}

fn unreachable(case: &Case<'_>) -> Finding {
    let to = match address(case) {
        Some(Address::Inet(to, 53)) => {
            format!("{} (a name server's port: no name is found)", written(to, 53))
        }
        Some(Address::Inet(to, port)) => written(to, port),
        _ => "its target".to_owned(),
    };
    let Some(network) = &case.scene.network else {
        return Found::new(Cause::Unreachable, format!("there is no way to {to}"))
            .always("connect(2): ENETUNREACH, EHOSTUNREACH")
            .done();
    };
    let others: Vec<_> = network
        .interfaces
        .iter()
        .filter(|name| *name != "lo")
        .cloned()
        .collect();
    if others.is_empty() {
        return Found::new(
            Cause::Unreachable,
            format!("there is no way to {to}: the container has no network but the loopback"),
        )
        .after("interfaces: lo alone")
        .always("connect(2): ENETUNREACH")
        .flag("a network: without --network=none")
        .fix(
            Place::Kubernetes,
            "the Pod's network has not been set up: see its CNI plugin",
        )
        .done();
    }
    if !network.default_route {
        return Found::new(
            Cause::Unreachable,
            format!("there is no way to {to}: the network namespace has no route out"),
        )
        .after(format!("interfaces: {}", others.join(", ")))
        .after("no route goes out of any interface but the loopback")
        .always("connect(2): ENETUNREACH")
        .flag("a network that is not --internal")
        .done();
    }
    let six = to.starts_with('[');
    let found = Found::new(Cause::Unreachable, format!("there is no way to {to}"))
        .after(format!("interfaces: {}", others.join(", ")))
        .after("there are routes out of the namespace");
    let found = if six {
        found
            .always("most container networks are of IPv4 alone: programs try IPv6 first, then go on")
            .flag("a network with --ipv6, where IPv6 is wanted")
    } else {
        found.fix(Place::Host, "a route to that network, on the host too (ip route get ADDRESS); a firewall may answer so as well")
    };
    found.always("connect(2): ENETUNREACH, EHOSTUNREACH").done()
}

fn no_answer(case: &Case<'_>) -> Finding {
    let to = match address(case) {
        Some(Address::Inet(to, port)) => written(to, port),
        _ => return Finding::NotMine,
    };
    Found::new(Cause::Unreachable, format!("{to} did not answer"))
        .always("connect(2), tcp(7): ETIMEDOUT when nothing comes back, as from a firewall that drops")
        .fix(
            Place::Host,
            "look for the packets on their way: tcpdump on the host's bridge, nft list ruleset",
        )
        .fix(Place::Kubernetes, "a NetworkPolicy that lets the Pod out")
        .done()
}

fn in_use(case: &Case<'_>) -> Finding {
    let Some(network) = &case.scene.network else {
        return Found::new(Cause::AddressInUse, "another socket has that address")
            .always("bind(2): EADDRINUSE")
            .done();
    };
    let all = listeners(network);
    let what = match address(case) {
        Some(Address::Inet(to, port)) => written(to, port),
        Some(Address::Unix(path)) => {
            let file = if path.is_empty() {
                "that abstract name".to_owned()
            } else {
                shown(&path)
            };
            let mut found = Found::new(
                Cause::AddressInUse,
                match all.first() {
                    Some(first) => format!("{file} is in use: {first}"),
                    None => format!("{file} is there already, left by a server that has ended"),
                },
            );
            found = all.into_iter().fold(found, |found, line| found.after(line));
            return found
                .always("a socket's file outlives its server, and bind does not replace it (unix(7))")
                .fix(
                    Place::Program,
                    format!("remove {file} before bind, as servers do"),
                )
                .done();
        }
        None => "that address".to_owned(),
    };
    let mut found = Found::new(
        Cause::AddressInUse,
        match network
            .listeners
            .iter()
            .find(|listener| listener.process.is_some())
        {
            Some(Listener {
                process: Some((pid, name)),
                address,
                ..
            }) => format!("{what} is in use: process {pid} ({name}) has {address}"),
            _ => format!("{what} is in use"),
        },
    );
    found = match all.is_empty() {
        true => found.after(
            "right after, no socket listened there: it may have closed, or its connections are in TIME_WAIT",
        ),
        false => all.into_iter().fold(found, |found, line| found.after(line)),
    };
    found
        .always("bind(2), ip(7): EADDRINUSE, unless both have SO_REUSEPORT; SO_REUSEADDR for connections in TIME_WAIT")
        .fix(Place::Program, "another port, or the other process stopped")
        .flag("a network namespace of its own: without --network=host, not in the Pod of the other one")
        .done()
}

fn not_available(case: &Case<'_>) -> Finding {
    let Some(Address::Inet(to, port)) = address(case) else {
        return Finding::NotMine;
    };
    if case.is(CONNECTS) {
        // No local address is left, or there is none of that family.
        return Found::new(
            Cause::NoInterface,
            format!(
                "the network namespace has no address, or no port, from which to reach {}",
                written(to, port)
            ),
        )
        .after(format!("its addresses: {}", list(case)))
        .always("connect(2): EADDRNOTAVAIL; net.ipv4.ip_local_port_range has 28232 ports")
        .flag("a network with --ipv6, where the address is of IPv6")
        .done();
    }
    if case
        .scene
        .network
        .as_ref()
        .is_some_and(|network| network.addresses.contains(&to))
    {
        return Finding::RuledOut(format!("an address that is not here: {to} is"));
    }
    Found::new(
        Cause::NoInterface,
        format!("{to} is no address of the container's network namespace"),
    )
    .after(format!("its addresses: {}", list(case)))
    .always("bind(2): EADDRNOTAVAIL")
    .fix(
        Place::Program,
        "listen on 0.0.0.0 or ::, and let the engine publish the port on the address that is wanted",
    )
    .flag(&format!(
        "-p {}: published on the host's address",
        written(to, port)
    ))
    .flag("--network=host, where the address is the host's")
    .done()
}

fn list(case: &Case<'_>) -> String {
    let all: Vec<_> = case
        .scene
        .network
        .iter()
        .flat_map(|network| &network.addresses)
        .take(16)
        .map(IpAddr::to_string)
        .collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

/// The kernel asks for CAP_NET_BIND_SERVICE only below ip_unprivileged_port_start.
fn privileged(case: &Case<'_>) -> Finding {
    let Some(Address::Inet(_, port)) = address(case) else {
        return Finding::NotMine;
    };
    let from = case
        .scene
        .network
        .as_ref()
        .and_then(|network| network.unprivileged_from);
    let proved = case.denied(CAP_NET_BIND_SERVICE).unwrap_or_else(|| {
        port != 0 && port < from.unwrap_or(1024) && case.has(CAP_NET_BIND_SERVICE) == Some(false)
    });
    if !proved {
        return Finding::RuledOut(format!(
            "a privileged port: the kernel did not miss CAP_NET_BIND_SERVICE for port {port}"
        ));
    }
    let mut found = Found::new(
        Cause::PrivilegedPort,
        format!("port {port} is for CAP_NET_BIND_SERVICE alone, and the task does not have it"),
    );
    if case.denied(CAP_NET_BIND_SERVICE) == Some(true) {
        found = found.at_call("the kernel asked for CAP_NET_BIND_SERVICE and did not find it");
    }
    if let Some(from) = from {
        found = found.after(format!("net.ipv4.ip_unprivileged_port_start is {from}"));
    }
    found = found
        .always("ports below net.ipv4.ip_unprivileged_port_start (1024) want that capability in the network namespace's user namespace (ip(7))");
    // The network is that of the host, or of another user namespace above: no flag gives power over it.
    let is_above = case.evidence().is_some_and(|evidence| {
        evidence
            .denied_ns
            .is_some_and(|(_, level)| level < evidence.user_ns_level)
    });
    if is_above {
        return found
            .at_call(
                "it asked in a user namespace above the container's: --cap-add=NET_BIND_SERVICE cannot help",
            )
            .fix(
                Place::Program,
                format!(
                    "a port from 1024 on: the container has the host's network, where {port} is the host's"
                ),
            )
            .fix(
                Place::Host,
                format!("sysctl -w net.ipv4.ip_unprivileged_port_start={port}"),
            )
            .fix(
                Place::Podman,
                format!("without --network=host: a network of its own, and -p 8080:{port}"),
            )
            .done();
    }
    found = found.fix(
        Place::Program,
        format!("a port from 1024 on, published as -p {port}:8080"),
    );
    if from.is_some() || case.in_user_namespace() == Some(true) {
        found = found.fix(
            Place::Host,
            format!("sysctl -w net.ipv4.ip_unprivileged_port_start={port}, where the container has the host's network"),
        );
    }
    found
        .flag(&format!("--sysctl net.ipv4.ip_unprivileged_port_start={port}"))
        .flag("--cap-add=NET_BIND_SERVICE (docker: for root alone)")
        .fix(
            Place::Kubernetes,
            format!(r#"spec.securityContext.sysctls: [{{name: "net.ipv4.ip_unprivileged_port_start", value: "{port}"}}]"#),
        )
        .fix(Place::Systemd, "AmbientCapabilities=CAP_NET_BIND_SERVICE, or a .socket unit")
        .done()
}

/// connect(2): EACCES of a broadcast address without SO_BROADCAST.
fn broadcast(case: &Case<'_>) -> Finding {
    let Some(Address::Inet(IpAddr::V4(to), port)) = address(case) else {
        return Finding::NotMine;
    };
    let last = to.octets()[3];
    if last != 255
        || case
            .evidence()
            .is_some_and(|evidence| evidence.denied.is_some_and(|denied| denied != 0))
    {
        return Finding::NotMine;
    }
    Found::new(
        Cause::Arguments,
        format!("{to}:{port} is a broadcast address, and the socket has not SO_BROADCAST"),
    )
    .always("ip(7), socket(7): EACCES; a firewall's rule of the host gives it too")
    .fix(Place::Program, "setsockopt(fd, SOL_SOCKET, SO_BROADCAST, 1)")
    .done()
}

fn no_interface(case: &Case<'_>) -> Finding {
    let Some(network) = &case.scene.network else {
        return Finding::NotMine;
    };
    let text = &case.call.args.text;
    let is_named = case.says("SO_BINDTODEVICE")
        || case.says("ifr_name=")
        || case.says("sll_ifindex")
        || case.says("SIOCG")
        || case.says("SIOCS");
    if !is_named {
        return Finding::NotMine;
    }
    let name = ["ifr_name=", "SO_BINDTODEVICE, ", "SO_BINDTODEVICE "]
        .iter()
        .find_map(|word| {
            let rest = text.split_once(word)?.1;
            let end = rest.get(1..)?.find('"')? + 2;
            unquote(rest.get(..end)?)
        })
        .or_else(|| {
            // strace shows it as the integer that other options are.
            let integer = number_after(text, "SO_BINDTODEVICE, [")?;
            let bytes = u32::try_from(integer).ok()?.to_le_bytes();
            bytes.iter().all(u8::is_ascii_graphic).then(|| bytes.to_vec())
        })
        .map(|name| shown(&name).trim_end_matches('\0').to_owned());
    let what = match (&name, number_after(text, "sll_ifindex=")) {
        (Some(name), _) if network.interfaces.iter().any(|each| each == name) => {
            return Finding::RuledOut(format!("an interface that is not here: {name} is"));
        }
        (Some(name), _) => name.clone(),
        (None, Some(index)) => format!("of number {index}"),
        (None, None) => "of that name or number".to_owned(),
    };
    Found::new(
        Cause::NoInterface,
        format!("the container's network namespace has no interface {what}"),
    )
    .after(format!("its interfaces: {}", network.interfaces.join(", ")))
    .always("netdevice(7), socket(7): ENODEV, ENXIO")
    .flag("--network=host, where the interface is the host's")
    .fix(
        Place::Kubernetes,
        "hostNetwork: true, or a second network (Multus)",
    )
    .fix(
        Place::Program,
        format!("one of {}", network.interfaces.join(", ")),
    )
    .done()
}

#[cfg(test)]
mod tests;
