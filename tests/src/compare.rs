//! Holds our text against strace's, argument by argument.
//!
//! Two runs of one program differ by themselves (times, random bytes, who was faster), so strace runs twice: an argument
//! in which its own runs differ only has to have the same shape in ours. Nothing here knows what a system call means.

use crate::line::{Line, Tasks};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where a difference is: system call, and index of the argument or `ret`.
pub type Place = (String, String);

/// A difference, as seen.
#[derive(Clone, Debug)]
pub struct Difference {
    pub ours: String,
    pub theirs: String,
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub calls: usize,
    /// Calls of either side that the other lacks.
    pub unpaired: usize,
    pub arguments: usize,
    pub equal: usize,
    /// Of `equal`: only in shape, since strace's own runs differ there too.
    pub by_shape: usize,
    pub returns: usize,
    pub equal_returns: usize,
    pub syscalls: BTreeSet<String>,
    pub differences: BTreeMap<Place, Vec<Difference>>,
}

impl Report {
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.unpaired += other.unpaired;
        self.arguments += other.arguments;
        self.equal += other.equal;
        self.by_shape += other.by_shape;
        self.returns += other.returns;
        self.equal_returns += other.equal_returns;
        self.syscalls.extend(other.syscalls);
        for (place, seen) in other.differences {
            self.differences.entry(place).or_default().extend(seen);
        }
    }

    /// How many arguments and return parts differ.
    pub fn different(&self) -> usize {
        self.differences.values().map(Vec::len).sum()
    }

    /// Equal arguments in percent.
    pub fn percent(&self) -> f64 {
        if self.arguments == 0 {
            return 0.0;
        }
        self.equal as f64 * 100.0 / self.arguments as f64
    }

    /// One line of numbers.
    pub fn summary(&self) -> String {
        format!(
            "{} calls of {} system calls ({} unpaired), {} arguments, {} equal ({:.2} %, {} by shape), {} of {} \
             return parts equal",
            self.calls,
            self.syscalls.len(),
            self.unpaired,
            self.arguments,
            self.equal,
            self.percent(),
            self.by_shape,
            self.equal_returns,
            self.returns
        )
    }

    /// The places that differ most, with an example each.
    pub fn worst(&self, most: usize) -> String {
        let mut places: Vec<_> = self.differences.iter().collect();
        places.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.len()));
        let mut text = String::new();
        for ((name, place), seen) in places.into_iter().take(most) {
            text += &format!("{:6} {name} {place}\n", seen.len());
            for one in seen.iter().take(1) {
                text += &format!("         strace: {}\n         tracer: {}\n", one.theirs, one.ours);
            }
        }
        text
    }
}

/// Task numbers by rank: the n-th task of one run is the n-th of another.
fn ranks(tasks: &Tasks) -> HashMap<String, usize> {
    tasks
        .keys()
        .enumerate()
        .map(|(rank, pid)| (pid.to_string(), rank))
        .collect()
}

/// Compares ours with two runs of strace.
pub fn compare(ours: &Tasks, first: &Tasks, second: &Tasks) -> Report {
    let mut report = Report::default();
    let pids = [ranks(ours), ranks(first), ranks(second)];
    let empty = Vec::new();
    let mut others = (ours.values(), second.values());
    for theirs in first.values() {
        let ours = others.0.next().unwrap_or(&empty);
        let again = others.1.next().unwrap_or(&empty);
        let twice: HashMap<usize, usize> = pairs(theirs, again).into_iter().collect();
        let paired = pairs(theirs, ours);
        // What strace itself does not repeat is no fault of ours.
        let repeated = twice.len();
        report.unpaired += repeated.saturating_sub(paired.len());
        for (at, our) in paired {
            let again = twice.get(&at).and_then(|index| again.get(*index));
            if let (Some(our), Some(their)) = (ours.get(our), theirs.get(at)) {
                call(&mut report, our, their, again, &pids);
            }
        }
    }
    report
}

fn call(
    report: &mut Report,
    ours: &Line,
    theirs: &Line,
    again: Option<&Line>,
    pids: &[HashMap<String, usize>; 3],
) {
    report.calls += 1;
    report.syscalls.insert(theirs.name.clone());
    // One that only one of them shows is a difference, too.
    for index in 0..theirs.args.len().max(ours.args.len()) {
        let text = |line: &Line| line.args.get(index).cloned().unwrap_or_default();
        report.arguments += 1;
        let again = again.map(text);
        let found = same(&text(ours), &text(theirs), again.as_deref(), pids);
        report.equal += usize::from(found != Same::No);
        report.by_shape += usize::from(found == Same::Shape);
        if found == Same::No {
            report.note(&theirs.name, index.to_string(), text(ours), text(theirs));
        }
    }
    report.returns += 1;
    let again = again.map(|line| line.ret.as_str());
    if same(&ours.ret, &theirs.ret, again, pids) == Same::No {
        let whole = |line: &Line| format!("({}) = {}", line.args.join(", "), line.ret);
        report.note(&theirs.name, "ret".into(), whole(ours), whole(theirs));
    } else {
        report.equal_returns += 1;
    }
}

impl Report {
    fn note(&mut self, name: &str, place: String, ours: String, theirs: String) {
        let seen = self.differences.entry((name.to_owned(), place)).or_default();
        seen.push(Difference { ours, theirs });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Same {
    Yes,
    Shape,
    No,
}

fn same(ours: &str, theirs: &str, again: Option<&str>, tasks: &[HashMap<String, usize>; 3]) -> Same {
    let [a, b, c] = tasks;
    let like = |text: &str, its: &HashMap<String, usize>| alike(ours, a, text, its);
    if like(theirs, b) || again.is_some_and(|again| like(again, c)) {
        return Same::Yes;
    }
    // A call that strace did not make a second time has nothing that could vouch for it.
    let Some(again) = again else { return Same::No };
    let varies = !alike(theirs, b, again, c);
    if varies && (shape(ours) == shape(theirs) || shape(ours) == shape(again)) {
        Same::Shape
    } else {
        Same::No
    }
}

/// Equal but for task numbers, which are equal by rank, and addresses (more than 32 bits), which only have to be some.
fn alike(
    left: &str,
    left_tasks: &HashMap<String, usize>,
    right: &str,
    right_tasks: &HashMap<String, usize>,
) -> bool {
    let (left, right) = (words(left), words(right));
    left.len() == right.len()
        && left.iter().zip(right).all(|(one, other)| {
            let task = left_tasks.get(*one);
            *one == other
                || (task.is_some() && task == right_tasks.get(other))
                || (is_address(one) && is_address(other))
        })
}

fn is_address(word: &str) -> bool {
    word.strip_prefix("0x")
        .is_some_and(|digits| digits.len() > 8 && !digits.starts_with("ffffffff"))
}

/// Words of letters and digits, and what is between them. An octal escape is no word.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let first = rest.starts_with(in_word);
        let end = rest.find(|c: char| in_word(c) != first).unwrap_or(rest.len());
        // What a backslash begins stays with it.
        let end = match rest.get(..end) {
            Some(between) if between.ends_with('\\') => {
                end + rest[end..]
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len() - end)
            }
            _ => end,
        };
        let (word, tail) = rest.split_at(end);
        words.push(word);
        rest = tail;
    }
    words
}

/// Without numbers and without what is in quotes.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            shape += "\"\"";
            continue;
        }
        for word in words(part) {
            let number = word.starts_with(|c: char| c.is_ascii_digit());
            shape += if number { "#" } else { word };
        }
    }
    shape
}

/// Pairs calls of one name in order: the longest common subsequence of names, found greedily where the two agree.
fn pairs(left: &[Line], right: &[Line]) -> Vec<(usize, usize)> {
    let start = left
        .iter()
        .zip(right)
        .take_while(|(a, b)| a.name == b.name)
        .count();
    let mut found: Vec<(usize, usize)> = (0..start).map(|index| (index, index)).collect();
    let (a, b) = (&left[start..], &right[start..]);
    let end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x.name == y.name)
        .count();
    let (n, m) = (a.len() - end, b.len() - end);
    // The middle is small where the runs are alike; where they are not, more than this says nothing.
    if n * m <= 16_000_000 {
        let mut longest = vec![0_u32; (n + 1) * (m + 1)];
        let at = |i: usize, j: usize| i * (m + 1) + j;
        for i in (0..n).rev() {
            for j in (0..m).rev() {
                longest[at(i, j)] = if a[i].name == b[j].name {
                    longest[at(i + 1, j + 1)] + 1
                } else {
                    longest[at(i + 1, j)].max(longest[at(i, j + 1)])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < n && j < m {
            if a[i].name == b[j].name {
                found.push((start + i, start + j));
                (i, j) = (i + 1, j + 1);
            } else if longest[at(i + 1, j)] >= longest[at(i, j + 1)] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    found.extend((0..end).map(|index| (start + n + index, start + m + index)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    fn report(ours: &str, first: &str, second: &str) -> Report {
        compare(&line::parse(ours), &line::parse(first), &line::parse(second))
    }

    #[test]
    fn what_strace_does_not_repeat_is_held_by_shape() {
        let ours = "[pid 2] a({t=3, u=\"x\"}, 7) = 1 <0.0>";
        let seen = report(ours, "5 a({t=1, u=\"y\"}, 7) = 1", "5 a({t=2, u=\"z\"}, 7) = 1");
        assert_eq!(
            (seen.arguments, seen.equal, seen.by_shape, seen.different()),
            (2, 2, 1, 0)
        );
        let seen = report(ours, "5 a({t=1, u=\"y\"}, 8) = 1", "5 a({t=1, u=\"y\"}, 8) = 1");
        assert_eq!((seen.equal, seen.different()), (0, 2));
    }

    #[test]
    fn tasks_and_addresses_are_equal_by_rank_and_kind() {
        let seen = report(
            "[pid 2] wait4(3, NULL, 0x7ffff7dd2740) = 3\n[pid 3] getpid() = 3",
            "5 wait4(6, NULL, 0x7ffff7dd2880) = 6\n6 getpid() = 6",
            "5 wait4(6, NULL, 0x7ffff7dd2880) = 6\n6 getpid() = 6",
        );
        assert_eq!((seen.calls, seen.different(), seen.by_shape), (2, 0, 0));
    }

    #[test]
    fn calls_that_one_side_lacks_do_not_shift_the_others() {
        let strace = "5 a(1) = 0\n5 b(2) = 0\n5 c(3) = 0";
        let seen = report("[pid 2] a(1) = 0\n[pid 2] c(3) = 0", strace, strace);
        assert_eq!((seen.calls, seen.unpaired, seen.different()), (2, 1, 0));
    }
}
