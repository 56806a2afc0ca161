//! Which calls a sink takes: strace's expressions, compiled to what the kernel side decides and what is left for the
//! daemon. Pure: it knows the table of calls and the event model, no sink, no socket and no map.

mod calls;
mod classes;
mod detail;

pub use classes::NAMES as CLASSES;
pub use detail::{Detail, Moved};

use serde::{Deserialize, Serialize};
use tracer_common::filter::{self as kernel, NR_X32, OUTCOME_WORDS, outcome};

use crate::{
    decode, errno,
    event::{Arch, Diagnosis, Direction, Outcome, Syscall},
};

/// What a user asked for, in words: what travels to the daemon, which alone reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Words {
    /// `-e`: `[trace=]SET`, `status=SET`, `read=SET` or `write=SET`; of each, the last one holds, as in strace.
    pub expressions: Vec<String>,
    /// `-z`: only calls that succeeded.
    pub successful: bool,
    /// `-Z`: only calls that failed.
    pub failed: bool,
    /// `--errno`: names or numbers.
    pub errnos: Vec<String>,
    /// `--comm`: names of tasks.
    pub comms: Vec<String>,
    /// `--min-duration`, in nanoseconds.
    pub min_ns: u64,
    /// `-P`: path arguments.
    pub paths: Vec<String>,
    /// `-v`: nothing is abbreviated.
    pub verbose: bool,
    /// What is shown of the calls' begins: one that is taken by how it ends costs the less, the less it is.
    pub begin: Begin,
}

/// What must be known of when a call began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// All there is: its descriptors, or how long those took that do not pass.
    #[default]
    Whole,
    /// When it was, of a call that passes.
    Time,
    Nothing,
}

/// Which calls pass, and what more is wanted of those. Everything that was asked for must hold; the default takes all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What it was read from.
    words: Words,
    kernel: kernel::Filter,
    detail: Detail,
    /// Names of tasks, as long as the kernel keeps them.
    comms: Vec<Vec<u8>>,
    /// Paths, and how they are shown.
    paths: Vec<(Vec<u8>, String)>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            words: Words::default(),
            kernel: kernel::Filter::ALL,
            detail: Detail::default(),
            comms: Vec::new(),
            paths: Vec::new(),
        }
    }
}

/// Longest name of a task: TASK_COMM_LEN without its NUL.
const COMM: usize = 15;

impl Filter {
    /// Reads what a user asked for, for calls of a machine of that architecture.
    ///
    /// # Errors
    /// Names the word that means nothing, and what would.
    pub fn new(words: &Words, native: Arch) -> Result<Self, String> {
        let (mut trace, mut status) = (None, None);
        let mut detail = Detail::default();
        detail.verbose = words.verbose;
        for expression in &words.expressions {
            match expression.split_once('=') {
                None => trace = Some(expression.as_str()),
                Some(("trace" | "t", set)) => trace = Some(set),
                Some(("status", set)) => status = Some(set),
                Some(("read" | "reads" | "r", set)) => detail.set(Direction::Read, set)?,
                Some(("write" | "writes" | "w", set)) => detail.set(Direction::Write, set)?,
                Some((other, _)) => {
                    return Err(format!(
                        "{other:?} is no filter: trace=SET, status=SET, read=SET, write=SET, or SET alone"
                    ));
                }
            }
        }
        let mut filter = kernel::Filter {
            min_ns: words.min_ns,
            ..kernel::Filter::ALL
        };
        if let Some(set) = trace {
            filter.calls = calls::set(set, native)?;
        }
        if let Some(set) = status {
            filter.outcomes = statuses(set)?;
        }
        if words.successful {
            keep(&mut filter.outcomes, &range(outcome::VALUE, outcome::VALUE));
        }
        if words.failed {
            keep(&mut filter.outcomes, &FAILED);
        }
        if !words.errnos.is_empty() {
            keep(&mut filter.outcomes, &errnos(&words.errnos)?);
        }
        if !words.paths.is_empty() {
            keep(&mut filter.calls, &calls::with_path(native));
            filter.files = kernel::files::PATHS;
        }
        if filter != kernel::Filter::ALL {
            filter.active = kernel::Filter::SIEVES;
            filter.light = calls::light(&filter.calls, native);
            let by_outcome = filter.outcomes != kernel::Filter::ALL.outcomes;
            if by_outcome && words.begin != Begin::Whole && !asks_at_enter(&filter) {
                add(&mut filter.light, &calls::late(native));
                if words.begin == Begin::Time {
                    filter.active |= kernel::Filter::TIMES;
                }
            }
            filter.rename = calls::rename(native);
        }
        detail.ask(&mut filter);
        Ok(Self {
            words: words.clone(),
            kernel: filter,
            detail,
            comms: words
                .comms
                .iter()
                .map(|name| name.bytes().take(COMM).collect())
                .collect(),
            paths: words
                .paths
                .iter()
                .map(|path| (path.clone().into_bytes(), decode::quoted(path.as_bytes())))
                .collect(),
        })
    }

    /// Whether it depends on arguments which calls pass.
    pub fn reads_arguments(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Whether the call passes.
    pub fn takes(&self, call: &Syscall) -> bool {
        (self.kernel.active == 0
            || self
                .kernel
                .passes(index(call), outcome(call), call.duration_ns.unwrap_or(0)))
            && (self.comms.is_empty() || self.comms.iter().any(|comm| comm == call.task.comm.bytes()))
            && (self.paths.is_empty() || names_one(call, &self.paths))
    }

    /// Whether it takes calls that failed so, by call, error and task: what a diagnosis tells of them. A process that was
    /// killed was in no call that a filter could have left out.
    pub fn takes_failure(&self, found: &Diagnosis) -> bool {
        let outcome = found.errno.map_or(outcome::REFUSED, |errno| errno.max(1));
        (self.kernel.active == 0
            || found.is_of_process()
            || self
                .kernel
                .passes(number(found.arch, found.nr), outcome, u64::MAX))
            && (self.comms.is_empty() || self.comms.iter().any(|comm| comm == found.task.comm.bytes()))
    }

    /// Whether calls of that number, of the native or the 32-bit table, are among those that it takes.
    pub fn takes_number(&self, nr: u32, compat: bool) -> bool {
        let nr = u16::try_from(nr).unwrap_or(NR_X32 - 1);
        self.kernel.takes(kernel::Filter::index(nr, compat))
    }

    /// What it was read from.
    pub const fn words(&self) -> &Words {
        &self.words
    }

    /// What is wanted of the calls that pass beyond their lines.
    pub fn detail(&self) -> &Detail {
        &self.detail
    }

    /// What the kernel side can tell of it.
    pub fn of_kernel(&self) -> &kernel::Filter {
        &self.kernel
    }

    /// What the kernel side lets pass so that each of these gets all that it takes, and as little more as one filter
    /// can: everything when one takes everything, and when there is none.
    pub fn union<'a>(filters: impl IntoIterator<Item = &'a Self>) -> kernel::Filter {
        let all = |filter: &kernel::Filter| filter.active == 0;
        let union = filters.into_iter().map(|filter| filter.kernel).reduce(|a, b| {
            let mut union = if all(&a) || all(&b) {
                kernel::Filter::ALL
            } else {
                a
            };
            detail::join(&mut union, &a);
            detail::join(&mut union, &b);
            if all(&union) {
                return union;
            }
            union.active |= b.active;
            union.min_ns = a.min_ns.min(b.min_ns);
            union
                .calls
                .iter_mut()
                .zip(b.calls)
                .for_each(|(to, word)| *to |= word);
            keep(&mut union.light, &b.light);
            union
                .outcomes
                .iter_mut()
                .zip(b.outcomes)
                .for_each(|(to, word)| *to |= word);
            union
        });
        union.unwrap_or(kernel::Filter::ALL)
    }
}

/// What both let pass, and all that one of them has to know of it.
pub fn both(a: &kernel::Filter, b: &kernel::Filter) -> kernel::Filter {
    let mut both = if a.active == 0 { *b } else { *a };
    detail::join(&mut both, a);
    detail::join(&mut both, b);
    if a.active == 0 {
        return both;
    }
    if b.active != 0 {
        both.active |= b.active;
        both.min_ns = a.min_ns.max(b.min_ns);
        keep(&mut both.calls, &b.calls);
        keep(&mut both.outcomes, &b.outcomes);
        let mut light = b.light;
        if asks_at_enter(a) {
            // Of what both take, more is wanted than `b` needs.
            light
                .iter_mut()
                .zip(both.calls)
                .for_each(|(to, taken)| *to &= !taken);
        }
        add(&mut both.light, &light);
    }
    both
}

/// Whether it decides by what is known only of a call that was looked at when it began.
const fn asks_at_enter(filter: &kernel::Filter) -> bool {
    filter.min_ns > 0 || filter.files != kernel::files::NONE
}

/// The call's bit in a [`kernel::Filter`].
fn index(call: &Syscall) -> u32 {
    number(call.arch, call.nr)
}

fn number(arch: Arch, nr: u32) -> u32 {
    // What has no number of 14 bits shares the last one's bit.
    let nr = match arch {
        Arch::X32 => nr & !X32_MARK,
        _ => nr,
    };
    let nr = u16::try_from(nr).unwrap_or(NR_X32 - 1);
    kernel::Filter::index(nr, matches!(arch, Arch::I386 | Arch::Arm))
}

const X32_MARK: u32 = kernel::X32_BIT as u32;

fn outcome(call: &Syscall) -> u16 {
    match call.outcome {
        Outcome::Value(_) => outcome::VALUE,
        Outcome::Error(errno) => errno.max(1),
        Outcome::Unfinished => outcome::UNFINISHED,
        Outcome::Refused => outcome::REFUSED,
    }
}

/// Whether a string argument is one of these, or a descriptor that the call was given stands for one.
fn names_one(call: &Syscall, paths: &[(Vec<u8>, String)]) -> bool {
    let files = call.args.files.as_deref();
    let opened = files.is_some_and(|files| {
        let given = files.marks.iter().filter_map(|mark| files.list.get(mark.file));
        given
            .into_iter()
            .any(|file| paths.iter().any(|(path, _)| *path == file.path))
    });
    let named = |arg| paths.iter().any(|(_, shown)| shown == call.args.text_of(arg));
    opened || call.args.list.iter().any(named)
}

type Outcomes = [u64; OUTCOME_WORDS];

const FAILED: Outcomes = range(1, outcome::LAST_ERRNO);

/// A set of the outcomes from the first to the last.
const fn range(first: u16, last: u16) -> Outcomes {
    let mut set = [0; OUTCOME_WORDS];
    let mut bit = first;
    while bit <= last {
        set[bit as usize / 64] |= 1 << (bit % 64);
        bit += 1;
    }
    set
}

/// Takes out of a set what is not in the other.
fn keep(set: &mut [u64], only: &[u64]) {
    set.iter_mut().zip(only).for_each(|(to, word)| *to &= word);
}

fn add(set: &mut [u64], more: &[u64]) {
    set.iter_mut().zip(more).for_each(|(to, word)| *to |= word);
}

fn invert(set: &mut [u64]) {
    set.iter_mut().for_each(|word| *word = !*word);
}

/// `[!]failed,unfinished`
fn statuses(text: &str) -> Result<Outcomes, String> {
    let (not, words) = inverted(text);
    let mut set = [0; OUTCOME_WORDS];
    for word in words {
        let named = match word {
            "successful" => range(outcome::VALUE, outcome::VALUE),
            "failed" => FAILED,
            "unfinished" => range(outcome::UNFINISHED, outcome::UNFINISHED),
            "unavailable" => range(outcome::REFUSED, outcome::REFUSED),
            // Nobody detaches from a task here.
            "detached" | "none" => [0; OUTCOME_WORDS],
            "all" => kernel::Filter::ALL.outcomes,
            other => {
                return Err(format!(
                    "no status {other:?}: successful, failed, unfinished, unavailable, detached, all or none"
                ));
            }
        };
        add(&mut set, &named);
    }
    if not {
        invert(&mut set);
    }
    Ok(set)
}

/// The words of a set, and whether a leading `!` inverts it.
fn inverted(text: &str) -> (bool, impl Iterator<Item = &str>) {
    let bare = text.trim_start_matches('!');
    ((text.len() - bare.len()) % 2 == 1, bare.split(',').map(str::trim))
}

fn errnos(words: &[String]) -> Result<Outcomes, String> {
    let mut set = [0; OUTCOME_WORDS];
    for word in words.iter().flat_map(|words| words.split(',')) {
        let word = word.trim();
        let number = errno_number(word)
            .ok_or_else(|| format!("no errno {word:?}: a name like ENOENT, or a number like 2"))?;
        add(&mut set, &range(number, number));
    }
    Ok(set)
}

fn errno_number(word: &str) -> Option<u16> {
    let canonical = match word {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        other => other,
    };
    let known = |number: &u16| !errno::name(*number).starts_with("ERRNO_");
    match canonical.parse() {
        Ok(number) => Some(number).filter(|number| (1..=outcome::LAST_ERRNO).contains(number)),
        Err(_name) => (1..=outcome::LAST_ERRNO)
            .filter(known)
            .find(|number| errno::name(*number) == canonical),
    }
}

/// Whether a call of that name, with such arguments, is of a class of strace's (`%file`); no call is of one that there
/// is not.
pub(crate) fn is_in(class: &str, name: &str, takes: decode::Takes) -> bool {
    classes::find(class).is_some_and(|is| is(name, takes))
}

#[cfg(test)]
mod tests;
