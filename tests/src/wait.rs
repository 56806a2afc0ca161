//! Bounded waiting for a state that can be asked for.

use anyhow::{Result, bail};
use std::{
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Long enough for two busy cores; a test that needs it has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer. An error ends the wait.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("waited {limit:?} for {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Waits for a child to end.
pub fn exit(child: &mut Child, what: &str, limit: Duration) -> Result<ExitStatus> {
    until(&format!("the end of {what}"), limit, || Ok(child.try_wait()?))
}
