//! The node's figures for its metrics: read so that nobody waits for it, above all no hook.

use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;

use super::{Node, Rows, books};
use crate::{
    metrics::{Container, Figures},
    report::counted::Counted,
    sinks::Phases,
};

impl Node {
    /// All figures that it has. The counts of what lives are read without the lock, in one walk.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn figures(&self) -> Result<Figures> {
        let mut figures = Figures {
            status: self.status(None)?,
            ring_bytes: self.backlog.load(Relaxed),
            ..Figures::default()
        };
        let mut live = Vec::new();
        {
            let inner = self.lock();
            figures.registered = inner.registered;
            figures.books = inner.retired.clone();
            for past in &inner.past {
                figures.containers.push(Container {
                    key: past.key,
                    names: past.verdict.container.clone(),
                    books: past.verdict.books.clone(),
                    calls: past.counted.by_name(Phases::App),
                });
            }
            for entry in inner.registry.iter() {
                if let Some(progress) = inner.live.get(&entry.slot).map(|live| &live.progress) {
                    let per_cpu = inner.kernel.books(entry.slot)?;
                    live.push(Container {
                        key: (entry.slot, entry.generation),
                        names: (&*entry.info).into(),
                        books: books::sum(&per_cpu, &Rows::new(), progress),
                        calls: Default::default(),
                    });
                }
            }
        }
        let mut rows = self.tally.all()?;
        for mut container in live {
            let (slot, generation) = container.key;
            let rows = rows.remove(&(slot, generation as u16)).unwrap_or_default();
            let rows = rows.into_iter().collect();
            container.calls = Counted::new(&[], rows).by_name(Phases::App);
            figures.containers.push(container);
        }
        for container in &figures.containers {
            figures.books.add(&container.books);
        }
        Ok(figures)
    }
}
