//! Sets of system calls: `[!]openat,%file,/^sched_`. A set has a bit for each number of the native and of the 32-bit
//! table, as the kernel side looks it up.

use regex_lite::Regex;
use tracer_common::filter::{self as kernel, CALL_WORDS, COMPAT_PLANS};

use super::{add, classes, invert, inverted};
use crate::{decode, event::Arch};

pub(super) type Calls = [u64; CALL_WORDS];

/// A call that the tables of this machine have.
struct Named {
    bit: u32,
    name: &'static str,
    takes: decode::Takes,
}

/// All calls that have a name, of both tables; x32's own among the native ones.
fn named(native: Arch) -> impl Iterator<Item = Named> {
    let first = if native == Arch::X86_64 { Arch::X32 } else { native };
    let compat = decode::compat_of(native);
    [(first, 0), (compat, COMPAT_PLANS)]
        .into_iter()
        .flat_map(|(arch, from)| {
            (0..COMPAT_PLANS).filter_map(move |nr| {
                Some(Named {
                    bit: from + nr,
                    name: decode::name(arch, nr)?,
                    takes: decode::takes(arch, nr)?,
                })
            })
        })
}

fn put(set: &mut Calls, bit: u32, into: bool) {
    if let Some(word) = set.get_mut(bit as usize / 64) {
        let mask = 1 << (bit % 64);
        *word = if into { *word | mask } else { *word & !mask };
    }
}

fn matching(native: Arch, wanted: impl Fn(&Named) -> bool) -> Calls {
    let mut set = [0; CALL_WORDS];
    named(native)
        .filter(wanted)
        .for_each(|call| put(&mut set, call.bit, true));
    set
}

/// The calls that take a path, or a descriptor that may stand for one.
pub(super) fn with_path(native: Arch) -> Calls {
    matching(native, |call| call.takes.path || call.takes.descriptor)
}

/// Calls of which more than the counts must always be kept: the kernel side takes strings of an execve, learns a name from
/// prctl(2), and knows no number of a sigreturn(2) when it ends.
fn whole(native: Arch) -> Calls {
    const WHOLE: [&str; 5] = ["execve", "execveat", "prctl", "rt_sigreturn", "sigreturn"];
    matching(native, |call| WHOLE.contains(&call.name))
}

/// The calls of which all that a record has is still there when they end.
pub(super) fn late(native: Arch) -> Calls {
    let mut early = matching(native, |call| call.takes.early);
    add(&mut early, &whole(native));
    invert(&mut early);
    early
}

/// The calls of which nothing but the counts is wanted, of those that pass.
pub(super) fn light(passing: &Calls, native: Arch) -> Calls {
    let mut light = *passing;
    light
        .iter_mut()
        .zip(whole(native))
        .for_each(|(word, whole)| *word = !(*word | whole));
    light
}

/// Where prctl(2) stands, native and 32-bit.
pub(super) fn rename(native: Arch) -> [u16; 2] {
    let mut bits = named(native)
        .filter(|call| call.name == "prctl")
        .filter_map(|call| u16::try_from(call.bit).ok());
    [bits.next().unwrap_or(0), bits.next().unwrap_or(0)]
}

/// Reads a set. A `!` before all of it inverts it; one before a later word takes that word's calls out again.
pub(super) fn set(text: &str, native: Arch) -> Result<Calls, String> {
    let (not, words) = inverted(text);
    let mut set = [0; CALL_WORDS];
    for word in words {
        let (into, word) = match word.strip_prefix('!') {
            Some(word) => (false, word),
            None => (true, word),
        };
        let named = one(word, native)?;
        for (to, word) in set.iter_mut().zip(named) {
            *to = if into { *to | word } else { *to & !word };
        }
    }
    if not {
        // Numbers without a name too: whoever leaves some calls out wants all others.
        invert(&mut set);
    }
    Ok(set)
}

/// The calls that one word means: of both tables, or with `@64` or `@32` behind it of that one.
fn one(word: &str, native: Arch) -> Result<Calls, String> {
    let (of, word) = match word.rsplit_once('@') {
        // A regular expression may have one of its own.
        Some((word, "64")) => (0..COMPAT_PLANS, word),
        Some((word, "32")) => (COMPAT_PLANS..2 * COMPAT_PLANS, word),
        Some((_, "x32")) => return Err(format!("{word:?}: calls of x32 are not told apart: @64 has them")),
        Some((_, table)) if !word.trim_start_matches('?').starts_with('/') => {
            return Err(format!("{word:?}: no table {table:?}: @64 or @32"));
        }
        _ => (0..2 * COMPAT_PLANS, word),
    };
    let mut set = of_both(word, native)?;
    for bit in (0..2 * COMPAT_PLANS).filter(|bit| !of.contains(bit)) {
        put(&mut set, bit, false);
    }
    Ok(set)
}

/// The call whose name is so near to a word that it may have been meant.
fn nearest(word: &str, native: Arch) -> Option<&'static str> {
    let names: Vec<_> = (0..COMPAT_PLANS)
        .filter_map(|nr| decode::name(native, nr))
        .collect();
    similar::get_close_matches(word, &names, 1, 0.75).first().copied()
}

fn of_both(word: &str, native: Arch) -> Result<Calls, String> {
    let (ignore, word) = match word.strip_prefix('?') {
        Some(word) => (true, word),
        None => (false, word),
    };
    match word {
        "all" => return Ok(kernel::Filter::ALL.calls),
        "none" => return Ok([0; CALL_WORDS]),
        _ => {}
    }
    if let Some(pattern) = word.strip_prefix('/') {
        let pattern = Regex::new(pattern).map_err(|error| format!("/{pattern}: {error}"))?;
        return Ok(matching(native, |call| pattern.is_match(call.name)));
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return numbered(word);
    }
    if let Some(class) = classes::find(word) {
        return Ok(matching(native, |call| class(call.name, call.takes)));
    }
    if word.starts_with('%') {
        return if ignore {
            Ok([0; CALL_WORDS])
        } else {
            Err(format!("no class {word:?}: {}", classes::NAMES.join(", ")))
        };
    }
    let set = matching(native, |call| call.name == word);
    if set == [0; CALL_WORDS] && !ignore {
        let meant = nearest(word, native).map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
        return Err(format!(
            "no system call {word:?} on this machine{meant}: a name like openat, a number, a class like %file, /REGEX, all \
             or none; ?NAME ignores one that is not there"
        ));
    }
    Ok(set)
}

/// The calls of that number in either table, as in strace also one that has no name here: a kernel may be newer.
fn numbered(word: &str) -> Result<Calls, String> {
    let last = COMPAT_PLANS - 1;
    // All beyond share the last one's bit.
    let nr: u32 = word
        .parse()
        .ok()
        .filter(|nr| *nr < last)
        .ok_or_else(|| format!("no number of a system call: {word:?}: 0 to {}", last - 1))?;
    let mut set = [0; CALL_WORDS];
    put(&mut set, nr, true);
    put(&mut set, COMPAT_PLANS + nr, true);
    Ok(set)
}
