//! SIGHUP: reads the configuration again and makes it hold. A bad one changes nothing.

use std::sync::Arc;

use sd_notify::{NotifyState, notify};
use tokio::task::spawn_blocking;

use super::{Settings, Shared};
use crate::{config::Config, log::note};

/// Takes in what has changed; says in the log what that is, and what needs a restart.
pub(super) async fn reload(settings: &Settings, shared: &Arc<Shared>) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    // Without systemd there is nobody to tell.
    let _nobody = notify(&states);
    match (settings.load)() {
        Ok(config) => take(config, shared).await,
        Err(error) => {
            // A line each that is wrong.
            for line in format!("the configuration is left as it was: {error:#}").lines() {
                note(line);
            }
        }
    }
    let _nobody = notify(&[NotifyState::Ready]);
}

async fn take(mut new: Config, shared: &Arc<Shared>) {
    let old = shared.config.borrow().clone();
    for key in need_restart(&old, &new) {
        note(&format!("{key} has changed and needs a restart"));
    }
    // What cannot hold is not said to hold.
    new.daemon = crate::config::Daemon {
        linger: new.daemon.linger,
        hand_over: new.daemon.hand_over,
        ..old.daemon
    };
    new.flight_recorder = old.flight_recorder;
    new.annotations.dump_on = old.annotations.dump_on;
    let (its, config) = (shared.clone(), new.clone());
    let done = spawn_blocking(move || {
        // Their files may have been moved away, whatever else has changed.
        its.sinks.reopen();
        let limits = (&config.users).into();
        its.quotas.set(limits);
        its.node.set_limits(limits)?;
        its.sinks.set(&its.node, &config.sinks)
    })
    .await;
    match done {
        Ok(Ok(())) => {
            let sinks = new.sinks.len();
            shared.config.send_replace(new);
            note(&format!("the configuration holds: {sinks} sinks"));
        }
        Ok(Err(error)) => note(&format!("the configuration holds in part: {error:#}")),
        Err(error) => note(&format!("the configuration holds in part: {error}")),
    }
}

/// The keys that are read at the start alone and differ.
fn need_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let recorder = old.flight_recorder != new.flight_recorder;
    let dump_on = old.annotations.dump_on != new.annotations.dump_on;
    let (old, new) = (&old.daemon, &new.daemon);
    let differ = [
        ("flight_recorder", recorder),
        ("annotations.dump_on", dump_on),
        ("daemon.ring_size", old.ring_size != new.ring_size),
        ("daemon.mode", old.mode != new.mode),
        ("daemon.string_limit", old.string_limit != new.string_limit),
    ];
    differ
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}
