//! Permissions of files: mode, owner, group, ACL, attributes, the sticky bit and what sysctls add to it. The kernel looks
//! at the mode first and asks for CAP_DAC_* or CAP_FOWNER only where that says no: its asking is the proof, the path says
//! which step it was.

mod fixes;

use super::{
    Rule,
    capability::{CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER},
    words::{id, inside, mode, owned, shown},
};
use crate::{
    event::{Cause, Evidence, Place},
    explain::{Caller, Case, Component, Finding, Kind, Path, arguments, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "dac",
    source: "fs/namei.c: generic_permission, may_delete, may_linkat, may_create_in_sticky; path_resolution(7), inode(7)",
    judge,
};

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;
const STICKY: u32 = 0o1000;

const REMOVES: &[&str] = &["unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2"];
/// What is the owner's to do, and fails with EPERM for nothing else.
const OF_OWNER_ALONE: &[&str] = &[
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
];
/// The same, and it may fail so for other reasons.
const OF_OWNER: &[&str] = &[
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "fcntl",
    "ioctl",
    "open",
    "openat",
    "openat2",
    "file_setattr",
];
const CHOWNS: &[&str] = &["chown", "lchown", "fchown", "fchownat"];
const OPENS: &[&str] = &["open", "openat", "openat2", "creat"];

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::EACCES) => refused(case),
        Some(libc::EPERM) => not_permitted(case),
        _ => Finding::NotMine,
    }
}

/// A step that the caller may not pass, or not use so.
struct Wall<'a> {
    step: &'a Component,
    wanted: u32,
}

/// What the mode or the ACL says: `None` where the caller, or an ACL, is not known.
fn allows(case: &Case<'_>, step: &Component, wanted: u32) -> Option<bool> {
    let evidence = case.evidence()?;
    if step.acl.is_some() {
        return Some(by_acl(case, step, wanted)?.0);
    }
    let of = |class: u32| step.mode >> class & wanted == wanted;
    let (owner, group, others) = (6, 3, 0);
    if evidence.fsuid == step.uid {
        return Some(of(owner));
    }
    if evidence.fsgid == step.gid {
        return Some(of(group));
    }
    match case.scene.groups.as_deref() {
        Some(groups) => Some(of(if groups.contains(&step.gid) { group } else { others })),
        // Its other groups are not known: that matters where they do not come to the same.
        None => (of(group) == of(others)).then(|| of(others)),
    }
}

/// What its ACL says, and by which entry.
fn by_acl(case: &Case<'_>, step: &Component, wanted: u32) -> Option<(bool, String)> {
    let evidence = case.evidence()?;
    let caller = Caller {
        uid: evidence.fsuid,
        gid: evidence.fsgid,
        groups: case.scene.groups.as_deref(),
    };
    step.acl.as_ref()?.allows(caller, step.uid, step.gid, wanted)
}

/// What the call does with the last step, and what with the directory that the last name is in.
fn wanted(case: &Case<'_>, path: &Path) -> (u32, u32) {
    let change = WRITE | SEARCH;
    if arguments::creates(case.call, path.arg) && path.missing.is_some() {
        return (0, change);
    }
    let name = case.call.name.as_ref();
    match name {
        "open" | "openat" | "openat2" => {
            let mut bits = match () {
                () if case.says("O_PATH") => 0,
                () if case.says("O_RDWR") => READ | WRITE,
                () if case.says("O_WRONLY") => WRITE,
                () => READ,
            };
            if case.says("O_TRUNC") || case.says("O_TMPFILE") {
                bits |= WRITE;
            }
            (bits, SEARCH)
        }
        "creat" | "truncate" => (WRITE, SEARCH),
        "access" | "faccessat" | "faccessat2" => {
            let bit = |word: &str, bit: u32| if case.says(word) { bit } else { 0 };
            (
                bit("R_OK", READ) | bit("W_OK", WRITE) | bit("X_OK", SEARCH),
                SEARCH,
            )
        }
        "execve" | "execveat" | "chdir" | "chroot" => (SEARCH, SEARCH),
        "connect" | "sendto" | "sendmsg" | "setxattr" | "lsetxattr" => (WRITE, SEARCH),
        "inotify_add_watch" | "fanotify_mark" => (READ, SEARCH),
        "mkdir" | "mkdirat" | "mknod" | "mknodat" | "symlink" | "symlinkat" | "bind" => (0, change),
        "link" | "linkat" if path.arg == "newname" => (0, change),
        _ if REMOVES.contains(&name) => (0, change),
        _ => (0, SEARCH),
    }
}

/// The first step that says no, and those before it that could not be judged.
fn wall<'a>(case: &Case<'_>, path: &'a Path) -> (Option<Wall<'a>>, Vec<Wall<'a>>) {
    let (of_last, of_parent) = wanted(case, path);
    let solid: Vec<&Component> = path.steps.iter().filter(|step| step.kind != Kind::Link).collect();
    let whole = path.missing.is_none() && path.left == 0;
    // The directory that the last name is in: the last step itself where that name is not there.
    let parent = match (whole, path.left) {
        (true, _) => solid.len().checked_sub(2),
        (false, 0) => solid.len().checked_sub(1),
        (false, _) => None,
    };
    let mut unsure = Vec::new();
    for (index, step) in solid.iter().enumerate() {
        let is_last = whole && index + 1 == solid.len();
        let wanted = if is_last {
            of_last
        } else if Some(index) == parent {
            of_parent | SEARCH
        } else if step.kind == Kind::Directory {
            SEARCH
        } else {
            0
        };
        if wanted == 0 {
            continue;
        }
        match allows(case, step, wanted) {
            Some(true) => {}
            Some(false) => return (Some(Wall { step, wanted }), unsure),
            None => unsure.push(Wall { step, wanted }),
        }
    }
    (None, unsure)
}

/// Whether the modes of all steps permit what the call wants: `None` where that is not known. For rules that come after.
pub(super) fn permits(case: &Case<'_>) -> Option<bool> {
    // Of others it is not known what they want: execve(2) of a script's interpreter, mmap(2) of how a file was opened.
    let known = case.is(OPENS)
        || case.is(REMOVES)
        || case.is(&[
            "access",
            "faccessat",
            "faccessat2",
            "chdir",
            "truncate",
            "mkdir",
            "mkdirat",
            "mknod",
            "mknodat",
            "symlink",
            "symlinkat",
            "connect",
        ]);
    let paths = &case.scene.paths;
    if !known || paths.is_empty() || case.evidence().is_none() || !paths.iter().all(Path::is_named) {
        return None;
    }
    let mut all = true;
    for path in paths {
        match wall(case, path) {
            (Some(_), _) => return Some(false),
            (None, unsure) => all &= unsure.is_empty(),
        }
    }
    all.then_some(true)
}

fn refused(case: &Case<'_>) -> Finding {
    if case.is(&["bind"]) && case.denied(super::capability::CAP_NET_BIND_SERVICE) == Some(true) {
        return Finding::NotMine;
    }
    let asked = match (case.denied(CAP_DAC_OVERRIDE), case.denied(CAP_DAC_READ_SEARCH)) {
        (Some(over), Some(search)) => Some(over || search),
        _ => None,
    };
    if let Some(found) = in_sticky(case) {
        return found;
    }
    let walls: Vec<_> = case
        .scene
        .paths
        .iter()
        .filter(|path| path.is_named())
        .map(|path| (path, wall(case, path)))
        .collect();
    let wall = walls
        .iter()
        .find_map(|(path, (wall, _))| Some((*path, wall.as_ref()?)));
    let unsure: Vec<_> = walls
        .iter()
        .flat_map(|(path, (_, unsure))| unsure.iter().map(|wall| (*path, wall)))
        .collect();
    match (wall, asked) {
        // Of a file whose ids the user namespace does not map the kernel asks for none: it would not count.
        (Some((path, wall)), Some(false)) if is_foreign(case, wall.step) => at_wall(case, path, wall, false),
        // Held capabilities let it pass, and the kernel did not miss any.
        (Some(_), Some(false)) | (None, Some(false)) => {
            Finding::RuledOut("modes and owners: the kernel did not miss CAP_DAC_OVERRIDE".to_owned())
        }
        (Some((path, wall)), Some(true)) => at_wall(case, path, wall, true),
        (Some((path, wall)), None) => match (case.evidence(), case.has(CAP_DAC_OVERRIDE)) {
            (Some(_), Some(false)) => at_wall(case, path, wall, false),
            _ => Finding::RuledOut(format!(
                "modes and owners: {}, but the task has CAP_DAC_OVERRIDE or is not known",
                shown(&wall.step.path)
            )),
        },
        // It refused somewhere, and all other steps permit it.
        (None, Some(true)) => match unsure.as_slice() {
            [(path, only)] if only.step.acl.is_none() => at_wall(case, path, only, true),
            _ => somewhere(case),
        },
        (None, None) => {
            if walls.is_empty() {
                Finding::NotMine
            } else if !unsure.is_empty() {
                Finding::RuledOut("modes and owners: an ACL, or the caller's ids, are not known".to_owned())
            } else {
                Finding::RuledOut("modes and owners: they permit it".to_owned())
            }
        }
    }
}

/// Whether its owner or group is nobody in the container (`privileged_wrt_inode_uidgid` of kernel/capability.c).
fn is_foreign(case: &Case<'_>, step: &Component) -> bool {
    let (uids, gids) = (case.scene.uids.as_deref(), case.scene.gids.as_deref());
    inside(uids, step.uid).is_none() || inside(gids, step.gid).is_none()
}

/// The kernel missed CAP_DAC_*, and no step that was looked at says no.
fn somewhere(case: &Case<'_>) -> Finding {
    let acl = case
        .scene
        .paths
        .iter()
        .flat_map(|path| &path.steps)
        .find(|step| step.acl.is_some());
    let why = match acl {
        Some(step) => format!(
            "the mode, owner or ACL of a file refuses the caller, and {} has an ACL",
            shown(&step.path)
        ),
        None => "the mode or owner of a file refuses the caller".to_owned(),
    };
    let mut found = Found::new(Cause::Dac, why).at_call(
        "the kernel looked at permissions, then asked for CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE and did not find it",
    );
    if let Some(evidence) = case.evidence() {
        found = found.at_call(caller(case, evidence));
    }
    for path in &case.scene.paths {
        if let Some(step) = path.steps.last() {
            found = found.after(step_text(case, step));
        }
    }
    if let Some(step) = acl {
        found = found.fix(Place::Host, change_acl(step));
    }
    found.done()
}

fn change_acl(step: &Component) -> String {
    format!(
        "getfacl shows the ACL of {}; setfacl -m u:USER:rwX changes it",
        shown(&step.path)
    )
}

fn step_text(case: &Case<'_>, step: &Component) -> String {
    owned(step, case.scene.uids.as_deref(), case.scene.gids.as_deref())
}

fn caller(case: &Case<'_>, evidence: &Evidence) -> String {
    let gids = case.scene.gids.as_deref();
    let groups = case.scene.groups.as_deref().unwrap_or_default();
    let mut text = format!(
        "the caller is user {}, group {}",
        id(case.scene.uids.as_deref(), evidence.fsuid),
        id(gids, evidence.fsgid)
    );
    if !groups.is_empty() && groups != [evidence.fsgid] {
        let groups: Vec<_> = groups.iter().take(16).map(|group| id(gids, *group)).collect();
        text += &format!(", groups {}", groups.join(", "));
    }
    text
}

fn at_wall(case: &Case<'_>, path: &Path, wall: &Wall<'_>, asked: bool) -> Finding {
    let Some(evidence) = case.evidence() else {
        return Finding::NotMine;
    };
    let uids = case.scene.uids.as_deref();
    let step = wall.step;
    let directory = step.kind == Kind::Directory;
    let mut verbs = Vec::new();
    // Who may make files in a directory must be able to search it, too: that goes without saying.
    let of_interest = match directory && wall.wanted & WRITE != 0 {
        true => wall.wanted & !SEARCH,
        false => wall.wanted,
    };
    for (bit, of_file, of_directory) in [
        (READ, "read", "list"),
        (WRITE, "write", "make or remove files in"),
        (SEARCH, "execute", "search"),
    ] {
        if of_interest & bit != 0 {
            verbs.push(if directory { of_directory } else { of_file });
        }
    }
    let verb = verbs.join(" and ");
    let unmapped = is_foreign(case, step);
    let is_root = inside(uids, evidence.fsuid) == Some(0);
    // Root of a user namespace has power over files of mapped ids only (capable_wrt_inode_uidgid).
    let cause = if unmapped && is_root {
        Cause::UnmappedId
    } else {
        Cause::Dac
    };
    let why = format!(
        "{}: the caller, user {}, may not {verb} it",
        step_text(case, step),
        id(uids, evidence.fsuid)
    );
    let mut found = Found::new(cause, why).at_call(caller(case, evidence));
    let acl = by_acl(case, step, wall.wanted);
    if let Some((_, entry)) = &acl {
        found = found
            .after(format!("the ACL of {}: {entry} decides", shown(&step.path)))
            .fix(Place::Host, change_acl(step));
    }
    if asked {
        found = found.at_call(
            "the kernel looked at the mode, then asked for CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE and did not find it",
        );
    }
    if acl.is_none() && allows(case, step, wall.wanted).is_none() {
        found =
            found.after("its other groups are not known any more; all other steps of the path let it pass");
    }
    if path.given != step.path {
        found = found.after(format!("{} leads through it", shown(&path.given)));
    }
    if unmapped {
        let (kind, id) = match inside(uids, step.uid) {
            None => ("user", step.uid),
            Some(_) => ("group", step.gid),
        };
        found = found.after(format!(
            "the container's user namespace does not map {kind} {id} of the host, who is nobody (65534) in it"
        ));
        found = found.always("a capability in a user namespace gives power over files of ids that it maps alone (user_namespaces(7))");
    }
    let volume = path
        .mount
        .as_ref()
        .filter(|mount| mount.point != b"/" && mount.kind != "overlay");
    if let Some(mount) = volume {
        found = found.after(format!("it is in the volume on {}", shown(&mount.point)));
        found = fixes::of_volume(found, mount, step, evidence.fsuid);
    } else {
        let makes = directory && wall.wanted & WRITE != 0;
        found = fixes::of_image(found, step, inside(uids, evidence.fsuid), makes);
    }
    if let Some(owner) = inside(uids, step.uid).filter(|_| evidence.fsuid != step.uid) {
        found = found
            .flag(&format!("--user {owner}"))
            .fix(Place::Kubernetes, format!("securityContext.runAsUser: {owner}"));
    }
    if is_root && !unmapped {
        found = found.flag("--cap-add=DAC_OVERRIDE").fix(
            Place::Kubernetes,
            r#"securityContext.capabilities.add: ["DAC_OVERRIDE"]"#,
        );
    }
    found.done()
}

/// fs.protected_regular, fs.protected_fifos, fs.protected_symlinks: they ask for no capability.
fn in_sticky(case: &Case<'_>) -> Option<Finding> {
    let evidence = case.evidence()?;
    for path in &case.scene.paths {
        let mut directory: Option<&Component> = None;
        for step in &path.steps {
            let parent = directory.filter(|parent| parent.mode & STICKY != 0);
            if let Some(parent) = parent {
                let world = parent.mode & 0o002 != 0;
                let foreign = step.uid != evidence.fsuid && step.uid != parent.uid;
                let (sysctl, applies) = match step.kind {
                    Kind::Link => ("fs.protected_symlinks", world && path.steps.last() != Some(step)),
                    Kind::File => (
                        "fs.protected_regular",
                        case.is(OPENS) && creates(case) && path.missing.is_none(),
                    ),
                    Kind::Fifo => (
                        "fs.protected_fifos",
                        case.is(OPENS) && creates(case) && path.missing.is_none(),
                    ),
                    _ => ("", false),
                };
                let level = case.scene.sysctls.get(sysctl).map_or("0", String::as_str);
                // 1: world-writable directories; 2: group-writable ones too.
                let wide = world || (level == "2" && parent.mode & 0o020 != 0);
                if applies && foreign && wide && level != "0" {
                    let found = Found::new(
                        Cause::Dac,
                        format!(
                            "{} belongs to neither the caller nor the owner of {}, a sticky directory that others may write to: {sysctl} refuses it",
                            shown(&step.path),
                            shown(&parent.path)
                        ),
                    )
                    .at_call(caller(case, evidence))
                    .after(step_text(case, step))
                    .after(step_text(case, parent))
                    .after(format!("{sysctl} is {level}"))
                    .always("proc_sys_fs(5); Documentation/admin-guide/sysctl/fs.rst")
                    .fix(
                        Place::Program,
                        "a directory of its own, or open without O_CREAT what another has made",
                    );
                    return Some(found.fix(Place::Host, format!("sysctl -w {sysctl}=0")).done());
                }
            }
            if step.kind == Kind::Directory {
                directory = Some(step);
            }
        }
    }
    None
}

fn creates(case: &Case<'_>) -> bool {
    case.is(&["creat"]) || case.says("O_CREAT")
}

fn not_permitted(case: &Case<'_>) -> Finding {
    if let Some(found) = immutable(case) {
        return found;
    }
    let Some(path) = case.scene.paths.first() else {
        return Finding::NotMine;
    };
    let Some(evidence) = case.evidence() else {
        return Finding::NotMine;
    };
    let last = path
        .steps
        .last()
        .filter(|_| path.missing.is_none() && path.left == 0);
    let parent = path
        .steps
        .iter()
        .rev()
        .skip(1)
        .find(|step| step.kind == Kind::Directory);
    let Some(last) = last else {
        return Finding::NotMine;
    };
    let foreign = last.uid != evidence.fsuid;
    if foreign && is_foreign(case, last) && (case.is(CHOWNS) || case.is(OF_OWNER_ALONE)) {
        return of_nobody(case, evidence, path, last);
    }
    let asked = |capability: u8| {
        case.denied(capability)
            .unwrap_or(case.has(capability) == Some(false))
    };
    if case.is(REMOVES) && asked(CAP_FOWNER) {
        if let Some(parent) =
            parent.filter(|parent| parent.mode & STICKY != 0 && foreign && parent.uid != evidence.fsuid)
        {
            return owners_only(
                case,
                evidence,
                last,
                format!(
                    "{} is sticky ({}), and neither it nor {} belongs to the caller",
                    shown(&parent.path),
                    mode(parent.mode),
                    shown(&last.path)
                ),
                "in a sticky directory only owners remove and rename (inode(7), S_ISVTX)",
            );
        }
        return Finding::NotMine;
    }
    if case.is(&["link", "linkat"]) && asked(CAP_FOWNER) && foreign {
        let now = case
            .scene
            .sysctls
            .get("fs.protected_hardlinks")
            .map_or("not known", String::as_str);
        if now != "1" {
            return Finding::NotMine;
        }
        return owners_only(
            case,
            evidence,
            last,
            format!(
                "{} belongs to another user, and fs.protected_hardlinks lets only files be linked that the caller owns, or may read and write",
                shown(&last.path)
            ),
            "proc_sys_fs(5), protected_hardlinks",
        );
    }
    if case.is(CHOWNS)
        && asked(CAP_CHOWN)
        && foreign
        && inside(case.scene.uids.as_deref(), evidence.fsuid) != Some(0)
    {
        return owners_only(
            case,
            evidence,
            last,
            format!(
                "{} belongs to another user, and only root changes owners",
                shown(&last.path)
            ),
            "chown(2): CAP_CHOWN",
        );
    }
    if (case.is(OF_OWNER_ALONE) || case.is(OF_OWNER)) && asked(CAP_FOWNER) && foreign {
        return owners_only(
            case,
            evidence,
            last,
            format!(
                "{} belongs to another user, and {} is for its owner",
                shown(&last.path),
                case.call.name
            ),
            "chmod(2), utimensat(2), open(2) with O_NOATIME: the owner, or CAP_FOWNER",
        );
    }
    Finding::NotMine
}

/// What only an owner, or a capability, may do to a file whose owner the container does not have: no capability counts.
fn of_nobody(case: &Case<'_>, evidence: &Evidence, path: &Path, step: &Component) -> Finding {
    let found = Found::new(
        Cause::UnmappedId,
        format!(
            "{} belongs to ids that the container does not have: not even its root may {} it",
            shown(&step.path),
            case.call.name
        ),
    )
    .at_call(caller(case, evidence))
    .after(step_text(case, step))
    .always("a capability in a user namespace gives power over files of ids that it maps alone (user_namespaces(7))");
    let volume = path.mount.as_ref().filter(|mount| mount.point != b"/");
    match volume {
        Some(mount) => fixes::of_volume(found, mount, step, evidence.fsuid),
        None => fixes::of_image(
            found,
            step,
            inside(case.scene.uids.as_deref(), evidence.fsuid),
            false,
        ),
    }
    .done()
}

fn owners_only(case: &Case<'_>, evidence: &Evidence, step: &Component, why: String, source: &str) -> Finding {
    let uids = case.scene.uids.as_deref();
    let unmapped = is_foreign(case, step);
    let is_root = inside(uids, evidence.fsuid) == Some(0);
    let cause = if unmapped && is_root {
        Cause::UnmappedId
    } else {
        Cause::Dac
    };
    let mut found = Found::new(cause, why)
        .after(step_text(case, step))
        .at_call(caller(case, evidence))
        .always(source);
    if unmapped {
        found = found
            .always("of a file whose owner the container's user namespace does not map, nobody in it is master (user_namespaces(7))")
            .fix(
                Place::Host,
                format!("chown {} it on the host: the caller's user as the host counts", evidence.fsuid),
            )
            .fix(
                Place::Podman,
                "-v SOURCE:TARGET:U, or an --idmap mount; for the image's files, podman system migrate after a change of /etc/subuid",
            );
    } else if let Some(owner) = inside(uids, step.uid) {
        found = found
            .flag(&format!("--user {owner}"))
            .fix(Place::Kubernetes, format!("securityContext.runAsUser: {owner}"));
        if is_root {
            found = found.flag("--cap-add=FOWNER");
        }
    }
    found.done()
}

fn immutable(case: &Case<'_>) -> Option<Finding> {
    let changes = |path: &Path| {
        case.is(REMOVES)
            || case.is(CHOWNS)
            || case.is(&[
                "link",
                "linkat",
                "chmod",
                "fchmod",
                "fchmodat",
                "truncate",
                "ftruncate",
                "utimensat",
            ])
            || arguments::creates(case.call, path.arg)
            || (case.is(OPENS) && (case.says("O_WRONLY") || case.says("O_RDWR") || case.says("O_TRUNC")))
    };
    let (path, step) = case
        .scene
        .paths
        .iter()
        .filter(|path| changes(path))
        .find_map(|path| {
            // The file, or the directory that holds its name.
            let step = path.steps.iter().rev().take(2).find(|step| step.immutable)?;
            Some((path, step))
        })?;
    let found = Found::new(
        Cause::Dac,
        format!(
            "{} is immutable or append-only (chattr +i, +a)",
            shown(&step.path)
        ),
    )
    .after(format!(
        "statx({}) has STATX_ATTR_IMMUTABLE or STATX_ATTR_APPEND",
        shown(&path.given)
    ))
    .always("ioctl_iflags(2): root may not change it either")
    .fix(
        Place::Host,
        format!(
            "chattr -ia on that file, as the host sees it; {} in the container",
            shown(&step.path)
        ),
    );
    Some(found.done())
}

#[cfg(test)]
mod tests;
