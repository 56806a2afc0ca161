//! `cargo xtask generate`: writes the argument table of the decoder, `tracer/src/decode/syscalls.x86_64.txt`, from
//! the running kernel's own description of its system calls (tracefs, `CONFIG_FTRACE_SYSCALLS`).
//!
//! Only numbers come from elsewhere (the `syscalls` crate): tracefs knows none. It must not know how an argument is
//! printed; that is the decoder's.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};
use syscalls::x86_64::Sysno;

const TRACEFS: &str = "/sys/kernel/tracing/events/syscalls";
const SNAPSHOT: &str = "tracer/src/decode/syscalls.x86_64.txt";

/// Calls whose tracefs name is not the one that user space knows.
const ALIASES: &[(&str, &str)] = &[
    ("stat", "newstat"),
    ("lstat", "newlstat"),
    ("fstat", "newfstat"),
    ("uname", "newuname"),
    ("sendfile", "sendfile64"),
    ("umount2", "umount"),
];

/// Calls that kernels leave out by configuration, or that bypass the macro which tracefs reads.
const BY_HAND: &[(&str, &str)] = &[
    ("rt_sigreturn", ""),
    ("init_module", "void *umod, unsigned long len, const char *uargs"),
    ("finit_module", "int fd, const char *uargs, int flags"),
    ("delete_module", "const char *name_user, unsigned int flags"),
    (
        "kexec_load",
        "unsigned long entry, unsigned long nr_segments, struct kexec_segment *segments, unsigned long flags",
    ),
    (
        "kexec_file_load",
        "int kernel_fd, int initrd_fd, unsigned long cmdline_len, const char *cmdline_ptr, unsigned long flags",
    ),
    ("lookup_dcookie", "u64 cookie64, char *buf, size_t len"),
    ("get_thread_area", "struct user_desc *u_info"),
    ("set_thread_area", "struct user_desc *u_info"),
    (
        "map_shadow_stack",
        "unsigned long addr, unsigned long size, unsigned int flags",
    ),
];

/// Writes the snapshot; `root` is the workspace.
pub(crate) fn run(root: &Path) -> Result<()> {
    let known = read_tracefs(Path::new(TRACEFS))?;
    let mut text = String::from(
        "# number name parameters, of x86_64. Written by `cargo xtask generate` from tracefs; `?` = not known there.\n",
    );
    for sysno in Sysno::iter() {
        let name = sysno.name();
        let kernel = ALIASES
            .iter()
            .find(|(user, _)| *user == name)
            .map_or(name, |(_, kernel)| *kernel);
        let hand = || {
            BY_HAND
                .iter()
                .find(|(hand, _)| *hand == name)
                .map(|(_, params)| (*params).to_owned())
        };
        let params = known
            .get(kernel)
            .cloned()
            .or_else(hand)
            .unwrap_or_else(|| "?".to_owned());
        writeln!(text, "{}", format!("{} {name} {params}", sysno.id()).trim_end())?;
    }
    let path = root.join(SNAPSHOT);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Parameters of each call that tracefs describes, as C would list them.
fn read_tracefs(dir: &Path) -> Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(dir).with_context(|| {
        format!(
            "read {}: needs root, CONFIG_FTRACE_SYSCALLS and a mounted tracefs",
            dir.display()
        )
    })?;
    let mut calls = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name
            .to_str()
            .and_then(|name| name.strip_prefix("sys_enter_"))
        else {
            continue;
        };
        let path = entry.path().join("format");
        let format = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        calls.insert(name.to_owned(), parameters(&format));
    }
    ensure!(
        calls.len() > 200,
        "{} describes only {} calls",
        dir.display(),
        calls.len()
    );
    Ok(calls)
}

/// The fields after `__syscall_nr` of a format file, as `type name` joined by commas.
fn parameters(format: &str) -> String {
    format
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("field:")?
                .split_once(';')
                .map(|(field, _)| field)
        })
        .skip_while(|field| !field.ends_with(" __syscall_nr"))
        .skip(1)
        .map(|field| field.replace("* ", "*"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn fields_after_the_number_are_parameters() {
        let format = "format:\n\tfield:int common_pid;\toffset:4;\n\n\tfield:int __syscall_nr;\toffset:8;\n\
                      \tfield:const char * filename;\toffset:16;\n\tfield:umode_t mode;\toffset:24;\n\nprint fmt: x";
        assert_eq!(parameters(format), "const char *filename, umode_t mode");
    }
}
