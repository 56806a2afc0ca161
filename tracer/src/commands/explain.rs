//! `tracer explain`: asks why calls of a container failed, or reads it out of a recording, and prints it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::{Result, ensure};

use super::{print::safe, record::what_is_missing};
use crate::{
    cli::{self, Format},
    client,
    control::Request,
    event::{Body, Container, Event, Lifecycle},
    explain::{self, Explanation, Failures, Questions},
    follow::Followed,
    recording::{self, Entry, Recording, Summary, Told, Window},
    report::{
        Explained, Names, State,
        explained::{self, Of},
    },
    sinks::text::TextOptions,
};

pub(super) fn run(directory: &Path, arguments: cli::Explain) -> Result<u8> {
    let mut to = io::stdout().lock();
    let json = arguments.output.output == Format::Json;
    let options = TextOptions {
        color: arguments.color.on(&to),
        ..TextOptions::default()
    };
    let text = (!json).then_some(options);
    let stretch = Window::from(arguments.stretch);
    let (all, code) = if recording::is_file(&arguments.container) {
        let mut recording = Recording::open(Path::new(&arguments.container))?.within(&stretch)?;
        let mut story = Story::new()?;
        let mut lost = 0;
        while let Some(entry) = recording.entry()? {
            if let Entry::Event(_, event) = &entry
                && let Body::Loss(loss) = &event.body
            {
                lost += loss.count;
            }
            story.take(&entry);
        }
        let explained = story.finish();
        let all = explained
            .iter()
            .map(|(explanation, of)| explained::render(explanation, of.clone(), text.as_ref()))
            .collect();
        (all, what_is_missing(&recording, lost))
    } else {
        ensure!(
            stretch.is_all(),
            "--from and --to are for a recording: `tracer dump {}` makes one",
            safe(&arguments.container)
        );
        let request = Request::Explain {
            container: arguments.container,
            text,
        };
        (vec![client::ask::<Explained>(directory, &request)?], 0)
    };
    for (number, explained) in all.iter().enumerate() {
        if number > 0 && !json {
            writeln!(to)?;
        }
        to.write_all(explained.lines.as_bytes())?;
        if !json {
            summary(&mut to, explained, arguments.expected)?;
        }
    }
    to.flush()?;
    Ok(code)
}

/// Why calls failed in a recording: as it was found out when they were made, or else, of a container of which nobody did,
/// by the rules and what was recorded.
pub(super) struct Story {
    containers: BTreeMap<u16, Known>,
    failures: Failures,
    questions: Questions,
    thread: JoinHandle<()>,
}

struct Known {
    container: Arc<Container>,
    told: Vec<Event>,
    summary: Option<Box<Summary>>,
    over: bool,
    lost: u64,
    followed: Followed,
}

impl Story {
    pub(super) fn new() -> Result<Self> {
        let (failures, questions, thread) = explain::afterwards()?;
        Ok(Self {
            containers: BTreeMap::new(),
            failures,
            questions,
            thread,
        })
    }

    /// Takes what a recording has, in its order.
    pub(super) fn take(&mut self, entry: &Entry) {
        let (number, event) = match entry {
            Entry::Event(number, event) => (*number, event),
            Entry::Summary(number, summary) => {
                if let Some(known) = self.containers.get_mut(number) {
                    known.summary = Some(summary.clone());
                }
                return;
            }
        };
        let known = self.containers.entry(number).or_insert_with(|| Known {
            container: event.container.clone(),
            told: Vec::new(),
            summary: None,
            over: false,
            lost: 0,
            followed: Followed::default(),
        });
        match &event.body {
            Body::Diagnosis(_) => known.told.push(event.clone()),
            Body::Loss(loss) => known.lost += loss.count,
            Body::Container(Lifecycle::Gone { .. } | Lifecycle::Detached { .. }) => known.over = true,
            _ => {}
        }
        self.failures.see(number, event, Some(&known.followed));
        known.followed.see(event);
    }

    /// Why calls failed, of the containers of which it was not found out when they did.
    pub(super) fn not_told(mut self) -> Vec<Event> {
        self.containers.retain(|_, known| !known.was_explained());
        let found = self.finish().into_iter();
        found.flat_map(|(explanation, _)| explanation.diagnoses).collect()
    }

    /// Of each container: why, and whose it is.
    pub(super) fn finish(self) -> Vec<(Explanation, Of)> {
        let Self {
            containers,
            failures,
            questions,
            thread,
        } = self;
        let explained = containers
            .into_values()
            .map(|known| known.explain(&questions))
            .collect();
        drop((failures, questions));
        // A panic there has been printed by its thread.
        let _panicked = thread.join();
        explained
    }
}

impl Known {
    fn was_explained(&self) -> bool {
        let summary = self.summary.as_ref();
        !self.told.is_empty() || summary.is_some_and(|summary| summary.explanation.is_some())
    }

    fn explain(self, questions: &Questions) -> (Explanation, Of) {
        let events = |told: &[Told]| {
            let event = |told: &Told| told.clone().event(self.container.clone());
            told.iter().map(event).collect::<Vec<_>>()
        };
        let of = match &self.summary {
            Some(summary) => Of::from(&summary.verdict),
            None => Of {
                container: Names::from(&*self.container),
                state: if self.over { State::Gone } else { State::Live },
                lost: self.lost,
                filtered: 0,
                counted: 0,
                never_began: false,
            },
        };
        let recorded = self
            .summary
            .as_ref()
            .and_then(|summary| summary.explanation.as_ref());
        let explanation = match recorded {
            Some(found) => Explanation {
                diagnoses: events(&found.diagnoses),
                expected: events(&found.expected),
                left_out: found.left_out,
            },
            None => {
                let mut judged = questions.explain(&self.container.id).unwrap_or_default();
                // Of one that was cut, what was found out until then holds, and how often is counted here.
                if !self.told.is_empty() {
                    judged.diagnoses = self.told;
                }
                judged
            }
        };
        (explanation, of)
    }
}

/// What the diagnoses do not tell: failures that mean nothing, and what could not be seen.
fn summary(to: &mut impl Write, explained: &Explained, all: bool) -> io::Result<()> {
    let Explained {
        container,
        state,
        found,
        expected,
        left_out,
        lost,
        filtered,
        counted,
        never_began,
        lines: _,
    } = explained;
    if *found > 0 {
        writeln!(to)?;
    }
    let calls: u64 = expected.iter().map(|row| row.count).sum();
    let kinds = if *found == 1 { "kind" } else { "kinds" };
    let nothing = match calls {
        1 => "1 failed call means nothing".to_owned(),
        calls => format!("{calls} failed calls mean nothing"),
    };
    let seen = match (found, calls) {
        (0, 0) => "no failed call was seen".to_owned(),
        (0, _) => format!("no failure to explain; {nothing}"),
        (found, _) => format!("{found} {kinds} of failure explained; {nothing}"),
    };
    let listed = if all || expected.is_empty() {
        ""
    } else {
        " (--expected lists them)"
    };
    let name = safe(&container.name);
    let began = if *never_began {
        "its application never began; "
    } else {
        ""
    };
    writeln!(to, "container {name} ({}): {began}{seen}{listed}", state.name())?;
    if *never_began && *found == 0 {
        writeln!(
            to,
            "  the container runtime has printed why; `tracer tail --since-start --phase runtime {name}` shows its calls"
        )?;
    }
    if all {
        for row in expected {
            writeln!(
                to,
                "  {:>7} {} {}: {}",
                row.count,
                safe(&row.syscall),
                row.errno.as_deref().unwrap_or("(a signal)"),
                safe(&row.why)
            )?;
        }
    }
    if *left_out > 0 {
        writeln!(
            to,
            "  {left_out} failed calls were not looked at: too many kinds, or too many at once"
        )?;
    }
    if *lost > 0 {
        writeln!(to, "  {lost} calls were lost on their way: some may have failed")?;
    }
    if *filtered > 0 {
        writeln!(
            to,
            "  {filtered} calls were left out by the filters of all readers: some may have failed"
        )?;
    }
    if *counted > 0 {
        writeln!(
            to,
            "  {counted} calls were only counted (mode counts): none of them can be explained"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Expected, State};

    fn said(found: usize, expected: &[u64], all: bool) -> String {
        let explained = Explained {
            container: serde_json::from_str(r#"{"id":"web","name":"web"}"#).unwrap(),
            state: State::Gone,
            lines: String::new(),
            found,
            expected: expected
                .iter()
                .map(|count| Expected {
                    syscall: "access".into(),
                    errno: Some("ENOENT".into()),
                    why: "a search".into(),
                    count: *count,
                })
                .collect(),
            left_out: 0,
            lost: 0,
            filtered: 0,
            counted: 0,
            never_began: false,
        };
        let mut to = Vec::new();
        summary(&mut to, &explained, all).unwrap();
        String::from_utf8(to).unwrap().trim_start().to_owned()
    }

    #[test]
    fn the_last_line_says_what_there_was() {
        assert_eq!(
            said(0, &[], false),
            "container web (gone): no failed call was seen\n"
        );
        assert_eq!(
            said(0, &[2, 3], false),
            "container web (gone): no failure to explain; 5 failed calls mean nothing (--expected lists them)\n"
        );
        assert_eq!(
            said(1, &[], false),
            "container web (gone): 1 kind of failure explained; 0 failed calls mean nothing\n"
        );
        assert_eq!(
            said(2, &[1], true),
            "container web (gone): 2 kinds of failure explained; 1 failed call means nothing\n        1 access ENOENT: a search\n"
        );
    }
}

#[cfg(test)]
mod recorded {
    use tracer_common::record::flag;

    use super::*;
    use crate::{
        decode::{
            self,
            tests::fake::{A, Fake},
        },
        event::{Cause, Comm},
        recording::{Draft, Origin, Raw, Writer},
    };

    /// A recording of failed calls that nobody explained when they were made.
    fn recording(calls: &[Fake]) -> Recording {
        let options = decode::Options::native();
        let container = Arc::new(Container {
            id: "c".into(),
            name: "web".into(),
            ..Container::default()
        });
        let mut draft = Draft::new(Arc::new(Origin::here(&options)));
        for call in calls {
            let record = call.clone().flags(call.flags | flag::APP).record();
            let decode::Body::Syscall(call) = decode::decode(&record, &options).unwrap().body else {
                panic!("a call")
            };
            let event = Event {
                time_ns: 0,
                ktime: 0,
                container: container.clone(),
                body: Body::Syscall(call),
            };
            let comm = Comm::default();
            draft.take(
                &event,
                Some(Raw {
                    comm,
                    record: &record,
                }),
            );
        }
        let mut blocks = Vec::new();
        draft.close(&mut blocks);
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file);
        writer.blocks(&blocks).unwrap();
        writer.finish().unwrap();
        Recording::of(file).unwrap()
    }

    fn told(calls: &[Fake]) -> Vec<(Cause, u64, Vec<String>)> {
        let mut recording = recording(calls);
        let mut story = Story::new().unwrap();
        while let Some(entry) = recording.entry().unwrap() {
            story.take(&entry);
        }
        let all = story.finish();
        assert_eq!(all.len(), 1, "one container");
        let diagnoses = all.into_iter().flat_map(|(explanation, _)| explanation.diagnoses);
        diagnoses
            .map(|event| match event.body {
                Body::Diagnosis(found) => (found.verdict.cause, found.count, found.verdict.ruled_out),
                _ => panic!("a diagnosis"),
            })
            .collect()
    }

    #[test]
    fn what_nobody_explained_is_judged_by_what_was_recorded_and_else_left_open() {
        let path = [A::N(-100), A::S(b"/srv/secret"), A::N(0), A::N(0)];
        let refused = Fake::new("openat", path, -i64::from(libc::EACCES));
        let by_seccomp = Fake::new("mkdirat", [A::N(-100), A::Bad, A::N(0o755)], -1).flags(flag::SECCOMP);
        let all = told(&[refused.clone(), refused, by_seccomp]);
        let seccomp = all.iter().find(|(cause, ..)| *cause == Cause::Seccomp).unwrap();
        assert_eq!(seccomp.1, 1);
        let open = all
            .iter()
            .find(|(cause, ..)| *cause == Cause::Undetermined)
            .unwrap();
        assert_eq!(open.1, 2, "{all:?}");
        assert!(
            open.2
                .iter()
                .any(|why| why.contains("the system that it ran on is not here")),
            "{open:?}"
        );
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn more_kinds_than_the_queue_has_room_for_are_judged_all() {
        let calls: Vec<_> = (0..3000)
            .map(|number| Fake::new("close", [A::N(number)], -i64::from(libc::EIO)))
            .collect();
        let mut recording = recording(&calls);
        let mut story = Story::new().unwrap();
        while let Some(entry) = recording.entry().unwrap() {
            story.take(&entry);
        }
        let (explanation, _) = story.finish().remove(0);
        let counted: u64 = explanation
            .diagnoses
            .iter()
            .chain(&explanation.expected)
            .map(|event| match &event.body {
                Body::Diagnosis(found) => found.count,
                _ => 0,
            })
            .sum();
        assert_eq!(counted + explanation.left_out, 3000);
    }
}
