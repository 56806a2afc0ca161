//! Words that several rules say the same way: paths, modes, ids, capabilities, limits. It decides nothing.

use crate::{
    decode,
    event::Evidence,
    explain::{Component, IdMap},
};

/// Bytes of a container for a sentence: sinks escape what is not printable.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `rwxr-x--x`, with `s` and `t` where ls(1) has them.
pub(super) fn mode(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, set_id, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & set_id != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// The container's number of an id that the initial user namespace counts; `None` where its user namespace does not map
/// it. Without a map, the number itself.
pub(super) fn inside(map: Option<&[IdMap]>, outside: u32) -> Option<u32> {
    let Some(map) = map else {
        return Some(outside);
    };
    map.iter().find_map(|line| {
        let offset = outside.checked_sub(line.outside)?;
        (offset < line.count).then(|| line.inside.wrapping_add(offset))
    })
}

/// Whether the user namespace maps that id of the container.
pub(super) fn maps(map: &[IdMap], id: u32) -> bool {
    map.iter().any(|line| {
        id.checked_sub(line.inside)
            .is_some_and(|offset| offset < line.count)
    })
}

/// An id as the container sees it, and as the host does where that differs.
pub(super) fn id(map: Option<&[IdMap]>, outside: u32) -> String {
    match inside(map, outside) {
        Some(inside) if inside == outside => inside.to_string(),
        Some(inside) => format!("{inside} ({outside} on the host)"),
        None => format!("nobody ({outside} on the host)"),
    }
}

/// A step of a path as a sentence has it: `/srv is rwx------ of user 0, group 0`.
pub(super) fn owned(step: &Component, uids: Option<&[IdMap]>, gids: Option<&[IdMap]>) -> String {
    format!(
        "{} is {} of user {}, group {}",
        shown(&step.path),
        mode(step.mode),
        id(uids, step.uid),
        id(gids, step.gid)
    )
}

/// A link whose file is not there: `/bin/java is a link to /opt/java/bin/java, which is not there`.
pub(super) fn leads_nowhere(link: &Component) -> String {
    format!("{} {}", shown(&link.path), to_nothing(link))
}

/// The same without its name.
pub(super) fn to_nothing(link: &Component) -> String {
    let target = shown(link.target.as_deref().unwrap_or_default());
    format!("is a link to {target}, which is not there")
}

/// `CAP_SYS_NICE`.
pub(super) fn capability(number: u8) -> String {
    decode::capability_name(number).into_owned()
}

/// Those of a set, from the lowest number.
pub(super) fn capabilities(set: u64) -> Vec<String> {
    let held = (0..64_u8).filter(|number| set >> number & 1 != 0);
    held.map(capability).collect()
}

/// One as engines and manifests write it: `SYS_NICE`.
pub(super) fn short_capability(number: u8) -> String {
    let name = capability(number);
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// `the initial user namespace`, or how deep it is.
pub(super) fn namespace(evidence: &Evidence, inode: u32, level: u32) -> String {
    match level {
        0 => "the initial user namespace".to_owned(),
        _ if inode == evidence.user_ns => "the container's own user namespace".to_owned(),
        _ => format!("a user namespace of level {level}"),
    }
}

/// A time between two calls.
pub(super) fn span(ns: u64) -> String {
    match ns {
        0..=999_999 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// A limit.
pub(super) fn bound(limit: u64) -> String {
    match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::rules::testing::id_map;

    #[test]
    fn modes_look_as_those_of_ls() {
        for (bits, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o1777, "rwxrwxrwt"),
            (0o2640, "rw-r-S---"),
            (0, "---------"),
        ] {
            assert_eq!(mode(bits), text);
        }
    }

    #[test]
    fn ids_are_told_from_both_sides() {
        let map = id_map();
        assert_eq!(id(Some(&map), 1000), "0 (1000 on the host)");
        assert_eq!(id(Some(&map), 100_009), "10 (100009 on the host)");
        assert_eq!(id(Some(&map), 0), "nobody (0 on the host)");
        assert_eq!(id(None, 7), "7");
        assert!(maps(&map, 65536) && !maps(&map, 65537) && maps(&map, 0));
    }

    #[test]
    fn capabilities_have_names() {
        assert_eq!(capability(23), "CAP_SYS_NICE");
        assert_eq!(short_capability(10), "NET_BIND_SERVICE");
        assert_eq!(capability(60), "CAP_60");
    }
}
