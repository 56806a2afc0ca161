//! The line of a diagnosis.

use super::{errno, field, head, string, task};
use crate::event::{Diagnosis, Event};

pub(super) fn diagnosis(out: &mut Vec<u8>, event: &Event, diagnosis: &Diagnosis) {
    head(out, event, "diagnosis", None);
    task(out, &diagnosis.task);
    text(out, ",\"arch\":", diagnosis.arch.name());
    text(out, ",\"syscall\":", &diagnosis.syscall);
    match diagnosis.errno {
        Some(errno) => text(out, ",\"errno\":", &errno::name(errno)),
        None => out.extend_from_slice(b",\"errno\":null"),
    }
    text(out, ",\"call\":", &diagnosis.call);
    field(out, b",\"count\":", diagnosis.count);
    let verdict = &diagnosis.verdict;
    text(out, ",\"cause\":", verdict.cause.name());
    text(out, ",\"why\":", &verdict.why);
    list(out, ",\"evidence\":[", &verdict.evidence, |out, fact| {
        pair(out, ("text", &fact.text), ("taken", fact.taken.name()));
    });
    list(out, ",\"fixes\":[", &verdict.fixes, |out, fix| {
        pair(out, ("place", fix.place.name()), ("line", &fix.line));
    });
    list(out, ",\"ruled_out\":[", &verdict.ruled_out, |out, text| {
        string(out, text)
    });
}

fn text(out: &mut Vec<u8>, label: &str, value: &str) {
    out.extend_from_slice(label.as_bytes());
    string(out, value);
}

fn list<T>(out: &mut Vec<u8>, label: &str, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(label.as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn pair(out: &mut Vec<u8>, first: (&str, &str), second: (&str, &str)) {
    for (before, (name, value)) in [(b'{', first), (b',', second)] {
        out.push(before);
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}
