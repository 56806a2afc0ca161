//! Runs the coverage audit: now and then, and when a client asks.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::Shared;
use crate::{audit::Mode, log::note, registration, report::Audited};

/// Looks again and again until it is aborted, as often as the configuration says at that time.
pub(super) async fn repeat(shared: Arc<Shared>) {
    let mut config = shared.config.subscribe();
    loop {
        let every = {
            let audit = &config.borrow_and_update().audit;
            (audit.mode != Mode::Off).then(|| audit.every.0.max(Duration::from_millis(100)))
        };
        let Some(every) = every else {
            // Nothing to do until somebody says otherwise.
            if config.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Err(error) = now(&shared).await {
            note(&format!("audit: {error:#}"));
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            changed = config.changed() => if changed.is_err() { return },
        }
    }
}

/// Looks once; attaches what it finds if it shall, tells of what is new, and returns what it came to.
///
/// # Errors
/// When the pipeline has ended.
pub(crate) async fn now(shared: &Arc<Shared>) -> Result<Audited> {
    // One at a time: two would attach the same and tell it twice.
    let _alone = shared.auditing.lock().await;
    let mode = shared.config.borrow().audit.mode;
    let found = if mode == Mode::Off {
        shared.audit.rest();
        Vec::new()
    } else {
        let shared = shared.clone();
        spawn_blocking(move || shared.audit.look(&shared.runtimes(), || shared.node.inits())).await?
    };
    let mut left = Vec::new();
    let mut attached = Vec::new();
    for found in found {
        if mode != Mode::Attach {
            left.push((
                found,
                "its hook did not register it; `tracer attach` does".to_owned(),
            ));
            continue;
        }
        match registration::attach_found(shared, &found).await {
            Ok(_) => attached.push((found, "its hook did not register it; attached late".to_owned())),
            // It has ended, or is refused.
            Err(error) if !crate::identity::exists(found.pid) => drop(error),
            Err(error) => left.push((found, format!("it cannot be attached: {error:#}"))),
        }
    }
    // Of what is attached is told too, but nothing is left to do.
    let mut news = shared.audit.keep(&attached);
    news.extend(shared.audit.keep(&left));
    for line in news {
        note(&format!(
            "warning: container {} asks to be traced and was not: {}",
            line.names.id, line.reason
        ));
        let info = line.names.clone().into();
        shared.node.warn_unregistered(info, line.reason)?;
    }
    Ok(shared.audit.last())
}
