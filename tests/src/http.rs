//! The smallest HTTP client that can read health, metrics and status pages.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::netns::NetNs;

/// GET `path` from inside a namespace: status code and body.
pub fn get(
    netns: &NetNs,
    address: impl Into<SocketAddr>,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    let address = address.into();
    let mut stream = netns.run(|| TcpStream::connect(address))??;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let status = status.parse().with_context(|| format!("status {status:?}"))?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body).context("bad chunked answer")?
    } else {
        body.to_owned()
    };
    Ok((status, body))
}

/// The same, when only 200 will do.
pub fn get_ok(netns: &NetNs, address: impl Into<SocketAddr>, path: &str) -> anyhow::Result<String> {
    let (status, body) = get(netns, address, path)?;
    if status != 200 {
        bail!("GET {path}: {status}: {}", body.trim());
    }
    Ok(body)
}

fn unchunk(mut text: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        text = rest.get(size + 2..)?;
    }
}
