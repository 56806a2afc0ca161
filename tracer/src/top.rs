//! `tracer top`: a live table of containers and their calls. It looks again and again, makes rates of what grew, and
//! shows them: on a terminal, or as text and JSON for scripts.
//!
//! It asks through a function that it is given; it must not know sockets. `rates` compares two looks, `columns` says what
//! stands in a cell, `state` what the keys do, `view` how it is drawn, `screen` what happens to the terminal.

mod batch;
mod columns;
mod rates;
mod screen;
mod state;
mod view;

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::report::{Stats, activity::Activities};
pub use rates::Sort;
use screen::{Screen, Signals, Waker};
use state::{Do, State};

/// How to show.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Between two looks.
    pub interval: Duration,
    /// After so many tables it ends; `None`: never.
    pub looks: Option<u64>,
    pub sort: Sort,
    pub reverse: bool,
    /// Also containers that do not live.
    pub all: bool,
}

/// What to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Also the calls of this container: its id.
    pub detail: Option<String>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub containers: Activities,
    /// The calls of that container, or why there are none.
    pub detail: Option<(String, Result<Stats, String>)>,
}

/// Shows tables as text or JSON until there were enough.
///
/// # Errors
/// What `ask` says, or the writer.
pub fn batch(
    settings: &Settings,
    json: bool,
    to: &mut impl Write,
    width: Option<usize>,
    ask: impl Fn(&Ask) -> Result<Look>,
) -> Result<()> {
    let mut before = ask(&Ask::default())?.containers;
    let mut shown = 0;
    loop {
        std::thread::sleep(settings.interval);
        let now = ask(&Ask::default())?.containers;
        let rows = state::shown(rates::rows(Some(&before), &now), settings);
        let seconds = now.ktime.saturating_sub(before.ktime) as f64 / 1e9;
        // At once, so that a reader sees whole tables.
        let mut text = Vec::new();
        if json {
            batch::json(&mut text, &rows, seconds)?;
        } else {
            if shown > 0 {
                text.push(b'\n');
            }
            batch::text(&mut text, &now, &rows, seconds, width)?;
        }
        to.write_all(&text)?;
        to.flush()?;
        before = now;
        shown += 1;
        if settings.looks == Some(shown) {
            return Ok(());
        }
    }
}

/// Shows a table on the terminal until the user has enough; returns the exit code.
///
/// # Errors
/// The first answer of `ask`, where it is an error; what keeps the terminal from being used.
pub fn show(settings: &Settings, ask: impl Fn(&Ask) -> Result<Look> + Send + 'static) -> Result<u8> {
    // Before anything is drawn: why there is nothing to show is told on a terminal as it was.
    let first = ask(&Ask::default())?;
    // Blocked before there is a thread that could get them.
    let signals = Signals::block()?;
    let (asks, answers, wakes) = asker(ask)?;
    let mut state = State::new(settings.clone());
    state.take(Ok(first), Instant::now());
    let mut screen = Screen::enter(signals)?;
    let mut waiting = false;
    let mut shown = 1;
    loop {
        screen.draw(|frame| view::draw(frame, &mut state))?;
        let now = Instant::now();
        let due = state.due().filter(|_| !waiting);
        if due.is_some_and(|due| due <= now) {
            state.asked(now);
            // The thread ends with us.
            waiting = asks.send(state.ask()).is_ok();
            continue;
        }
        let woken = screen.wait(&wakes, due.map(|due| due - now))?;
        for key in woken.keys {
            match state.key(key) {
                Do::Nothing => {}
                Do::Suspend => screen.suspend()?,
                Do::Quit => return screen.leave().map(|()| 0),
                Do::Interrupt => return screen.leave().map(|()| 128 + libc::SIGINT as u8),
            }
        }
        if let Some(code) = woken.ends {
            return screen.leave().map(|()| code);
        }
        loop {
            let look = match answers.try_recv() {
                Ok(look) => look,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the thread that asks the daemon has ended"),
            };
            waiting = false;
            shown += u64::from(look.is_ok());
            state.take(look.map_err(|error| format!("{error:#}")), Instant::now());
            if settings.looks.is_some_and(|looks| shown > looks) {
                return screen.leave().map(|()| 0);
            }
        }
    }
}

type Answers = Receiver<Result<Look>>;

/// A thread that asks: a daemon that takes long holds up no key.
fn asker(
    ask: impl Fn(&Ask) -> Result<Look> + Send + 'static,
) -> Result<(Sender<Ask>, Answers, io::PipeReader)> {
    let (asks, asked) = channel::<Ask>();
    let (answer, answers) = channel();
    let (wakes, waker) = Waker::pair()?;
    std::thread::Builder::new()
        .name("ask".into())
        .spawn(move || {
            for wanted in asked {
                if answer.send(ask(&wanted)).is_err() {
                    break;
                }
                waker.wake();
            }
        })
        .context("start a thread")?;
    Ok((asks, answers, wakes))
}

#[cfg(test)]
mod tests;
