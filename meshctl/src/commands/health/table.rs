//! Health and guards as columns.

use super::view::{Conflict, Endpoint, Guard, GuardState, Status};
use crate::output::style::{Style, Tone};
use crate::output::table::Table;
use crate::output::time;

/// Endpoints, a row each.
pub(super) fn endpoints(endpoints: &[Endpoint], wide: bool, style: Style) -> String {
    let mut heading =
        vec!["NAMESPACE", "ENDPOINT", "SERVICE", "STATUS", "SINCE", "SOURCE", "LATENCY"];
    if wide {
        heading.extend(["ADDRESS", "NODE", "CHANGES", "CONFLICTS"]);
    }
    heading.push("REASON");
    let mut table = Table::new(&heading);
    for it in endpoints {
        let mut row = vec![
            (it.namespace.clone(), None),
            (it.name.clone(), None),
            (it.service.clone(), None),
            (it.status.as_str().to_owned(), it.status.tone()),
            (since(it), None),
            (it.source.clone(), None),
            (latency(it.latency_us), None),
        ];
        if wide {
            let conflicts: Vec<_> = it.conflicts.iter().map(conflict).collect();
            row.push((it.address.clone(), None));
            row.push((it.node.clone(), None));
            row.push((it.changes.to_string(), None));
            row.push((conflicts.join("; "), None));
        }
        row.push((it.reason.clone(), None));
        table.toned(row);
    }
    table.render(style)
}

fn since(endpoint: &Endpoint) -> String {
    match endpoint.status {
        Status::Unknown => String::new(),
        Status::Healthy | Status::Unhealthy => time::age(endpoint.since_ms),
    }
}

fn conflict(it: &Conflict) -> String {
    let Conflict { source, status, since_ms, reason } = it;
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{source}: {} for {}{reason}", status.as_str(), time::age(*since_ms))
}

/// As in `850µs`, `12.3ms`; empty where no check was answered.
pub(crate) fn latency(us: u64) -> String {
    match us {
        0 => String::new(),
        1..1000 => format!("{us}µs"),
        1000..100_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        100_000..1_000_000 => format!("{}ms", us / 1000),
        _ => format!("{}.{}s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// Guards, a row each, below a heading; all lines begin with `indent`.
pub(crate) fn guards(indent: &str, guards: &[Guard], style: Style) -> String {
    let first = format!("{indent}NODE");
    let mut table = Table::new(&[
        &first,
        "NAMESPACE",
        "SERVICE",
        "PORT",
        "ENDPOINT",
        "STATE",
        "SINCE",
        "REMAINING",
        "CAUSE",
    ]);
    for it in guards {
        let tone = match it.state {
            GuardState::Open | GuardState::Ejected => Some(Tone::Bad),
            GuardState::HalfOpen | GuardState::Unknown => None,
        };
        table.toned(vec![
            (format!("{indent}{}", it.node), None),
            (it.namespace.clone(), None),
            (it.service.clone(), None),
            (it.port.to_string(), None),
            (it.endpoint.clone(), None),
            (it.state.as_str().to_owned(), tone),
            (time::age(it.since_ms), None),
            (time::age(it.remaining_ms), None),
            (it.cause.clone(), None),
        ]);
    }
    table.render(style)
}
