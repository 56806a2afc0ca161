//! The options of a command that is started: of `run` and `record`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueHint};

use crate::run::{Command, User, Variable};

/// How a command starts; of `run` and `record`.
#[derive(Debug, Args)]
#[group(id = "starts", multiple = true, requires = "command")]
pub struct Start {
    /// Start the command with DIR as its root.
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Start it with VAR as VALUE in its environment, or without VAR; may be repeated.
    #[arg(short = 'E', long = "env", value_name = "VAR[=VALUE]", value_parser = variable)]
    pub environment: Vec<Variable>,
    /// Start it as USER, with the groups of that user: a name, or a number.
    #[arg(short, long, value_name = "USER", value_hint = ValueHint::Username, value_parser = User::find)]
    pub user: Option<User>,
}

impl Start {
    /// With these words.
    pub fn of(self, words: Vec<OsString>) -> Command {
        Command {
            words,
            rootfs: self.rootfs,
            environment: self.environment,
            user: self.user,
        }
    }
}

/// As strace's -E takes it.
fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (text, None),
    };
    match name {
        "" => Err("a variable has a name: VAR=VALUE, or VAR to leave it out".into()),
        name => Ok((name.into(), value)),
    }
}
