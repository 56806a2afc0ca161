//! Requests by netlink that the kernel refused with EPERM in its answer: no call failed.

use super::{Rule, capability::CAP_NET_ADMIN};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, Quiet, case::Found, quiet::request},
};

pub(super) const RULE: Rule = Rule {
    name: "netlink",
    source: "netlink(7), rtnetlink(7); net/core/rtnetlink.c: rtnetlink_rcv_msg, net/netfilter/nfnetlink.c, net/netlink/genetlink.c: netlink_net_capable",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    let Some(Quiet::Request { protocol, number }) = &case.scene.quiet else {
        return Finding::NotMine;
    };
    let request = request(protocol, *number);
    let lacks = |set: Option<u64>| set.is_some_and(|set| set & 1 << CAP_NET_ADMIN == 0);
    // The initial user namespace maps all ids to themselves.
    let is_rootless = case.scene.uids.as_deref().is_some_and(|map| {
        !map.iter()
            .any(|line| line.inside == line.outside && line.count == u32::MAX)
    });
    let is_above = is_rootless && case.scene.host_network == Some(true);
    let is_dropped = case.scene.dropped & 1 << CAP_NET_ADMIN != 0;
    let (of_task, of_container) = (
        lacks(case.scene.effective),
        lacks(case.scene.bounding) || is_dropped,
    );
    if !(is_above || of_task || of_container) {
        return Finding::RuledOut(match case.scene.effective {
            Some(_) => "CAP_NET_ADMIN: the task has it".to_owned(),
            None => "CAP_NET_ADMIN: the container may have it, and the task had ended before it could be looked at"
                .to_owned(),
        });
    }
    let answer = "the kernel's answer, which a call received without failing, is NLMSG_ERROR with EPERM";
    let source = "what changes a network, and what reads packet filters, needs CAP_NET_ADMIN in the network namespace's user namespace (rtnetlink(7), net/netlink/af_netlink.c: netlink_net_capable)";
    if is_above {
        return Found::new(
            Cause::UserNamespace,
            format!(
                "the request {request} needs CAP_NET_ADMIN over the host's network, and the container runs in a user namespace below: no flag gives it that"
            ),
        )
        .at_call(answer)
        .after("the container has the host's network, and ids that are not the host's")
        .always(source)
        .fix(
            Place::Podman,
            "without --network=host: a network of its own, and --cap-add=NET_ADMIN",
        )
        .fix(Place::Host, "what it wants done there, done by root")
        .done();
    }
    let mut found = Found::new(
        Cause::Capability,
        format!("the request {request} needs CAP_NET_ADMIN, and the task does not have it"),
    )
    .at_call(answer)
    .always(source);
    if of_task {
        found = found.after("CAP_NET_ADMIN is not in the task's effective set");
    }
    if is_dropped {
        found = found.before(
            "the container runtime took CAP_NET_ADMIN out of the bounding set (prctl(2), PR_CAPBSET_DROP)",
        );
    } else if of_container {
        found = found.after("CAP_NET_ADMIN is not in the bounding set: no program can gain it");
    } else {
        found = found.flag("--user=0, where the program does not run as root");
    }
    found
        .flag("--cap-add=NET_ADMIN")
        .fix(
            Place::Kubernetes,
            r#"securityContext.capabilities.add: ["NET_ADMIN"]"#,
        )
        .fix(
            Place::Systemd,
            "AmbientCapabilities=CAP_NET_ADMIN and CapabilityBoundingSet=CAP_NET_ADMIN",
        )
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Taken,
        explain::{
            IdMap, Scene,
            rules::testing::{ask, failed, id_map, verdict},
        },
    };

    fn scene(effective: Option<u64>, bounding: Option<u64>) -> Scene {
        Scene {
            quiet: Some(Quiet::Request {
                protocol: "NETLINK_ROUTE".into(),
                number: 16,
            }),
            uids: Some(vec![IdMap {
                inside: 0,
                outside: 0,
                count: u32::MAX,
            }]),
            host_network: Some(false),
            effective,
            bounding,
            ..Scene::default()
        }
    }

    #[test]
    fn what_changes_a_network_needs_a_capability() {
        let call = failed("recvmsg", libc::EPERM, &[]);
        for scene in [
            scene(None, Some(0)),
            scene(Some(0), Some(u64::MAX)),
            scene(Some(0), Some(0)),
        ] {
            let told = verdict(&RULE, &call, &scene);
            assert_eq!(told.cause, Cause::Capability);
            assert_eq!(
                told.why,
                "the request RTM_NEWLINK needs CAP_NET_ADMIN, and the task does not have it"
            );
            assert!(told.fixes.iter().any(|fix| fix.line == "--cap-add=NET_ADMIN"));
        }
        for unknown in [
            scene(Some(u64::MAX), Some(u64::MAX)),
            scene(None, Some(u64::MAX)),
            scene(None, None),
        ] {
            assert!(matches!(ask(&RULE, &call, &unknown), Finding::RuledOut(_)));
        }
        let dropped = Scene {
            dropped: 1 << CAP_NET_ADMIN,
            ..scene(None, None)
        };
        let told = verdict(&RULE, &call, &dropped);
        assert_eq!(
            (told.cause, told.evidence[2].taken),
            (Cause::Capability, Taken::Before)
        );
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }

    #[test]
    fn the_host_s_network_is_nobody_s_below() {
        let call = failed("recvmsg", libc::EPERM, &[]);
        let rootless = Scene {
            uids: Some(id_map().to_vec()),
            host_network: Some(true),
            ..scene(Some(u64::MAX), Some(u64::MAX))
        };
        assert_eq!(verdict(&RULE, &call, &rootless).cause, Cause::UserNamespace);
    }
}
