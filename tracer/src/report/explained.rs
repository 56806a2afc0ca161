//! Renders why calls of a container failed, for `tracer explain`: of a container of the daemon's, or of a recording.

use std::collections::BTreeMap;

use super::{Expected, Explained, Names, State, Verdict};
use crate::{
    errno,
    event::{Body, Cause, Descriptors, Diagnosis, Event},
    explain::Explanation,
    sinks::{
        json,
        text::{self, TextOptions},
    },
};

/// Whose failures, and which of its calls may have failed without that being known.
#[derive(Clone, Debug)]
pub struct Of {
    pub container: Names,
    pub state: State,
    pub lost: u64,
    pub filtered: u64,
    pub counted: u64,
    pub never_began: bool,
}

impl From<&Verdict> for Of {
    fn from(verdict: &Verdict) -> Self {
        Self {
            container: verdict.container.clone(),
            state: verdict.state,
            lost: verdict.lost,
            filtered: verdict.books.filtered,
            counted: verdict.books.counted,
            never_began: verdict.never_began(),
        }
    }
}

/// As JSON lines, the expected failures among them, or as text.
pub fn render(explanation: &Explanation, of: Of, text: Option<&TextOptions>) -> Explained {
    let mut lines = Vec::new();
    match text {
        None => {
            for event in explanation.diagnoses.iter().chain(&explanation.expected) {
                json::write_event(&mut lines, event, Descriptors::Numbers);
            }
        }
        Some(options) => {
            let (whole, brief) = by_weight(&explanation.diagnoses);
            for event in whole {
                text::write_event(&mut lines, event, options);
            }
            if !brief.is_empty() {
                lines.extend_from_slice(NOT_THERE);
                for found in brief {
                    text::write_briefly(&mut lines, found);
                }
            }
        }
    }
    let Of {
        container,
        state,
        lost,
        filtered,
        counted,
        never_began,
    } = of;
    Explained {
        container,
        state,
        // Both formats are ASCII.
        lines: String::from_utf8_lossy(&lines).into_owned(),
        found: explanation.diagnoses.len(),
        expected: expected(&explanation.expected),
        left_out: explanation.left_out,
        lost,
        filtered,
        counted,
        never_began,
    }
}

/// Above files that were not there.
const NOT_THERE: &[u8] =
    b"files that were not there, and the program went on (-o json has what to change):\n";

/// What is told with all that is known, and what in a line. Programs look for many a file that they do without: those that
/// others failed after are told in a line. The last failure is whole: nothing came after it.
fn by_weight(diagnoses: &[Event]) -> (Vec<&Event>, Vec<&Diagnosis>) {
    let (mut whole, mut brief) = (Vec::new(), Vec::new());
    let last = diagnoses.len().saturating_sub(1);
    for (index, event) in diagnoses.iter().enumerate() {
        match &event.body {
            Body::Diagnosis(found) if found.verdict.cause == Cause::Missing && index != last => {
                brief.push(&**found);
            }
            _ => whole.push(event),
        }
    }
    (whole, brief)
}

fn expected(events: &[Event]) -> Vec<Expected> {
    let mut counts = BTreeMap::new();
    for event in events {
        if let Body::Diagnosis(found) = &event.body {
            let errno = found.errno.map(|errno| errno::name(errno).into_owned());
            let key = (found.syscall.to_string(), errno, found.verdict.why.clone());
            *counts.entry(key).or_insert(0) += found.count;
        }
    }
    let mut all: Vec<_> = counts
        .into_iter()
        .map(|((syscall, errno, why), count)| Expected {
            syscall,
            errno,
            why,
            count,
        })
        .collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.count));
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Arch, Container, Task, Verdict as Why};

    fn event(syscall: &'static str, cause: Cause, why: &str) -> Event {
        Event {
            time_ns: 0,
            ktime: 0,
            container: Arc::new(Container::default()),
            body: Body::Diagnosis(Box::new(Diagnosis {
                task: Task::default(),
                arch: Arch::NATIVE,
                nr: 0,
                syscall: syscall.into(),
                errno: Some(libc::ENOENT as u16),
                call: format!("{syscall}()"),
                count: 3,
                verdict: Why {
                    cause,
                    why: why.into(),
                    evidence: Vec::new(),
                    fixes: Vec::new(),
                    ruled_out: Vec::new(),
                },
            })),
        }
    }

    fn lines(diagnoses: Vec<Event>, text: bool) -> String {
        let explanation = Explanation {
            diagnoses,
            ..Explanation::default()
        };
        let of = Of {
            container: serde_json::from_str(r#"{"id":"web","name":"web"}"#).unwrap(),
            state: State::Gone,
            lost: 0,
            filtered: 0,
            counted: 0,
            never_began: false,
        };
        render(&explanation, of, text.then(TextOptions::default).as_ref()).lines
    }

    #[test]
    fn a_file_that_was_missed_does_not_bury_what_failed_after_it() {
        let all = || {
            vec![
                event("stat", Cause::Missing, "there is no a\u{1b} in /etc"),
                event("mount", Cause::Capability, "CAP_SYS_ADMIN"),
                event("openat", Cause::Missing, "there is no b in /etc"),
            ]
        };
        let told = lines(all(), true);
        let at = |part: &str| told.find(part).unwrap_or_else(|| panic!("{part}: {told}"));
        assert!(
            at("*** mount()") < at("*** openat()") && at("*** openat()") < at("files that were not there")
        );
        assert!(
            told.ends_with("        3 stat ENOENT: there is no a\\033 in /etc\n"),
            "{told}"
        );
        // A program has all of them, in their order.
        assert_eq!(lines(all(), false).lines().count(), 3);
        let only = vec![event("stat", Cause::Missing, "there is no a in /etc")];
        assert!(!lines(only, true).contains("files that were"));
    }
}
