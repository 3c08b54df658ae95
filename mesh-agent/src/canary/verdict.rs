//! Findings and counters → which programs fire. Pure.

use std::collections::BTreeMap;

use mesh_common::counter::BackendCounters;
use mesh_common::names;
use serde::{Deserialize, Serialize};

use super::{Family, Finding, Probe};

/// Whether a program does its work.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum Fires {
    /// Not tried yet, or not to be told because another program does not fire.
    #[default]
    Unknown,
    /// It does.
    Yes,
    /// It does not; what happened instead.
    No(String),
    /// This machine cannot try it; why.
    Unavailable(String),
}

impl Fires {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        match self {
            Self::Yes | Self::Unavailable(_) => true,
            Self::Unknown | Self::No(_) => false,
        }
    }
}

/// What a trial came to, by program.
pub type Verdict = BTreeMap<&'static str, Fires>;

/// What is known of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What the child found, or why the family is not there.
    pub findings: Result<Vec<Finding>, String>,
    /// What the TCP backend counted meanwhile.
    pub tcp: BackendCounters,
    /// What the UDP backend counted meanwhile.
    pub udp: BackendCounters,
}

/// Datagram flows of one trial: of the connected and of the unconnected socket.
const UDP_FLOWS: u64 = 2;

/// Whether everything that is counted late has been counted.
#[must_use]
pub fn settled(tried: &[(Family, Tried)]) -> bool {
    tried.iter().all(|(_, tried)| {
        tried.findings.is_err()
            || (tried.tcp.opened > 0
                && tried.tcp.closed >= tried.tcp.opened
                && tried.udp.closed >= UDP_FLOWS)
    })
}

/// Judges each program.
#[must_use]
pub fn verdict(tried: &[(Family, Tried)]) -> Verdict {
    let mut verdict = Verdict::new();
    for (family, tried) in tried {
        let programs = match family {
            Family::V4 => [names::CONNECT4, names::GETPEERNAME4, names::SENDMSG4, names::RECVMSG4],
            Family::V6 => [names::CONNECT6, names::GETPEERNAME6, names::SENDMSG6, names::RECVMSG6],
        };
        let fires = match &tried.findings {
            Err(reason) => [(); 4].map(|()| Fires::Unavailable(reason.clone())),
            Ok(findings) => [
                connect(findings, tried),
                of(findings, &[Probe::TcpPeer]),
                of(findings, &[Probe::UdpSend]),
                of(findings, &[Probe::UdpReceive]),
            ],
        };
        verdict.extend(programs.into_iter().zip(fires));
    }
    verdict.insert(names::SOCKOPS, both(tried, sockops));
    verdict.insert(names::SOCK_RELEASE, both(tried, sock_release));
    verdict
}

/// The first problem of some probes; unknown where one was not made.
fn of(findings: &[Finding], probes: &[Probe]) -> Fires {
    let mut fires = Fires::Yes;
    for probe in probes {
        match findings.iter().find(|finding| finding.probe == *probe) {
            Some(Finding { problem: Some(problem), .. }) => return Fires::No(problem.clone()),
            Some(_) => {}
            None => fires = Fires::Unknown,
        }
    }
    fires
}

fn connect(findings: &[Finding], tried: &Tried) -> Fires {
    let fires = of(findings, &[Probe::TcpConnect, Probe::UdpConnect, Probe::Refusal]);
    match fires {
        Fires::No(problem) if tried.tcp.attempts == 0 => {
            Fires::No(format!("{problem} (not redirected: no backend was chosen)"))
        }
        Fires::No(problem) => Fires::No(format!("{problem} (a backend was chosen)")),
        other @ (Fires::Unknown | Fires::Yes | Fires::Unavailable(_)) => other,
    }
}

/// A program that serves both families: it fires if it does for each that is there.
fn both(tried: &[(Family, Tried)], judge: fn(&[Finding], &Tried) -> Fires) -> Fires {
    let mut worst = Fires::Unavailable("no address family is there".to_owned());
    for (_, tried) in tried {
        let Ok(findings) = &tried.findings else { continue };
        let fires = judge(findings, tried);
        let keeps =
            matches!(worst, Fires::No(_)) || (worst == Fires::Unknown && fires == Fires::Yes);
        if !keeps {
            worst = fires;
        }
    }
    worst
}

fn sockops(findings: &[Finding], tried: &Tried) -> Fires {
    if of(findings, &[Probe::TcpConnect]) != Fires::Yes {
        return Fires::Unknown;
    }
    match (tried.tcp.opened, tried.tcp.closed) {
        (0, _) => Fires::No("a connection was opened and not counted".to_owned()),
        (_, 0) => Fires::No("a connection was closed and not counted".to_owned()),
        _ => Fires::Yes,
    }
}

fn sock_release(findings: &[Finding], tried: &Tried) -> Fires {
    if of(findings, &[Probe::UdpConnect, Probe::UdpSend]) != Fires::Yes {
        return Fires::Unknown;
    }
    if tried.udp.closed < UDP_FLOWS {
        let closed = tried.udp.closed;
        return Fires::No(format!("{UDP_FLOWS} UDP sockets were closed and {closed} counted"));
    }
    Fires::Yes
}
