//! A real nginx, with a configuration of our own and nothing shared with an installed service:
//! as a backend, and as a client of services (`proxy_pass`).

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::bins;
use crate::netns::NetNs;
use crate::process::{Place, Process};
use crate::scratch::Scratch;

/// One nginx process.
#[derive(Debug)]
pub struct Nginx {
    // Before the folder it writes to.
    _process: Process,
    _scratch: Scratch,
}

/// What nginx passes on: from an address of its own to one that it connects to.
#[derive(Clone, Copy, Debug)]
pub struct Proxy {
    pub listen: SocketAddr,
    pub target: SocketAddr,
    /// Datagrams by the stream module, instead of HTTP.
    pub udp: bool,
}

/// The program, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    bins::in_path("nginx")
}

/// The stream module, if it is installed.
#[must_use]
pub fn stream_module() -> Option<PathBuf> {
    ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"]
        .map(|folder| Path::new(folder).join("ngx_stream_module.so"))
        .into_iter()
        .find(|path| path.is_file())
}

impl Nginx {
    /// Starts `program` answering every request with `name` and the peer it saw.
    pub fn start(
        program: &Path,
        netns: &NetNs,
        name: &str,
        address: impl Into<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create(&format!("nginx-{name}"))?;
        let address = address.into();
        Self::serve(program, netns, scratch, &[(name.to_owned(), address)])
    }

    /// The same, for several names in one process.
    pub fn servers(netns: &NetNs, servers: &[(String, SocketAddr)]) -> anyhow::Result<Self> {
        let program = program().context("needs `nginx`: apt-get install nginx-light")?;
        Self::serve(&program, netns, Scratch::create("nginx-servers")?, servers)
    }

    /// The same, with one name somewhere else in the namespace, such as on a CPU of its own.
    pub fn server(
        netns: &NetNs,
        place: &Place,
        name: &str,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let program = program().context("needs `nginx`: apt-get install nginx-light")?;
        let scratch = Scratch::create(&format!("nginx-{name}"))?;
        let config = config(&scratch, &[(name.to_owned(), address)]);
        Self::run(&program, netns, place, scratch, &config, &[address])
    }

    fn serve(
        program: &Path,
        netns: &NetNs,
        scratch: Scratch,
        servers: &[(String, SocketAddr)],
    ) -> anyhow::Result<Self> {
        let config = config(&scratch, servers);
        let addresses: Vec<_> = servers.iter().map(|(_, address)| *address).collect();
        let place = Place::in_netns(netns);
        Self::run(program, netns, &place, scratch, &config, &addresses)
    }

    /// Starts it with the files of a folder: below `/sent/` by `sendfile()`, below `/read/` by reads
    /// and writes.
    pub fn files(
        netns: &NetNs,
        place: &Place,
        folder: &Path,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let program = program().context("needs `nginx`: apt-get install nginx-light")?;
        let scratch = Scratch::create("nginx-files")?;
        let mut config = http_head(scratch.path());
        let folder = folder.display();
        // Writing to a string cannot fail.
        write!(
            config,
            "\x20 server {{\n    listen {address} backlog=4096;\n\
             \x20   location /sent/ {{ alias {folder}/; sendfile on; tcp_nopush on; }}\n\
             \x20   location /read/ {{ alias {folder}/; sendfile off; }}\n  }}\n}}\n"
        )
        .ok();
        Self::run(&program, netns, place, scratch, &config, &[address])
    }

    /// Starts it as a client: what comes in at each `listen` goes out to its `target`.
    pub fn proxies(netns: &NetNs, place: &Place, proxies: &[Proxy]) -> anyhow::Result<Self> {
        let program = program().context("needs `nginx`: apt-get install nginx-light")?;
        let module = stream_module().context("needs the package libnginx-mod-stream")?;
        let scratch = Scratch::create("nginx-proxy")?;
        let mut config = format!("load_module {};\n", module.display());
        config.push_str(&http_head(scratch.path()));
        let http: Vec<_> = proxies.iter().filter(|proxy| !proxy.udp).collect();
        for Proxy { listen, target, .. } in &http {
            write!(
                config,
                "  server {{\n    listen {listen};\n\
                 \x20   location / {{ proxy_pass http://{target}; }}\n  }}\n"
            )
            .ok();
        }
        config.push_str("}\nstream {\n");
        for Proxy { listen, target, .. } in proxies.iter().filter(|proxy| proxy.udp) {
            write!(
                config,
                "  server {{\n    listen {listen} udp;\n    proxy_responses 1;\n\
                 \x20   proxy_pass {target};\n  }}\n"
            )
            .ok();
        }
        config.push_str("}\n");
        let addresses: Vec<_> = http.iter().map(|proxy| proxy.listen).collect();
        Self::run(&program, netns, place, scratch, &config, &addresses)
    }

    /// Starts it with this configuration and waits until it listens on the TCP `addresses`.
    fn run(
        program: &Path,
        netns: &NetNs,
        place: &Place,
        scratch: Scratch,
        config: &str,
        addresses: &[SocketAddr],
    ) -> anyhow::Result<Self> {
        let config = scratch.write("nginx.conf", config)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(scratch.path());
        command.arg("-c").arg(config).args(["-e", "stderr"]);
        let log = scratch.path().join("log");
        let process = Process::spawn("nginx", command, place, Some(&log))?;
        for address in addresses {
            process.wait_until("listening socket", Duration::from_secs(10), || {
                matches!(netns.run(|| TcpStream::connect(address)), Ok(Ok(_)))
            })?;
        }
        Ok(Self { _process: process, _scratch: scratch })
    }
}

/// Every request is answered with the name, and with the peer that was seen.
fn config(scratch: &Scratch, servers: &[(String, SocketAddr)]) -> String {
    let mut config = http_head(scratch.path());
    for (name, address) in servers {
        // Writing to a string cannot fail.
        write!(
            config,
            "\x20 server {{\n    listen {address} backlog=4096;\n\
             \x20   location / {{ return 200 \"{name} $remote_addr:$remote_port\\n\"; }}\n  }}\n"
        )
        .ok();
    }
    config.push_str("}\n");
    config
}

/// Everything up to the first `server` block; the caller closes `http`.
fn http_head(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {folder}/pid;\n\
         error_log stderr warn;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  default_type text/plain;\n\
         \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
         \x20 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n\
         \x20 scgi_temp_path {folder}/scgi;\n  keepalive_requests 1000000000;\n"
    )
}
