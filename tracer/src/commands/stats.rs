//! `tracer stats`: asks for a container's counts, once or again and again, or reads them out of a recording, and prints
//! their table.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use anyhow::Result;

use super::{json_line, print, told};
use crate::{
    cli::{self, Format},
    control::Request,
    recording,
    report::{State, summary},
};

/// Moves to the top and clears what is there.
const REDRAW: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

pub(super) fn run(directory: &Path, arguments: cli::Stats) -> Result<u8> {
    let word = &arguments.container;
    let request = Request::Stats {
        container: word.clone(),
        phases: arguments.phase,
    };
    let mut to = io::stdout().lock();
    let json = arguments.output.output == Format::Json;
    let redraw = arguments.watch.is_some() && to.is_terminal() && !json;
    let columns = arguments.summary.columns.unwrap_or_default();
    loop {
        let all = told(directory, word, &request, |summary| {
            summary.stats.of(arguments.phase).clone()
        })?;
        // At once, so that a terminal does not flicker.
        let mut text = Vec::new();
        if redraw {
            text.extend_from_slice(REDRAW);
        }
        for stats in &all {
            if json {
                json_line(&mut text, stats)?;
            } else {
                summary::write(
                    &mut text,
                    stats,
                    &columns,
                    arguments.summary.sort,
                    print::fit(&to),
                )?;
            }
        }
        // A recording stays as it is.
        let ended = recording::is_file(word) || all.iter().all(|stats| stats.state == State::Gone);
        let Some(pause) = arguments.watch.filter(|_| !ended) else {
            to.write_all(&text)?;
            to.flush()?;
            return Ok(0);
        };
        if !json && !redraw {
            text.push(b'\n');
        }
        to.write_all(&text)?;
        to.flush()?;
        std::thread::sleep(pause);
    }
}
