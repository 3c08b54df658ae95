//! The connection to the control plane, and what its statuses mean to the command line.

mod nodes;
mod telemetry;

use std::time::{Duration, Instant};

use mesh_api::convert::milliseconds;
use mesh_api::violation::Violation;
use mesh_api::wire;
use mesh_api::wire::control_client::ControlClient;
use mesh_api::wire::health_client::HealthClient;
use mesh_api::wire::nodes_client::NodesClient;
use mesh_api::wire::telemetry_client::TelemetryClient;
use mesh_api::wire::workloads_client::WorkloadsClient;
use mesh_telemetry::TraceContext;
use mesh_telemetry::context::TRACEPARENT;
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::failure::{Failure, say};
use crate::output::Format;
use crate::output::style::Style;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// What the answer to a wait for nodes may take above the wait: it says which are late.
const MARGIN: Duration = Duration::from_secs(1);
/// Largest answer: a list of 100,000 endpoints is some 20 MB.
const MAX_ANSWER: usize = 256 << 20;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Address of the control plane, as typed.
    pub(crate) server: String,
    /// Form of what is printed.
    pub(crate) format: Format,
    /// Colours or none.
    pub(crate) style: Style,
    /// Longest that the command may take.
    pub(crate) timeout: Duration,
    /// When it began.
    pub(crate) start: Instant,
    /// The trace that it begins.
    pub(crate) trace: Option<TraceContext>,
}

/// What the time limit is on.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// On the command as a whole.
    Until(Instant),
    /// On each call.
    Each(Duration),
}

impl Limit {
    fn left(self) -> Duration {
        match self {
            Self::Until(end) => end.saturating_duration_since(Instant::now()),
            Self::Each(limit) => limit,
        }
    }
}

impl Context {
    /// Connects to the control plane, for a command that ends.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        // A timeout beyond what the clock can say is none.
        let end = self.start.checked_add(self.timeout);
        self.limited(end.map_or(Limit::Each(self.timeout), Limit::Until)).await
    }

    /// Connects to the control plane, for a command that stays.
    pub(crate) async fn connect_to_stay(&self) -> Result<Client, Failure> {
        self.limited(Limit::Each(self.timeout)).await
    }

    async fn limited(&self, limit: Limit) -> Result<Client, Failure> {
        let server = &self.server;
        let url = if server.contains("://") { server.clone() } else { format!("http://{server}") };
        if url.starts_with("https://") {
            return Err(Failure::usage(format!(
                "--server {server}: TLS is not supported yet, use http://"
            )));
        }
        let endpoint = Endpoint::from_shared(url)
            .map_err(|error| Failure::usage(format!("--server {server}: {error}")))?
            .connect_timeout(CONNECT);
        // The name lookup, too, is within the limit.
        let connecting = tokio::time::timeout(limit.left().min(CONNECT), endpoint.connect());
        let channel = match connecting.await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unreachable(server, &root_cause(&error))),
            Err(_) => return Err(unreachable(server, "no connection in time")),
        };
        Ok(Client {
            workloads: WorkloadsClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            health: HealthClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            nodes: NodesClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            telemetry: TelemetryClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            control: ControlClient::new(channel).max_decoding_message_size(MAX_ANSWER),
            server: server.clone(),
            limit,
            trace: self.trace.clone(),
        })
    }
}

/// A connected client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    control: ControlClient<Channel>,
    workloads: WorkloadsClient<Channel>,
    health: HealthClient<Channel>,
    nodes: NodesClient<Channel>,
    telemetry: TelemetryClient<Channel>,
    server: String,
    limit: Limit,
    trace: Option<TraceContext>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $request:ident => $response:ident;)+) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            &mut self,
            message: wire::$request,
        ) -> Result<wire::$response, Failure> {
            let left = self.limit.left();
            let mut request = timed(message, left);
            self.trace_in(&mut request);
            let call = self.control.$name(request);
            let answer = tokio::time::timeout(left, call).await;
            answered(&self.server, answer).map(tonic::Response::into_inner)
        }
    )+};
}

impl Client {
    calls! {
        apply: ApplyRequest => ApplyResponse;
        get: GetRequest => Object;
        list: ListRequest => ListResponse;
        delete: DeleteRequest => DeleteResponse;
        history: HistoryRequest => HistoryResponse;
        rollback: RollbackRequest => ApplyResponse;
        status: StatusRequest => StatusResponse;
        register: RegisterRequest => RegisterResponse;
        heartbeat: HeartbeatRequest => HeartbeatResponse;
        deregister: DeregisterRequest => DeleteResponse;
    }

    /// Says which trace a request belongs to.
    fn trace_in<T>(&self, request: &mut Request<T>) {
        let text = self.trace.as_ref().map(TraceContext::to_string);
        if let Some(text) = text.and_then(|text| text.parse().ok()) {
            request.metadata_mut().insert(TRACEPARENT, text);
        }
    }

    /// Waits until the nodes serve a revision, or one rejects it, or the time is over; and says
    /// whether it was.
    pub(crate) async fn wait_live(
        &mut self,
        revision: u64,
    ) -> Result<(wire::WaitLiveResponse, bool), Failure> {
        let start = Instant::now();
        let timeout_ms = milliseconds(self.limit.left());
        let message = wire::WaitLiveRequest { revision, timeout_ms };
        let limit = Duration::from_millis(timeout_ms);
        let patience = limit.saturating_add(MARGIN);
        let call = self.control.wait_live(timed(message, patience));
        let answer = tokio::time::timeout(patience, call).await;
        let response = answered(&self.server, answer)?.into_inner();
        Ok((response, start.elapsed() >= limit))
    }

    /// All changes from now on, or from a revision on.
    pub(crate) async fn watch(
        &mut self,
        message: wire::WatchRequest,
    ) -> Result<tonic::Streaming<wire::WatchEvent>, Failure> {
        // Only the beginning: a watch that is quiet is no watch that hangs.
        let answer = tokio::time::timeout(self.limit.left(), self.control.watch(message)).await;
        answered(&self.server, answer).map(tonic::Response::into_inner)
    }

    /// The workloads of one node, or of all.
    pub(crate) async fn workloads(
        &mut self,
        message: wire::ListWorkloadsRequest,
    ) -> Result<Vec<wire::NodeWorkloads>, Failure> {
        let left = self.limit.left();
        let all = async {
            let mut stream =
                self.workloads.list_workloads(timed(message, left)).await?.into_inner();
            let mut nodes = Vec::new();
            while let Some(node) = stream.message().await? {
                nodes.push(node);
            }
            Ok(nodes)
        };
        let answer = tokio::time::timeout(left, all).await;
        answered(&self.server, answer)
    }

    /// Health of endpoints; `None` from a control plane that does not gather it.
    pub(crate) async fn health(
        &mut self,
        message: wire::ListHealthRequest,
    ) -> Result<Option<wire::ListHealthResponse>, Failure> {
        let left = self.limit.left();
        let answer = tokio::time::timeout(left, self.health.list(timed(message, left))).await;
        known(&self.server, answer)
    }

    /// Health of endpoints and all its changes; `None` as above.
    pub(crate) async fn watch_health(
        &mut self,
        message: wire::ListHealthRequest,
    ) -> Result<Option<tonic::Streaming<wire::HealthEvent>>, Failure> {
        let answer = tokio::time::timeout(self.limit.left(), self.health.watch(message)).await;
        known(&self.server, answer)
    }

    /// What a status means.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        classify(&self.server, status)
    }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn answered<T>(
    server: &str,
    answer: Result<Result<T, Status>, tokio::time::error::Elapsed>,
) -> Result<T, Failure> {
    match answer {
        Ok(answer) => answer.map_err(|status| classify(server, &status)),
        Err(_) => Err(timed_out(server)),
    }
}

/// The answer; `None` where the control plane does not know the call.
fn known<T>(
    server: &str,
    answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<Option<T>, Failure> {
    match answer {
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(None),
        other => answered(server, other).map(|response| Some(response.into_inner())),
    }
}

fn classify(server: &str, status: &Status) -> Failure {
    let message = status.message().to_owned();
    let conflict = matches!(status.code(), Code::AlreadyExists | Code::Aborted);
    let violations = wire::Violations::decode(status.details())
        .map(|details| details.violations)
        .unwrap_or_default();
    if !violations.is_empty() {
        let violations: Vec<_> = violations.iter().map(Violation::from).collect();
        return Failure::Refused {
            said: violations.iter().map(say).collect(),
            violations,
            conflict,
        };
    }
    match status.code() {
        Code::AlreadyExists | Code::Aborted => Failure::Conflict { message },
        Code::InvalidArgument => Failure::Usage { message },
        Code::NotFound => Failure::NotFound { message },
        Code::FailedPrecondition | Code::OutOfRange => Failure::Declined { message },
        Code::DeadlineExceeded => timed_out(server),
        // What tonic makes of a deadline that the client keeps itself.
        Code::Cancelled if message == "Timeout expired" => timed_out(server),
        Code::Unavailable => unreachable(server, &message),
        // The connection broke under the call.
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
            unreachable(server, &root_cause(status))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Failure::Server { message },
    }
}

fn timed_out(server: &str) -> Failure {
    Failure::TimedOut {
        message: format!("the control plane at {server} did not answer in time (--timeout)"),
    }
}

fn unreachable(server: &str, reason: &str) -> Failure {
    Failure::Unreachable { server: server.to_owned(), reason: reason.to_owned() }
}

/// The innermost error: "connection refused" instead of "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(status: &Status) -> u8 {
        classify("http://x", status).exit_code()
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (grpc, exit) in [
            (Code::InvalidArgument, 2),
            (Code::Unavailable, 3),
            (Code::NotFound, 4),
            (Code::AlreadyExists, 5),
            (Code::Aborted, 5),
            (Code::DeadlineExceeded, 124),
            (Code::FailedPrecondition, 1),
            (Code::Internal, 1),
            (Code::Unimplemented, 1),
        ] {
            assert_eq!(code(&Status::new(grpc, "said")), exit, "{grpc:?}");
        }
        assert_eq!(code(&Status::cancelled("Timeout expired")), 124);
    }

    #[test]
    fn violations_in_the_details_are_all_said() {
        let violation = |field: &str| wire::Violation {
            object: Some(wire::ObjectRef {
                kind: wire::Kind::Service.into(),
                namespace: "default".to_owned(),
                name: "reviews".to_owned(),
            }),
            index: 0,
            field: field.to_owned(),
            message: "wrong".to_owned(),
            reason: wire::ViolationReason::Conflict.into(),
        };
        let violations = vec![violation("spec.vips[0]"), violation("spec.ports")];
        let details = wire::Violations { violations }.encode_to_vec();
        let status = Status::with_details(Code::AlreadyExists, "2 violations", details.into());
        let failure = classify("http://x", &status);
        assert_eq!(failure.exit_code(), 5);
        assert_eq!(
            failure.to_string(),
            "Service default/reviews: spec.vips[0]: wrong\n\
             Service default/reviews: spec.ports: wrong"
        );
    }

    #[test]
    fn an_unreachable_control_plane_says_where_it_was_sought_and_how_to_say_where_it_is() {
        let said = unreachable("http://10.0.0.9:15010", "refused").to_string();
        assert!(said.contains("http://10.0.0.9:15010"), "{said}");
        assert!(said.contains("--server"), "{said}");
        assert!(said.contains("MESH_SERVER"), "{said}");
    }
}
