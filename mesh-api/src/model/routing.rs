//! What a traffic rule says about requests: names and meaning follow Gateway API's `HTTPRoute` and
//! `GRPCRoute`. The node's Envoy and gRPC clients do it; the kernel sees connections only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Destination;

/// What is done with requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRule {
    /// Which; `None`: those that no other rule matches.
    pub matches: Option<RouteMatch>,
    /// When and how often a request is sent again.
    pub retries: Option<RequestRetries>,
    /// Until the answer has ended, retries included; 10 ms to 24 hours.
    pub timeout: Option<Duration>,
    /// Who gets a copy; what it answers is thrown away.
    pub mirror: Option<Mirror>,
    /// What goes wrong on purpose.
    pub fault: Option<Fault>,
    /// Where the client is sent instead; then nothing but `matches` is there.
    pub redirect: Option<Redirect>,
    /// What the endpoint sees instead.
    pub rewrite: Option<Rewrite>,
}

/// Which requests: those for which all of it is true. At least one of it is there; `grpc` is not
/// there beside `path` or `method`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteMatch {
    /// The path without the query.
    pub path: Option<PathMatch>,
    /// All of these, each name once; at most 16.
    pub headers: Vec<HeaderMatch>,
    /// The method, such as `GET`.
    pub method: Option<String>,
    /// The gRPC method.
    pub grpc: Option<GrpcMatch>,
}

/// A condition for the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathMatch {
    /// All of it; begins with `/`.
    Exact(String),
    /// Whole segments at its beginning; begins with `/`, and ends with it only where it is all.
    Prefix(String),
    /// RE2, for all of it.
    Regex(String),
}

/// A condition for a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: HeaderValue,
}

/// A condition for a header's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderValue {
    /// All of it.
    Exact(String),
    /// RE2, for all of it.
    Regex(String),
}

/// Methods of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcMatch {
    /// The service with its package.
    pub service: String,
    /// `None`: all of its methods.
    pub method: Option<String>,
}

/// When and how often a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRetries {
    /// Times beyond the first, 1 to 10.
    pub attempts: u32,
    /// For each time, 10 ms to 24 hours; not above the rule's timeout.
    pub per_try_timeout: Option<Duration>,
    /// For which reasons; at least one.
    pub on: BTreeSet<RetryOn>,
}

/// Why a request is sent again. Named as Envoy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryOn {
    /// Any status of 5xx, or no answer.
    ServerError,
    /// 502, 503, 504.
    GatewayError,
    /// No answer: the connection ended, or the time was over.
    Reset,
    /// No connection could be made.
    ConnectFailure,
    /// The endpoint said that it has not begun with the request.
    RefusedStream,
    /// gRPC status 1.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 13.
    Internal,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 14.
    Unavailable,
    /// An HTTP status, 400 to 599.
    Status(u16),
}

impl RetryOn {
    /// All that have a name.
    pub const NAMED: [(Self, &'static str); 10] = [
        (Self::ServerError, "5xx"),
        (Self::GatewayError, "gateway-error"),
        (Self::Reset, "reset"),
        (Self::ConnectFailure, "connect-failure"),
        (Self::RefusedStream, "refused-stream"),
        (Self::Cancelled, "cancelled"),
        (Self::DeadlineExceeded, "deadline-exceeded"),
        (Self::Internal, "internal"),
        (Self::ResourceExhausted, "resource-exhausted"),
        (Self::Unavailable, "unavailable"),
    ];

    /// What is retried where nobody says: what has certainly not been worked on, or asks for it.
    pub const USUAL: [Self; 5] = [
        Self::ConnectFailure,
        Self::RefusedStream,
        Self::Unavailable,
        Self::Cancelled,
        Self::Status(503),
    ];

    /// The name of it; `None` of a status.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.into_iter().find(|(it, _)| *it == self).map(|(_, name)| name)
    }

    /// Whether it is a status of gRPC.
    #[must_use]
    pub const fn is_of_grpc(self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::DeadlineExceeded
                | Self::Internal
                | Self::ResourceExhausted
                | Self::Unavailable
        )
    }
}

/// Who gets a copy of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where it goes.
    pub destination: Destination,
    /// Of how many requests, 0 to 100 percent.
    pub percent: u8,
}

/// What goes wrong on purpose; at least one of both is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// A wait before the request goes on: how long, 1 ms to 1 hour, and for how many percent.
    pub delay: Option<(Duration, u8)>,
    /// An answer in place of the endpoint's, and for how many percent.
    pub abort: Option<(Abort, u8)>,
}

/// What a request is answered with on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A status of HTTP, 200 to 599.
    Http(u16),
    /// A status of gRPC, 1 to 16.
    Grpc(u8),
}

/// Where a client is sent instead; at least one thing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; `None`: as it was.
    pub scheme: Option<String>,
    /// `None`: as it was.
    pub hostname: Option<String>,
    /// `None`: as it was.
    pub port: Option<u16>,
    /// `None`: as it was.
    pub path: Option<PathModifier>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What an endpoint sees instead; at least one of both is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The host; `None`: as it was.
    pub hostname: Option<String>,
    /// The path; `None`: as it was.
    pub path: Option<PathModifier>,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// All of it, without the query.
    Full(String),
    /// What the prefix matched; only beside a match of a prefix.
    Prefix(String),
}
