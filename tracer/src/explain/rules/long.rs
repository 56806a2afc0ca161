//! What is longer than the kernel takes it: names, paths, messages.

use super::{Rule, words::shown};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "long",
    source: "path_resolution(7), pathconf(3): ENAMETOOLONG; send(2), udp(7), unix(7): EMSGSIZE",
    judge,
};

/// NAME_MAX and PATH_MAX of include/uapi/linux/limits.h; a path's NUL counts.
const NAME: usize = 255;
const PATH: usize = 4096;
/// How much of a long name is told.
const BEGIN: usize = 24;

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::ENAMETOOLONG) => name(case),
        Some(libc::EMSGSIZE) if case.is(&["sendto", "sendmsg", "sendmmsg"]) => message(case),
        _ => Finding::NotMine,
    }
}

fn name(case: &Case<'_>) -> Finding {
    let given = || case.scene.paths.iter().map(|path| &path.given);
    let longest = given()
        .flat_map(|path| path.split(|byte| *byte == b'/'))
        .max_by_key(|name| name.len())
        .filter(|name| name.len() > NAME);
    let path = given().map(Vec::len).max().filter(|length| *length >= PATH);
    let why = match (longest, path) {
        (Some(name), _) => format!(
            "a name of {} bytes, which begins with {}, is too long: a file's may have {NAME}",
            name.len(),
            shown(name.get(..BEGIN).unwrap_or(name))
        ),
        (None, Some(length)) => format!("a path of {length} bytes is too long: it may have {}", PATH - 1),
        (None, None) => format!(
            "a name has more than {NAME} bytes, or the path more than {}",
            PATH - 1
        ),
    };
    Found::new(Cause::Arguments, why)
        .always("path_resolution(7), pathconf(3): ENAMETOOLONG")
        .fix(
            Place::Program,
            "a shorter name, or a working directory that is nearer",
        )
        .done()
}

fn message(case: &Case<'_>) -> Finding {
    let why = match case.raw("len") {
        Some(length) => format!("a message of {length} bytes is more than this socket sends as one"),
        None => "the message is longer than what this socket sends as one".to_owned(),
    };
    Found::new(Cause::Arguments, why)
        .always("udp(7): 65507 bytes over IPv4, or what the MTU of the way holds where it may not be split (ip(7), IP_MTU_DISCOVER); unix(7): SO_SNDBUF")
        .fix(Place::Program, "several messages, or a stream; of a unix socket, a larger SO_SNDBUF")
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Path, Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn why(given: &str) -> String {
        let scene = Scene {
            paths: vec![Path {
                given: given.into(),
                ..Path::default()
            }],
            ..Scene::default()
        };
        verdict(&RULE, &failed("openat", libc::ENAMETOOLONG, &[]), &scene).why
    }

    #[test]
    fn which_name_is_too_long() {
        assert_eq!(
            why(&format!("/srv/{}/x", "a".repeat(300))),
            "a name of 300 bytes, which begins with aaaaaaaaaaaaaaaaaaaaaaaa, is too long: a file's may have 255"
        );
        assert_eq!(
            why(&"/a".repeat(2048)),
            "a path of 4096 bytes is too long: it may have 4095"
        );
        assert_eq!(
            why("/behind/a/link"),
            "a name has more than 255 bytes, or the path more than 4095"
        );
    }

    #[test]
    fn messages_that_are_too_long() {
        let call = failed("sendto", libc::EMSGSIZE, &[("len", 70_000, "70000")]);
        let told = verdict(&RULE, &call, &Scene::default());
        assert_eq!(
            told.why,
            "a message of 70000 bytes is more than this socket sends as one"
        );
        let other = failed("setsockopt", libc::EMSGSIZE, &[]);
        assert_eq!(ask(&RULE, &other, &Scene::default()), Finding::NotMine);
    }
}
