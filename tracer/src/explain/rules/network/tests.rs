//! Sockets that find nobody, no way or no address.

use super::*;
use crate::{
    event::{Evidence, Syscall, Verdict},
    explain::{
        Component, Path, Scene,
        rules::testing::{ask, failed, verdict},
    },
};

fn inet(address: &str, port: u16) -> String {
    format!(r#"{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{address}")}}"#)
}

fn call(name: &'static str, errno: i32, text: &str) -> Syscall {
    let arg = if name == "bind" { "umyaddr" } else { "uservaddr" };
    failed(name, errno, &[(arg, 1, text)])
}

fn scene(network: Network) -> Scene {
    Scene {
        network: Some(network),
        ..Scene::default()
    }
}

fn lines(verdict: &Verdict) -> String {
    verdict
        .fixes
        .iter()
        .map(|fix| fix.line.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn nobody_listens() {
    let told = verdict(
        &RULE,
        &call("connect", libc::ECONNREFUSED, &inet("127.0.0.1", 5432)),
        &scene(Network::default()),
    );
    assert_eq!(told.cause, Cause::Refused);
    assert_eq!(
        told.why,
        "nobody listens on 127.0.0.1:5432 in the container's network namespace"
    );
    assert!(
        told.evidence
            .iter()
            .any(|fact| fact.text.starts_with("127.0.0.1 is the container itself"))
    );
    let told = verdict(
        &RULE,
        &call("connect", libc::ECONNREFUSED, &inet("10.0.0.9", 80)),
        &Scene::default(),
    );
    assert!(told.why.contains("or its host refuses"));
}

#[test]
fn socket_files() {
    let text = r#"{sa_family=AF_UNIX, sun_path="/run/s"}"#;
    let at = |kind| Scene {
        paths: vec![Path {
            steps: vec![Component {
                path: b"/run/s".to_vec(),
                kind,
                ..Component::default()
            }],
            ..Path::default()
        }],
        ..Scene::default()
    };
    let refused = call("connect", libc::ECONNREFUSED, text);
    assert!(
        verdict(&RULE, &refused, &at(Kind::Socket))
            .why
            .contains("nobody listens on it")
    );
    assert_eq!(
        verdict(&RULE, &refused, &at(Kind::Directory)).why,
        "/run/s is no socket"
    );
    let told = verdict(&RULE, &call("connect", libc::ENOENT, text), &Scene::default());
    assert_eq!(
        (told.cause, &*told.why),
        (Cause::Missing, "there is no socket /run/s in the container")
    );
    let told = verdict(
        &RULE,
        &call("bind", libc::EADDRINUSE, text),
        &scene(Network::default()),
    );
    assert!(told.why.contains("left by a server that has ended"));
}

#[test]
fn no_way_out() {
    let connect = call("connect", libc::ENETUNREACH, &inet("1.1.1.1", 443));
    let none = Network {
        interfaces: vec!["lo".into()],
        ..Network::default()
    };
    assert!(lines(&verdict(&RULE, &connect, &scene(none.clone()))).contains("--network=none"));
    let internal = Network {
        interfaces: vec!["lo".into(), "eth0".into()],
        ..none
    };
    assert!(lines(&verdict(&RULE, &connect, &scene(internal.clone()))).contains("--internal"));
    let open = Network {
        default_route: true,
        ..internal
    };
    assert_eq!(
        verdict(&RULE, &connect, &scene(open)).why,
        "there is no way to 1.1.1.1:443"
    );
}

#[test]
fn an_address_that_somebody_has() {
    let network = Network {
        listeners: vec![Listener {
            address: "0.0.0.0:80".into(),
            protocol: "tcp",
            state: "LISTEN".into(),
            process: Some((7, "nginx".into())),
        }],
        ..Network::default()
    };
    let told = verdict(
        &RULE,
        &call("bind", libc::EADDRINUSE, &inet("0.0.0.0", 80)),
        &scene(network),
    );
    assert_eq!(told.why, "0.0.0.0:80 is in use: process 7 (nginx) has 0.0.0.0:80");
}

#[test]
fn an_address_that_is_not_here() {
    let network = Network {
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        ..Network::default()
    };
    let bind = |to| call("bind", libc::EADDRNOTAVAIL, &inet(to, 80));
    let told = verdict(&RULE, &bind("192.0.2.1"), &scene(network.clone()));
    assert_eq!(told.cause, Cause::NoInterface);
    assert!(matches!(
        ask(&RULE, &bind("127.0.0.1"), &scene(network)),
        Finding::RuledOut(_)
    ));
}

#[test]
fn privileged_ports() {
    let bind = |denied| {
        call("bind", libc::EACCES, &inet("0.0.0.0", 80)).knowing(Evidence {
            denied,
            ..Evidence::default()
        })
    };
    let told = verdict(&RULE, &bind(Some(1 << CAP_NET_BIND_SERVICE)), &Scene::default());
    assert_eq!(told.cause, Cause::PrivilegedPort);
    assert!(lines(&told).contains("--sysctl net.ipv4.ip_unprivileged_port_start=80"));
    assert!(matches!(
        ask(&RULE, &bind(Some(0)), &Scene::default()),
        Finding::RuledOut(_)
    ));
    assert_eq!(
        verdict(&RULE, &bind(None), &Scene::default()).cause,
        Cause::PrivilegedPort
    );
    // A rootless container in the host's network: no capability of its own counts there.
    let mut above = bind(Some(1 << CAP_NET_BIND_SERVICE));
    let evidence = above.evidence.as_mut().unwrap();
    (evidence.user_ns_level, evidence.denied_ns) = (1, Some((1, 0)));
    let told = lines(&verdict(&RULE, &above, &Scene::default()));
    assert!(
        told.contains("sysctl -w net.ipv4.ip_unprivileged_port_start=80"),
        "{told}"
    );
    assert!(
        !told.contains("--sysctl") && !told.contains("--cap-add"),
        "{told}"
    );
}

#[test]
fn interfaces() {
    let network = Network {
        interfaces: vec!["lo".into()],
        ..Network::default()
    };
    let ioctl = |name: &str| {
        failed(
            "ioctl",
            libc::ENODEV,
            &[
                ("cmd", 0x8913, "SIOCGIFFLAGS"),
                ("arg", 1, &format!("{{ifr_name=\"{name}\"}}")),
            ],
        )
    };
    let told = verdict(&RULE, &ioctl("eth0"), &scene(network.clone()));
    assert_eq!(
        told.why,
        "the container's network namespace has no interface eth0"
    );
    assert!(matches!(
        ask(&RULE, &ioctl("lo"), &scene(network.clone())),
        Finding::RuledOut(_)
    ));
    let other = failed("ioctl", libc::ENXIO, &[("cmd", 1, "BLKGETSIZE")]);
    assert_eq!(ask(&RULE, &other, &scene(network)), Finding::NotMine);
}

#[test]
fn silence() {
    let told = verdict(
        &RULE,
        &call("connect", libc::ETIMEDOUT, &inet("192.0.2.1", 80)),
        &Scene::default(),
    );
    assert_eq!(told.cause, Cause::Unreachable);
    assert_eq!(
        ask(&RULE, &failed("futex", libc::ETIMEDOUT, &[]), &Scene::default()),
        Finding::NotMine
    );
}

#[test]
fn who_ended_a_connection() {
    let told = |peer: Option<String>, errno| {
        let mut scene = Scene::default();
        scene.earlier.followed = true;
        scene.earlier.peer = peer.map(|peer| peer.as_str().into());
        verdict(&RULE, &failed("recvfrom", errno, &[("fd", 3, "3")]), &scene)
    };
    let reset = told(Some(inet("10.0.0.5", 5432)), libc::ECONNRESET);
    assert_eq!(
        (reset.cause, &*reset.why),
        (
            Cause::Refused,
            "10.0.0.5:5432 has ended the connection before it was done"
        )
    );
    assert_eq!(told(None, libc::ECONNRESET).cause, Cause::Expected);
    // Of a call that takes no address, too.
    let refused = told(Some(inet("10.0.0.5", 5432)), libc::ECONNREFUSED);
    assert!(refused.why.contains("10.0.0.5:5432"), "{refused:?}");
    let unknown = failed("recvfrom", libc::ECONNRESET, &[]);
    assert_eq!(ask(&RULE, &unknown, &Scene::default()), Finding::NotMine);
}
