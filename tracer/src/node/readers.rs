//! Opens and closes the node's sinks, and has the kernel side let pass what they take together.

use std::sync::{atomic::Ordering::Relaxed, mpsc::channel};

use anyhow::{Context, Result};
use tracer_common::filter as kernel;

use super::{Inner, Node, Reader};
use crate::{
    event::Descriptors,
    filter::{self, Filter},
    pipeline::Mark,
    registry::Entry,
    sinks::{Kind, Output, Selection},
    source::Marks,
};

impl Node {
    /// An id for a new [`Output`].
    pub fn output_id(&self) -> u64 {
        self.outputs.fetch_add(1, Relaxed)
    }

    /// Opens a sink. The kernel side lets pass what it takes before it is told that it is open.
    ///
    /// # Errors
    /// When the pipeline has ended or the kernel side refuses.
    pub fn open(&self, output: Output, history: bool) -> Result<()> {
        {
            let mut inner = self.lock();
            inner.readers.push(Reader::of(&output));
            inner.set_filters(&self.marks)?;
        }
        self.marks.post(Mark::Open {
            output: Box::new(output),
            history,
        })
    }

    /// Closes sinks and opens others: what is in both gets each event once.
    ///
    /// # Errors
    /// When the pipeline has ended or the kernel side refuses.
    pub fn exchange(&self, close: Vec<u64>, open: Vec<Output>) -> Result<()> {
        {
            let mut inner = self.lock();
            inner.readers.extend(open.iter().map(Reader::of));
            inner.set_filters(&self.marks)?;
        }
        let nobody = close.is_empty();
        let (sender, done) = channel();
        let gone = close.clone();
        self.marks.post(Mark::Exchange {
            close,
            open,
            done: sender,
        })?;
        if nobody {
            // At the start the ring is not read before its sinks are open.
            return Ok(());
        }
        done.recv().context("the pipeline has ended")?;
        let mut inner = self.lock();
        inner.readers.retain(|reader| !gone.contains(&reader.id));
        inner.set_filters(&self.marks)
    }

    /// Tells the pipeline of a new container of which filters leave calls out.
    pub(super) fn begin_narrow(&self, slot: u16, filter: &kernel::Filter) -> Result<()> {
        if leaves_out(filter) {
            self.marks.post(Mark::Narrow { slot, narrow: true })?;
        }
        Ok(())
    }

    /// Closes a sink.
    ///
    /// # Errors
    /// What made the sink fail, or that the pipeline has ended.
    pub fn close(&self, id: u64) -> Result<()> {
        self.summarize_for(id)?;
        let (sender, result) = channel();
        self.marks.post(Mark::Close { id, result: sender })?;
        let closed = result.recv();
        let mut inner = self.lock();
        inner.readers.retain(|reader| reader.id != id);
        inner.set_filters(&self.marks)?;
        match closed {
            Ok(result) => result.context("write the events"),
            // No such sink: it failed before and is gone.
            Err(_closed) => Ok(()),
        }
    }
}

impl Reader {
    fn of(output: &Output) -> Self {
        Self {
            id: output.id,
            selection: output.selection.clone(),
            descriptors: output.descriptors(),
            records: output.records(),
        }
    }
}

impl Inner {
    /// What the open sinks want of a container. Nobody who wants less leaves something out for the others, and with no
    /// sink all is held as history.
    /// At most what the container asked for itself.
    pub(super) fn wanted_of(&self, entry: &Entry, at_most: Option<&Filter>) -> kernel::Filter {
        let takers = || {
            let wants_calls = |reader: &&Reader| {
                let Selection { kinds, explain, .. } = &reader.selection;
                kinds.has(Kind::Syscall) || *explain
            };
            let readers = self.readers.iter().filter(wants_calls);
            readers.filter(|reader| reader.selection.takes_container(&entry.info))
        };
        // Why a call failed is told by all that failed, and by what was found elsewhere.
        let all = Filter::default();
        let explained = takers().filter(|reader| reader.selection.explain).map(|_| &all);
        let mut wanted = Filter::union(takers().map(|reader| &reader.selection.filter).chain(explained));
        for reader in takers() {
            wanted.files = wanted.files.max(match reader.descriptors {
                Descriptors::Numbers => kernel::files::NONE,
                Descriptors::Paths => kernel::files::PATHS,
                Descriptors::All => kernel::files::ALL,
            });
        }
        if let Some(filter) = at_most {
            wanted = filter::both(filter.of_kernel(), &wanted);
        }
        if !entry.mode.enters() {
            wanted.active |= kernel::Filter::EXIT_ONLY;
        }
        wanted
    }

    /// Tells the kernel side, where that has changed; and the pipeline, in time, where calls are left out.
    fn set_filters(&mut self, marks: &Marks<Mark>) -> Result<()> {
        for entry in self.registry.iter() {
            let at_most = self.live.get(&entry.slot).and_then(|live| live.at_most.clone());
            let wanted = self.wanted_of(entry, at_most.as_deref());
            if let Some(live) = self.live.get_mut(&entry.slot)
                && live.filter != wanted
            {
                let narrow = |narrow| {
                    marks.post(Mark::Narrow {
                        slot: entry.slot as u16,
                        narrow,
                    })
                };
                if leaves_out(&wanted) {
                    narrow(true)?;
                }
                self.kernel.set_filter(entry.slot, &wanted)?;
                if leaves_out(&live.filter) && !leaves_out(&wanted) {
                    narrow(false)?;
                }
                live.filter = wanted;
            }
        }
        Ok(())
    }
}

/// Whether not all calls pass.
pub(super) const fn leaves_out(filter: &kernel::Filter) -> bool {
    filter.active & kernel::Filter::SIEVES != 0
}
