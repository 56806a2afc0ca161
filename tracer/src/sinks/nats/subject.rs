//! Subjects of NATS messages: a pattern of the configuration, filled with names that a container chose. What is filled in
//! never makes a level, a wildcard or anything but printable ASCII, and never nothing.
//!
//! Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::{Body, Container, Event};

/// Characters of a name that are kept; a server's own limit is that of a line.
const LONGEST: usize = 64;

/// `tracer.{namespace}.{pod}.{container}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Node,
    Namespace,
    Pod,
    Container,
    Id,
    Type,
}

const FIELDS: [(&str, Field); 6] = [
    ("node", Field::Node),
    ("namespace", Field::Namespace),
    ("pod", Field::Pod),
    ("container", Field::Container),
    ("id", Field::Id),
    ("type", Field::Type),
];

impl Default for Subject {
    fn default() -> Self {
        let dot = || Part::Text(".".into());
        Self {
            parts: vec![
                Part::Text("tracer.".into()),
                Part::Field(Field::Namespace),
                dot(),
                Part::Field(Field::Pod),
                dot(),
                Part::Field(Field::Container),
            ],
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, field) = match rest.split_once('{') {
                Some((before, after)) => {
                    let (name, after) = after
                        .split_once('}')
                        .ok_or_else(|| format!("{text:?} has a {{ without its }}"))?;
                    rest = after;
                    let known = FIELDS.iter().find(|(known, _)| *known == name);
                    let (_, field) = known.ok_or_else(|| {
                        let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
                        format!("no field {{{name}}}: {}", names.join(", "))
                    })?;
                    (before, Some(*field))
                }
                None => (std::mem::take(&mut rest), None),
            };
            if !before.bytes().all(|byte| byte == b'.' || is_plain(byte)) {
                return Err(format!(
                    "{text:?} has more than letters, digits, `-`, `_` and dots"
                ));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.extend(field.map(Part::Field));
        }
        let subject = Self { parts };
        let mut filled = String::new();
        subject.fill(&mut filled, |_field| "x".into());
        if filled.split('.').any(str::is_empty) {
            return Err(format!("{text:?} has a level without a name"));
        }
        Ok(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => to.write_str(text),
            Part::Field(field) => write!(to, "{{{}}}", field.name()),
        })
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl Field {
    fn name(self) -> &'static str {
        FIELDS
            .iter()
            .find(|(_, field)| *field == self)
            .map_or("", |(name, _)| name)
    }
}

impl Subject {
    /// The subject of an event of that node.
    pub fn of(&self, event: &Event, node: &str) -> String {
        let container: &Container = &event.container;
        let mut subject = String::new();
        self.fill(&mut subject, |field| {
            token(match field {
                Field::Node => node,
                Field::Namespace => container.namespace.as_deref().unwrap_or_default(),
                Field::Pod => container.pod.as_deref().unwrap_or_default(),
                Field::Container => &container.name,
                Field::Id => &container.id,
                Field::Type => match event.body {
                    Body::Syscall(_) => "syscall",
                    Body::Process(_) => "process",
                    Body::Container(_) => "container",
                    Body::Loss(_) => "loss",
                    Body::Diagnosis(_) => "diagnosis",
                },
            })
        });
        subject
    }

    /// The subjects that it may become, as a subscriber or a stream asks for them.
    pub fn wildcard(&self) -> String {
        let mut with_marks = String::new();
        self.fill(&mut with_marks, |_field| "*".into());
        let level = |level: &str| if level.contains('*') { "*" } else { level }.to_owned();
        let levels: Vec<_> = with_marks.split('.').map(level).collect();
        levels.join(".")
    }

    fn fill(&self, to: &mut String, name: impl Fn(Field) -> String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => to.push_str(text),
                Part::Field(field) => to.push_str(&name(*field)),
            }
        }
    }
}

/// Of a name that a container chose; `_` where there is none.
fn token(name: &str) -> String {
    let keep = |character: char| match u8::try_from(character) {
        Ok(byte) if is_plain(byte) => character,
        _ => '_',
    };
    let kept: String = name.chars().take(LONGEST).map(keep).collect();
    if kept.is_empty() { "_".into() } else { kept }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Lifecycle;

    fn event(container: Container) -> Event {
        Event {
            time_ns: 0,
            ktime: 0,
            container: Arc::new(container),
            body: Body::Container(Lifecycle::Exec),
        }
    }

    #[test]
    fn a_pattern_is_filled_and_printed_back() {
        let web = event(Container {
            id: "4f1c".into(),
            name: "web".into(),
            pod: Some("shop-0".into()),
            namespace: Some("prod".into()),
            ..Container::default()
        });
        for (pattern, expected, wildcard) in [
            (
                "tracer.{namespace}.{pod}.{container}",
                "tracer.prod.shop-0.web",
                "tracer.*.*.*",
            ),
            ("events", "events", "events"),
            ("a.{node}-x.{type}.{id}", "a.n1-x.container.4f1c", "a.*.*.*"),
        ] {
            let subject: Subject = pattern.parse().unwrap();
            assert_eq!(subject.of(&web, "n1"), expected);
            assert_eq!(subject.wildcard(), wildcard);
            assert_eq!(subject.to_string(), pattern);
        }
        assert_eq!(
            Subject::default().to_string(),
            "tracer.{namespace}.{pod}.{container}"
        );
        assert_eq!(
            Subject::default().of(&event(Container::default()), "n"),
            "tracer._._._"
        );
    }

    #[test]
    fn a_pattern_that_makes_no_subject_is_refused() {
        for pattern in [
            "", ".", "a..b", "a.", ".{pod}", "a.*", "a.>", "a b", "{pod", "{what}", "a.\u{e9}", "}",
        ] {
            pattern.parse::<Subject>().unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_a_level_or_a_wildcard(name in any::<String>(), pod in any::<String>()) {
            let container = Container { name, pod: Some(pod), ..Container::default() };
            let subject = Subject::default().of(&event(container), "n");
            prop_assert_eq!(subject.split('.').count(), 4);
            prop_assert!(subject.split('.').all(|level| !level.is_empty() && level.len() <= LONGEST));
            prop_assert!(subject.bytes().all(|byte| byte == b'.' || is_plain(byte)));
        }
    }
}
