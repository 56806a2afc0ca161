//! `tracer top`: asks the daemon for what all containers did, and shows it.

use std::{
    io::{self, IsTerminal},
    num::NonZeroU64,
    path::Path,
};

use anyhow::{Result, bail};

use super::print;
use crate::{
    cli::{self, Format},
    client,
    control::Request,
    top::{self, Ask, Look},
};

pub(super) fn run(directory: &Path, arguments: cli::Top) -> Result<u8> {
    let settings = top::Settings {
        interval: arguments.delay,
        looks: if arguments.once {
            Some(1)
        } else {
            arguments.iterations.map(NonZeroU64::get)
        },
        sort: arguments.sort,
        reverse: arguments.reverse,
        all: arguments.all,
    };
    let phases = arguments.phase;
    let containers = Request::Top {
        select: arguments.select.of(arguments.containers),
        phases,
    };
    let directory = directory.to_owned();
    let ask = move |wanted: &Ask| {
        let detail = wanted.detail.clone().map(|id| {
            let stats = Request::Stats {
                container: id.clone(),
                phases,
            };
            // It may have gone; that is no reason to end.
            let told = client::ask(&directory, &stats).map_err(|error| format!("{error:#}"));
            (id, told)
        });
        Ok(Look {
            containers: client::ask(&directory, &containers)?,
            detail,
        })
    };
    let json = arguments.output.output == Format::Json;
    let mut to = io::stdout();
    if arguments.batch || arguments.once || json {
        let width = print::fit(&to);
        top::batch(&settings, json, &mut to, width, ask)?;
        return Ok(0);
    }
    if !to.is_terminal() || !io::stdin().is_terminal() {
        bail!("standard input and output are no terminal; --once or -b prints tables");
    }
    top::show(&settings, ask)
}
