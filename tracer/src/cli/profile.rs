//! The words of `tracer profile`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;
use crate::profile::{Form, base::Base};

#[derive(Debug, Subcommand)]
pub enum Profile {
    /// Write a seccomp profile that allows what a container called, and what its runtime needs to start it.
    Seccomp(Seccomp),
    /// Print the capabilities that a container needs: options of podman and docker, or JSON for a securityContext.
    Capabilities(super::OfTraced),
    /// Show how two seccomp profiles differ: `-` only in A, `+` only in B.
    Diff(Diff),
    /// Tell what a seccomp profile would refuse a container that ran without it.
    Check(ProfileCheck),
    /// Join seccomp profiles of several runs: what any of them allows.
    Merge(Merge),
}

#[derive(Debug, Args)]
pub struct Seccomp {
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    /// Whose needs to meet beside the application's.
    #[arg(long, value_enum, default_value_t = Base::All)]
    pub base: Base,
    /// Format of the profile.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Form::Oci)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// A profile; `-` is standard input.
    pub a: PathBuf,
    /// Another.
    pub b: PathBuf,
    #[command(flatten)]
    pub held: Held,
}

#[derive(Debug, Args)]
pub struct ProfileCheck {
    /// A profile in JSON, podman's or Docker's default among them; `-` is standard input.
    pub profile: PathBuf,
    /// Name, id, or the beginning of one, also of a container that has ended; or the file of a recording.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub container: String,
    #[command(flatten)]
    pub held: Held,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// Profiles; `-` is standard input.
    #[arg(required = true, value_name = "PROFILE")]
    pub profiles: Vec<PathBuf>,
    #[command(flatten)]
    pub held: Held,
    /// Format of the profile.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Form::Oci)]
    pub output: Form,
}

/// For profiles with entries that hold only with a capability, as podman's and Docker's default.
#[derive(Debug, Args)]
pub struct Held {
    /// A capability that the container has (CAP_SYS_CHROOT); may be repeated.
    #[arg(long = "cap-add", value_name = "CAP")]
    pub capabilities: Vec<String>,
}
