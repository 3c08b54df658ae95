//! The flags about logs and traces, the same for every program.

use clap::{Args, ValueEnum};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// For machines: one JSON object a line.
    Json,
}

/// Where traces go.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Send traces to this receiver of OTLP over gRPC, as in `http://127.0.0.1:4317`; none are made
    /// where it is empty
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        default_value = "",
        hide_default_value = true,
        value_parser = endpoint
    )]
    pub otlp_endpoint: String,
    /// Which part of the operations is traced, from 0 to 1; one that belongs to a trace that is
    /// recorded elsewhere is always traced
    #[arg(
        long,
        env = "MESH_TRACE_SAMPLE",
        value_name = "RATIO",
        default_value_t = 1.0,
        value_parser = ratio
    )]
    pub trace_sample: f64,
}

/// No traces.
impl Default for TraceArgs {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), trace_sample: 1.0 }
    }
}

/// Checks the address of a receiver.
pub fn endpoint(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['/', ' ']) => Ok(text.to_owned()),
        None if text.is_empty() => Ok(String::new()),
        Some(_) | None => Err("write it as http://HOST:PORT; TLS is not supported yet".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "write a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_plain_http_or_none() {
        for good in ["", "http://127.0.0.1:4317", "http://collector:4317/", "http://[::1]:1"] {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in ["https://c:4317", "c:4317", "http://", "http:///", "http://c/v1/traces"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ratio_is_between_nothing_and_all() {
        for (text, good) in [("0", true), ("0.25", true), ("1", true), ("1.1", false)] {
            assert_eq!(ratio(text).is_ok(), good, "{text}");
        }
        for bad in ["-0.1", "NaN", "inf", "", "a"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
