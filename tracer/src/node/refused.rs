//! Why a container is not taken in.

use std::fmt;

use crate::registry::Refusal;

/// Why a container was not taken in.
#[derive(Debug)]
pub enum RegisterError {
    Refused(Refusal),
    /// The kernel side refused, or the proof did not come back.
    Failed(anyhow::Error),
}

impl RegisterError {
    /// The word that it is counted by.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::HostNamespaces) => "host_namespaces",
            Self::Refused(Refusal::SharedPidHostMount { .. } | Refusal::SharedMount { .. }) => {
                "shared_namespaces"
            }
            Self::Refused(Refusal::Full { .. }) => "full",
            Self::Refused(Refusal::IdTaken) => "id_taken",
            Self::Refused(Refusal::Quota { .. }) => "user_containers",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(to),
            Self::Failed(error) => write!(to, "{error:#}"),
        }
    }
}

impl std::error::Error for RegisterError {}

impl From<anyhow::Error> for RegisterError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
