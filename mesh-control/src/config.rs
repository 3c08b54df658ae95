//! The command line. Everything has a default: `mesh-control` alone starts on loopback.

use std::fs::{OpenOptions, create_dir_all};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use mesh_api::manifest::duration::parse_duration;
pub use mesh_telemetry::{LogFormat, TraceArgs};

use crate::store::redb::FILE_NAME;
use crate::telemetry::config::TrafficConfig;

/// Where the data goes if this can be written.
const SYSTEM_DIR: &str = "/var/lib/mesh";
/// Where it goes otherwise.
const LOCAL_DIR: &str = "./mesh-data";

/// The control plane of the mesh: takes services, endpoints and configuration in, keeps them, and
/// serves them to the agents.
#[derive(Clone, Debug, Parser)]
#[command(name = "mesh-control", version)]
pub struct Config {
    /// Directory for the data [default: /var/lib/mesh if writable, else ./mesh-data]
    #[arg(long, env = "MESH_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address for agents and meshctl (gRPC: API and xDS); port 0 picks one
    #[arg(long, env = "MESH_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:15010")]
    pub listen: SocketAddr,

    /// Address for /healthz and /metrics; port 0 picks one
    #[arg(long, env = "MESH_HTTP", value_name = "ADDR", default_value = "127.0.0.1:15014")]
    pub http: SocketAddr,

    /// Whether there is a web page at --http
    #[arg(long, env = "MESH_WEB", value_name = "WHETHER", default_value = "on")]
    pub web: Switch,

    /// Allow addresses beyond loopback, though anyone who reaches them can change the mesh
    #[arg(long, env = "MESH_INSECURE")]
    pub insecure: bool,

    /// How long after the start agents can report the health of endpoints before it is handed out
    // The longest time between an agent's attempts to connect is 10 s; and it has to connect.
    #[arg(
        long,
        env = "MESH_HEALTH_WARMUP",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration
    )]
    pub health_warmup: Duration,

    /// How old the streams of agents, Envoy and gRPC become, or up to a tenth older: then they
    /// connect again and spread over the control planes behind one address
    #[arg(
        long,
        env = "MESH_XDS_MAX_CONNECTION_AGE",
        value_name = "DURATION",
        default_value = "30m",
        value_parser = duration
    )]
    pub xds_max_connection_age: Duration,

    /// Where each node's Envoy listens beside the loopback addresses, for applications in network
    /// namespaces of their own: the same address on every node, reachable from that node only, such as
    /// 169.254.77.1; one of each family at most
    #[arg(long, env = "MESH_PROXY_ADDRESS", value_name = "IP", value_delimiter = ',', value_parser = proxy_address)]
    pub proxy_address: Vec<IpAddr>,

    /// How often Envoy and gRPC clients report what they count of their requests
    #[arg(long, env = "MESH_LOAD_REPORT_INTERVAL", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub load_report_interval: Duration,

    /// How much of the traffic is remembered.
    #[command(flatten)]
    pub traffic: TrafficConfig,

    /// How log lines look
    #[arg(long, env = "MESH_LOG_FORMAT", value_name = "FORMAT", default_value = "plain")]
    pub log_format: LogFormat,

    /// Where traces go
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is no duration: write 500ms, 5s or 1m"))
}

fn proxy_address(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_invalid| format!("{text:?} is no IP address"))?;
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(format!("{ip} is no address of a node: take a link-local or a private one"));
    }
    Ok(ip)
}

/// What the configuration gets wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Plain text on a network.
    #[error(
        "{option} {address} is beyond loopback, and there is no TLS yet: anyone who reaches it \
         can change the mesh. Use a loopback address, or say --insecure if the network is trusted"
    )]
    NotLoopback {
        /// The option.
        option: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// Nobody could say which of them connections go to.
    #[error("--proxy-address {0} and {1}: give one of each family at most")]
    TwoAddresses(IpAddr, IpAddr),
}

impl Config {
    /// Checks what the options say together.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (n, first) in self.proxy_address.iter().enumerate() {
            let mut others = self.proxy_address.iter().skip(n + 1);
            if let Some(second) = others.find(|it| it.is_ipv4() == first.is_ipv4()) {
                return Err(ConfigError::TwoAddresses(*first, *second));
            }
        }
        if self.insecure {
            return Ok(());
        }
        if !self.listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback { option: "--listen", address: self.listen });
        }
        if !self.http.ip().is_loopback() {
            return Err(ConfigError::NotLoopback { option: "--http", address: self.http });
        }
        Ok(())
    }

    /// The options, a line each, for a bug report: by name, so that none gets in by itself.
    #[must_use]
    pub fn shown(&self) -> String {
        let data_dir = self.data_dir.as_deref().map(|it| it.display().to_string());
        let otlp = self.trace.otlp_endpoint.rsplit_once('@');
        let otlp = otlp.map_or_else(
            || self.trace.otlp_endpoint.clone(),
            |(_, host)| format!("http://[redacted]@{host}"),
        );
        let lines = [
            format!("--data-dir {}", data_dir.unwrap_or_default()),
            format!("--listen {}", self.listen),
            format!("--http {}", self.http),
            format!("--insecure {}", self.insecure),
            format!("--health-warmup {:?}", self.health_warmup),
            format!("--xds-max-connection-age {:?}", self.xds_max_connection_age),
            format!("--proxy-address {:?}", self.proxy_address),
            format!("--load-report-interval {:?}", self.load_report_interval),
            format!("--history-memory {}", self.traffic.history_memory),
            format!("--max-series {}", self.traffic.max_series),
            format!("--log-format {:?}", self.log_format),
            format!("--otlp-endpoint {otlp}"),
            format!("--trace-sample {}", self.trace.trace_sample),
            String::new(),
        ];
        lines.join("\n")
    }

    /// The directory for the data. Without `--data-dir` it looks which one can be written.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            let system = Path::new(SYSTEM_DIR);
            let directory = if writable(system) { system } else { Path::new(LOCAL_DIR) };
            directory.to_owned()
        })
    }
}

/// A duration of at least a second.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let least = Duration::from_secs(1);
    if interval < least { Err("it must be 1s at least".to_owned()) } else { Ok(interval) }
}

/// The only sure test is to open the file that will be opened; an empty one is as good as none.
fn writable(directory: &Path) -> bool {
    let open = || {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options.open(directory.join(FILE_NAME))
    };
    create_dir_all(directory).and_then(|()| open()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Config {
        Config::parse_from(["mesh-control"].iter().chain(options))
    }

    #[test]
    fn defaults_are_loopback() {
        let config = parse(&[]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:15010");
        assert_eq!(config.http.to_string(), "127.0.0.1:15014");
        assert!(config.check().is_ok());
    }

    #[test]
    fn beyond_loopback_needs_a_word() {
        for options in [["--listen", "0.0.0.0:1"], ["--http", "[::]:1"]] {
            let error = parse(&options).check().unwrap_err().to_string();
            assert!(error.contains(options[0]), "{error}");
            assert!(error.contains("--insecure"), "{error}");
        }
        assert!(parse(&["--listen", "0.0.0.0:1", "--insecure"]).check().is_ok());
        assert!(parse(&["--listen", "[::1]:1"]).check().is_ok());
    }
}
