//! Health checks, breakers, ejection and timeouts of a config: in words for one service, and short
//! for a table.

use std::time::Duration;

use mesh_api::manifest::duration::format_duration;
use mesh_api::model::{
    Breaker, Health, HealthCheck, HttpProbe, Object, OutlierDetection, Probe, ServiceConfig,
    Thresholds, Timeouts,
};
use mesh_api::wire;

/// The config with all its defaults; `None` where it is none, or of a later version.
pub(crate) fn config(object: &wire::Object) -> Option<ServiceConfig> {
    match Object::try_from(object.clone()) {
        Ok(Object::ServiceConfig(config)) => Some(config),
        Ok(Object::Service(_) | Object::Endpoint(_)) | Err(_) => None,
    }
}

/// Name and value of each setting, in the order in which they are shown. A setting that is off is
/// empty, or left out where few have it.
pub(crate) fn settings(config: Option<&ServiceConfig>) -> Vec<(&'static str, String)> {
    let check = config.and_then(|config| config.health_check.as_deref());
    let breaker = config.and_then(|config| config.circuit_breaker.as_deref().copied());
    let outlier = config.and_then(|config| config.outlier_detection.as_deref());
    let timeouts = config.and_then(|config| config.timeouts.as_deref());
    let breaker = breaker.unwrap_or_default();
    let mut settings = vec![
        ("Health check", check.map(health_check).unwrap_or_default()),
        ("Circuit breaker", thresholds(&breaker.service)),
    ];
    let endpoint = thresholds(&breaker.endpoint);
    if !endpoint.is_empty() {
        settings.push(("- per endpoint", endpoint));
    }
    settings.push(("Outlier detection", outlier.map(outlier_detection).unwrap_or_default()));
    settings.push(("Timeouts", timeouts.map(socket_timeouts).unwrap_or_default()));
    if let Some(balancer) = config.map(|config| config.load_balancer) {
        if let Some(slow) = balancer.slow_start {
            settings.push(("Slow start", format_duration(slow)));
        }
        if balancer.panic_threshold > 0 {
            let text = format!("below {}% healthy, health is ignored", balancer.panic_threshold);
            settings.push(("Panic", text));
        }
    }
    settings
}

fn health_check(check: &HealthCheck) -> String {
    let what = match &check.probe {
        Probe::Tcp => "TCP connect".to_owned(),
        Probe::Http(HttpProbe { path, host, statuses }) => {
            let host = host.as_ref().map(|host| format!(", host {host}")).unwrap_or_default();
            let statuses: Vec<_> = statuses.iter().copied().map(status_range).collect();
            format!("HTTP GET {path}{host}, status {},", statuses.join(" or "))
        }
        Probe::Grpc { service } if service.is_empty() => "gRPC health of the server".to_owned(),
        Probe::Grpc { service } => format!("gRPC health of {service}"),
    };
    let port = check.port.map(|port| format!(" at port {port}")).unwrap_or_default();
    let jitter = match check.jitter_percent {
        0 => String::new(),
        percent => format!(" ±{percent}%"),
    };
    let initial = match check.initial {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    };
    format!(
        "{what}{port} every {}{jitter}, timeout {}; unhealthy after {} failed, healthy after {} \
         passed, {initial} before",
        format_duration(check.interval),
        format_duration(check.timeout),
        check.unhealthy_threshold,
        check.healthy_threshold
    )
}

fn status_range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn thresholds(it: &Thresholds) -> String {
    let mut parts = Vec::new();
    match (it.max_connections, it.max_pending_connections) {
        (None, None) => {}
        (Some(all), None) => parts.push(format!("at most {} at a time", connections(all))),
        (None, Some(pending)) => parts.push(format!("at most {pending} being made at a time")),
        (Some(all), Some(pending)) => {
            let all = connections(all);
            parts.push(format!("at most {all} at a time, {pending} of them being made"));
        }
    }
    if let Some(breaker) = it.breaker {
        let Breaker { max_failures, window, reset_timeout, trial_connections } = breaker;
        parts.push(format!(
            "open for {} after {} within {}, then {}",
            format_duration(reset_timeout),
            count(max_failures, "failed connect"),
            format_duration(window),
            count(trial_connections, "trial")
        ));
    }
    parts.join("; ")
}

fn connections(number: u32) -> String {
    count(number, "connection")
}

fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn outlier_detection(it: &OutlierDetection) -> String {
    let mut causes = Vec::new();
    if let Some(failures) = it.consecutive_failures {
        causes.push(format!("{} in a row", count(failures, "failed connect")));
    }
    if let Some(percent) = it.failure_percentage {
        let interval = format_duration(it.interval);
        let least = it.minimum_connections;
        causes.push(format!("{percent}% failed of {least} connects or more within {interval}"));
    }
    if causes.is_empty() {
        return "never ejects".to_owned();
    }
    let base = format_duration(it.base_ejection_time);
    let longer = if it.max_ejection_time > it.base_ejection_time {
        format!(", longer each time up to {}", format_duration(it.max_ejection_time))
    } else {
        String::new()
    };
    format!(
        "ejected for {base}{longer} after {}; at most {}% of the endpoints at a time",
        causes.join(", or "),
        it.max_ejection_percent
    )
}

fn socket_timeouts(it: &Timeouts) -> String {
    let mut parts = Vec::new();
    let time = |name: &str, time: Option<Duration>| {
        time.map(|time| format!("{name} {}", format_duration(time)))
    };
    parts.extend(time("connect", it.connect));
    parts.extend(time("idle", it.idle));
    if let Some(retry) = it.retry {
        let first = time("; first after", retry.per_try_timeout).unwrap_or_default();
        parts.push(format!("SYN sent again {}{first}", count(retry.attempts, "time")));
    }
    parts.join(", ")
}

/// Health check, breakers, outlier detection and timeouts as cells without spaces: `HTTP/1s`,
/// `failures=5,endpoint-connections=10`, …
pub(crate) fn cells(config: Option<&ServiceConfig>) -> [String; 4] {
    let Some(config) = config else { return <[String; 4]>::default() };
    let check = config.health_check.as_deref().map(|check| {
        let what = match check.probe {
            Probe::Tcp => "TCP",
            Probe::Http(_) => "HTTP",
            Probe::Grpc { .. } => "gRPC",
        };
        format!("{what}/{}", format_duration(check.interval))
    });
    let breaker = config.circuit_breaker.as_deref().map(|breaker| {
        let mut parts = short("", &breaker.service);
        parts.extend(short("endpoint-", &breaker.endpoint));
        parts.join(",")
    });
    let outlier = config.outlier_detection.as_deref().map(|outlier| {
        let row = outlier.consecutive_failures.map(|failures| format!("consecutive={failures}"));
        let share = outlier.failure_percentage.map(|percent| format!("percentage={percent}"));
        row.into_iter().chain(share).collect::<Vec<_>>().join(",")
    });
    let timeouts = config.timeouts.as_deref().map(|timeouts| {
        let time = |name: &str, time: Option<Duration>| {
            time.map(|time| format!("{name}={}", format_duration(time)))
        };
        let retry = timeouts.retry.map(|retry| format!("attempts={}", retry.attempts));
        let parts = [time("connect", timeouts.connect), time("idle", timeouts.idle), retry];
        parts.into_iter().flatten().collect::<Vec<_>>().join(",")
    });
    [check, breaker, outlier, timeouts].map(Option::unwrap_or_default)
}

fn short(prefix: &str, it: &Thresholds) -> Vec<String> {
    let failures = it.breaker.map(|breaker| breaker.max_failures);
    let numbers = [
        ("connections", it.max_connections),
        ("pending", it.max_pending_connections),
        ("failures", failures),
    ];
    let text =
        |(name, number): (&str, Option<u32>)| number.map(|it| format!("{prefix}{name}={it}"));
    numbers.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
