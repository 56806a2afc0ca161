//! Landlock, by which a program restricts itself and those that it starts. /proc shows nothing of it; the calls that did it
//! do, where the trace has them. The verdict is Landlock's only where its rules are all known, none of them gives the right
//! that the call needs, and neither modes nor capabilities were what refused.

use super::{
    Rule, capability, dac,
    words::{shown, span},
};
use crate::{
    event::{Cause, Place},
    explain::{
        Case, Finding, Kind, Path,
        arguments::{self, Address},
        case::Found,
    },
    follow::{Domain, Ruleset},
};

pub(super) const RULE: Rule = Rule {
    name: "landlock",
    source: "landlock(7), landlock_restrict_self(2); security/landlock/fs.c, net.c",
    judge,
};

/// What Landlock refuses whatever its rules are, once they are about files (hook_sb_mount and those after it).
const MOUNTS: &[&str] = &["mount", "umount2", "move_mount", "mount_setattr", "pivot_root"];
/// Rules that are shown.
const SHOWN: usize = 4;

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::EACCES, libc::EPERM, libc::EXDEV]) {
        return Finding::NotMine;
    }
    let lsms = case.scene.lsms.as_deref();
    if lsms.is_some_and(|lsms| !lsms.iter().any(|lsm| lsm == "landlock")) {
        return Finding::NotMine;
    }
    let Some(domain) = case.scene.earlier.domain.as_deref() else {
        return Finding::RuledOut(
            "Landlock: no landlock_restrict_self of this thread, or of those that made it, was seen"
                .to_owned(),
        );
    };
    let refused = match case.errno() {
        Some(libc::EPERM) if case.is(MOUNTS) => mounts(domain),
        Some(libc::EACCES) if case.is(&["bind", "connect"]) && is_inet(case) => ports(case, domain),
        Some(libc::EACCES) => files(case, domain),
        _ => None,
    };
    match refused {
        Some(refused) if was_asked_last(case) => found(case, domain, &refused),
        _ => Finding::RuledOut(format!(
            "Landlock: the thread is restricted (landlock_restrict_self, {} before), and no right is known that its rules do not give",
            span(case.scene.earlier.ktime.saturating_sub(domain.ktime))
        )),
    }
}

/// A right that is not given, and on what.
struct Refused<'a> {
    what: String,
    right: &'static str,
    /// Whose rules do not.
    layer: &'a Ruleset,
}

fn mounts(domain: &Domain) -> Option<Refused<'_>> {
    let about_files = |layer: &&std::sync::Arc<Ruleset>| {
        layer
            .handled
            .iter()
            .any(|right| right.starts_with("LANDLOCK_ACCESS_FS_"))
    };
    let layer = domain.layers.iter().find(about_files)?;
    Some(Refused {
        what: "mounts: Landlock lets nobody change them who has rules for files".to_owned(),
        right: "",
        layer,
    })
}

fn is_inet(case: &Case<'_>) -> bool {
    matches!(arguments::address(case.call), Some(Address::Inet(..)))
}

fn ports<'a>(case: &Case<'_>, domain: &'a Domain) -> Option<Refused<'a>> {
    let right = if case.is(&["bind"]) {
        "LANDLOCK_ACCESS_NET_BIND_TCP"
    } else {
        "LANDLOCK_ACCESS_NET_CONNECT_TCP"
    };
    let mut layers = domain.layers.iter();
    // Which ports a rule names is in no event.
    let layer = layers.find(|layer| layer.handles(right) && !layer.ports)?;
    Some(Refused {
        what: "any port".to_owned(),
        right,
        layer,
    })
}

fn files<'a>(case: &Case<'_>, domain: &'a Domain) -> Option<Refused<'a>> {
    case.scene
        .paths
        .iter()
        .filter(|path| path.is_named())
        .find_map(|path| {
            let (rights, whole) = rights(case, path);
            let last = path.steps.iter().rfind(|step| step.kind != Kind::Link);
            let mut place = last
                .map(|step| step.path.clone())
                .unwrap_or_else(|| b"/".to_vec());
            if !whole
                && path.steps.iter().filter(|step| step.kind != Kind::Link).count() > 1
                && path.missing.is_none()
            {
                // The right is on the directory that the file is in.
                let end = place.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
                place.truncate(end.max(1));
            }
            let refuses = |layer: &&std::sync::Arc<Ruleset>, right: &str| {
                layer.handles(right) && !layer.more && !allows(layer, right, &place, &path.given)
            };
            rights.into_iter().find_map(|right| {
                let layer = domain.layers.iter().find(|layer| refuses(layer, right))?;
                Some(Refused {
                    what: shown(&place),
                    right,
                    layer,
                })
            })
        })
}

/// What the call needs there, and whether it needs it on the file itself and not on its directory.
fn rights(case: &Case<'_>, path: &Path) -> (Vec<&'static str>, bool) {
    let is_directory = path.missing.is_none()
        && path
            .steps
            .iter()
            .rfind(|step| step.kind != Kind::Link)
            .is_some_and(|step| step.kind == Kind::Directory);
    match case.call.name.as_ref() {
        "open" | "openat" | "openat2" | "creat" => {
            if path.missing.is_some() && arguments::creates(case.call, path.arg) {
                return (vec!["LANDLOCK_ACCESS_FS_MAKE_REG"], false);
            }
            let mut rights = Vec::new();
            let writes = case.is(&["creat"]) || case.says("O_WRONLY");
            if !writes && !case.says("O_PATH") {
                rights.push(if is_directory {
                    "LANDLOCK_ACCESS_FS_READ_DIR"
                } else {
                    "LANDLOCK_ACCESS_FS_READ_FILE"
                });
            }
            if writes || case.says("O_RDWR") {
                rights.push("LANDLOCK_ACCESS_FS_WRITE_FILE");
            }
            if case.is(&["creat"]) || case.says("O_TRUNC") {
                rights.push("LANDLOCK_ACCESS_FS_TRUNCATE");
            }
            (rights, true)
        }
        "execve" | "execveat" => (vec!["LANDLOCK_ACCESS_FS_EXECUTE"], true),
        "truncate" => (vec!["LANDLOCK_ACCESS_FS_TRUNCATE"], true),
        "mkdir" | "mkdirat" => (vec!["LANDLOCK_ACCESS_FS_MAKE_DIR"], false),
        "symlink" | "symlinkat" => (vec!["LANDLOCK_ACCESS_FS_MAKE_SYM"], false),
        "bind" => (vec!["LANDLOCK_ACCESS_FS_MAKE_SOCK"], false),
        "mknod" | "mknodat" => {
            let kinds = [
                ("S_IFCHR", "LANDLOCK_ACCESS_FS_MAKE_CHAR"),
                ("S_IFBLK", "LANDLOCK_ACCESS_FS_MAKE_BLOCK"),
                ("S_IFIFO", "LANDLOCK_ACCESS_FS_MAKE_FIFO"),
                ("S_IFSOCK", "LANDLOCK_ACCESS_FS_MAKE_SOCK"),
            ];
            let kind = kinds.iter().find(|(kind, _)| case.says(kind));
            (
                vec![kind.map_or("LANDLOCK_ACCESS_FS_MAKE_REG", |(_, right)| right)],
                false,
            )
        }
        "rmdir" => (vec!["LANDLOCK_ACCESS_FS_REMOVE_DIR"], false),
        "unlink" => (vec!["LANDLOCK_ACCESS_FS_REMOVE_FILE"], false),
        "unlinkat" if case.says("AT_REMOVEDIR") => (vec!["LANDLOCK_ACCESS_FS_REMOVE_DIR"], false),
        "unlinkat" => (vec!["LANDLOCK_ACCESS_FS_REMOVE_FILE"], false),
        _ => (Vec::new(), true),
    }
}

/// Whether one of its rules gives that right there: by the path as it is, or as the call had it.
fn allows(layer: &Ruleset, right: &str, place: &[u8], given: &[u8]) -> bool {
    layer.rules.iter().any(|rule| {
        let beneath = arguments::unquote(&format!("\"{}\"", rule.beneath)).unwrap_or_default();
        let has = |path: &[u8]| {
            let root = beneath.strip_suffix(b"/").unwrap_or(&beneath);
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        rule.allowed.iter().any(|allowed| allowed == right) && (has(place) || has(given))
    })
}

/// Whether all that the kernel asks before its security modules has permitted the call.
fn was_asked_last(case: &Case<'_>) -> bool {
    match case.evidence().and_then(|evidence| evidence.denied) {
        Some(denied) => denied & !capability::noise(case) == 0,
        None => case.failed_with(&[libc::EACCES]) && dac::permits(case) == Some(true),
    }
}

fn found(case: &Case<'_>, domain: &Domain, refused: &Refused<'_>) -> Finding {
    let when = span(case.scene.earlier.ktime.saturating_sub(domain.ktime));
    let Refused { what, right, layer } = refused;
    let why = if right.is_empty() {
        format!("the program restricted itself with Landlock, and may not change {what}")
    } else {
        format!(
            "the program restricted itself with Landlock, and none of its rules gives it {right} on {what}"
        )
    };
    let mut found = Found::new(Cause::Lsm, why).before(format!(
        "this thread, or one that it comes from, called landlock_restrict_self {when} before: {} of LANDLOCK_ACCESS_* need a rule since",
        layer.handled.len()
    ));
    for rule in layer.rules.iter().take(SHOWN) {
        found = found.before(format!(
            "a rule gives {} beneath {}",
            short(&rule.allowed),
            rule.beneath
        ));
    }
    if layer.rules.len() > SHOWN {
        found = found.before(format!("and {} rules more", layer.rules.len() - SHOWN));
    }
    if layer.rules.is_empty() && !layer.ports {
        found = found.before("it added no rule");
    }
    if case.evidence().is_some_and(|evidence| evidence.denied.is_some()) {
        found = found.at_call("the kernel missed no capability: neither modes nor rights refused it");
    }
    let line = if right.is_empty() {
        "mount before landlock_restrict_self: no option of the container lifts what a program puts on itself"
            .to_owned()
    } else if what == "any port" {
        format!(
            "landlock_add_rule(RULESET, LANDLOCK_RULE_NET_PORT, {{{right}, PORT}}) before landlock_restrict_self: no option of the container lifts what a program puts on itself"
        )
    } else {
        format!(
            "landlock_add_rule(RULESET, LANDLOCK_RULE_PATH_BENEATH, {{{right}, open(\"{what}\", O_PATH)}}) before landlock_restrict_self: no option of the container lifts what a program puts on itself"
        )
    };
    found
        .always("landlock(7): a right that a ruleset handles is refused where no rule gives it, to root too, and to what the task starts")
        .fix(Place::Program, line)
        .done()
}

/// Without what all of them begin with.
fn short(rights: &[String]) -> String {
    let rights: Vec<_> = rights
        .iter()
        .map(|right| right.trim_start_matches("LANDLOCK_ACCESS_"))
        .collect();
    if rights.is_empty() {
        "nothing".to_owned()
    } else {
        rights.join("|")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Evidence, Syscall},
        explain::{
            Component, Scene,
            rules::testing::{ask, failed, verdict},
        },
        follow,
    };

    const READ_FILE: &str = "LANDLOCK_ACCESS_FS_READ_FILE";

    fn scene(beneath: &str, more: bool) -> Scene {
        let layer = Ruleset {
            handled: vec![READ_FILE.to_owned(), "LANDLOCK_ACCESS_NET_BIND_TCP".to_owned()],
            rules: vec![follow::Rule {
                allowed: vec![READ_FILE.to_owned()],
                beneath: beneath.into(),
            }],
            more,
            ports: false,
        };
        let mut scene = Scene {
            paths: vec![Path {
                arg: "filename",
                given: b"/etc/group".to_vec(),
                steps: ["/", "/etc", "/etc/group"]
                    .iter()
                    .map(|path| Component {
                        path: path.as_bytes().to_vec(),
                        kind: if path.len() > 4 {
                            Kind::File
                        } else {
                            Kind::Directory
                        },
                        mode: 0o755,
                        ..Component::default()
                    })
                    .collect(),
                ..Path::default()
            }],
            ..Scene::default()
        };
        scene.earlier.ktime = 3_000_000;
        scene.earlier.domain = Some(Arc::new(Domain {
            layers: vec![Arc::new(layer)],
            more: false,
            ktime: 1_000_000,
        }));
        scene
    }

    fn call(name: &'static str, errno: i32, denied: u64) -> Syscall {
        let evidence = Evidence {
            denied: Some(denied),
            granted: Some(0),
            ..Evidence::default()
        };
        let args = [("filename", 1, "\"/etc/group\""), ("flags", 0, "O_RDONLY")];
        failed(name, errno, &args).knowing(evidence)
    }

    #[test]
    fn a_right_that_no_rule_gives() {
        let told = verdict(&RULE, &call("openat", libc::EACCES, 0), &scene("/usr", false));
        assert_eq!(told.cause, Cause::Lsm);
        assert_eq!(
            told.why,
            "the program restricted itself with Landlock, and none of its rules gives it LANDLOCK_ACCESS_FS_READ_FILE on /etc/group"
        );
        assert!(told.evidence[0].text.contains("2.0 ms before"), "{told:?}");
        assert_eq!(told.evidence[1].text, "a rule gives FS_READ_FILE beneath /usr");
        let told = verdict(&RULE, &call("mount", libc::EPERM, 0), &scene("/usr", false));
        assert!(
            told.why
                .ends_with("change mounts: Landlock lets nobody change them who has rules for files")
        );
        let address = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}"#;
        let bind = failed("bind", libc::EACCES, &[("umyaddr", 1, address)]);
        let bind = bind.knowing(Evidence {
            denied: Some(0),
            ..Evidence::default()
        });
        assert!(
            verdict(&RULE, &bind, &scene("/", false))
                .why
                .contains("NET_BIND_TCP on any port")
        );
    }

    #[test]
    fn what_may_have_other_reasons_is_not_its() {
        let open = |denied| call("openat", libc::EACCES, denied);
        for (call, scene) in [
            // A rule gives it; a rule is not known; a mode refused it; a right that is not handled.
            (open(0), scene("/etc/", false)),
            (open(0), scene("/", false)),
            (open(0), scene("/usr", true)),
            (open(1 << 1), scene("/usr", false)),
            (call("unlink", libc::EACCES, 0), scene("/usr", false)),
            (call("setuid", libc::EPERM, 0), scene("/usr", false)),
        ] {
            let said = ask(&RULE, &call, &scene);
            assert!(
                matches!(&said, Finding::RuledOut(why) if why.starts_with("Landlock: the thread is restricted")),
                "{said:?}"
            );
        }
        let Finding::RuledOut(why) = ask(&RULE, &open(0), &Scene::default()) else {
            panic!("a verdict")
        };
        assert!(why.contains("no landlock_restrict_self"));
        let mut scene = scene("/usr", false);
        scene.lsms = Some(vec!["capability".to_owned()]);
        assert_eq!(ask(&RULE, &open(0), &scene), Finding::NotMine);
    }
}
