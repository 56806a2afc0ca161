//! Mounts of a namespace, as `/proc/PID/mountinfo` lists them (proc_pid_mountinfo(5)).

use crate::explain::Mount;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub id: u64,
    pub mount: Mount,
}

pub(super) fn parse(text: &[u8]) -> Vec<Line> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let root = unescape(fields.nth(2)?);
    let point = unescape(fields.next()?);
    let options = fields.next()?;
    // Optional fields end with a hyphen.
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let of_file_system = fields.next().unwrap_or_default();
    let has = |list: &[u8], option: &[u8]| list.split(|byte| *byte == b',').any(|each| each == option);
    Some(Line {
        id,
        mount: Mount {
            point,
            root,
            kind,
            source,
            read_only: has(options, b"ro") || has(of_file_system, b"ro"),
            noexec: has(options, b"noexec"),
            nosuid: has(options, b"nosuid"),
            nodev: has(options, b"nodev"),
        },
    })
}

/// Space, tab, newline and backslash stand as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'\\'
            && let Some((digits, after)) = tail.split_at_checked(3)
            && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        {
            let value = digits
                .iter()
                .fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(value as u8);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    out
}

/// What the mount of that number is; where the number is not known, the last one whose directory the path is in.
pub(super) fn of<'a>(mounts: &'a [Line], id: Option<u64>, path: &[u8]) -> Option<&'a Line> {
    let by_id = id.and_then(|id| mounts.iter().find(|line| line.id == id));
    by_id.or_else(|| {
        let holds = |point: &[u8]| {
            point == b"/"
                || path
                    .strip_prefix(point)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        mounts
            .iter()
            .enumerate()
            .filter(|(_, line)| holds(&line.mount.point))
            // Of several on one directory the last one covers the others.
            .max_by_key(|(at, line)| (line.mount.point.len(), *at))
            .map(|(_, line)| line)
    })
}

/// Whether the runtime hides what procfs or sysfs has there: /dev/null, or an empty tmpfs, lies over it (OCI
/// `maskedPaths`).
pub(super) fn masks(line: &Line) -> bool {
    let point = &line.mount.point;
    let of_kernel = point.starts_with(b"/proc/") || point.starts_with(b"/sys/");
    let is_null =
        line.mount.root == b"/null" || line.mount.source == "/dev/null" || line.mount.root == b"/dev/null";
    of_kernel && (is_null || (line.mount.kind == "tmpfs" && line.mount.read_only))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay ro,lowerdir=/l\n\
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
24 23 0:5 /null /proc/kcore rw,nosuid - devtmpfs udev rw\n\
25 22 8:1 /data /mnt/a\\040b ro,noexec - ext4 /dev/sda1 rw\n\
26 23 0:30 / /proc/acpi ro,relatime - tmpfs tmpfs ro,size=0k\n\
garbage\n\n";

    #[test]
    fn lines_are_read() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 5);
        assert!(
            mounts[0].mount.read_only,
            "the file system is, though the mount is not"
        );
        assert_eq!(mounts[3].mount.point, b"/mnt/a b");
        assert_eq!(mounts[3].mount.root, b"/data");
        assert!(mounts[3].mount.read_only && mounts[3].mount.noexec && !mounts[3].mount.nosuid);
        assert_eq!(
            mounts.iter().map(masks).collect::<Vec<_>>(),
            [false, false, true, false, true]
        );
    }

    #[test]
    fn a_path_is_on_the_deepest_mount_above_it() {
        let mounts = parse(TEXT);
        let point = |path: &[u8]| of(&mounts, None, path).unwrap().mount.point.clone();
        assert_eq!(point(b"/mnt/a b/c"), b"/mnt/a b");
        assert_eq!(point(b"/mnt/a bc"), b"/");
        assert_eq!(point(b"/proc/kcore"), b"/proc/kcore");
        assert_eq!(of(&mounts, Some(23), b"/").unwrap().mount.kind, "proc");
    }
}
