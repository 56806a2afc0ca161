//! The command line: what the user typed. It ends here: `commands` gets resolved settings.

mod examples;
mod export;
mod hook;
mod look;
mod manual;
mod mistakes;
mod page;
mod profile;
mod record;
mod start;
mod top;
mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::{
    audit,
    event::Descriptors,
    filter::{self, Begin},
    options::Allowed,
    registry, selector,
    sinks::Phases,
};

pub use examples::{command, of as examples};
pub use export::Export;
pub use hook::{Hook, HookCommand, Place, Runtime, Wanted};
pub use look::{Color, Look, Summary};
pub use manual::{Completions, Man, Shell};
pub use mistakes::advised;
pub use page::Report;
pub use profile::{Diff, Held, Merge, Profile, ProfileCheck, Seccomp};
pub use record::{Dump, Record, Recorder, Replay, Stretch};
pub use start::Start;
pub use top::Top;
use values::{duration, index, number, percent, size};

/// Trace the system calls of containers from the first instruction of their application.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, max_term_width = 100)]
pub struct Cli {
    /// Directory of the daemon's sockets.
    #[arg(long, global = true, env = tracer_hook::RUNTIME_DIR_ENV, default_value = tracer_hook::DEFAULT_RUNTIME_DIR, value_name = "DIR", display_order = 990)]
    pub runtime_dir: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command and trace it, with no daemon and no container runtime.
    Run(Run),
    /// Follow the events of containers.
    Tail(Tail),
    /// Record the events of containers, or of a command, in a file.
    Record(Record),
    /// Show the events of a recording, as tail does; needs neither the daemon nor root.
    Replay(Replay),
    /// Write what the daemon holds of a container into a recording; list its own dumps.
    Dump(Dump),
    /// Write events for another program: a Chrome trace, Parquet, CSV, JSON Lines.
    Export(Export),
    /// Write a page of HTML: why calls failed, a timeline, durations, files, peers, rights.
    Report(Report),
    /// List the containers that are traced, that ended, and that were missed.
    Ps(Ps),
    /// Count a container's calls, like strace -c, from the kernel's own aggregates.
    Stats(Stats),
    /// Show containers and their calls live, as top(1) shows processes.
    Top(Top),
    /// Tell why calls of a container failed: the cause of each, its evidence, what to change.
    Explain(Explain),
    /// Tell which paths a container looked for in vain: how often, by whom, in which search.
    Dentry(Dentry),
    /// Make a least-privilege profile from what a container did; compare, join, check them.
    #[command(subcommand)]
    Profile(Profile),
    /// Tell which capabilities a container needs, lacks, never used, with calls that show it.
    Caps(OfTraced),
    /// Prove what a container's trace holds: complete or not, and its books.
    Verify(OfTraced),
    /// Tell how the daemon is.
    Status(Output),
    /// Trace a container that runs already. Its beginning was missed: it is never complete.
    Attach(Attach),
    /// End the tracing of a container, with its books. It goes on.
    Detach(OfContainer),
    /// Look for containers that ask to be traced, run, and are not.
    Audit(Output),
    /// Tell whether this machine can trace, what it lacks, and how to get it.
    Check(Check),
    /// Print the JSON Schema of the events.
    Schema,
    /// Install the hook into a container runtime, take it out, or check it.
    Hook(Hook),
    /// Serve this node: take containers in from hooks, answer the other commands.
    Daemon(Box<Daemon>),
    /// Check the daemon's configuration file, or print one.
    #[command(subcommand)]
    Config(Config),
    /// Serve containerd or CRI-O as an NRI plugin that puts the hook into containers.
    Nri(Nri),
    /// Show the manual page of a command; through a pipe, its source.
    Man(Man),
    /// Print what a shell needs to complete commands, options and the names of containers.
    Completions(Completions),
    /// Thaw what a tracer froze that is gone; started by it.
    #[command(hide = true)]
    ThawWhenGone,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Output {
    /// Format of what is printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
}

/// `tracer check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Also show what each line rests on.
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Attach {
    /// A process id on the host, of any of its processes, or the name, id or beginning of an id that its runtime knows.
    #[arg(value_name = "PID|CONTAINER")]
    pub container: String,
    /// Name to give it.
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

/// Of a container that the daemon knows.
#[derive(Debug, Args)]
pub struct OfContainer {
    /// Name, id, or the beginning of one.
    pub container: String,
    #[command(flatten)]
    pub output: Output,
}

/// Of a container that the daemon knows, or of a recording.
#[derive(Debug, Args)]
pub struct OfTraced {
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    #[command(flatten)]
    pub output: Output,
}

/// `tracer ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Only these: names, ids, or beginnings of them.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub output: Output,
}

/// Which containers, by what their runtime tells of them; all that is given must hold.
#[derive(Debug, Args)]
pub struct Select {
    /// Only containers of this Pod; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub pod: Vec<String>,
    /// Only containers of this Kubernetes namespace; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// Only containers of this name, in whatever Pod; may be repeated.
    #[arg(long = "container", value_name = "NAME", id = "container_name")]
    pub container: Vec<String>,
    /// Only containers with these labels: `key=value,key!=value,key in (a,b),key,!key`.
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR", value_parser = label_list)]
    pub labels: Vec<LabelList>,
}

/// One `-l`.
#[derive(Clone, Debug)]
pub struct LabelList(Vec<selector::Requirement>);

fn label_list(text: &str) -> Result<LabelList, String> {
    selector::labels(text).map(LabelList)
}

impl Select {
    /// These, by those words too.
    pub fn of(self, words: Vec<String>) -> selector::Selector {
        selector::Selector {
            words,
            pods: self.pod,
            namespaces: self.namespace,
            names: self.container,
            labels: self.labels.into_iter().flat_map(|list| list.0).collect(),
        }
    }
}

/// `tracer explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    #[command(flatten)]
    pub stretch: Stretch,
    #[command(flatten)]
    pub output: Output,
    /// Also list the failures that mean nothing.
    #[arg(long)]
    pub expected: bool,
    /// Colour. Never in files.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: look::Color,
}

/// `tracer stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub summary: Summary,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
    /// Print it again and again, each second or so often (`5`, `500ms`), until the container has gone.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_parser = look::delay)]
    pub watch: Option<Duration>,
}

/// `tracer dentry`.
#[derive(Debug, Args)]
pub struct Dentry {
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    #[command(flatten)]
    pub output: Output,
    /// Show so many paths and searches at most; 0 is all.
    #[arg(long, default_value_t = 40, value_name = "NUMBER", value_parser = number::<usize>)]
    pub top: usize,
    /// Print it again and again, each second or so often (`5`, `500ms`), until the container has gone.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_parser = look::delay)]
    pub watch: Option<Duration>,
}

/// What events look like.
#[derive(Debug, Args)]
pub struct Events {
    #[command(flatten)]
    pub output: Output,
    /// Write events to FILE; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
    #[command(flatten)]
    pub filter: Filter,
    /// Time of day before each line; twice with microseconds, three times since 1970.
    #[arg(short = 't', action = clap::ArgAction::Count)]
    pub time: u8,
    /// Time since the line before.
    #[arg(short = 'r', conflicts_with = "time")]
    pub relative: bool,
    /// Show process and container events between the calls.
    #[arg(long)]
    pub lifecycle: bool,
    /// Say under a call that failed why it failed, and what to change.
    #[arg(long)]
    pub explain: bool,
    /// Show what file descriptors stand for: `3</etc/passwd>`; twice, also the addresses of sockets and the numbers of
    /// devices.
    #[arg(short = 'y', action = clap::ArgAction::Count)]
    pub descriptors: u8,
    /// Show structures whole (of stat, statx, getdents, rusage, uname), not abbreviated.
    #[arg(short = 'v', long = "no-abbrev")]
    pub verbose: bool,
    #[command(flatten)]
    pub look: Look,
}

impl Events {
    /// Which calls.
    pub fn words(&self) -> filter::Words {
        // The time of a line is that of its call's begin.
        let timed = self.shows_durations() || self.time > 0 || self.relative;
        let begin = if self.descriptors > 0 {
            Begin::Whole
        } else if timed || self.output.output == Format::Json {
            Begin::Time
        } else {
            Begin::Nothing
        };
        filter::Words {
            begin,
            verbose: self.verbose,
            ..self.filter.words()
        }
    }

    /// Whether lines of text have durations. As in strace, they are to be asked for where calls are taken by how they
    /// end: those that are left out cost the less.
    pub fn shows_durations(&self) -> bool {
        let asked = self.look.duration || self.filter.min_duration.is_some();
        !self.look.no_duration && (asked || !self.filter.is_by_outcome())
    }

    /// What `-y` asks.
    pub const fn descriptors(&self) -> Descriptors {
        descriptors(self.descriptors)
    }
}

/// What so many `-y` ask.
const fn descriptors(times: u8) -> Descriptors {
    match times {
        0 => Descriptors::Numbers,
        1 => Descriptors::Paths,
        _ => Descriptors::All,
    }
}

/// Which calls: all that is given must hold. docs/filters.md has the whole of it.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only these calls: `[trace=][!]NAME,%CLASS,/REGEX`, or `status=failed`. Or show all the data of these descriptors:
    /// `read=3,4`, `write=all`. The last of each holds.
    #[arg(short = 'e', long = "expr", value_name = "EXPR")]
    pub expressions: Vec<String>,
    /// Only calls that succeeded.
    #[arg(short = 'z', long, overrides_with = "failed")]
    pub successful_only: bool,
    /// Only calls that failed.
    #[arg(
        short = 'Z',
        long = "failed-only",
        id = "failed",
        overrides_with = "successful_only"
    )]
    pub failed_only: bool,
    /// Only calls that failed with one of these (`ENOENT,EACCES`).
    #[arg(long, value_delimiter = ',', value_name = "ERRNO,…")]
    pub errno: Vec<String>,
    /// Only calls of tasks of that name.
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Only calls that took at least so long (`10ms`, `500us`; a number alone is seconds).
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub min_duration: Option<Duration>,
    /// Only calls with PATH as an argument.
    #[arg(short = 'P', long = "trace-path", value_name = "PATH")]
    pub path: Vec<String>,
}

impl Filter {
    fn is_by_outcome(&self) -> bool {
        self.successful_only
            || self.failed_only
            || !self.errno.is_empty()
            || self.expressions.iter().any(|word| word.starts_with("status="))
    }

    /// What was asked for.
    pub fn words(&self) -> filter::Words {
        filter::Words {
            expressions: self.expressions.clone(),
            successful: self.successful_only,
            failed: self.failed_only,
            errnos: self.errno.clone(),
            comms: self.comm.clone(),
            min_ns: self
                .min_duration
                .map_or(0, |least| u64::try_from(least.as_nanos()).unwrap_or(u64::MAX)),
            paths: self.path.clone(),
            verbose: false,
            begin: Begin::default(),
        }
    }
}

/// Reads a filter as it is typed, from one text: an expression, and the options of filters.
///
/// # Errors
/// One line that says what is wrong.
pub fn filter_words(text: &str) -> Result<filter::Words, String> {
    #[derive(Parser)]
    #[command(no_binary_name = true, disable_help_flag = true)]
    struct Typed {
        expression: Option<String>,
        #[command(flatten)]
        filter: Filter,
    }
    let typed = Typed::try_parse_from(text.split_whitespace()).map_err(|error| {
        let told = error.to_string();
        let line = told.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })?;
    let mut words = typed.filter.words();
    words.expressions.splice(0..0, typed.expression);
    Ok(words)
}

/// How calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Events with durations, and counts.
    Full,
    /// Events and counts without durations: cheaper; calls that seccomp refused or that never returned are not told apart.
    NoDuration,
    /// Counts alone, without durations: cheapest.
    Counts,
}

impl From<Mode> for registry::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Full => Self::Full,
            Mode::NoDuration => Self::NoDuration,
            Mode::Counts => Self::Counts,
        }
    }
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub events: Events,
    #[command(flatten)]
    pub start: Start,
    #[command(flatten)]
    pub tuning: Tuning,
    /// Also record the calls that are traced, of all phases, in FILE, for `tracer replay`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Show no calls, only the counts of those that -e names at the end, as strace -c does.
    #[arg(short = 'c', long, conflicts_with = "summary_too")]
    pub summary_only: bool,
    /// Show the calls, and their counts at the end, as strace -C does.
    #[arg(short = 'C', long = "summary")]
    pub summary_too: bool,
    #[command(flatten)]
    pub summary: Summary,
    /// Write the counts of `tracer stats -o json` to FILE when the command has ended.
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Print the table of `tracer caps` when the command has ended.
    #[arg(long)]
    pub caps: bool,
    /// Write the books of `tracer verify -o json` to FILE when the command has ended.
    #[arg(long, value_name = "FILE")]
    pub verify: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Names, ids, or beginnings of them, also of containers that are not there yet; none means all.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub events: Events,
    /// First replay what the daemon still holds.
    #[arg(long)]
    pub since_start: bool,
    /// End when the containers are gone and all their events are written.
    #[arg(long)]
    pub until_gone: bool,
}

/// How a command is traced; of `run` and `record`.
#[derive(Debug, Args)]
#[group(id = "tunes", multiple = true, requires = "command")]
pub struct Tuning {
    /// Bytes of the kernel's ring buffer (K, M and G are understood); rounded up to a power of two.
    #[arg(long, default_value = "32M", value_parser = size, value_name = "BYTES")]
    pub ring_size: u32,
    /// Freeze the command, in a cgroup of its own, rather than lose events: it goes on when those that wait are taken.
    #[arg(long)]
    pub lossless: bool,
    /// How calls are taken: what is left out costs the traced program nothing.
    #[arg(long, value_enum, default_value_t = Mode::Full)]
    pub mode: Mode,
    /// Bytes of each string and buffer to take.
    #[arg(
        short = 's',
        long = "string-limit",
        default_value_t = 32,
        value_name = "BYTES",
        value_parser = number::<u16>
    )]
    pub strings: u16,
}

/// `tracer daemon`. What is given goes before the configuration file.
#[derive(Debug, Args)]
pub struct Daemon {
    /// The configuration file [default: /etc/tracer/tracer.toml, if it is there].
    #[arg(long, env = CONFIG_ENV, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Bytes of the kernel's ring buffer (K, M and G are understood); rounded up to a power of two [default: 32M].
    #[arg(long, value_parser = size, value_name = "BYTES")]
    pub ring_size: Option<u32>,
    /// How calls are taken: what is left out costs the traced program nothing [default: full].
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Bytes of each string and buffer to take [default: 32].
    #[arg(short = 's', long = "string-limit", value_name = "BYTES", value_parser = number::<u16>)]
    pub strings: Option<u16>,
    /// How long the programs stay attached after the last container (`500ms`, `30s`, `5m`) [default: 30s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub linger: Option<Duration>,
    /// At the end, leave the containers to the next daemon by way of the service manager, which must keep descriptors
    /// (`FileDescriptorStoreMax=64`): nothing that they do meanwhile is missed.
    #[arg(long)]
    pub hand_over: bool,
    #[command(flatten)]
    pub bounds: Bounds,
    #[command(flatten)]
    pub audits: Audits,
    #[command(flatten)]
    pub recorder: Recorder,
}

/// Names the configuration file.
pub const CONFIG_ENV: &str = "TRACER_CONFIG";

/// `tracer config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Tell what is wrong in a configuration file, or what it has the daemon do.
    Check {
        /// The file [default: /etc/tracer/tracer.toml].
        #[arg(env = CONFIG_ENV, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print what holds: the file's keys, and the defaults of all others.
    Show {
        /// The file [default: /etc/tracer/tracer.toml].
        #[arg(env = CONFIG_ENV, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a file with every key, its default and what it is.
    Default,
}

/// What users and containers may take.
#[derive(Debug, Args)]
pub struct Bounds {
    /// Containers that one user may have registered; root has no quota [default: 64].
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>)]
    pub user_containers: Option<usize>,
    /// Events a second of one user, of all its containers together; 0 is no limit [default: 200000].
    #[arg(long, value_name = "NUMBER", value_parser = number::<u64>)]
    pub user_event_rate: Option<u64>,
    /// Events a second of any one container; 0 is no limit [default: 0].
    #[arg(long, value_name = "NUMBER", value_parser = number::<u64>)]
    pub max_event_rate: Option<u64>,
    /// Percent of the ring that any one container may have on its way at most [default: four times what is free].
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_ring_share: Option<u8>,
    /// Bytes that may wait for one user's readers [default: 16M].
    #[arg(long, value_parser = size, value_name = "BYTES")]
    pub user_queue: Option<u32>,
    /// Which options containers may ask for by annotation: all (which leaves lossless out), none, or, with commas between
    /// them, of mode, filter, event-rate, ring-share, flight-recorder, flight-recorder-time, dump-on, lossless [default: all].
    #[arg(long, value_name = "LIST")]
    pub annotation_options: Option<Allowed>,
}

#[derive(Debug, Args)]
pub struct Nri {
    /// The runtime's NRI socket.
    #[arg(long, default_value = "/var/run/nri/nri.sock", value_name = "PATH")]
    pub socket: PathBuf,
    /// Name to register with.
    #[arg(long, default_value = "container-tracer", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: String,
    /// Where to stand among the plugins, from 00 to 99.
    #[arg(long, default_value = "10", value_name = "NN", value_parser = index)]
    pub index: String,
    /// The hook, as the runtime sees it.
    #[arg(
        long,
        default_value = "/usr/libexec/oci/hooks.d/tracer-hook",
        value_name = "PATH"
    )]
    pub hook: PathBuf,
    /// Uid of the Pod that the plugin runs in; its containers are never traced.
    #[arg(long, env = "TRACER_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
}

/// How to look for containers that should be traced and are not.
#[derive(Debug, Args)]
pub struct Audits {
    /// What to do with a container that asks to be traced, runs, and is not registered [default: report].
    #[arg(long, value_enum, value_name = "attach|report|off")]
    pub audit: Option<audit::Mode>,
    /// How often to look for such containers [default: 30s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub audit_every: Option<Duration>,
    /// A state directory of runc or crun (their --root) beside the usual ones; may be repeated.
    #[arg(long, value_name = "DIR")]
    pub runtime_state: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let cli = Cli::try_parse_from(["tracer", "run", "-o", "json", "--", "ls", "-l", "--", "x"]).unwrap();
        let Command::Run(run) = cli.command else { panic!() };
        assert_eq!(run.command, ["ls", "-l", "--", "x"]);
        let cli = Cli::try_parse_from(["tracer", "run", "ls", "-o"]).unwrap();
        let Command::Run(run) = cli.command else { panic!() };
        assert_eq!((run.command.len(), run.events.output.output), (2, Format::Text));
    }
}
