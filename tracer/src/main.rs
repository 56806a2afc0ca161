//! Parse, dispatch, exit code; nothing else.

use std::{env, process::ExitCode};

use clap::FromArgMatches;
use tracer::{
    cli::{self, Cli},
    commands, complete,
    node::is_broken_pipe,
};

fn main() -> ExitCode {
    complete::answer();
    let mut command = cli::command();
    let typed = command
        .try_get_matches_from_mut(env::args_os())
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| cli::advised(error, &command, env::args_os()));
    match commands::run(typed.unwrap_or_else(|error| error.exit())) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            ExitCode::from(commands::SETUP)
        }
    }
}
