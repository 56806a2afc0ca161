//! The tasks of a container by who made whom: the rows of the timeline.

use std::{cmp::Reverse, collections::HashMap};

use crate::event::{Comm, Exit, Process, ProcessEvent, Task, Via};

use super::html;

/// Rows that are kept; tasks beyond them are counted.
const MOST: usize = 20_000;
/// Programs that are kept of one task.
const PROGRAMS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Tasks {
    rows: Vec<Row>,
    /// Who has that number now.
    now: HashMap<u32, usize>,
    /// Tasks that found no row.
    pub(super) left_out: u64,
}

/// A task.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) pid: u32,
    pub(super) tid: u32,
    host_pid: u32,
    pub(super) comm: Comm,
    pub(super) via: Via,
    parent: Option<usize>,
    /// When it was made, if that was seen; its first event otherwise.
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) made: bool,
    pub(super) exit: Option<Exit>,
    /// The programs that it became, and when.
    pub(super) programs: Vec<(u64, String)>,
    pub(super) calls: u64,
    pub(super) failed: u64,
}

impl Row {
    pub(super) const fn is_thread(&self) -> bool {
        self.pid != self.tid
    }

    /// The file of its latest program without directories, or its name.
    pub(super) fn name(&self) -> String {
        match self.programs.last() {
            Some((_, path)) => path.rsplit('/').next().unwrap_or(path).to_owned(),
            None => html::bytes_shown(self.comm.bytes()),
        }
    }
}

impl Tasks {
    /// The row of a task that does something at that time.
    pub(super) fn row(&mut self, task: &Task, at: u64) -> Option<usize> {
        let index = match self.now.get(&task.host_tid) {
            Some(index) => *index,
            None => {
                // A thread without a known maker is one of its process.
                let parent = (task.host_pid != task.host_tid)
                    .then(|| self.now.get(&task.host_pid).copied())
                    .flatten();
                self.insert(task, parent, at)?
            }
        };
        let row = self.rows.get_mut(index)?;
        row.from = row.from.min(at);
        row.to = row.to.max(at);
        row.comm = task.comm;
        Some(index)
    }

    fn insert(&mut self, task: &Task, parent: Option<usize>, at: u64) -> Option<usize> {
        if self.rows.len() >= MOST {
            self.left_out += u64::from(!self.now.contains_key(&task.host_tid));
            return None;
        }
        self.now.insert(task.host_tid, self.rows.len());
        self.rows.push(Row {
            pid: task.pid,
            tid: task.tid,
            host_pid: task.host_pid,
            comm: task.comm,
            via: task.via,
            parent,
            from: at,
            to: at,
            made: false,
            exit: None,
            programs: Vec::new(),
            calls: 0,
            failed: 0,
        });
        Some(self.rows.len() - 1)
    }

    pub(super) fn take(&mut self, process: &Process, at: u64) {
        let maker = self.row(&process.task, at);
        if let Some(child) = process.child() {
            self.made(&child, maker, at);
        }
        match &process.what {
            ProcessEvent::Fork { .. } | ProcessEvent::Join => {}
            ProcessEvent::Exec { path, truncated } => {
                if let Some(row) = maker.and_then(|index| self.rows.get_mut(index))
                    && row.programs.len() < PROGRAMS
                {
                    let mut path = html::bytes_shown(path);
                    if *truncated {
                        path.push_str("...");
                    }
                    row.programs.push((at, path));
                }
            }
            ProcessEvent::Exit { code, .. } => {
                if let Some(row) = maker.and_then(|index| self.rows.get_mut(index)) {
                    row.exit = Some(*code);
                }
            }
        }
    }

    /// That row's task has made this one.
    fn made(&mut self, child: &Task, maker: Option<usize>, at: u64) {
        // Its own first event may have come before this one, from another CPU; else the number is used again.
        let known = self
            .now
            .get(&child.host_tid)
            .and_then(|index| self.rows.get(*index))
            .is_some_and(|row| !row.made && row.exit.is_none());
        if !known {
            self.now.remove(&child.host_tid);
            self.insert(child, maker, at);
        }
        let index = self.now.get(&child.host_tid);
        if let Some(row) = index.and_then(|index| self.rows.get_mut(*index)) {
            row.made = true;
            row.parent = maker;
            row.from = row.from.min(at);
        }
    }

    pub(super) fn call(&mut self, index: usize, failed: bool) {
        if let Some(row) = self.rows.get_mut(index) {
            row.calls += 1;
            row.failed += u64::from(failed);
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Row> {
        self.rows.get(index)
    }

    pub(super) fn processes(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_thread()).count()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows as a tree, from the top down, each with how deep it stands: threads under their process, then the
    /// processes that it made, by their beginnings.
    pub(super) fn tree(&self) -> Vec<(usize, usize)> {
        let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (index, row) in self.rows.iter().enumerate() {
            children.entry(self.above(index, row)).or_default().push(index);
        }
        // The stack takes them last to first.
        for below in children.values_mut() {
            below.sort_by_key(|index| {
                self.rows
                    .get(*index)
                    .map(|row| Reverse((!row.is_thread(), row.from, *index)))
            });
        }
        let mut tree = Vec::with_capacity(self.rows.len());
        let mut stack: Vec<(usize, usize)> = children
            .remove(&None)
            .unwrap_or_default()
            .into_iter()
            .map(|top| (top, 0))
            .collect();
        while let Some((index, depth)) = stack.pop() {
            tree.push((index, depth));
            stack.extend(
                children
                    .remove(&Some(index))
                    .unwrap_or_default()
                    .into_iter()
                    .map(|below| (below, depth + 1)),
            );
        }
        tree
    }

    /// Under whom a row stands: a thread under its process, whoever of its threads made it; a process under the process
    /// of its maker. Only rows that are older, so that it is a tree whatever the events say.
    fn above(&self, own: usize, row: &Row) -> Option<usize> {
        let mut at = row.parent?;
        for _ in 0..MOST {
            let parent = self.rows.get(at)?;
            if !parent.is_thread() {
                break;
            }
            match parent.parent {
                Some(above) if above < at && parent.host_pid == self.rows.get(above)?.host_pid => at = above,
                _ => break,
            }
        }
        (at < own).then_some(at)
    }
}
