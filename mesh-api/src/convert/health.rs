//! Health checks: wire ⇄ model. Whatever has a default is written back with it, so that a person
//! sees what applies.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::bounds::{duration, or, percent};
use super::{milliseconds, shorten};
use crate::manifest::duration::format_duration;
use crate::model::{Health, HealthCheck, HttpProbe, Port, Probe};
use crate::violation::Fields;
use crate::wire;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_hours(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// Or the interval, if that is shorter.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const THRESHOLD: RangeInclusive<u32> = 1..=100;
const DEFAULT_HEALTHY: u32 = 2;
const DEFAULT_UNHEALTHY: u32 = 3;
const JITTER: RangeInclusive<u32> = 0..=50;
const DEFAULT_JITTER: u32 = 10;
const DEFAULT_PATH: &str = "/";
const DEFAULT_STATUSES: (u16, u16) = (200, 399);
/// Final ones: of 100 to 199 none is an answer yet.
const STATUS: RangeInclusive<u16> = 200..=599;
/// Besides letters and digits, in path and query (RFC 3986).
const IN_PATHS: &str = "-._~!$&'()*+,;=:@/?%";
/// Most characters of a path, and of a host or the name of a gRPC service.
const MAX_PATH: usize = 1024;
const MAX_NAME: usize = 255;
/// Most items of `statuses`.
const MAX_STATUSES: usize = 32;

/// `None` where it is not said what is to be done.
pub(super) fn from_wire(fields: &mut Fields, spec: wire::HealthCheck) -> Option<Box<HealthCheck>> {
    let wire::HealthCheck {
        tcp,
        http,
        grpc,
        interval_ms,
        timeout_ms,
        healthy_threshold,
        unhealthy_threshold,
        initial_state,
        port,
        jitter_percent,
    } = spec;
    let probe = probe(fields, tcp, http, grpc);
    let (interval, timeout) = times(fields, duration(interval_ms), duration(timeout_ms));
    let healthy_threshold = or(
        fields,
        "spec.healthCheck.healthyThreshold",
        healthy_threshold,
        &THRESHOLD,
        DEFAULT_HEALTHY,
    );
    let unhealthy_threshold = or(
        fields,
        "spec.healthCheck.unhealthyThreshold",
        unhealthy_threshold,
        &THRESHOLD,
        DEFAULT_UNHEALTHY,
    );
    let initial = wire::InitialHealth::try_from(initial_state);
    let initial = match fields.check("spec.healthCheck.initialState", initial) {
        Some(wire::InitialHealth::Unspecified | wire::InitialHealth::Healthy) | None => {
            Health::Healthy
        }
        Some(wire::InitialHealth::Unhealthy) => Health::Unhealthy,
    };
    let port = port.and_then(|port| fields.check("spec.healthCheck.port", Port::try_from(port)));
    let jitter =
        or(fields, "spec.healthCheck.jitterPercent", jitter_percent, &JITTER, DEFAULT_JITTER);
    Some(Box::new(HealthCheck {
        probe: probe?,
        interval,
        timeout,
        healthy_threshold: healthy_threshold.unwrap_or(DEFAULT_HEALTHY),
        unhealthy_threshold: unhealthy_threshold.unwrap_or(DEFAULT_UNHEALTHY),
        initial,
        port,
        jitter_percent: percent(jitter.unwrap_or(DEFAULT_JITTER)),
    }))
}

/// Interval and timeout.
fn times(
    fields: &mut Fields,
    interval: Option<Duration>,
    timeout: Option<Duration>,
) -> (Duration, Duration) {
    const AT: &str = "spec.healthCheck.timeout";
    let interval = or(fields, "spec.healthCheck.interval", interval, &INTERVAL, DEFAULT_INTERVAL);
    let default = interval.unwrap_or(DEFAULT_INTERVAL).min(DEFAULT_TIMEOUT);
    let timeout = or(fields, AT, timeout, &TIMEOUT, default);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        let interval = format_duration(interval);
        let message =
            format!("longer than the interval, which is {interval}: use 10ms to {interval}");
        fields.invalid(AT, message);
    }
    (interval.unwrap_or(DEFAULT_INTERVAL), timeout.unwrap_or(default))
}

fn probe(
    fields: &mut Fields,
    tcp: Option<wire::TcpCheck>,
    http: Option<wire::HttpCheck>,
    grpc: Option<wire::GrpcCheck>,
) -> Option<Probe> {
    let count = [tcp.is_some(), http.is_some(), grpc.is_some()].iter().filter(|it| **it).count();
    if count != 1 {
        let message = match count {
            0 => "required: one of tcp: {}, http: {} and grpc: {}",
            _ => "more than one of tcp, http and grpc: keep one",
        };
        fields.invalid("spec.healthCheck", message);
    }
    let http = http.map(|http| self::http(fields, &http));
    let grpc = grpc.map(|grpc| self::grpc(fields, grpc));
    http.or(grpc).or_else(|| tcp.map(|wire::TcpCheck {}| Probe::Tcp))
}

fn http(fields: &mut Fields, spec: &wire::HttpCheck) -> Probe {
    const PATH: &str = "spec.healthCheck.http.path";
    let wire::HttpCheck { path, host, statuses } = spec;
    let path = if path.is_empty() { DEFAULT_PATH } else { path.as_str() };
    let shown = shorten(path);
    if !path.starts_with('/') {
        fields.invalid(PATH, format!("{shown:?} is no path: begin with \"/\""));
    } else if path.len() > MAX_PATH {
        let message = format!("{} bytes long: at most {MAX_PATH} are allowed", path.len());
        fields.invalid(PATH, message);
    } else if !path.chars().all(|c| c.is_ascii_alphanumeric() || IN_PATHS.contains(c)) {
        let message = format!(
            "{shown:?} has characters that a path cannot have: write them as %20, %C3%A4 and so on"
        );
        fields.invalid(PATH, message);
    }
    let host = (!host.is_empty()).then(|| {
        let good = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if host.len() > MAX_NAME || !host.chars().all(good) {
            let shown = shorten(host);
            let message =
                format!("{shown:?} is no host: use a name or an address, with or without :port");
            fields.invalid("spec.healthCheck.http.host", message);
        }
        host.clone()
    });
    Probe::Http(HttpProbe {
        path: path.to_owned(),
        host,
        statuses: self::statuses(fields, statuses),
    })
}

fn statuses(fields: &mut Fields, texts: &[String]) -> Vec<(u16, u16)> {
    const AT: &str = "spec.healthCheck.http.statuses";
    if texts.is_empty() {
        return vec![DEFAULT_STATUSES];
    }
    if texts.len() > MAX_STATUSES {
        fields.invalid(AT, format!("{} items: use at most {MAX_STATUSES}", texts.len()));
    }
    let mut statuses = Vec::new();
    for (text, at) in texts.iter().take(MAX_STATUSES).zip(0_usize..) {
        let text = text.as_str();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => statuses.push((first, last)),
            (Some(_), Some(_)) => {
                let message = format!("{text:?} is the wrong way round: use \"{last}-{first}\"");
                fields.invalid(format!("{AT}[{at}]"), message);
            }
            (Some(_) | None, None) | (None, Some(_)) => {
                let text = shorten(text);
                let message = format!(
                    "{text:?} is no status: use three digits, 200 to 599, as in \"200\" or \
                     \"200-299\""
                );
                fields.invalid(format!("{AT}[{at}]"), message);
            }
        }
    }
    statuses
}

fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|status| digits && STATUS.contains(status))
}

fn grpc(fields: &mut Fields, spec: wire::GrpcCheck) -> Probe {
    let wire::GrpcCheck { service } = spec;
    if service.len() > MAX_NAME || !service.chars().all(|c| c.is_ascii_graphic()) {
        let shown = shorten(&service);
        let message =
            format!("{shown:?} is no name of a gRPC service: write it like \"shop.v1.Reviews\"");
        fields.invalid("spec.healthCheck.grpc.service", message);
    }
    Probe::Grpc { service }
}

pub(super) fn to_wire(check: &HealthCheck) -> wire::HealthCheck {
    let HealthCheck {
        probe,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
        initial,
        port,
        jitter_percent,
    } = check;
    let initial = match initial {
        Health::Healthy => wire::InitialHealth::Healthy,
        Health::Unhealthy => wire::InitialHealth::Unhealthy,
    };
    let check = wire::HealthCheck {
        tcp: None,
        http: None,
        grpc: None,
        interval_ms: Some(milliseconds(*interval)),
        timeout_ms: Some(milliseconds(*timeout)),
        healthy_threshold: Some(*healthy_threshold),
        unhealthy_threshold: Some(*unhealthy_threshold),
        initial_state: initial.into(),
        port: port.map(|port| port.get().into()),
        jitter_percent: Some((*jitter_percent).into()),
    };
    match probe {
        Probe::Tcp => wire::HealthCheck { tcp: Some(wire::TcpCheck {}), ..check },
        Probe::Http(HttpProbe { path, host, statuses }) => {
            let status = |(first, last): &(u16, u16)| match first {
                first if first == last => first.to_string(),
                first => format!("{first}-{last}"),
            };
            let http = wire::HttpCheck {
                path: path.clone(),
                host: host.clone().unwrap_or_default(),
                statuses: statuses.iter().map(status).collect(),
            };
            wire::HealthCheck { http: Some(http), ..check }
        }
        Probe::Grpc { service } => {
            let grpc = wire::GrpcCheck { service: service.clone() };
            wire::HealthCheck { grpc: Some(grpc), ..check }
        }
    }
}
