//! Name servers that gave no answer: no call failed, and the program says that it cannot resolve a name.

use std::net::IpAddr;

use super::Rule;
use crate::{
    event::{Cause, Place},
    explain::{
        Case, Finding, Quiet,
        arguments::{Address, address_of},
        case::Found,
        quiet::server,
    },
};

pub(super) const RULE: Rule = Rule {
    name: "name_server",
    source: "resolv.conf(5), getaddrinfo(3): EAI_AGAIN; udp(7), icmp(7)",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    let Some(Quiet::NameServer(address)) = &case.scene.quiet else {
        return Finding::NotMine;
    };
    let to = server(address);
    let host = match address_of(address) {
        Some(Address::Inet(host, _)) => host,
        _ => IpAddr::from([0, 0, 0, 0]),
    };
    let found = if case.failed_with(&[libc::ECONNREFUSED]) {
        Found::new(
            Cause::Refused,
            format!("nobody answers at the name server {to}: names that no other server knows are not found"),
        )
        .at_call("the wait for its answer ended with POLLERR: word came back that nobody listens there")
    } else {
        let waited = match case.raw("timeout_msecs") {
            Some(ms) if case.is(&["poll"]) => format!(" within {ms} ms"),
            _ => String::new(),
        };
        Found::new(
            Cause::Unreachable,
            format!(
                "the name server {to} did not answer{waited}: names that no other server knows are not found"
            ),
        )
        .at_call("the wait for its answer ended without one, and the socket was closed")
    };
    let mut found = found.always(
        "libraries ask the servers of /etc/resolv.conf in turn, and give up where none answers (resolv.conf(5); EAI_AGAIN of getaddrinfo(3))",
    );
    if host.is_loopback() {
        found = found.always(format!(
            "{host} is the container itself, unless it has the host's network: a resolver of the host is not there"
        ));
    }
    found
        .flag("--dns=ADDRESS of a server that the container can reach")
        .fix(
            Place::Kubernetes,
            "see that the cluster's DNS answers (kubectl -n kube-system get endpoints kube-dns) and that no NetworkPolicy keeps the Pod from port 53 of UDP; spec.dnsConfig.nameservers",
        )
        .fix(
            Place::Host,
            format!("let packets to {to} and their answers through (nft list ruleset, tcpdump port 53)"),
        )
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn told(address: &str, errno: i32) -> crate::event::Verdict {
        let text = format!(r#"{{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("{address}")}}"#);
        let scene = Scene {
            quiet: Some(Quiet::NameServer(text.as_str().into())),
            ..Scene::default()
        };
        verdict(
            &RULE,
            &failed("poll", errno, &[("timeout_msecs", 5000, "5000")]),
            &scene,
        )
    }

    #[test]
    fn a_server_that_is_silent_and_one_that_is_not_there() {
        let silent = told("10.0.0.2", libc::ETIMEDOUT);
        assert_eq!(silent.cause, Cause::Unreachable);
        assert!(
            silent
                .why
                .starts_with("the name server 10.0.0.2:53 did not answer within 5000 ms"),
            "{silent:?}"
        );
        let refused = told("127.0.0.53", libc::ECONNREFUSED);
        assert_eq!(refused.cause, Cause::Refused);
        assert!(
            refused
                .evidence
                .iter()
                .any(|fact| fact.text.contains("the container itself"))
        );
        let other = failed("poll", libc::ETIMEDOUT, &[]);
        assert_eq!(ask(&RULE, &other, &Scene::default()), Finding::NotMine);
    }
}
