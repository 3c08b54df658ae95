//! Everything that can go wrong, what is said about it, and the exit code.

use std::io;

use mesh_api::manifest::{Located, Problems};
use mesh_api::violation::Violation;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for what there is not.
    #[error("{message}")]
    Usage {
        /// What is wrong and what would be right.
        message: String,
    },
    /// Manifests are wrong by themselves.
    #[error("{0}")]
    Invalid(#[from] Problems),
    /// The control plane refuses objects; with the lines, where they come from manifests.
    #[error("{}", join(said))]
    Refused {
        /// What the control plane found.
        violations: Vec<Violation>,
        /// The same, one line each, for people.
        said: Vec<String>,
        /// Whether it collides with what is stored, instead of being wrong by itself.
        conflict: bool,
    },
    /// The control plane refuses the request for what is stored.
    #[error("{message}")]
    Conflict {
        /// What the control plane says.
        message: String,
    },
    /// No connection, or it broke.
    #[error(
        "the control plane at {server} is not reachable: {reason}\n\
         start it with `mesh-control`, or say where it is with --server or MESH_SERVER"
    )]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the transport says.
        reason: String,
    },
    /// There is no such object.
    #[error("{message}")]
    NotFound {
        /// Which.
        message: String,
    },
    /// It took too long.
    #[error("{message}")]
    TimedOut {
        /// What did.
        message: String,
    },
    /// Nodes do not serve the revision, and will not.
    #[error("{message}")]
    Rejected {
        /// Which, and why.
        message: String,
    },
    /// There is nothing wrong, but it cannot be done.
    #[error("{message}")]
    Declined {
        /// What the control plane says.
        message: String,
    },
    /// The control plane fails.
    #[error("the control plane failed: {message}")]
    Server {
        /// What it says.
        message: String,
    },
    /// An object cannot be printed.
    #[error(transparent)]
    Write(#[from] mesh_api::manifest::WriteError),
    /// An object cannot be printed as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was read or written.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The reader of the output has gone.
    #[error("the output was closed")]
    Closed,
    /// `diff` found a difference.
    #[error("the manifests differ from what is stored")]
    Differs,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// A mistake on the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }

    /// Reading or writing `what` failed.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The process's exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Rejected { .. }
            | Self::Declined { .. }
            | Self::Server { .. }
            | Self::Write(_)
            | Self::Json(_)
            | Self::Io { .. }
            | Self::Differs => 1,
            Self::Usage { .. } | Self::Invalid(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::NotFound { .. } => 4,
            Self::Conflict { .. } => 5,
            Self::Refused { conflict, .. } => {
                if *conflict {
                    5
                } else {
                    2
                }
            }
            Self::TimedOut { .. } => 124,
            Self::Interrupted => 130,
        }
    }

    /// Whether the exit code says it all.
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self, Self::Closed | Self::Differs | Self::Interrupted)
    }

    /// Puts the lines of manifests to violations that the control plane found in them.
    pub(crate) fn located(self, objects: &[Located]) -> Self {
        let Self::Refused { violations, conflict, .. } = self else {
            return self;
        };
        let line = |violation: &Violation| match objects.get(violation.index) {
            Some(object) if violation.object.is_some() => object.violation(violation).to_string(),
            Some(_) | None => say(violation),
        };
        Self::Refused { said: violations.iter().map(line).collect(), violations, conflict }
    }
}

/// A violation without a file. One without an object sums up those that are left out.
pub(crate) fn say(violation: &Violation) -> String {
    if violation.object.is_none() && violation.field.is_empty() {
        violation.message.clone()
    } else {
        violation.to_string()
    }
}

/// Standard output failed; that its reader has gone is not worth a word.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::io("standard output", error)
        }
    }
}

fn join(lines: &[String]) -> String {
    lines.join("\n")
}
