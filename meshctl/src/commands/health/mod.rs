//! `health`: which endpoints can take connections, and what keeps connections away from them on
//! each node.

mod table;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use mesh_api::manifest::DEFAULT_NAMESPACE;
use mesh_api::model::Kind;
use mesh_api::wire;
use serde::Serialize;

use super::get::check_namespace;
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::style::Style;
use crate::output::{Format, emit_value, note};
use crate::target::{self, Target, reference};

pub(super) use table::{guards as guard_table, latency};
pub(super) use view::{Endpoint, Guard, GuardState, Status};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the endpoints of this service, as in `reviews` or `svc/reviews`.
    service: Option<String>,
    /// Only this namespace; without it all, or `default` where a service is named.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only endpoints that are unhealthy; with --watch also those that were until then.
    #[arg(long)]
    unhealthy: bool,
    /// Go on and show every change.
    #[arg(short, long)]
    watch: bool,
}

/// What is asked for.
#[derive(Debug, Default)]
struct Scope {
    /// Empty: all.
    namespace: String,
    /// Empty: all.
    service: String,
    unhealthy: bool,
}

impl Scope {
    fn new(args: Args) -> Result<(Self, bool), Failure> {
        let Args { service, namespace, unhealthy, watch } = args;
        let service = service.map(service_name).transpose()?;
        let namespace = namespace.or_else(|| service.as_ref().map(|_| DEFAULT_NAMESPACE.into()));
        if let Some(namespace) = &namespace {
            check_namespace(namespace)?;
        }
        let (service, namespace) = (service.unwrap_or_default(), namespace.unwrap_or_default());
        Ok((Self { namespace, service, unhealthy }, watch))
    }

    /// Refuses a service that there is not: nothing to show would look like good news.
    async fn check(&self, client: &mut Client) -> Result<(), Failure> {
        if self.service.is_empty() {
            return Ok(());
        }
        let object = Some(reference(Kind::Service, &self.namespace, &self.service));
        client.get(wire::GetRequest { object }).await.map(drop)
    }

    fn request(&self, unhealthy_only: bool) -> wire::ListHealthRequest {
        let (namespace, service) = (self.namespace.clone(), self.service.clone());
        wire::ListHealthRequest { namespace, service, unhealthy_only }
    }

    fn has_guard(&self, guard: &Guard) -> bool {
        (self.namespace.is_empty() || guard.namespace == self.namespace)
            && (self.service.is_empty() || guard.service == self.service)
    }

    fn place(&self) -> String {
        match (self.namespace.as_str(), self.service.as_str()) {
            ("", _) => "in any namespace".to_owned(),
            (namespace, "") => format!("in namespace {namespace}"),
            (namespace, service) => format!("of service {namespace}/{service}"),
        }
    }
}

fn service_name(word: String) -> Result<String, Failure> {
    let words = if word.contains('/') { vec![word] } else { vec!["service".to_owned(), word] };
    let Target { kind, mut names } = target::parse(&words)?;
    match (kind, names.pop()) {
        (Kind::Service, Some(name)) => Ok(name),
        (Kind::Service | Kind::Endpoint | Kind::ServiceConfig, _) => {
            Err(Failure::usage("health is shown by service: `meshctl health reviews`"))
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let (scope, stays) = Scope::new(args)?;
    if stays {
        return watch::run(context, &scope).await;
    }
    let mut client = context.connect().await?;
    scope.check(&mut client).await?;
    let answer = client.health(scope.request(scope.unhealthy)).await?;
    let found = Found::new(&scope, answer.ok_or_else(not_gathered)?);
    let names = || found.endpoints.iter().map(Endpoint::subject).collect();
    emit_value(context, &found, names, |wide| found.table(wide, context.style))?;
    if matches!(context.format, Format::Table | Format::Wide) {
        for remark in found.remarks(&scope) {
            note(&remark);
        }
    }
    Ok(())
}

fn not_gathered() -> Failure {
    Failure::Declined {
        message: "the control plane does not gather health: it is older than this meshctl"
            .to_owned(),
    }
}

/// What is printed; the JSON form is for scripts, so its names stay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    endpoints: Vec<Endpoint>,
    guards: Vec<Guard>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    omitted_guards: Vec<Omitted>,
}

/// A node that has more guards than it reports.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Omitted {
    node: String,
    guards: u64,
}

impl Found {
    fn new(scope: &Scope, response: wire::ListHealthResponse) -> Self {
        let wire::ListHealthResponse { endpoints, guards } = response;
        let mut endpoints: Vec<Endpoint> = endpoints.into_iter().map(Endpoint::from).collect();
        endpoints.sort_by(|a, b| a.key().cmp(&b.key()));
        let omitted = guards.iter().filter(|node| node.omitted > 0);
        let omitted_guards =
            omitted.map(|node| Omitted { node: node.node.clone(), guards: node.omitted }).collect();
        let mut guards: Vec<Guard> = guards.into_iter().flat_map(Guard::of_node).collect();
        guards.retain(|guard| scope.has_guard(guard));
        guards.sort_by_key(Guard::key);
        Self { endpoints, guards, omitted_guards }
    }

    fn table(&self, wide: bool, style: Style) -> String {
        let mut out = String::new();
        if !self.endpoints.is_empty() {
            out.push_str(&table::endpoints(&self.endpoints, wide, style));
        }
        if !self.guards.is_empty() {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&table::guards("", &self.guards, style));
        }
        out
    }

    /// What is to be known beside the tables.
    fn remarks(&self, scope: &Scope) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.endpoints.is_empty() {
            remarks.push(if scope.unhealthy {
                format!("no endpoint {} is unhealthy", scope.place())
            } else {
                format!(
                    "no endpoint {} is checked: a ServiceConfig with a healthCheck asks for it",
                    scope.place()
                )
            });
        }
        for Omitted { node, guards } in &self.omitted_guards {
            remarks
                .push(format!("node {node} has {guards} more breakers and ejections, not listed"));
        }
        remarks
    }
}
