//! Events as JSON Lines, and what can be said of many: counts per system call, holes in the numbers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// How often each system call returned, by name.
pub type Counts = BTreeMap<String, u64>;

/// One line.
#[derive(Clone, Debug)]
pub struct Event(pub Value);

impl Event {
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        ensure!(value.is_object(), "not an object: {line}");
        Ok(Self(value))
    }

    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub fn number(&self, field: &str) -> Result<u64> {
        self.0[field]
            .as_u64()
            .with_context(|| format!("no number {field} in {}", self.0))
    }

    pub fn is_syscall(&self) -> bool {
        self.text("type") == "syscall"
    }

    pub fn is_app(&self) -> bool {
        self.text("phase") == "app"
    }

    /// The system call's name; empty for other events.
    pub fn syscall(&self) -> &str {
        self.text("syscall")
    }

    pub fn returned(&self) -> bool {
        !self.0["ret"].is_null()
    }

    /// An argument's register.
    pub fn raw(&self, index: usize) -> Option<u64> {
        self.0["args"][index]["raw"].as_u64()
    }

    /// The container's id.
    pub fn container(&self) -> &str {
        self.0["container"]["id"].as_str().unwrap_or_default()
    }

    /// What strace prints for that argument.
    pub fn arg(&self, index: usize) -> &str {
        self.0["args"][index]["text"].as_str().unwrap_or_default()
    }
}

/// Parses JSON Lines.
pub fn parse(text: &str) -> Result<Vec<Event>> {
    text.lines().map(Event::parse).collect()
}

/// Parses a file of JSON Lines, one line in memory at a time.
pub fn each(path: &Path, mut see: impl FnMut(Event) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    for line in BufReader::new(file).lines() {
        see(Event::parse(&line?)?)?;
    }
    Ok(())
}

/// Calls that returned, by name.
pub fn counts<'a>(events: impl IntoIterator<Item = &'a Event>) -> Counts {
    let mut counts = Counts::new();
    for event in events
        .into_iter()
        .filter(|event| event.is_syscall() && event.returned())
    {
        *counts.entry(event.syscall().to_owned()).or_default() += 1;
    }
    counts
}

/// Numbers that are missing between the first and the last of each CPU, and those that stand twice.
#[derive(Debug, Default)]
pub struct Sequence {
    seen: BTreeMap<u64, BTreeSet<u64>>,
    twice: Vec<(u64, u64)>,
}

impl Sequence {
    pub fn of(events: &[Event]) -> Result<Self> {
        let mut sequence = Self::default();
        events
            .iter()
            .filter(|event| event.is_syscall())
            .try_for_each(|event| sequence.add(event))?;
        Ok(sequence)
    }

    pub fn add(&mut self, event: &Event) -> Result<()> {
        let (cpu, seq) = (event.number("cpu")?, event.number("seq")?);
        if !self.seen.entry(cpu).or_default().insert(seq) {
            self.twice.push((cpu, seq));
        }
        Ok(())
    }

    /// The lowest number of each CPU.
    pub fn firsts(&self) -> BTreeMap<u64, u64> {
        self.seen
            .iter()
            .filter_map(|(cpu, seen)| Some((*cpu, *seen.first()?)))
            .collect()
    }

    /// Per hole: the CPU, the number before it, the number after it. The numbers begin after 0.
    pub fn holes(&self, from_start: bool) -> Vec<(u64, u64, u64)> {
        let mut holes = Vec::new();
        for (cpu, seen) in &self.seen {
            let mut last = if from_start { Some(0) } else { None };
            for seq in seen {
                if let Some(last) = last.filter(|last| *seq != last + 1) {
                    holes.push((*cpu, last, *seq));
                }
                last = Some(*seq);
            }
        }
        holes
    }

    /// No hole, nothing twice.
    pub fn whole(&self, from_start: bool) -> Result<()> {
        let holes = self.holes(from_start);
        ensure!(
            holes.is_empty(),
            "holes in the sequence (cpu, after, before): {holes:?}"
        );
        ensure!(
            self.twice.is_empty(),
            "numbers that stand twice (cpu, seq): {:?}",
            self.twice
        );
        Ok(())
    }
}

/// The names whose counts differ, with both sides; `None` when there are none.
pub fn difference(left: &str, a: &Counts, right: &str, b: &Counts) -> Option<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut text = String::new();
    for name in names {
        let (x, y) = (
            a.get(name).copied().unwrap_or(0),
            b.get(name).copied().unwrap_or(0),
        );
        if x != y {
            text += &format!("{name:<24} {left} {x:>8}   {right} {y:>8}\n");
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(cpu: u64, seq: u64) -> Event {
        Event(serde_json::json!({"type": "syscall", "syscall": "read", "ret": 0, "cpu": cpu, "seq": seq}))
    }

    #[test]
    fn holes_are_found_on_each_cpu() {
        let events = [call(0, 1), call(0, 2), call(0, 5), call(1, 3), call(0, 6)];
        let sequence = Sequence::of(&events).unwrap();
        assert_eq!(sequence.holes(false), [(0, 2, 5)]);
        assert_eq!(sequence.holes(true), [(0, 2, 5), (1, 0, 3)]);
        assert!(
            Sequence::of(&[call(0, 1), call(0, 2)])
                .unwrap()
                .whole(true)
                .is_ok()
        );
        assert!(
            Sequence::of(&[call(0, 1), call(0, 1)])
                .unwrap()
                .whole(true)
                .is_err(),
            "one stands twice"
        );
    }

    #[test]
    fn only_calls_that_returned_are_counted() {
        let mut ended = call(0, 2);
        ended.0["ret"] = Value::Null;
        let counts = counts(&[call(0, 1), ended, Event(serde_json::json!({"type": "loss"}))]);
        assert_eq!(counts, Counts::from([("read".into(), 1)]));
        assert!(
            difference("a", &counts, "b", &Counts::new())
                .unwrap()
                .contains("read")
        );
        assert_eq!(difference("a", &counts, "b", &counts), None);
    }
}
