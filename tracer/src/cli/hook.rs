//! `tracer hook`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::Output;
use crate::install;

#[derive(Debug, Args)]
pub struct Hook {
    #[command(subcommand)]
    pub command: HookCommand,
}

#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Put the hook into a container runtime's configuration; without --write only show how.
    Install {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        wanted: Box<Wanted>,
        /// Write the files; as they were they are kept beside them.
        #[arg(long)]
        write: bool,
    },
    /// Take the hook out again; without --write only show how.
    Uninstall {
        #[command(flatten)]
        place: Place,
        /// Write the files, as they were before where nobody edited them since.
        #[arg(long)]
        write: bool,
    },
    /// Tell what is installed, and try each step on the way to the daemon.
    Status {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        output: Output,
    },
}

/// The container runtimes whose configuration we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    Podman,
    Crio,
    Containerd,
    Docker,
}

impl From<Runtime> for install::Runtime {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Podman => Self::Podman,
            Runtime::Crio => Self::Crio,
            Runtime::Containerd => Self::Containerd,
            Runtime::Docker => Self::Docker,
        }
    }
}

/// Where the hook is, or shall be.
#[derive(Debug, Args)]
pub struct Place {
    /// The container runtime.
    #[arg(long, value_enum)]
    pub runtime: Runtime,
    /// The configuration of this user, rootless, instead of the machine's (podman, Docker).
    #[arg(long)]
    pub user: bool,
    /// Read and write all files below DIR, as for an image of a machine.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// podman, CRI-O: the directory for the hook's file.
    #[arg(long, value_name = "DIR")]
    pub hooks_dir: Option<PathBuf>,
    /// containerd, Docker: the configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// containerd: a runtime handler; install makes it when it is not there; may be repeated [default: all that run runc].
    #[arg(long = "handler", value_name = "NAME")]
    pub handlers: Vec<String>,
}

/// What to install.
#[derive(Debug, Default, Args)]
pub struct Wanted {
    /// The program tracer-hook, as the runtime shall find it [default: /usr/libexec/oci/hooks.d/tracer-hook, else the one
    /// beside this program].
    #[arg(long, value_name = "PATH")]
    pub hook: Option<PathBuf>,
    /// Time that the hook gives the daemon, 1ms to 60s [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    pub timeout: Option<Duration>,
    /// Start no container that asks to be traced and cannot be.
    #[arg(long)]
    pub fail_closed: bool,
    /// containerd: put the hooks into a copy of FILE instead of what `ctr oci spec` prints.
    #[arg(long, value_name = "FILE")]
    pub base_spec: Option<PathBuf>,
    /// Docker: name of the runtime that is registered [default: traced].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Docker: the OCI runtime that runs the containers [default: the first of runc and crun].
    #[arg(long, value_name = "PATH")]
    pub wrap: Option<PathBuf>,
    /// Docker: trace every container that is run with the registered runtime.
    #[arg(long)]
    pub all: bool,
}
