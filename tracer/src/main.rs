//! Parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use tracer::{cli::Cli, commands, complete, node::is_broken_pipe};

fn main() -> ExitCode {
    complete::answer();
    match commands::run(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            ExitCode::from(commands::SETUP)
        }
    }
}
