//! Which containers somebody means: by words, Pod, namespace, name and labels, as kubectl selects. Pure.
//!
//! It says nothing of who may see them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::event::Container;

/// All that is given must hold; of several of one kind, one. The default takes every container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Names, ids, or beginnings of ids.
    pub words: Vec<String>,
    /// Names of Pods.
    pub pods: Vec<String>,
    /// Kubernetes namespaces.
    pub namespaces: Vec<String>,
    /// Names of containers.
    pub names: Vec<String>,
    /// What the labels must be.
    pub labels: Vec<Requirement>,
}

impl Selector {
    /// Whether it means that container.
    pub fn takes(&self, container: &Container) -> bool {
        let among = |list: &[String], value: Option<&String>| {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        };
        (self.words.is_empty() || self.words.iter().any(|word| container.is_meant_by(word)))
            && among(&self.pods, container.pod.as_ref())
            && among(&self.namespaces, container.namespace.as_ref())
            && among(&self.names, Some(&container.name))
            && self.labels.iter().all(|label| label.holds(&container.labels))
    }

    /// Whether it is by anything else than words.
    pub fn is_by_names(&self) -> bool {
        *self
            != Self {
                words: self.words.clone(),
                ..Self::default()
            }
    }
}

impl fmt::Display for Selector {
    /// As the command line has it, without the words.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("--pod", &self.pods),
            ("--namespace", &self.namespaces),
            ("--container", &self.names),
        ];
        let options = lists
            .iter()
            .flat_map(|(option, list)| list.iter().map(move |value| format!("{option} {value}")))
            .chain(self.labels.iter().map(|label| format!("-l {label}")));
        to.write_str(&options.collect::<Vec<_>>().join(" "))
    }
}

/// One requirement of a label selector. It travels as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    /// Of several values, one.
    Is(Vec<String>),
    /// None of these, or no such label.
    IsNot(Vec<String>),
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Is(values) => value.is_some_and(|value| values.contains(value)),
            Test::IsNot(values) => value.is_none_or(|value| !values.contains(value)),
        }
    }
}

impl FromStr for Requirement {
    type Err = String;

    /// `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key`, `!key`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let one = |value: &str| vec![value.trim().to_owned()];
        let (key, test) = if let Some((key, value)) = text.split_once("!=") {
            (key, Test::IsNot(one(value)))
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (key, Test::Is(one(value)))
        } else if let Some((key, set)) = set(text, "notin") {
            (key, Test::IsNot(set))
        } else if let Some((key, set)) = set(text, "in") {
            (key, Test::Is(set))
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (text, Test::Exists)
        };
        let key = key.trim();
        let may_be = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        // Else it would not be read as it is written.
        let is_plain = |value: &String| !value.contains(['=', '!', ',', '(', ')']);
        let plain = match &test {
            Test::Is(values) | Test::IsNot(values) => values.iter().all(is_plain),
            Test::Exists | Test::Absent => true,
        };
        if key.is_empty() || !key.chars().all(may_be) || !plain {
            return Err(format!(
                "{text:?} is no label selector: key=value, key!=value, key in (a,b), key notin (a,b), key or !key, \
                 with commas between them"
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            test,
        })
    }
}

/// `key WORD (a, b)`
fn set<'a>(text: &'a str, word: &str) -> Option<(&'a str, Vec<String>)> {
    let (head, values) = text.strip_suffix(')')?.split_once('(')?;
    let key = head.trim_end().strip_suffix(word)?;
    key.ends_with(char::is_whitespace).then(|| {
        (
            key,
            values.split(',').map(|value| value.trim().to_owned()).collect(),
        )
    })
}

impl fmt::Display for Requirement {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Exists => to.write_str(key),
            Test::Absent => write!(to, "!{key}"),
            Test::Is(values) if values.len() == 1 => write!(to, "{key}={}", values.join(",")),
            Test::IsNot(values) if values.len() == 1 => write!(to, "{key}!={}", values.join(",")),
            Test::Is(values) => write!(to, "{key} in ({})", values.join(",")),
            Test::IsNot(values) => write!(to, "{key} notin ({})", values.join(",")),
        }
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

impl TryFrom<String> for Requirement {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `-l`: requirements with commas between them, which may stand inside parentheses too.
///
/// # Errors
/// Names the one that is none.
pub fn labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut depth = 0_u32;
    let outside = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(outside).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            id: "4f1c".into(),
            name: "app".into(),
            pod: Some("web-0".into()),
            namespace: Some("shop".into()),
            labels: [("app", "shop"), ("tier", "front"), ("example.com/x", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Container::default()
        }
    }

    #[test]
    fn all_that_is_given_must_hold() {
        let container = container();
        assert!(Selector::default().takes(&container));
        let list = |word: &str| vec!["x".to_owned(), word.to_owned()];
        let all = Selector {
            words: list("4f"),
            pods: list("web-0"),
            namespaces: list("shop"),
            names: list("app"),
            labels: labels("app=shop").unwrap(),
        };
        assert!(all.takes(&container) && all.is_by_names());
        for wrong in [
            Selector {
                words: list("5"),
                ..all.clone()
            },
            Selector {
                pods: list("web"),
                ..all.clone()
            },
            Selector {
                namespaces: list("sho"),
                ..all.clone()
            },
            Selector {
                names: list("4f1c"),
                ..all.clone()
            },
            Selector {
                labels: labels("app=x").unwrap(),
                ..all.clone()
            },
        ] {
            assert!(!wrong.takes(&container), "{wrong:?}");
        }
        // Where nobody told, nothing is selected by it.
        assert!(!all.takes(&Container {
            pod: None,
            ..container
        }));
    }

    #[test]
    fn labels_are_selected_as_kubectl_does() {
        let labels_of = container().labels;
        let holds = |text: &str| labels(text).unwrap().iter().all(|one| one.holds(&labels_of));
        for yes in [
            "app",
            "app=shop",
            "app==shop",
            "app = shop",
            "tier!=back",
            "none!=x",
            "!none",
            "app,tier=front",
            "example.com/x=",
            "app in (a, shop),tier",
            "tier notin (back,middle)",
            "none notin (a)",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "none",
            "app=x",
            "app!=shop",
            "!app",
            "app,none",
            "app in (a,b)",
            "tier notin (front)",
            "none=a",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_said() {
        for wrong in [
            "",
            "=x",
            "a b",
            "app in x",
            "app in",
            ",",
            "a=b,",
            "ä=1",
            "!",
            "a===b",
            "a=b(c",
            "a=b!",
            "app within (a)",
        ] {
            assert!(labels(wrong).is_err(), "{wrong}: {:?}", labels(wrong));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([ab=!,() in]|\\PC){0,24}") {
            for label in labels(&text).unwrap_or_default() {
                proptest::prop_assert_eq!(label.to_string().parse(), Ok(label));
            }
        }
    }

    #[test]
    fn it_travels_as_it_is_written() {
        let selector = Selector {
            labels: labels("a=b,!c,d in (e,f),g!=h,i notin (j,k),l").unwrap(),
            ..Selector::default()
        };
        let text = serde_json::to_string(&selector).unwrap();
        assert!(
            text.contains(r#"["a=b","!c","d in (e,f)","g!=h","i notin (j,k)","l"]"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Selector>(&text).unwrap(), selector);
        assert!(serde_json::from_str::<Selector>(r#"{"labels":["a b"]}"#).is_err());
    }
}
