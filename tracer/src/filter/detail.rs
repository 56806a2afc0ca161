//! What a reader wants of the calls that it gets beyond their lines: the data that goes through descriptors
//! (`-e read=`, `-e write=`), and what strace leaves out without `-v`.

use tracer_common::filter::{self as kernel, descriptors};

use super::inverted;
use crate::event::{Data, Direction, Outcome, Syscall};

/// What is wanted beyond a call's line; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Of which descriptors all is wanted that is read from them.
    reads: Descriptors,
    /// The same of what is written to them.
    writes: Descriptors,
    /// Nothing is abbreviated.
    pub verbose: bool,
}

/// The data of a call that a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved<'a> {
    pub direction: Direction,
    /// `None`: it was not taken.
    pub data: Option<&'a Data>,
}

impl Detail {
    /// Takes in `read=SET` and `write=SET`; of each, the last one holds.
    ///
    /// # Errors
    /// Names the word that is no descriptor.
    pub(super) fn set(&mut self, direction: Direction, set: &str) -> Result<(), String> {
        *match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
        } = Descriptors::read(set)?;
        Ok(())
    }

    /// The data of that call, if it is wanted: as in strace also what a write that failed would have written.
    pub fn data_of<'a>(&self, call: &'a Syscall) -> Option<Moved<'a>> {
        let direction = call.args.moves?;
        let (set, ended) = match direction {
            Direction::Read => (&self.reads, matches!(call.outcome, Outcome::Value(_))),
            Direction::Write => (
                &self.writes,
                matches!(call.outcome, Outcome::Value(_) | Outcome::Error(_)),
            ),
        };
        // A descriptor is an `int`, and a negative one is none.
        let [a, b, c, d, ..] = call.args.list.first()?.raw.to_le_bytes();
        let fd = u32::from_le_bytes([a, b, c, d]);
        let wanted = ended && i32::try_from(fd).is_ok() && set.has(fd);
        wanted.then_some(Moved {
            direction,
            data: call.args.data.as_deref(),
        })
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Has the kernel side take it.
    pub(super) fn ask(&self, filter: &mut kernel::Filter) {
        filter.reads |= self.reads.bits();
        filter.writes |= self.writes.bits();
        filter.verbose |= u32::from(self.verbose);
    }
}

/// What one of two filters asks of the calls that pass, the other does not take away.
pub(super) fn join(to: &mut kernel::Filter, from: &kernel::Filter) {
    to.files = to.files.max(from.files);
    to.verbose |= from.verbose;
    to.reads |= from.reads;
    to.writes |= from.writes;
}

/// A set of descriptors: these, or all but these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Descriptors {
    but: bool,
    list: Vec<u32>,
}

impl Descriptors {
    fn read(text: &str) -> Result<Self, String> {
        let (not, words) = inverted(text);
        let mut set = Self {
            but: not,
            list: Vec::new(),
        };
        for word in words {
            match word {
                "all" => {
                    set.list.clear();
                    set.but = !not;
                    return Ok(set);
                }
                "none" => {}
                number => set.list.push(
                    number
                        .parse()
                        .ok()
                        .filter(|number| i32::try_from(*number).is_ok())
                        .ok_or_else(|| {
                            format!(
                                "no descriptor {number:?}: a number like 3, all, none, or !3 for all but 3"
                            )
                        })?,
                ),
            }
        }
        Ok(set)
    }

    fn has(&self, fd: u32) -> bool {
        self.list.contains(&fd) != self.but
    }

    /// What the kernel side knows of it: at least what it has.
    fn bits(&self) -> u64 {
        let of = |fd: &u32| descriptors::bit(u64::from(*fd));
        if self.but {
            let left_out = self.list.iter().filter(|fd| **fd < descriptors::BEYOND).map(of);
            !left_out.fold(0, |bits, bit| bits | bit)
        } else {
            self.list.iter().map(of).fold(0, |bits, bit| bits | bit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_as_strace_reads_them() {
        for (text, has, has_not, bits) in [
            ("3", &[3][..], &[0, 4, 63][..], 1 << 3),
            ("1,2", &[1, 2], &[0, 3], 6),
            ("!3", &[0, 2, 63, 4711], &[3], !8),
            ("all", &[0, 4711], &[], u64::MAX),
            ("none", &[], &[0, 4711], 0),
            ("!none", &[0, 4711], &[], u64::MAX),
            ("!all", &[], &[0, 4711], 0),
            // Beyond what the kernel side tells apart, it takes more.
            ("100", &[100], &[63, 101], 1 << 63),
            ("!100", &[63, 101], &[100], u64::MAX),
        ] {
            let set = Descriptors::read(text).unwrap();
            assert!(has.iter().all(|fd| set.has(*fd)), "{text}");
            assert!(!has_not.iter().any(|fd| set.has(*fd)), "{text}");
            assert_eq!(set.bits(), bits, "{text}");
        }
        for wrong in ["", "x", "-1", "3,", "4294967295"] {
            assert!(
                Descriptors::read(wrong).unwrap_err().contains("no descriptor"),
                "{wrong}"
            );
        }
    }
}
