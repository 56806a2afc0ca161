//! Renders why calls of a container failed, for `tracer explain`: of a container of the daemon's, or of a recording.

use std::collections::BTreeMap;

use super::{Expected, Explained, Names, State, Verdict};
use crate::{
    errno,
    event::{Body, Descriptors, Event},
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
}

impl From<&Verdict> for Of {
    fn from(verdict: &Verdict) -> Self {
        Self {
            container: verdict.container.clone(),
            state: verdict.state,
            lost: verdict.lost,
            filtered: verdict.books.filtered,
            counted: verdict.books.counted,
        }
    }
}

/// As JSON lines, the expected failures among them, or as text.
pub fn render(explanation: &Explanation, of: Of, text: Option<&TextOptions>) -> Explained {
    let mut lines = Vec::new();
    for event in &explanation.diagnoses {
        match text {
            None => json::write_event(&mut lines, event, Descriptors::Numbers),
            Some(options) => text::write_event(&mut lines, event, options),
        }
    }
    if text.is_none() {
        for event in &explanation.expected {
            json::write_event(&mut lines, event, Descriptors::Numbers);
        }
    }
    let Of {
        container,
        state,
        lost,
        filtered,
        counted,
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
    }
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
