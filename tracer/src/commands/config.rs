//! `tracer config`, and how the daemon's flags and its file come together.

use std::{
    fmt::Write as _,
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{self, Mode},
    config::{self, CallMode, Config, DEFAULT, DEFAULT_PATH, Problem},
    sinks::configured::Settings,
    units::{Bytes, Time},
};

use super::SETUP;

/// What holds: the file, and before it the flags.
///
/// # Errors
/// All that is wrong in the file, a line each.
pub(super) fn load(flags: &cli::Daemon) -> Result<Config> {
    let (path, text) = text(flags.config.as_deref())?;
    let mut config = config::read(&text).map_err(|problems| anyhow::Error::msg(told(&path, &problems)))?;
    put_over(&mut config, flags);
    Ok(config)
}

/// The file's text. Only one that nobody asked for may be absent.
fn text(file: Option<&Path>) -> Result<(PathBuf, String)> {
    let path = file.unwrap_or(Path::new(DEFAULT_PATH)).to_owned();
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) if file.is_none() && error.kind() == ErrorKind::NotFound => Ok((path, String::new())),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn told(path: &Path, problems: &[Problem]) -> String {
    let lines = problems
        .iter()
        .map(|problem| format!("{}:{problem}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

fn put_over(config: &mut Config, flags: &cli::Daemon) {
    fn set<T>(to: &mut T, flag: Option<T>) {
        if let Some(value) = flag {
            *to = value;
        }
    }
    let cli::Daemon {
        config: _,
        ring_size,
        mode,
        strings,
        linger,
        hand_over,
        bounds,
        audits,
        recorder,
    } = flags;
    let bytes = |size: &u32| Bytes(u64::from(*size));
    set(&mut config.daemon.ring_size, ring_size.as_ref().map(bytes));
    set(&mut config.daemon.mode, mode.map(CallMode::from));
    set(&mut config.daemon.string_limit, *strings);
    set(&mut config.daemon.linger, linger.map(Time));
    config.daemon.hand_over |= *hand_over;
    set(&mut config.users.containers, bounds.user_containers);
    set(&mut config.users.event_rate, bounds.user_event_rate);
    set(&mut config.users.queue, bounds.user_queue.as_ref().map(bytes));
    set(&mut config.annotations.options, bounds.annotation_options.clone());
    set(&mut config.annotations.max_event_rate, bounds.max_event_rate);
    set(&mut config.annotations.max_ring_share, bounds.max_ring_share);
    set(&mut config.audit.mode, audits.audit);
    set(&mut config.audit.every, audits.audit_every.map(Time));
    let held = &mut config.flight_recorder;
    set(&mut held.bytes, recorder.flight_recorder.as_ref().map(bytes));
    set(&mut held.time, recorder.flight_recorder_time.map(Time));
    set(
        &mut held.total,
        recorder.flight_recorder_total.as_ref().map(bytes),
    );
    set(&mut held.dump_on, recorder.dump_on.clone());
    set(&mut held.dump_dir, recorder.dump_dir.clone());
    set(&mut held.dump_bytes, recorder.dump_bytes.as_ref().map(bytes));
    config
        .audit
        .runtime_state
        .extend(audits.runtime_state.iter().cloned());
}

impl From<Mode> for CallMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Full => Self::Full,
            Mode::NoDuration => Self::NoDuration,
            Mode::Counts => Self::Counts,
        }
    }
}

pub(super) fn run(command: cli::Config) -> Result<u8> {
    let mut to = io::stdout().lock();
    match command {
        cli::Config::Default => to.write_all(DEFAULT.as_bytes())?,
        cli::Config::Show { file } => {
            let (path, text) = text(file.as_deref())?;
            let config =
                config::read(&text).map_err(|problems| anyhow::Error::msg(told(&path, &problems)))?;
            to.write_all(toml::to_string(&config)?.as_bytes())?;
        }
        cli::Config::Check { file } => {
            let (path, text) = text(file.as_deref())?;
            return match config::read(&text) {
                Ok(config) => {
                    to.write_all(does(&path, &config)?.as_bytes())?;
                    Ok(0)
                }
                Err(problems) => {
                    writeln!(io::stderr(), "{}", told(&path, &problems))?;
                    Ok(SETUP)
                }
            };
        }
    }
    Ok(0)
}

/// What the daemon would do by it.
fn does(path: &Path, config: &Config) -> Result<String> {
    let mut text = String::new();
    let Config {
        daemon,
        users,
        annotations,
        audit,
        flight_recorder,
        metrics,
        sinks,
    } = config;
    let default = Config::default();
    let differs = |differs: bool| if differs { "" } else { " (default)" };
    writeln!(text, "{}: good", path.display())?;
    writeln!(
        text,
        "daemon       ring of {}, mode {}, strings of {} bytes, linger {}{}",
        daemon.ring_size,
        word(&daemon.mode)?,
        daemon.string_limit,
        daemon.linger,
        differs(*daemon != default.daemon)
    )?;
    let rate = |rate: u64| match rate {
        0 => "any number of events".to_owned(),
        rate => format!("{rate} events"),
    };
    writeln!(
        text,
        "users        {} containers, {} a second, {} of queue{}",
        users.containers,
        rate(users.event_rate),
        users.queue,
        differs(*users != default.users)
    )?;
    writeln!(
        text,
        "annotations  options {}, {} a second, {} of the ring, recorder of {}, dumps on {}{}",
        String::from(annotations.options.clone()),
        rate(annotations.max_event_rate),
        match annotations.max_ring_share {
            0 => "a fair share".to_owned(),
            percent => format!("{percent} %"),
        },
        annotations.max_flight_recorder.max(flight_recorder.bytes),
        String::from(config.dump_on()),
        differs(*annotations != default.annotations)
    )?;
    writeln!(
        text,
        "audit        {}, every {}{}",
        word(&audit.mode)?,
        audit.every,
        differs(*audit != default.audit)
    )?;
    writeln!(
        text,
        "recorder     {} a container, {} of all, dumps on {}{}",
        flight_recorder.bytes,
        flight_recorder.total,
        String::from(flight_recorder.dump_on.clone()),
        differs(*flight_recorder != default.flight_recorder)
    )?;
    match metrics.listen.as_str() {
        "" => writeln!(text, "metrics      nowhere")?,
        listen => writeln!(
            text,
            "metrics      at {listen}, of {} containers, {} calls and {} histograms each",
            metrics.containers, metrics.calls, metrics.histograms
        )?,
    }
    if let Some(warning) = metrics.warning() {
        writeln!(text, "             {warning}")?;
    }
    for sink in sinks {
        writeln!(text, "sink         {}", sink_does(sink)?)?;
    }
    if sinks.is_empty() {
        writeln!(text, "sink         none")?;
    }
    Ok(text)
}

fn sink_does(sink: &Settings) -> Result<String> {
    let Ok(selection) = sink.selection(cli::filter_words) else {
        bail!("sink {}: its selection cannot be read", sink.common.name);
    };
    let mut text = format!("{}: {}", sink.common.name, sink.kind);
    if !sink.common.filter.is_empty() {
        write!(text, ", calls {}", sink.common.filter)?;
    }
    let select = selection.select.to_string();
    for word in selection
        .select
        .words
        .iter()
        .chain((!select.is_empty()).then_some(&select))
    {
        write!(text, ", of {word}")?;
    }
    write!(
        text,
        ", phases {}, queue {}",
        word(&sink.common.phases)?,
        sink.common.queue
    )?;
    Ok(text)
}

/// The word of a unit variant.
fn word(value: &impl serde::Serialize) -> Result<String> {
    Ok(toml::Value::try_from(value)?
        .as_str()
        .unwrap_or_default()
        .to_owned())
}
