//! The configured sinks that are open: opens, exchanges and ends them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    cli,
    node::Node,
    report::{SinkBooks, SinkStatus},
    sinks::{Account, Handle, configured::Settings},
};

/// How long the daemon waits for its sinks when it ends: they give up what they cannot deliver before.
const END: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug, Default)]
pub struct Sinks(Mutex<Vec<Sink>>);

#[derive(Debug)]
struct Sink {
    settings: Settings,
    id: u64,
    total: Arc<Account>,
    handle: Handle,
}

impl Sinks {
    fn lock(&self) -> MutexGuard<'_, Vec<Sink>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has these open, and no others. Those that are open as they shall be go on untouched; one that is replaced gets its
    /// events to the last, the next one from there on.
    ///
    /// # Errors
    /// When the pipeline has ended or the kernel side refuses.
    pub fn set(&self, node: &Node, wanted: &[Settings]) -> Result<()> {
        let mut sinks = self.lock();
        let (mut kept, leaving): (Vec<_>, Vec<_>) =
            sinks.drain(..).partition(|sink| wanted.contains(&sink.settings));
        if leaving.is_empty() && kept.len() == wanted.len() {
            *sinks = kept;
            return Ok(());
        }
        let close = leaving.iter().map(|sink| sink.id).collect();
        let totals: HashMap<_, _> = leaving
            .iter()
            .map(|sink| (sink.settings.common.name.clone(), sink.total.clone()))
            .collect();
        let mut leaving = leaving;
        let mut open = Vec::new();
        for settings in wanted {
            if kept.iter().any(|sink| sink.settings == *settings) {
                continue;
            }
            let name = &settings.common.name;
            let before = |sink: &mut Sink| {
                let owns = sink.settings.kind.owns();
                sink.settings.common.name == *name || owns.is_some() && owns == settings.kind.owns()
            };
            let after = leaving.extract_if(.., before).map(|sink| sink.handle).collect();
            let selection = settings
                .selection(cli::filter_words)
                .map_err(|(key, why)| anyhow!("sink {name}: {key}: {why}"))?;
            let id = node.output_id();
            let total = totals.get(name).cloned().unwrap_or_default();
            let (output, handle) = settings
                .open(id, selection, total, after)
                .with_context(|| format!("open sink {name}"))?;
            kept.push(Sink {
                settings: settings.clone(),
                id,
                total: output.total(),
                handle,
            });
            open.push(output);
        }
        *sinks = kept;
        node.exchange(close, open)
    }

    /// Has all open again what they write to.
    pub fn reopen(&self) {
        for sink in self.lock().iter() {
            sink.handle.reopen();
        }
    }

    /// How they are.
    pub fn status(&self) -> Vec<SinkStatus> {
        let status = |sink: &Sink| {
            let (queue_bytes, queue_size) = sink.handle.waiting();
            let health = sink.handle.health().unwrap_or_default();
            SinkStatus {
                kind: sink.settings.kind.word().to_owned(),
                books: SinkBooks::new(&sink.settings.common.name, sink.total.counts()),
                queue_bytes,
                queue_size,
                spooled_bytes: health.spooled_bytes,
                down: health.down,
            }
        };
        self.lock().iter().map(status).collect()
    }

    /// Waits until they have delivered what they had; the node must have ended.
    pub fn end(self) {
        for sink in self.lock().drain(..) {
            sink.handle.join(Some(END));
        }
    }
}
