//! Files that a program looked for in several places: what shells do with PATH, loaders with libraries, Python with
//! modules. Where it found one in the end, nothing failed; where it did not, all places are one failure.

use super::{Rule, words::leads_nowhere};
use crate::{
    event::{self, Cause, Verdict},
    explain::{Case, Finding, Path, Scene, case::Found},
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

/// Where a search looked in vain.
#[derive(Clone, Debug)]
pub(in crate::explain) struct Place {
    path: String,
    /// What there is instead: `/bin/java is a link to /opt/java/bin/java, which is not there`.
    link: Option<String>,
}

impl Place {
    pub(in crate::explain) fn new(path: &str, scene: &Scene) -> Self {
        let link = scene.paths.iter().find_map(Path::dangling);
        Self {
            path: path.to_owned(),
            link: link.map(leads_nowhere),
        }
    }

    pub(in crate::explain) fn is(&self, path: &str) -> bool {
        self.path == path
    }
}

/// Why it was found in none of these places, which are several.
pub(in crate::explain) fn nowhere(places: &[Place]) -> Verdict {
    let name = places
        .iter()
        .find_map(|place| place.path.rsplit('/').find(|name| !name.is_empty()))
        .unwrap_or_default();
    let link = places.iter().find_map(|place| place.link.as_deref());
    let found = Found::new(
        Cause::Missing,
        format!(
            "{name} is in none of the {} places where the process looked for it{}",
            places.len(),
            link.map(|link| format!("; {link}")).unwrap_or_default()
        ),
    );
    let found = places.iter().take(MAX_PLACES).fold(found, |found, place| {
        let found = found.at_call(format!("it was not there as {}", place.path));
        match &place.link {
            Some(link) => found.after(link),
            None => found,
        }
    });
    let found = match link {
        Some(_) => found.fix(
            event::Place::Image,
            "install what the link leads to, or let it lead to where that is",
        ),
        None => found,
    };
    let found = match places.len().saturating_sub(MAX_PLACES) {
        0 => found,
        more => found.at_call(format!("nor in {more} places more")),
    };
    let found = found.fix(
        event::Place::Image,
        format!("install what has {name}, into one of them"),
    );
    if name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so.")) {
        found
            .flag("-e LD_LIBRARY_PATH=DIRECTORY, where the library is in another one (ld.so(8))")
            .verdict()
    } else {
        found.verdict()
    }
}

/// Places that are named.
const MAX_PLACES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Component, Kind,
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

    #[test]
    fn what_is_nowhere_is_told_with_all_places() {
        let place = |path: &str| Place::new(path, &Scene::default());
        let told = nowhere(&[place("/lib/libx.so.1"), place("/usr/lib/libx.so.1")]);
        assert_eq!(
            told.why,
            "libx.so.1 is in none of the 2 places where the process looked for it"
        );
        assert_eq!(told.evidence[1].text, "it was not there as /usr/lib/libx.so.1");
        assert!(told.fixes.iter().any(|fix| fix.line.contains("LD_LIBRARY_PATH")));
        let many: Vec<_> = (0..40).map(|number| place(&format!("/{number}/tool"))).collect();
        let told = nowhere(&many);
        assert_eq!(told.evidence.len(), 17);
        assert_eq!(told.evidence[16].text, "nor in 24 places more");
    }

    #[test]
    fn a_link_to_nothing_on_the_way_is_told() {
        let link = Component {
            path: b"/bin/java".to_vec(),
            kind: Kind::Link,
            target: Some(b"/opt/java".to_vec()),
            ..Component::default()
        };
        let scene = Scene {
            paths: vec![Path {
                steps: vec![link],
                missing: Some(b"opt".to_vec()),
                ..Path::default()
            }],
            ..Scene::default()
        };
        let places = [
            Place::new("/usr/bin/java", &Scene::default()),
            Place::new("/bin/java", &scene),
        ];
        let told = nowhere(&places);
        assert_eq!(
            told.why,
            "java is in none of the 2 places where the process looked for it; /bin/java is a link to /opt/java, which is not there"
        );
        assert!(told.fixes[0].line.contains("the link"), "{told:?}");
    }
}
