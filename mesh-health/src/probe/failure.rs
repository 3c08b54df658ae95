//! Why a check failed: in words for people, and in few kinds for counters.

use std::error::Error;
use std::io;
use std::time::Duration;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The endpoint, or its machine, refuses connections.
    #[error("connect: {}", describe(.0))]
    Connect(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {}", describe_time(*.limit))]
    Timeout {
        /// The time.
        limit: Duration,
    },
    /// An answer with a bad status.
    #[error("HTTP status {0}")]
    Status(u16),
    /// gRPC: the service says that it does not serve.
    #[error("gRPC: {0}")]
    NotServing(&'static str),
    /// gRPC: an error instead of an answer.
    #[error("gRPC status {code:?}: {message}")]
    Grpc {
        /// Its code.
        code: tonic::Code,
        /// What the server says, cut to some length.
        message: String,
    },
    /// The connection broke, or what came is not the protocol.
    #[error("{protocol}: {text}")]
    Protocol {
        /// Which.
        protocol: &'static str,
        /// What was wrong.
        text: String,
    },
    /// The check could not be done, which says nothing about the endpoint.
    #[error("cannot check: {doing}: {source}")]
    Local {
        /// What could not be done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The kinds, as labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// A bad answer.
    Status,
    /// No answer that could be read.
    Protocol,
    /// Not the endpoint's fault.
    Local,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Connect, Self::Timeout, Self::Status, Self::Protocol, Self::Local];

    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Protocol => "protocol",
            Self::Local => "local",
        }
    }
}

impl Failure {
    /// Of which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Status(_) | Self::NotServing(_) | Self::Grpc { .. } => Kind::Status,
            Self::Protocol { .. } => Kind::Protocol,
            Self::Local { .. } => Kind::Local,
        }
    }

    /// Of an error while connecting: some are about this machine.
    pub(super) fn connect(error: io::Error) -> Self {
        // Neither the endpoint nor the way to it: ports, memory, or a rule on this node.
        let here = matches!(
            error.kind(),
            io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::AddrInUse
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::Unsupported
        );
        if here { Self::Local { doing: "connect", source: error } } else { Self::Connect(error) }
    }

    pub(super) fn protocol(protocol: &'static str, error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::Protocol { protocol, text: cut(&text) }
    }
}

/// "Connection refused" without "(os error 111)".
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn describe_time(time: Duration) -> String {
    format!("{time:?}")
}

/// What a server wrote, for a line: printable, and not long.
pub(super) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
