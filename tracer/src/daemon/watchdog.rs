//! Tells the service manager that the daemon is well. Not that a timer still ticks: that all which stands between the
//! kernel and a reader has just answered.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Shared, note};

/// Signs of life in the time after which the service manager gives the daemon up.
const SIGNS: u32 = 3;

/// Runs for ever; returns at once where nobody watches.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    let every = limit / SIGNS;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        ticks.tick().await;
        let found = is_well(&shared, every).await;
        if let Err(why) = &found
            && well
        {
            note(&format!("not well: {why}"));
        }
        if found.is_ok() {
            if !well {
                note("well again");
            }
            let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        well = found.is_ok();
    }
}

async fn is_well(shared: &Arc<Shared>, patience: Duration) -> Result<(), String> {
    let shared = shared.clone();
    let asked = tokio::task::spawn_blocking(move || shared.node.answers(patience));
    // The node's own patience begins when its lock is had.
    match timeout(patience * 2, asked).await {
        Err(_late) => Err("the node's lock is not to be had".to_owned()),
        Ok(Err(panicked)) => Err(panicked.to_string()),
        Ok(Ok(answer)) => answer.map_err(|error| format!("{error:#}")),
    }
}
