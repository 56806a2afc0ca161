//! Why a call failed, or a process was ended, as lines under the event's.

use super::{number, paint};
use crate::{
    errno,
    event::{Diagnosis, Fix, Place, Taken},
};

/// Before each line but the first.
const INDENT: &[u8] = b"      ";

pub(super) fn diagnosis(out: &mut Vec<u8>, found: &Diagnosis, color: bool) {
    let painted = |out: &mut Vec<u8>, paint: &[u8], text: &str| {
        out.extend_from_slice(if color { paint } else { b"" });
        printable(out, text);
        out.extend_from_slice(if color { paint::PLAIN } else { b"" });
    };
    out.extend_from_slice(b"*** ");
    printable(out, &found.call);
    if !found.is_of_process() {
        out.extend_from_slice(b" fails");
    }
    if let Some(errno) = found.errno {
        out.extend_from_slice(b" with ");
        painted(out, paint::ERROR, &errno::name(errno));
    }
    if found.count > 1 {
        out.extend_from_slice(b", ");
        number(out, found.count);
        out.extend_from_slice(b" times");
    }
    out.extend_from_slice(b": ");
    painted(out, paint::NAME, found.verdict.cause.name());
    let verdict = &found.verdict;
    let mut line = |label: &str, text: &str| {
        out.push(b'\n');
        out.extend_from_slice(INDENT);
        printable(out, label);
        printable(out, text);
    };
    line("", &verdict.why);
    for fact in &verdict.evidence {
        line(
            match fact.taken {
                Taken::Before => "before it:   ",
                Taken::Call => "at the call: ",
                Taken::After => "just after:  ",
                Taken::Always => "always:      ",
            },
            &fact.text,
        );
    }
    for ruled_out in &verdict.ruled_out {
        line("not it:      ", ruled_out);
    }
    for (places, text) in fixes(&verdict.fixes) {
        line(&format!("change, {places}: "), text);
    }
    out.push(b'\n');
}

/// A line of how often, what, and why.
pub(super) fn briefly(out: &mut Vec<u8>, found: &Diagnosis) {
    let errno = found.errno.map(errno::name).unwrap_or_default();
    let line = format!("{:>9} {} {errno}: ", found.count, found.syscall);
    printable(out, &line);
    printable(out, &found.verdict.why);
    out.push(b'\n');
}

/// What is to be changed: a line that several tools take stands once.
fn fixes(fixes: &[Fix]) -> Vec<(String, &str)> {
    let mut all: Vec<(Vec<Place>, &str)> = Vec::new();
    for fix in fixes {
        match all.iter_mut().find(|(_, line)| *line == fix.line) {
            Some((places, _)) => places.push(fix.place),
            None => all.push((vec![fix.place], &fix.line)),
        }
    }
    let names = |places: Vec<Place>| {
        let names: Vec<_> = places.into_iter().map(Place::name).collect();
        names.join(" and ")
    };
    all.into_iter()
        .map(|(places, line)| (names(places), line))
        .collect()
}

/// Text that may hold what a container chose: printable ASCII as it is, the rest as three octal digits.
fn printable(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
}
