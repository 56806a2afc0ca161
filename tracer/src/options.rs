//! What a container asks for by annotation, bounded by what the node allows. Pure; docs/annotations.md has the keys.
//!
//! An option can only make less of a trace: it opens nothing, runs nothing and names no path of the host. One that
//! means nothing, or that the node does not allow, is told on the container's own event stream, and ignored.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tracer_hook::annotations::{IMAGE, LABELS, NAME, TRACE};

use crate::{
    decode,
    filter::Filter,
    recording::{self, Reasons, Recorder},
    registry::Mode,
    units::{Bytes, Time},
};

/// What stands before every option.
const PREFIX: &str = "container-tracer.io/";
/// Longest value of an option.
const MAX_VALUE: usize = 1024;

/// What annotations may ask for on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The options that are heard.
    pub allowed: Allowed,
    /// Most events a second of one container; 0 is no limit.
    pub max_event_rate: u64,
    /// Percent of the ring that one container may have on its way at most; 0 is no such bound.
    pub max_ring_share: u8,
    /// How the node takes calls: an option asks for no more.
    pub mode: Mode,
    /// Most bytes that the flight recorder holds of one container.
    pub max_held: usize,
    /// How long it holds an event at most; `None` is no limit.
    pub max_held_time: Option<Duration>,
    /// What a container may be dumped on.
    pub dump_on: Reasons,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed: Allowed::default(),
            max_event_rate: 0,
            max_ring_share: 0,
            mode: Mode::Full,
            max_held: recording::Bounds::default().bytes,
            max_held_time: None,
            dump_on: Reasons::default(),
        }
    }
}

const LOSSLESS: &str = "lossless";
/// The options by name, behind the prefix.
const KEYS: [&str; 8] = [
    "mode",
    "filter",
    "event-rate",
    "ring-share",
    "flight-recorder",
    "flight-recorder-time",
    "dump-on",
    LOSSLESS,
];
/// Of these, how many can only make less of a trace, or hold more of it. The others touch the container, and are heard only
/// where they are named.
const HARMLESS: usize = 7;

/// Least bytes of a flight recorder.
const MIN_HELD: usize = 4096;

/// A list of options; the default is all that are harmless. It travels as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Allowed(Vec<&'static str>);

impl Default for Allowed {
    fn default() -> Self {
        Self(harmless().to_vec())
    }
}

fn harmless() -> &'static [&'static str] {
    KEYS.get(..HARMLESS).unwrap_or_default()
}

impl Allowed {
    /// Whether one may ask to be frozen rather than to lose events.
    pub fn lossless(&self) -> bool {
        self.0.contains(&LOSSLESS)
    }
}

impl From<Allowed> for String {
    fn from(Allowed(list): Allowed) -> Self {
        match list.as_slice() {
            [] => "none".to_owned(),
            all if all == harmless() => "all".to_owned(),
            all if all == KEYS => "all,lossless".to_owned(),
            some => some.join(","),
        }
    }
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Allowed {
    type Err = String;

    /// `all`, `none`, or names of options with commas between them; `all` is one such name for those that are harmless.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(Vec::new())),
            list => {
                let mut named = Vec::new();
                for word in list.split(',').map(str::trim) {
                    match KEYS.iter().find(|key| **key == word) {
                        Some(key) => named.push(*key),
                        None if word == "all" => named.extend(harmless()),
                        None => {
                            return Err(format!("no option {word:?}: all, none, or of {}", KEYS.join(",")));
                        }
                    }
                }
                Ok(Self(named))
            }
        }
    }
}

/// What a container gets.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None`: the node's.
    pub mode: Option<Mode>,
    /// What all its readers get at most.
    pub filter: Option<Arc<Filter>>,
    /// Most events a second; 0 is no limit.
    pub event_rate: u64,
    pub recorder: Recorder,
    /// Percent of the ring that it may have on its way at most; 0 is no such bound.
    pub ring_share: u8,
    /// It is to be frozen rather than to lose events.
    pub lossless: bool,
    /// What was ignored, and why.
    pub warnings: Vec<String>,
}

/// Reads what a container asks for. `words` reads a filter as it is typed.
pub fn read(
    annotations: &BTreeMap<String, String>,
    policy: &Policy,
    words: impl Fn(&str) -> Result<crate::filter::Words, String>,
) -> Options {
    let mut options = Options {
        event_rate: policy.max_event_rate,
        ring_share: policy.max_ring_share,
        ..Options::default()
    };
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        if [TRACE, NAME, IMAGE, LABELS].contains(&key.as_str()) {
            continue;
        }
        let set = if !KEYS.contains(&name) {
            Err(format!("is no option: there are {}", KEYS.join(", ")))
        } else if !policy.allowed.0.contains(&name) {
            Err("is not allowed on this node".to_owned())
        } else if value.len() > MAX_VALUE {
            Err(format!("is longer than {MAX_VALUE} bytes"))
        } else {
            set(&mut options, name, value.trim(), policy, &words)
        };
        if let Err(why) = set {
            // Parts of it are the container maker's, and it stands in a log too.
            let harmless = |c: char| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            };
            let warning = format!("annotation {PREFIX}{name} {why}; it is ignored");
            options.warnings.push(warning.chars().map(harmless).collect());
        }
    }
    let untimed = !options.mode.unwrap_or(policy.mode).enters();
    if untimed
        && options
            .filter
            .take_if(|filter| filter.of_kernel().min_ns > 0)
            .is_some()
    {
        let warning = format!(
            "annotation {PREFIX}filter has --min-duration, but no duration is measured; it is ignored"
        );
        options.warnings.push(warning);
    }
    options
}

fn set(
    options: &mut Options,
    name: &str,
    value: &str,
    policy: &Policy,
    words: impl Fn(&str) -> Result<crate::filter::Words, String>,
) -> Result<(), String> {
    match name {
        "mode" => {
            let mode = match value {
                "full" => Mode::Full,
                "no-duration" => Mode::NoDuration,
                "counts" => Mode::Counts,
                other => return Err(format!("knows no mode {other:?}: full, no-duration or counts")),
            };
            if mode.cost() > policy.mode.cost() {
                return Err("asks for more than this node's --mode".to_owned());
            }
            options.mode = Some(mode);
        }
        "filter" => {
            let filter = words(value)
                .and_then(|words| Filter::new(&words, decode::Options::native().arch))
                .map_err(|why| format!("cannot be read ({why})"))?;
            if !filter.detail().is_empty() {
                return Err("has read=, write= or -v, which each reader asks for itself".to_owned());
            }
            options.filter = Some(Arc::new(filter));
        }
        "flight-recorder" => {
            let asked = value
                .parse()
                .map(Bytes::count)
                .map_err(|why: String| format!("cannot be read ({why})"))?;
            if !(MIN_HELD..=policy.max_held.max(MIN_HELD)).contains(&asked) {
                let most = Bytes(policy.max_held as u64);
                return Err(format!(
                    "asks for {asked} bytes, where this node holds {MIN_HELD} to {most}"
                ));
            }
            options.recorder.bytes = Some(asked);
        }
        "flight-recorder-time" => {
            let Time(asked) = value.parse().map_err(|why| format!("cannot be read ({why})"))?;
            if asked.is_zero() {
                return Err("holds nothing".to_owned());
            }
            if let Some(most) = policy.max_held_time.filter(|most| asked > *most) {
                return Err(format!("asks for more than this node's {}", Time(most)));
            }
            options.recorder.time = Some(asked);
        }
        "dump-on" => {
            let asked: Reasons = value.parse().map_err(|why| format!("cannot be read ({why})"))?;
            let refused = asked.without(&policy.dump_on);
            if !refused.is_empty() {
                let refused = String::from(refused);
                return Err(format!(
                    "asks for a dump on {refused}, which this node makes for no container"
                ));
            }
            options.recorder.dump_on = Some(asked);
        }
        LOSSLESS => match value {
            "true" => options.lossless = true,
            "false" => options.lossless = false,
            other => return Err(format!("is neither true nor false: {other:?}")),
        },
        "ring-share" => {
            let share = value.strip_suffix('%').unwrap_or(value).parse().ok();
            let share = share
                .filter(|share| (1..=100).contains(share))
                .ok_or_else(|| format!("is no percentage from 1 to 100: {value:?}"))?;
            let most = policy.max_ring_share;
            if most != 0 && share > most {
                return Err(format!("asks for more than this node's {most} % of the ring"));
            }
            options.ring_share = share;
        }
        _ => {
            let rate = value
                .parse()
                .ok()
                .filter(|rate| *rate > 0)
                .ok_or_else(|| format!("is no number of events a second: {value:?}"))?;
            let most = policy.max_event_rate;
            if most != 0 && rate > most {
                return Err(format!("asks for more than this node's {most} events a second"));
            }
            options.event_rate = rate;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)], policy: &Policy) -> Options {
        let annotations = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        read(&annotations, policy, crate::cli::filter_words)
    }

    #[test]
    fn options_are_read() {
        let options = asked(
            &[
                (TRACE, "true"),
                (NAME, "web"),
                ("container-tracer.io/mode", "counts"),
                ("container-tracer.io/filter", "%file -Z --errno 2"),
                ("container-tracer.io/event-rate", "5000"),
                ("container-tracer.io/ring-share", "25%"),
                ("other.io/mode", "x"),
            ],
            &Policy::default(),
        );
        assert_eq!(options.warnings, Vec::<String>::new());
        assert_eq!((options.mode, options.event_rate), (Some(Mode::Counts), 5000));
        assert_eq!(options.ring_share, 25);
        let typed = crate::filter::Words {
            expressions: vec!["%file".into()],
            failed: true,
            errnos: vec!["2".into()],
            ..Default::default()
        };
        let want = Filter::new(&typed, decode::Options::native().arch).unwrap();
        assert_eq!(*options.filter.unwrap(), want);
    }

    #[test]
    fn what_means_nothing_is_told_and_ignored() {
        for (key, value, says) in [
            ("mode", "none", "no mode \"none\""),
            ("filter", "trace=nothing_such", "nothing_such"),
            ("filter", "--pod x", "unexpected argument"),
            ("filter", "-P", "value is required"),
            ("filter", "read=3", "each reader asks"),
            ("event-rate", "-1", "no number"),
            ("event-rate", "0", "no number"),
            ("flight-recorder", "much", "no size"),
            ("flight-recorder", "1K", "4096 to 2M"),
            ("flight-recorder", "3M", "4096 to 2M"),
            ("flight-recorder-time", "soon", "no time"),
            ("flight-recorder-time", "0s", "holds nothing"),
            ("dump-on", "rain", "no reason"),
            ("dump-on", "exit,oom", "a dump on exit,oom, which"),
            ("ring-share", "0", "no percentage"),
            ("ring-share", "101%", "no percentage"),
            ("rings", "1", "no option"),
            ("", "1", "no option"),
        ] {
            let options = asked(&[(&format!("{PREFIX}{key}"), value)], &Policy::default());
            let [warning] = options.warnings.as_slice() else {
                panic!("{key}={value}: {:?}", options.warnings)
            };
            assert!(
                warning.starts_with(&format!("annotation {PREFIX}{key} "))
                    && warning.contains(says)
                    && !warning.contains('\n'),
                "{warning}"
            );
            assert_eq!((options.mode, options.event_rate), (None, 0));
            assert!(options.filter.is_none());
            assert_eq!(options.recorder, Recorder::default());
        }
        let long = "x".repeat(MAX_VALUE + 1);
        assert!(
            asked(&[("container-tracer.io/filter", &long)], &Policy::default()).warnings[0]
                .contains("longer")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_annotation_is_read_or_told(
            name in "(mode|filter|event-rate|ring-share|lossless|flight-recorder|flight-recorder-time|dump-on|\\PC{0,12})",
            value in "([-a-zA-Z%!,=/. 0-9]|\\PC|[\\x00-\\x1f]){0,60}",
        ) {
            let options = asked(&[(&format!("{PREFIX}{name}"), &value)], &Policy::default());
            for warning in options.warnings {
                proptest::prop_assert!(!warning.chars().any(char::is_control), "{}", warning);
            }
        }
    }

    #[test]
    fn the_node_bounds_what_is_asked_for() {
        let policy = Policy {
            allowed: "event-rate".parse().unwrap(),
            max_event_rate: 1000,
            max_ring_share: 10,
            mode: Mode::NoDuration,
            ..Policy::default()
        };
        let rate = |rate: &str| asked(&[("container-tracer.io/event-rate", rate)], &policy);
        assert_eq!((rate("10").event_rate, rate("10").warnings.len()), (10, 0));
        assert_eq!((rate("1001").event_rate, rate("1001").warnings.len()), (1000, 1));
        let policy_of_recorder = Policy {
            max_held: 8 << 20,
            max_held_time: Some(Duration::from_secs(60)),
            dump_on: "exit,signal".parse().unwrap(),
            ..Policy::default()
        };
        let recorder = |pairs: &[(&str, &str)]| {
            let options = asked(pairs, &policy_of_recorder);
            (options.recorder, options.warnings.len())
        };
        let all = [
            ("container-tracer.io/flight-recorder", "8M"),
            ("container-tracer.io/flight-recorder-time", "1m"),
            ("container-tracer.io/dump-on", "signal"),
        ];
        let wanted = Recorder {
            bytes: Some(8 << 20),
            time: Some(Duration::from_secs(60)),
            dump_on: Some("signal".parse().unwrap()),
        };
        assert_eq!(recorder(&all), (wanted.clone(), 0));
        let node = recording::Bounds::default();
        assert_eq!(wanted.bounds(node).bytes, 8 << 20);
        assert_eq!(wanted.bounds(node).all, node.all);
        assert_eq!(
            recorder(&[("container-tracer.io/flight-recorder-time", "61s")]).1,
            1
        );
        let none = recorder(&[("container-tracer.io/dump-on", "none")]);
        assert_eq!((none.0.dump_on, none.1), (Some(Reasons::default()), 0));
        assert_eq!(
            (asked(&[], &policy).event_rate, asked(&[], &policy).ring_share),
            (1000, 10)
        );
        let mode = asked(&[("container-tracer.io/mode", "counts")], &policy);
        assert_eq!((mode.mode, mode.warnings.len()), (None, 1));
        let policy = Policy {
            allowed: Allowed::default(),
            ..policy
        };
        let share = |share: &str| asked(&[("container-tracer.io/ring-share", share)], &policy);
        assert_eq!((share("5").ring_share, share("5").warnings.len()), (5, 0));
        assert_eq!((share("11").ring_share, share("11").warnings.len()), (10, 1));
        assert!("mode,x".parse::<Allowed>().is_err());
        assert_eq!("none".parse(), Ok(Allowed(vec![])));
        for text in ["all", "none", "mode,event-rate", "all,lossless", "lossless"] {
            assert_eq!(text.parse::<Allowed>().map(String::from).as_deref(), Ok(text));
        }
        assert_eq!("all".parse(), Ok(Policy::default().allowed));
        // What touches the container is heard only where the node says so by name.
        let lossless = [("container-tracer.io/lossless", "true")];
        let refused = asked(&lossless, &Policy::default());
        assert_eq!((refused.lossless, refused.warnings.len()), (false, 1));
        let policy = Policy {
            allowed: "all,lossless".parse().unwrap(),
            ..Policy::default()
        };
        assert!(asked(&lossless, &policy).lossless);
    }
}
