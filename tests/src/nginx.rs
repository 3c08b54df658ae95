//! A real nginx as a backend, with a configuration of our own and nothing shared with an
//! installed service.

use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

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

/// The program, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    bins::in_path("nginx")
}

impl Nginx {
    /// Starts `program` answering every request with `name` and the peer it saw.
    pub fn start(
        program: &PathBuf,
        netns: &NetNs,
        name: &str,
        address: SocketAddrV4,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create(&format!("nginx-{name}"))?;
        let folder = scratch.path().display();
        let config = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {folder}/pid;\n\
             error_log stderr warn;\nevents {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  default_type text/plain;\n\
             \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
             \x20 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n\
             \x20 scgi_temp_path {folder}/scgi;\n\
             \x20 server {{\n    listen {address} backlog=4096;\n\
             \x20   location / {{ return 200 \"{name} $remote_addr:$remote_port\\n\"; }}\n  }}\n}}\n"
        );
        let config = scratch.write("nginx.conf", &config)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(scratch.path());
        command.arg("-c").arg(config).args(["-e", "stderr"]);
        let log = scratch.path().join("log");
        let process = Process::spawn("nginx", command, &Place::in_netns(netns), Some(&log))?;
        process.wait_until("listening socket", Duration::from_secs(10), || {
            matches!(netns.run(|| TcpStream::connect(address)), Ok(Ok(_)))
        })?;
        Ok(Self { _process: process, _scratch: scratch })
    }
}
