//! Files that a program looked for in several places, and found: what shells do with PATH, loaders with libraries,
//! Python with modules.

use super::Rule;
use crate::{
    event::Cause,
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "search",
    source: "execvp(3), ld.so(8)",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::ENOENT, libc::ENOTDIR, libc::EACCES]) {
        return Finding::NotMine;
    }
    let Some(found) = &case.scene.found_after else {
        return Finding::NotMine;
    };
    Found::new(
        Cause::Expected,
        "the process looked in several places, and found what it looked for",
    )
    .after(format!("found as {}", String::from_utf8_lossy(found)))
    .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    };

    #[test]
    fn what_was_found_elsewhere_was_a_search() {
        let call = failed("openat", libc::ENOENT, &[("filename", 1, r#""/lib/libx.so""#)]);
        let scene = Scene {
            found_after: Some(b"/usr/lib/libx.so".to_vec()),
            ..Scene::default()
        };
        assert_eq!(verdict(&RULE, &call, &scene).cause, Cause::Expected);
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }
}
