//! Parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use clap::FromArgMatches;
use tracer::{
    cli::{self, Cli},
    commands, complete,
    node::is_broken_pipe,
};

fn main() -> ExitCode {
    complete::answer();
    let typed = Cli::from_arg_matches(&cli::command().get_matches());
    match commands::run(typed.unwrap_or_else(|error| error.exit())) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            ExitCode::from(commands::SETUP)
        }
    }
}
