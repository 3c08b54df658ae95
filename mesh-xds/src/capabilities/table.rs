//! The table itself, and the page that is made from it.

use std::fmt::Write as _;

use super::Client::{self, Envoy, Grpc, Kernel};
use super::Support::{self, Honoured, Ignored, Partly, Redirected, Rejected};

/// Something that a policy can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`field` says it")]
pub enum Feature {
    Split,
    MatchPath,
    MatchHeaders,
    MatchMethod,
    MatchGrpc,
    Retries,
    PerTryTimeout,
    RequestTimeout,
    Mirror,
    Fault,
    Redirect,
    Rewrite,
    SessionAffinity,
    Random,
    RoundRobin,
    LeastConnections,
    Maglev,
    HashKey,
    Locality,
    SlowStart,
    PanicThreshold,
    DrainTimeout,
    MaxConnections,
    MaxPending,
    Breaker,
    EndpointMaxConnections,
    MaxRequests,
    MaxPendingRequests,
    MaxRetries,
    ConsecutiveFailures,
    FailurePercentage,
    ConsecutiveErrors,
    HealthCheck,
    ConnectTimeout,
    IdleTimeout,
    ConnectRetry,
    Acceleration,
}

const NOT_THERE: &str = "there is no such thing";

impl Feature {
    /// All, in the order of the page.
    pub const ALL: [Self; 37] = [
        Self::Split,
        Self::MatchPath,
        Self::MatchHeaders,
        Self::MatchMethod,
        Self::MatchGrpc,
        Self::Retries,
        Self::PerTryTimeout,
        Self::RequestTimeout,
        Self::Mirror,
        Self::Fault,
        Self::Redirect,
        Self::Rewrite,
        Self::SessionAffinity,
        Self::Random,
        Self::RoundRobin,
        Self::LeastConnections,
        Self::Maglev,
        Self::HashKey,
        Self::Locality,
        Self::SlowStart,
        Self::PanicThreshold,
        Self::DrainTimeout,
        Self::MaxConnections,
        Self::MaxPending,
        Self::Breaker,
        Self::EndpointMaxConnections,
        Self::MaxRequests,
        Self::MaxPendingRequests,
        Self::MaxRetries,
        Self::ConsecutiveFailures,
        Self::FailurePercentage,
        Self::ConsecutiveErrors,
        Self::HealthCheck,
        Self::ConnectTimeout,
        Self::IdleTimeout,
        Self::ConnectRetry,
        Self::Acceleration,
    ];

    /// The field that says it.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Split => "`trafficRules[]`: `destination`, `weight`",
            Self::MatchPath => "`trafficRules[].match.path`",
            Self::MatchHeaders => "`trafficRules[].match.headers`",
            Self::MatchMethod => "`trafficRules[].match.method`",
            Self::MatchGrpc => "`trafficRules[].match.grpc`",
            Self::Retries => "`trafficRules[].retries`",
            Self::PerTryTimeout => "`trafficRules[].retries.perTryTimeout`",
            Self::RequestTimeout => "`trafficRules[].timeout`, `timeouts.request`",
            Self::Mirror => "`trafficRules[].mirror`",
            Self::Fault => "`trafficRules[].fault`",
            Self::Redirect => "`trafficRules[].redirect`",
            Self::Rewrite => "`trafficRules[].rewrite`",
            Self::SessionAffinity => "`sessionAffinity` of the Service",
            Self::Random => "`loadBalancer.policy: Random`",
            Self::RoundRobin => "`loadBalancer.policy: RoundRobin`",
            Self::LeastConnections => "`loadBalancer.policy: LeastConnections`",
            Self::Maglev => "`loadBalancer.policy: Maglev`",
            Self::HashKey => "`loadBalancer.hashKey`",
            Self::Locality => "`loadBalancer.locality`",
            Self::SlowStart => "`loadBalancer.slowStart`",
            Self::PanicThreshold => "`loadBalancer.panicThreshold`",
            Self::DrainTimeout => "`drainTimeout`",
            Self::MaxConnections => "`circuitBreaker.maxConnections`",
            Self::MaxPending => "`circuitBreaker.maxPendingConnections`, also `perEndpoint`",
            Self::Breaker => "`circuitBreaker.maxFailures`, also `perEndpoint`",
            Self::EndpointMaxConnections => "`circuitBreaker.perEndpoint.maxConnections`",
            Self::MaxRequests => "`circuitBreaker.requests.maxRequests`",
            Self::MaxPendingRequests => "`circuitBreaker.requests.maxPendingRequests`",
            Self::MaxRetries => "`circuitBreaker.requests.maxRetries`",
            Self::ConsecutiveFailures => "`outlierDetection.consecutiveFailures`",
            Self::FailurePercentage => "`outlierDetection.failurePercentage`",
            Self::ConsecutiveErrors => {
                "`outlierDetection.consecutive5xx`, `consecutiveGatewayErrors`"
            }
            Self::HealthCheck => "`healthCheck`",
            Self::ConnectTimeout => "`timeouts.connect`",
            Self::IdleTimeout => "`timeouts.idle`",
            Self::ConnectRetry => "`retry`",
            Self::Acceleration => "`acceleration`",
        }
    }

    /// What a client makes of it.
    #[must_use]
    pub const fn support(self, client: Client) -> Support {
        let [kernel, envoy, grpc] = self.row();
        match client {
            Kernel => kernel,
            Envoy => envoy,
            Grpc => grpc,
        }
    }

    /// Of the kernel, Envoy and gRPC.
    const fn row(self) -> [Support; 3] {
        match self {
            Self::Split | Self::RoundRobin | Self::HealthCheck | Self::Locality => [Honoured; 3],
            Self::MatchPath | Self::MatchHeaders | Self::MatchGrpc | Self::Fault => {
                [Redirected, Honoured, Honoured]
            }
            Self::MatchMethod => {
                let post = "all of its requests are POST: rules for others match none";
                [Redirected, Honoured, Partly(post)]
            }
            Self::Retries => {
                let few = "for `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted` and \
                           `unavailable` only";
                [Redirected, Honoured, Partly(few)]
            }
            Self::RequestTimeout => {
                let late = "up to a second longer where C-core is below (C++, Python, Ruby, PHP)";
                [Redirected, Honoured, Partly(late)]
            }
            Self::Redirect => {
                [Redirected, Honoured, Rejected("its requests fail with `UNAVAILABLE`")]
            }
            Self::PerTryTimeout
            | Self::Mirror
            | Self::Rewrite
            | Self::MaxPendingRequests
            | Self::MaxRetries
            | Self::ConsecutiveErrors => [Redirected, Honoured, Ignored(NOT_THERE)],
            Self::MaxRequests => [Redirected, Honoured, Honoured],
            Self::SessionAffinity => {
                let per_request = "it chooses for each request";
                [Honoured, Ignored(per_request), Partly("each channel keeps to one endpoint")]
            }
            Self::Random => {
                let robin = "in turn, by weight";
                [Honoured, Partly(robin), Partly(robin)]
            }
            Self::LeastConnections => {
                [Honoured, Partly("fewest requests"), Ignored("in turn, by weight")]
            }
            Self::Maglev => {
                let any = "by weight, at random: a request has nothing to hash";
                [Honoured, Partly(any), Partly("each channel keeps to one endpoint")]
            }
            Self::HashKey => {
                let who = "it does not know which process a request is from";
                [Honoured, Ignored(who), Ignored(who)]
            }
            Self::SlowStart => [Honoured, Partly("its own curve"), Ignored(NOT_THERE)],
            Self::PanicThreshold => {
                [Honoured, Honoured, Partly("of unhealthy endpoints, not of ejected ones")]
            }
            Self::DrainTimeout => {
                let none = "connections last until they end";
                [Honoured, Ignored(none), Ignored(none)]
            }
            Self::MaxConnections => {
                let each = "for each destination, and its own connections";
                [Honoured, Partly(each), Ignored("it has one connection to each endpoint")]
            }
            Self::EndpointMaxConnections => {
                let own = "its own connections";
                [Honoured, Partly(own), Ignored("it has one connection to each endpoint")]
            }
            Self::MaxPending | Self::ConnectRetry | Self::Acceleration => {
                let kernel = "only the kernel can do it";
                [Honoured, Ignored(kernel), Ignored(kernel)]
            }
            Self::Breaker => {
                let outlier = "use `outlierDetection`";
                [Honoured, Ignored(outlier), Ignored(outlier)]
            }
            Self::ConsecutiveFailures => [Honoured, Honoured, Ignored(NOT_THERE)],
            Self::FailurePercentage => [Honoured, Honoured, Partly("of requests, not of connects")],
            Self::ConnectTimeout => [Honoured, Honoured, Ignored("it has its own: 20 s")],
            Self::IdleTimeout => {
                let probes = "by keep-alive of TCP, which finds dead ends only";
                [Honoured, Partly(probes), Ignored(NOT_THERE)]
            }
        }
    }
}

/// `docs/capabilities.md`.
#[must_use]
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for feature in Feature::ALL {
        let cells = [Kernel, Envoy, Grpc].map(|client| cell(feature.support(client)));
        let [kernel, envoy, grpc] = cells;
        let field = feature.field();
        // Writing to a string cannot fail.
        writeln!(text, "| {field} | {kernel} | {envoy} | {grpc} |").ok();
    }
    text
}

fn cell(support: Support) -> String {
    match support {
        Honoured => "yes".to_owned(),
        Partly(how) => format!("nearly: {how}"),
        Ignored(why) | Rejected(why) => format!("**no**: {why}"),
        Redirected => "by Envoy".to_owned(),
    }
}

const HEAD: &str = "\
# Who follows what

Made from `mesh-xds/src/capabilities/table.rs` (`MESH_BLESS=1 cargo test -p mesh-xds capabilities`), which tests
hold against what is sent.

A connection is shared out by the kernel. That of a service with rules for requests goes to the node's Envoy
([requests](requests.md)), and a gRPC program that says `xds:///` shares its requests out itself. Where a service
uses something that one of them does not follow, `meshctl apply` and `describe` say so.

Other fields of `spec` are for one of them: `onNoProxy` and `onNoBackend` for the kernel. Of
`outlierDetection`, how long and how many are ejected holds for all.

| field | kernel | Envoy | gRPC |
|---|---|---|---|
";
