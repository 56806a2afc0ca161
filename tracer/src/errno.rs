//! Names and descriptions of errors, the kernel's internal ones among them.

use std::{borrow::Cow, io, sync::LazyLock};

/// `ENOENT`; a number without a name is `ERRNO_600`, as strace has it.
pub(crate) fn name(errno: u16) -> Cow<'static, str> {
    match syscalls::Errno::new(i32::from(errno)).name() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("ERRNO_{errno}")),
    }
}

/// What the C library says of it.
pub(crate) fn description(errno: u16) -> &'static str {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
        (0..=133)
            .map(|errno| {
                let text = io::Error::from_raw_os_error(errno).to_string();
                // The standard library adds " (os error 2)".
                text.split(" (os error").next().unwrap_or_default().to_owned()
            })
            .collect()
    });
    ALL.get(usize::from(errno))
        .map_or("Unknown error", String::as_str)
}

/// What strace says of an error that user space never sees: the call will be made again.
pub(crate) fn restart(errno: u16) -> Option<&'static str> {
    match errno {
        512 => Some("To be restarted if SA_RESTART is set"),
        513 => Some("To be restarted"),
        514 => Some("To be restarted if no handler"),
        516 => Some("Interrupted by signal"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_words() {
        assert_eq!(super::name(2), "ENOENT");
        assert_eq!(super::name(512), "ERESTARTSYS");
        assert_eq!(super::name(600), "ERRNO_600");
        assert_eq!(super::description(11), "Resource temporarily unavailable");
    }
}
