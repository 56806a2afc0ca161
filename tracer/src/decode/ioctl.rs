//! Printers of ioctl(2): the command's name, and what the argument of those that programs use most points to.

use std::{collections::HashMap, sync::LazyLock};

use super::{
    fs, names, net,
    show::{Call, Captured, Names, Out, signed},
    values,
};

/// Names by number: there are too many to look through for each call.
static NAMES: LazyLock<HashMap<u64, &'static str>> = LazyLock::new(|| {
    // The first of two names for one number stays, as in the other tables.
    names::IOCTL.list.iter().rev().copied().collect()
});

fn name(call: &Call<'_>) -> Option<&'static str> {
    NAMES.get(&call.int(1)).copied()
}

pub(super) fn command(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    if let Some(name) = NAMES.get(&value) {
        return out.str(name);
    }
    // The fields of a number made by the kernel's _IOC().
    out.str("_IOC(");
    out.str(match value >> 30 & 3 {
        0 => "_IOC_NONE",
        1 => "_IOC_WRITE",
        2 => "_IOC_READ",
        _ => "_IOC_READ|_IOC_WRITE",
    });
    for part in [value >> 8 & 0xff, value & 0xff, value >> 16 & 0x3fff] {
        out.hfield(", ", part);
    }
    out.str(")");
}

/// Whether the command takes an argument.
pub(super) fn has_argument(call: &Call<'_>) -> bool {
    !matches!(
        name(call),
        Some(
            "FIOCLEX"
                | "FIONCLEX"
                | "TIOCNOTTY"
                | "TIOCEXCL"
                | "TIOCNXCL"
                | "TIOCSBRK"
                | "TIOCCBRK"
                | "TIOCCONS"
                | "TIOCVHANGUP"
                | "BLKRRPART"
                | "BLKFLSBUF"
                | "FIFREEZE"
                | "FITHAW"
                | "LOOP_CLR_FD"
                | "LOOP_CTL_GET_FREE"
                | "LOOP_SET_CAPACITY"
                | "NS_GET_NSTYPE"
                | "NS_GET_PARENT"
                | "NS_GET_USERNS"
                | "RNDCLEARPOOL"
                | "RNDRESEEDCRNG"
                | "WDIOC_KEEPALIVE"
        )
    )
}

/// What the argument points to.
pub(super) fn memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let name = name(call)?;
    match name {
        "TIOCSPTLCK" | "FIONBIO" | "FIOASYNC" | "TIOCSPGRP" | "TIOCSETD" | "TIOCPKT" | "BLKROSET" => {
            fs::int(out, call, memory)
        }
        "TIOCMBIS" | "TIOCMBIC" | "TIOCMSET" => flags(out, u64::from(memory.u32(0)?), &names::TIOCM),
        "TIOCSTI" => {
            out.quoted(memory.bytes.get(..1)?);
            Some(())
        }
        "TIOCSWINSZ" => window(out, memory),
        "SNDCTL_TMR_START or TCSETS"
        | "SNDCTL_TMR_STOP or TCSETSW"
        | "SNDCTL_TMR_CONTINUE or TCSETSF"
        | "TCSETS2"
        | "TCSETSW2"
        | "TCSETSF2" => terminal(out, memory, 4),
        "TCSETA" | "TCSETAW" | "TCSETAF" => terminal(out, memory, 2),
        "FS_IOC_SETFLAGS" => flags(out, u64::from(memory.u32(0)?), &names::FS_FLAGS),
        "BTRFS_IOC_CLONE_RANGE or FICLONERANGE" => {
            out.field("{src_fd=", memory.i64(0)?);
            for (label, at) in [
                (", src_offset=", 8),
                (", src_length=", 16),
                (", dest_offset=", 24),
            ] {
                out.ufield(label, memory.u64(at)?);
            }
            out.str("}");
            Some(())
        }
        "BLKDISCARD" | "BLKSECDISCARD" | "BLKZEROOUT" => {
            out.ufield("[", memory.u64(0)?);
            out.ufield(", ", memory.u64(8)?);
            out.str("]");
            Some(())
        }
        "FS_IOC_FIEMAP" if !call.succeeded => {
            out.ufield("{fm_start=", memory.u64(0)?);
            out.ufield(", fm_length=", memory.u64(8)?);
            out.flags_field(", fm_flags=", u64::from(memory.u32(16)?), &names::FIEMAP);
            out.ufield(", fm_extent_count=", u64::from(memory.u32(24)?));
            out.str("}");
            Some(())
        }
        _ if name.starts_with("SIOC") => interface(out, call, name, memory),
        _ if call.succeeded => answer(out, call, name, memory),
        _ => None,
    }
}

/// What a command that succeeded wrote.
fn answer(out: &mut Out<'_>, call: &Call<'_>, name: &str, memory: Captured<'_>) -> Option<()> {
    match name {
        "FIONREAD" | "TIOCGPGRP" | "TIOCOUTQ" | "TIOCGPTN" | "TIOCGSID" | "TIOCGETD" | "TIOCGEXCL"
        | "TIOCGSOFTCAR" | "RNDGETENTCNT" | "BLKROGET" | "BLKSSZGET" | "BLKBSZGET" => {
            fs::int(out, call, memory)
        }
        "TIOCGDEV" | "BLKPBSZGET" | "BLKIOMIN" | "BLKIOOPT" => {
            out.ufield("[", u64::from(memory.u32(0)?));
            out.str("]");
            Some(())
        }
        "BLKGETSIZE" | "BLKGETSIZE64" => {
            out.ufield("[", memory.u64(0)?);
            out.str("]");
            Some(())
        }
        "TIOCMGET" => flags(out, u64::from(memory.u32(0)?), &names::TIOCM),
        "TIOCGWINSZ" => window(out, memory),
        "TCGETS" | "TCGETS2" => terminal(out, memory, 4),
        "TCGETA" => terminal(out, memory, 2),
        "FS_IOC_GETFLAGS" => flags(out, u64::from(memory.u32(0)?), &names::FS_FLAGS),
        _ => None,
    }
}

fn flags(out: &mut Out<'_>, value: u64, names: &Names) -> Option<()> {
    out.flags_field("[", value, names);
    out.str("]");
    Some(())
}

/// `struct winsize`.
fn window(out: &mut Out<'_>, memory: Captured<'_>) -> Option<()> {
    let labels = ["{ws_row=", ", ws_col=", ", ws_xpixel=", ", ws_ypixel="];
    for (label, at) in labels.into_iter().zip((0..).step_by(2)) {
        out.ufield(label, u64::from(memory.u16(at)?));
    }
    out.str("}");
    Some(())
}

/// `struct termios`, or (with words of two bytes) `struct termio`, as strace abbreviates them.
fn terminal(out: &mut Out<'_>, memory: Captured<'_>, word: usize) -> Option<()> {
    let field = |index: usize| {
        let at = index * word;
        Some(u64::from(if word == 2 {
            u32::from(memory.u16(at)?)
        } else {
            memory.u32(at)?
        }))
    };
    out.flags_field("{c_iflag=", field(0)?, &names::C_IFLAG);
    // Delays are numbers of a few bits each.
    let output = field(1)?;
    let mut rest = output;
    out.str(", c_oflag=");
    let delays = [
        (libc::NLDLY, &names::NL),
        (libc::CRDLY, &names::CR),
        (libc::TABDLY, &names::TAB),
        (libc::BSDLY, &names::BS),
        (libc::VTDLY, &names::VT),
        (libc::FFDLY, &names::FF),
    ];
    for (index, (mask, names)) in delays.into_iter().enumerate() {
        out.str(if index == 0 { "" } else { "|" });
        out.name(output & u64::from(mask), names);
        rest &= !u64::from(mask);
    }
    out.more_flags(rest, &names::C_OFLAG);
    let control = field(2)?;
    let (speed, size) = (u64::from(libc::CBAUD), u64::from(libc::CSIZE));
    out.name_field(", c_cflag=", control & speed, &names::BAUD);
    out.name_field("|", control & size, &names::CS);
    out.more_flags(control & !speed & !size, &names::C_CFLAG);
    out.flags_field(", c_lflag=", field(3)?, &names::C_LFLAG);
    out.str(", ...}");
    Some(())
}

/// `struct ifreq` and `struct ifconf`.
fn interface(out: &mut Out<'_>, call: &Call<'_>, command: &str, memory: Captured<'_>) -> Option<()> {
    let index = memory.i32(16);
    let quoted = |out: &mut Out<'_>, label: &str| {
        let name = memory.bytes.get(..16)?;
        out.str(label);
        out.quoted(name.split(|byte| *byte == 0).next()?);
        Some(())
    };
    match command {
        "SIOCGIFNAME" => {
            out.field("{ifr_ifindex=", i64::from(index?));
            if call.succeeded {
                quoted(out, ", ifr_name=")?;
            }
            out.str("}");
            return Some(());
        }
        // Where there is a list, it is elsewhere.
        "SIOCGIFCONF" if memory.u64(8)? == 0 => {
            let length = memory.u32(0)?;
            out.ufield("{ifc_len=", u64::from(length));
            let one = u32::try_from(size_of::<libc::ifreq>()).ok()?;
            if length > 0 && length.is_multiple_of(one) {
                out.ufield(" /* ", u64::from(length / one));
                out.str(" * sizeof(struct ifreq) */");
            }
            out.str(", ifc_buf=NULL}");
            return Some(());
        }
        _ => {}
    }
    let (get, what) = match (command.strip_prefix("SIOCGIF"), command.strip_prefix("SIOCSIF")) {
        (Some(what), _) => (true, what),
        (_, Some(what)) => (false, what),
        _ => return None,
    };
    let known = [
        "ADDR", "DSTADDR", "BRDADDR", "NETMASK", "FLAGS", "METRIC", "MTU", "HWADDR", "INDEX", "TXQLEN", "MAP",
    ];
    if !known.contains(&what) {
        return None;
    }
    quoted(out, "{ifr_name=")?;
    if get && !call.succeeded {
        out.str("}");
        return Some(());
    }
    let number = |out: &mut Out<'_>, label: &str| {
        out.field(label, i64::from(index?));
        Some(())
    };
    let address = |out: &mut Out<'_>, label: &str| {
        out.str(label);
        let bytes = memory.bytes.get(16..32)?;
        net::address(out, call, Captured { bytes, ..memory })
    };
    match what {
        "ADDR" => address(out, ", ifr_addr=")?,
        "DSTADDR" => address(out, ", ifr_dstaddr=")?,
        "BRDADDR" => address(out, ", ifr_broadaddr=")?,
        "NETMASK" => address(out, ", ifr_netmask=")?,
        "FLAGS" => out.flags_field(", ifr_flags=", u64::from(memory.u16(16)?), &names::IFF),
        "METRIC" => number(out, ", ifr_metric=")?,
        "MTU" => number(out, ", ifr_mtu=")?,
        "INDEX" => number(out, ", ifr_ifindex=")?,
        "TXQLEN" => number(out, ", ifr_qlen=")?,
        "HWADDR" => {
            out.name_field(
                ", ifr_hwaddr={sa_family=",
                u64::from(memory.u16(16)?),
                &names::ARPHRD,
            );
            out.str(", sa_data=");
            for (index, byte) in memory.take::<6>(18)?.into_iter().enumerate() {
                out.str(if index == 0 { "" } else { ":" });
                for digit in [byte >> 4, byte & 0xf] {
                    out.text.push(char::from_digit(u32::from(digit), 16)?);
                }
            }
            out.str("}");
        }
        _ => {
            out.hfield(", ifr_map={mem_start=", memory.u64(16)?);
            out.hfield(", mem_end=", memory.u64(24)?);
            out.hfield(", base_addr=", u64::from(memory.u16(32)?));
            for (label, at) in [(", irq=", 34), (", dma=", 35), (", port=", 36)] {
                out.hfield(label, u64::from(memory.u8(at)?));
            }
            out.str("}");
        }
    }
    out.str("}");
    Some(())
}

/// The argument, when it is a number.
pub(super) fn number(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    // Commands whose argument strace knows to be an address.
    let pointers = [
        "TC", "TIOC", "FIO", "SIOC", "FS_IOC", "FI", "BLK", "LOOP_", "RND", "RTC_", "UFFD", "SNDCTL",
    ];
    match name(call) {
        Some("TCFLSH") => out.name(value, &names::TCFLUSH),
        Some("TCXONC") => out.name(value, &names::TCXONC_ARG),
        Some("TCSBRK" | "TCSBRKP" | "TIOCSCTTY" | "LOOP_SET_FD" | "LOOP_CHANGE_FD") => {
            values::int(out, call, value);
        }
        Some("BTRFS_IOC_CLONE or FICLONE") => out.field("", i64::from(signed(value))),
        Some("TIOCGPTPEER") => out.hex(value),
        Some(name) if pointers.iter().any(|start| name.starts_with(start)) => out.pointer(value),
        _ => out.hex(value),
    }
}
