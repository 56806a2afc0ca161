//! The daemon's configuration file, `/etc/tracer/tracer.toml`: its keys, their defaults, and what is wrong in it. It must
//! not know the daemon or the command line's flags, which go before it.
//!
//! Each field is optional. What means nothing is an error with its place and what to write instead; all of them are
//! found at once.

mod read;

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use read::{Problem, read};

use crate::{
    audit, metrics,
    options::{self, Allowed},
    quota,
    recording::{self, Reasons},
    registry::Mode,
    sinks::configured,
    units::{Bytes, Time},
};

/// Where it is looked for.
pub const DEFAULT_PATH: &str = "/etc/tracer/tracer.toml";

/// The default file: every key with its default, explained.
pub const DEFAULT: &str = include_str!("../../packaging/tracer.toml");

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    pub daemon: Daemon,
    pub users: Users,
    pub annotations: Annotations,
    pub audit: Audit,
    pub flight_recorder: FlightRecorder,
    pub metrics: metrics::Settings,
    #[serde(rename = "sink")]
    pub sinks: Vec<configured::Settings>,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// Of the kernel's ring buffer; rounded up to a power of two.
    pub ring_size: Bytes,
    pub mode: CallMode,
    /// Bytes of strings and buffers that are shown.
    pub string_limit: u16,
    /// How long the programs stay attached after the last container.
    pub linger: Time,
    /// Whether, at its end, the service manager keeps the containers for the next daemon.
    pub hand_over: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            ring_size: Bytes(32 << 20),
            mode: CallMode::Full,
            string_limit: 32,
            linger: Time(std::time::Duration::from_secs(30)),
            hand_over: false,
        }
    }
}

/// How calls are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallMode {
    #[default]
    Full,
    NoDuration,
    Counts,
}

impl From<CallMode> for Mode {
    fn from(mode: CallMode) -> Self {
        match mode {
            CallMode::Full => Self::Full,
            CallMode::NoDuration => Self::NoDuration,
            CallMode::Counts => Self::Counts,
        }
    }
}

/// `[users]`: what one user who is not root may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    pub containers: usize,
    /// Events a second of all its containers together; 0 is no limit.
    pub event_rate: u64,
    /// Bytes that may wait for its readers.
    pub queue: Bytes,
}

impl Default for Users {
    fn default() -> Self {
        let quota::Limits {
            containers,
            event_rate,
            queue,
        } = quota::Limits::default();
        Self {
            containers,
            event_rate,
            queue: Bytes(queue as u64),
        }
    }
}

impl From<&Users> for quota::Limits {
    fn from(users: &Users) -> Self {
        Self {
            containers: users.containers,
            event_rate: users.event_rate,
            queue: users.queue.count(),
        }
    }
}

/// `[annotations]`: what containers may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Annotations {
    /// The options that are heard: `all` (without `lossless`), `none`, or names with commas.
    pub options: Allowed,
    /// Most events a second of one container; 0 is no limit.
    pub max_event_rate: u64,
    /// Percent of the ring that one container may have on its way at most; 0 is no such bound.
    #[serde(deserialize_with = "percent")]
    pub max_ring_share: u8,
    /// Most bytes that are held of a container that asks; `flight_recorder.bytes` where that is more.
    pub max_flight_recorder: Bytes,
    /// What a container may ask to be dumped on, beside `flight_recorder.dump_on`.
    pub dump_on: Reasons,
}

fn percent<'de, D: Deserializer<'de>>(value: D) -> Result<u8, D::Error> {
    let percent = i64::deserialize(value)?;
    u8::try_from(percent)
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| {
            de::Error::custom(format!(
                "{percent} is no percentage: 1 to 100, or 0 for no such bound"
            ))
        })
}

impl Default for Annotations {
    fn default() -> Self {
        Self {
            options: Allowed::default(),
            max_event_rate: 0,
            max_ring_share: 0,
            max_flight_recorder: Bytes(recording::Bounds::default().bytes as u64),
            dump_on: Reasons::default(),
        }
    }
}

/// `[audit]`: containers that ask to be traced, run, and are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    pub mode: audit::Mode,
    pub every: Time,
    /// State directories of runc or crun (their --root) beside the usual ones.
    pub runtime_state: Vec<PathBuf>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            mode: audit::Mode::default(),
            every: Time(std::time::Duration::from_secs(30)),
            runtime_state: Vec::new(),
        }
    }
}

/// `[flight_recorder]`: what is held of containers, and when it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlightRecorder {
    /// Held of each container's last events, packed.
    pub bytes: Bytes,
    /// How long an event is held at most; 0 is no limit.
    pub time: Time,
    /// Held of all containers together.
    pub total: Bytes,
    /// When that is kept in a file.
    pub dump_on: Reasons,
    pub dump_dir: PathBuf,
    /// Of all such files.
    pub dump_bytes: Bytes,
}

impl Default for FlightRecorder {
    fn default() -> Self {
        let recording::Bounds { bytes, time, all } = recording::Bounds::default();
        Self {
            bytes: Bytes(bytes as u64),
            time: Time(time.unwrap_or_default()),
            total: Bytes(all as u64),
            dump_on: Reasons::default(),
            dump_dir: PathBuf::from("/var/lib/tracer/dumps"),
            dump_bytes: Bytes(256 << 20),
        }
    }
}

impl Config {
    /// What containers may ask for.
    pub fn policy(&self) -> options::Policy {
        let held = &self.flight_recorder;
        options::Policy {
            allowed: self.annotations.options.clone(),
            max_event_rate: self.annotations.max_event_rate,
            max_ring_share: self.annotations.max_ring_share,
            mode: self.daemon.mode.into(),
            max_held: self.annotations.max_flight_recorder.max(held.bytes).count(),
            max_held_time: (!held.time.0.is_zero()).then_some(held.time.0),
            dump_on: self.dump_on(),
        }
    }

    /// What any container may be dumped on.
    pub fn dump_on(&self) -> Reasons {
        self.flight_recorder.dump_on.and(&self.annotations.dump_on)
    }
}

#[cfg(test)]
mod tests;
