//! Which containers are registered, and by which of their namespaces a task is recognised. It decides; the kernel
//! source carries its [`FilterChange`]s out.
//!
//! It must not know aya, events or sockets. Its rules are those of docs/hook.md, "Which tasks belong".

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tracer_common::filter::{self, state};

use crate::event;

/// The namespaces and the process that a container is recognised by; the inodes by fstat(2) of nsfs file descriptors,
/// never from a number that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub mnt_ns: u32,
    pub pid_ns: u32,
    /// Whether init is the first process of its PID namespace: if not, the namespace is another's, registered or not.
    pub owns_pid_ns: bool,
    /// Host process id of the task whose execve begins the application.
    pub init_tgid: u32,
}

/// A registered container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub slot: u32,
    pub generation: u32,
    pub identity: Identity,
    pub info: Arc<event::Container>,
    /// CLOCK_MONOTONIC nanoseconds.
    pub armed_at: u64,
    /// It ran already when it was registered.
    pub late: bool,
    pub mode: Mode,
}

/// What the kernel side has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterChange {
    Arm {
        slot: u32,
        container: filter::Container,
        mount_rule: bool,
        pid_rule: bool,
    },
    PidRule {
        pid_ns: u32,
        slot: Option<u32>,
    },
    Disarm {
        slot: u32,
        mnt_ns: u32,
        pid_ns: u32,
    },
}

/// How a container's calls are taken: what is left out costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Events with durations, and aggregates.
    #[default]
    Full,
    /// Events and aggregates without durations, from the exits of calls alone: calls that seccomp refused or that never
    /// returned are not told apart.
    NoDuration,
    /// Aggregates alone, without durations, from the exits of calls.
    Counts,
    /// Aggregates alone, with durations.
    TimedCounts,
}

impl Mode {
    /// Bits of [`state`].
    const fn state(self) -> u32 {
        match self {
            Self::Full => 0,
            Self::NoDuration => state::EXIT_ONLY,
            Self::Counts => state::EXIT_ONLY | state::COUNTS,
            Self::TimedCounts => state::COUNTS,
        }
    }

    /// Orders modes by what they cost.
    pub const fn cost(self) -> u8 {
        match self {
            Self::Counts => 0,
            Self::TimedCounts => 1,
            Self::NoDuration => 2,
            Self::Full => 3,
        }
    }

    /// Whether the enters of calls are looked at.
    pub const fn enters(self) -> bool {
        self.state() & state::EXIT_ONLY == 0
    }
}

/// Why a container is not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing tells its tasks from the host's.
    HostNamespaces,
    /// Its mount namespace is the host's, and its PID namespace another container's.
    SharedPidHostMount { other: String },
    /// Another container has this mount namespace.
    SharedMount { other: String },
    /// All slots are taken.
    Full { limit: usize },
    /// Another owner's container has its id.
    IdTaken,
    /// Its owner has as many as one user may have.
    Quota { uid: u32, limit: usize },
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNamespaces => to.write_str(
                "both its mount and its PID namespace are the host's: nothing tells its tasks from the host's; give it \
                 a mount namespace of its own",
            ),
            Self::SharedPidHostMount { other } => write!(
                to,
                "its mount namespace is the host's and its PID namespace is shared with container {other}: nothing \
                 tells their tasks apart; give it a mount namespace of its own"
            ),
            Self::SharedMount { other } => {
                write!(to, "its mount namespace is that of container {other}, which is registered")
            }
            Self::Full { limit } => {
                write!(to, "all {limit} slots are taken; remove the annotation from containers that need no tracing")
            }
            Self::IdTaken => to.write_str("another user's container has this id; start it with another id"),
            Self::Quota { uid, limit } => write!(
                to,
                "uid {uid} has {limit} containers registered, which is the limit for one user (--user-containers of the \
                 daemon)"
            ),
        }
    }
}

/// A registry as one daemon leaves it for the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    entries: Vec<Entry>,
    /// Of each slot, the generation that it had last.
    generations: Vec<u32>,
    last: usize,
}

/// Outcome of a registration.
#[derive(Debug)]
pub enum Registered {
    New {
        entry: Entry,
        changes: Vec<FilterChange>,
    },
    /// The same container, by both namespaces: a runtime that runs prestart and createRuntime.
    Already(Entry),
}

/// The table of registered containers.
pub struct Registry {
    host: (u32, u32),
    entries: Vec<Option<Entry>>,
    generations: Vec<u32>,
    /// The slot that was given last.
    last: usize,
    /// Most containers of one uid that is not root.
    of_user: usize,
}

impl Registry {
    /// An empty table for a host with these namespaces, with slots `1..=limit`, and so many containers of one user.
    pub fn new(host_mnt_ns: u32, host_pid_ns: u32, limit: usize, of_user: usize) -> Self {
        Self {
            host: (host_mnt_ns, host_pid_ns),
            entries: vec![None; limit + 1],
            generations: vec![0; limit + 1],
            last: 0,
            of_user,
        }
    }

    /// For a daemon that comes after this one.
    pub fn leave(&self) -> Left {
        Left {
            entries: self.iter().cloned().collect(),
            generations: self.generations.clone(),
            last: self.last,
        }
    }

    /// Goes on where another left; false when that had other slots, or knew another host, than this one.
    #[must_use]
    pub fn resume(&mut self, left: Left) -> bool {
        let slots = self.entries.len();
        let fits = |entry: &Entry| (1..slots).contains(&(entry.slot as usize));
        if left.generations.len() != slots || left.last >= slots || !left.entries.iter().all(fits) {
            return false;
        }
        self.generations = left.generations;
        self.last = left.last;
        for entry in left.entries {
            let slot = entry.slot as usize;
            self.entries[slot] = Some(entry);
        }
        true
    }

    /// Most containers of one user, from now on.
    pub fn set_quota(&mut self, of_user: usize) {
        self.of_user = of_user;
    }

    /// Live entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// The entry of a slot.
    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// Takes a container in.
    ///
    /// # Errors
    /// When nothing would tell its tasks from others', or the table is full.
    pub fn register(
        &mut self,
        info: Arc<event::Container>,
        identity: Identity,
        armed_at: u64,
        late: bool,
        mode: Mode,
    ) -> Result<Registered, Refusal> {
        let (host_mnt, host_pid) = self.host;
        let mount_rule = identity.mnt_ns != host_mnt;
        let own_pid = identity.pid_ns != host_pid;
        if !mount_rule && !own_pid {
            return Err(Refusal::HostNamespaces);
        }
        if mount_rule && let Some(other) = self.iter().find(|entry| entry.identity.mnt_ns == identity.mnt_ns)
        {
            if other.info.id == info.id && other.identity.pid_ns == identity.pid_ns {
                return Ok(Registered::Already(other.clone()));
            }
            return Err(Refusal::SharedMount {
                other: other.info.id.clone(),
            });
        }
        let uid = info.owner;
        if uid != 0 && self.iter().filter(|entry| entry.info.owner == uid).count() >= self.of_user {
            return Err(Refusal::Quota {
                uid,
                limit: self.of_user,
            });
        }
        let sharers: Vec<_> = self
            .iter()
            .filter(|entry| own_pid && entry.identity.pid_ns == identity.pid_ns)
            .cloned()
            .collect();
        let pid_rule = own_pid && identity.owns_pid_ns && sharers.is_empty();
        if !mount_rule && !pid_rule {
            let other = sharers
                .first()
                .map_or_else(|| "another".to_owned(), |entry| entry.info.id.clone());
            return Err(Refusal::SharedPidHostMount { other });
        }
        // The slot that was given up longest ago, or nearly: a program that runs late finds it empty, not another's.
        let after = self.last + 1..self.entries.len();
        let Some(slot) = after
            .chain(1..=self.last)
            .find(|slot| self.entries[*slot].is_none())
        else {
            return Err(Refusal::Full {
                limit: self.entries.len() - 1,
            });
        };
        self.last = slot;
        let generation = self.generations[slot].wrapping_add(1).max(1);
        self.generations[slot] = generation;
        let slot_number = slot as u32;
        let entry = Entry {
            slot: slot_number,
            generation,
            identity,
            info,
            armed_at,
            late,
            mode,
        };
        self.entries[slot] = Some(entry.clone());
        let mut changes = Vec::new();
        if !sharers.is_empty() {
            changes.push(FilterChange::PidRule {
                pid_ns: identity.pid_ns,
                slot: None,
            });
        }
        let container = filter::Container {
            generation,
            // What runs already is the application.
            state: state::LIVE | mode.state() | if late { state::APP } else { 0 },
            mnt_ns: identity.mnt_ns,
            pid_ns: identity.pid_ns,
            init_tgid: identity.init_tgid,
            rates: [0; 2],
            armed_at,
        };
        changes.push(FilterChange::Arm {
            slot: slot_number,
            container,
            mount_rule,
            pid_rule,
        });
        Ok(Registered::New { entry, changes })
    }

    /// Takes a container out; `None` when the slot is empty.
    pub fn remove(&mut self, slot: u32) -> Option<(Entry, Vec<FilterChange>)> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        let Identity { mnt_ns, pid_ns, .. } = entry.identity;
        let mut changes = vec![FilterChange::Disarm { slot, mnt_ns, pid_ns }];
        // The last of those that shared the namespace, if it is its owner, has it alone again.
        let mut rest = self.iter().filter(|other| other.identity.pid_ns == pid_ns);
        if let (Some(last), None) = (rest.next(), rest.next())
            && last.identity.owns_pid_ns
            && pid_ns != self.host.1
        {
            changes.push(FilterChange::PidRule {
                pid_ns,
                slot: Some(last.slot),
            });
        }
        Some((entry, changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (u32, u32) = (100, 200);

    fn registry() -> Registry {
        Registry::new(HOST.0, HOST.1, 4, 2)
    }

    fn add(registry: &mut Registry, id: &str, mnt_ns: u32, pid_ns: u32) -> Result<Registered, Refusal> {
        add_as(registry, id, mnt_ns, pid_ns, true)
    }

    fn add_as(
        registry: &mut Registry,
        id: &str,
        mnt_ns: u32,
        pid_ns: u32,
        owns: bool,
    ) -> Result<Registered, Refusal> {
        let info = Arc::new(event::Container {
            id: id.into(),
            ..Default::default()
        });
        registry.register(
            info,
            Identity {
                mnt_ns,
                pid_ns,
                owns_pid_ns: owns,
                init_tgid: 7,
            },
            1,
            false,
            Mode::Full,
        )
    }

    fn rules(registered: Registered) -> (u32, bool, bool, Vec<FilterChange>) {
        let Registered::New { changes, .. } = registered else {
            panic!("{registered:?}")
        };
        let Some(FilterChange::Arm {
            slot,
            mount_rule,
            pid_rule,
            ..
        }) = changes.last()
        else {
            panic!("{changes:?}")
        };
        (*slot, *mount_rule, *pid_rule, changes.clone())
    }

    #[test]
    fn both_namespaces_decide_for_an_ordinary_container() {
        let (slot, mount, pid, changes) = rules(add(&mut registry(), "a", 1, 2).unwrap());
        assert_eq!((slot, mount, pid, changes.len()), (1, true, true, 1));
    }

    #[test]
    fn the_hosts_namespaces_never_decide() {
        let mut registry = registry();
        assert_eq!(
            add(&mut registry, "a", HOST.0, HOST.1).unwrap_err(),
            Refusal::HostNamespaces
        );
        let (_, mount, pid, _) = rules(add(&mut registry, "hostpid", 1, HOST.1).unwrap());
        assert_eq!((mount, pid), (true, false));
        let (_, mount, pid, _) = rules(add(&mut registry, "hostmnt", HOST.0, 2).unwrap());
        assert_eq!((mount, pid), (false, true));
    }

    #[test]
    fn a_user_has_its_quota_and_root_has_none() {
        let mut registry = registry();
        let mut add = |owner: u32, inode: u32| {
            let info = Arc::new(event::Container {
                id: inode.to_string(),
                owner,
                ..Default::default()
            });
            let identity = Identity {
                mnt_ns: inode,
                pid_ns: inode,
                owns_pid_ns: true,
                init_tgid: 7,
            };
            registry.register(info, identity, 1, false, Mode::Full).map(drop)
        };
        assert_eq!((add(7, 1), add(7, 2)), (Ok(()), Ok(())));
        assert_eq!(add(7, 3), Err(Refusal::Quota { uid: 7, limit: 2 }));
        assert_eq!(add(7, 2), Ok(()), "the same again is no further one");
        assert_eq!((add(8, 4), add(0, 5)), (Ok(()), Ok(())));
        assert_eq!(add(0, 6), Err(Refusal::Full { limit: 4 }));
    }

    #[test]
    fn a_pid_namespace_that_two_share_decides_for_neither_until_one_is_left() {
        let mut registry = registry();
        let (first, ..) = rules(add(&mut registry, "a", 1, 2).unwrap());
        let (second, mount, pid, changes) = rules(add_as(&mut registry, "b", 3, 2, false).unwrap());
        assert_eq!((mount, pid), (true, false));
        assert_eq!(
            changes[0],
            FilterChange::PidRule {
                pid_ns: 2,
                slot: None
            }
        );
        let (_, changes) = registry.remove(second).unwrap();
        assert_eq!(
            changes[1],
            FilterChange::PidRule {
                pid_ns: 2,
                slot: Some(first)
            }
        );
    }

    #[test]
    fn a_pid_namespace_that_is_a_sandboxs_does_not_decide() {
        let (_, mount, pid, _) = rules(add_as(&mut registry(), "a", 1, 2, false).unwrap());
        assert_eq!((mount, pid), (true, false));
    }

    #[test]
    fn a_second_hook_of_the_same_container_is_told_so() {
        let mut registry = registry();
        add(&mut registry, "a", 1, 2).unwrap();
        assert!(
            matches!(add(&mut registry, "a", 1, 2).unwrap(), Registered::Already(entry) if entry.slot == 1)
        );
        assert_eq!(
            add(&mut registry, "b", 1, 2).unwrap_err(),
            Refusal::SharedMount { other: "a".into() }
        );
    }

    #[test]
    fn a_slot_that_is_used_again_has_another_generation() {
        let mut registry = registry();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let (slot, ..) = rules(add(&mut registry, "a", 1, 2).unwrap());
            let (gone, _) = registry.remove(slot).unwrap();
            seen.push((gone.slot, gone.generation));
        }
        // All four in turn, so that a slot that was given up rests, then the first again.
        assert_eq!(seen, [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2)]);
    }

    #[test]
    fn a_full_table_refuses_and_says_its_size() {
        let mut registry = registry();
        for index in 0..4 {
            add(&mut registry, &index.to_string(), 10 + index, 20 + index).unwrap();
        }
        assert_eq!(
            add(&mut registry, "e", 50, 60).unwrap_err(),
            Refusal::Full { limit: 4 }
        );
    }

    #[test]
    fn a_registry_goes_on_where_another_left() {
        let mut before = registry();
        for (id, mnt, pid) in [("a", 1, 2), ("b", 3, 4)] {
            add(&mut before, id, mnt, pid).unwrap();
        }
        before.remove(1).unwrap();
        let left = serde_json::to_vec(&before.leave()).unwrap();
        let mut after = registry();
        assert!(after.resume(serde_json::from_slice(&left).unwrap()));
        let ids: Vec<_> = after.iter().map(|entry| (entry.slot, &*entry.info.id)).collect();
        assert_eq!(ids, [(2, "b")]);
        // Slots and generations go on: what the first had is not given out as if it were new.
        let Registered::New { entry, .. } = add(&mut after, "c", 5, 6).unwrap() else {
            panic!("c is new");
        };
        assert_eq!((entry.slot, entry.generation), (3, 1));
        assert!(matches!(add(&mut after, "b", 3, 4), Ok(Registered::Already(_))));

        let mut larger = Registry::new(HOST.0, HOST.1, 5, 2);
        assert!(!larger.resume(before.leave()), "slots are not the same");
    }
}
