//! The load: short TCP connections and UDP flows, and TCP and UDP sockets that live through
//! everything, in every address family. Each kind has a service of its own, with backends of
//! its own, so that a mix-up has a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::backend::Backends;
use crate::load::Mode;
use crate::manifest::Manifest;
use crate::process::Place;
use crate::testbed::{PORT, Testbed, backend, backend6, mapped};
use crate::traffic::{Flows, Outcome, Plan, Traffic};

/// One kind of traffic to one service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stream {
    pub(super) service: &'static str,
    pub(super) mode: Mode,
    /// Sockets that live from beginning to end.
    pub(super) lasting: bool,
    /// Number of the service, which makes its addresses.
    number: u8,
}

/// All of them.
pub(super) const STREAMS: [Stream; 6] = [
    Stream { service: "tcp", mode: Mode::Greet, lasting: false, number: 1 },
    Stream { service: "tcp-lasting", mode: Mode::Ping, lasting: true, number: 2 },
    Stream { service: "udp", mode: Mode::Udp, lasting: false, number: 3 },
    Stream { service: "udp-lasting", mode: Mode::Udp, lasting: true, number: 4 },
    Stream { service: "sendto", mode: Mode::UdpSendto, lasting: false, number: 5 },
    Stream { service: "sendto-lasting", mode: Mode::UdpSendto, lasting: true, number: 6 },
];

/// Rest between two connections, and between two exchanges of a lasting socket: enough load to
/// see any gap, on two processors that the agent needs as well.
const PAUSE: Duration = Duration::from_millis(2);
/// Lasting sockets of each stream.
const LASTING: u32 = 6;
/// Longest wait for progress of a stream.
const PATIENCE: Duration = Duration::from_secs(30);

impl Stream {
    /// The service's addresses: IPv4 directly, IPv6, and IPv4 through an IPv6 socket.
    fn targets(self) -> [SocketAddr; 3] {
        let [four, six] = self.vips().map(|ip| SocketAddr::new(ip, 80));
        [four, six, mapped(four)]
    }

    fn vips(self) -> [IpAddr; 2] {
        let six = Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 1, self.number.into());
        [Ipv4Addr::new(10, 96, 1, self.number).into(), six.into()]
    }

    /// Names and addresses of the backends: two of each family.
    fn backends(self) -> [(String, SocketAddr); 4] {
        let [a, b] = [self.number * 2, self.number * 2 + 1];
        let ips: [IpAddr; 4] =
            [backend(a).into(), backend(b).into(), backend6(a).into(), backend6(b).into()];
        let mut ips = ips.into_iter();
        ["4a", "4b", "6a", "6b"].map(|which| {
            let ip = ips.next().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            (format!("{}-{which}", self.service), SocketAddr::new(ip, PORT))
        })
    }

    /// Is this a name of a backend of the family of the address with this number?
    pub(super) fn owns(self, name: &str, target: u32) -> bool {
        let family = if target == 1 { '6' } else { '4' };
        name.strip_prefix(self.service)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.len() == 2 && rest.starts_with(family))
    }

    const fn protocol(self) -> &'static str {
        if self.mode.is_udp() { "UDP" } else { "TCP" }
    }

    fn clients(self, place: &Place) -> anyhow::Result<Vec<Client>> {
        let targets = self.targets();
        if self.lasting && self.mode == Mode::UdpSendto {
            // Two sockets: one of each family; the second reaches both families of the service.
            let [four, six, mapped] = targets;
            let own = [(vec![four], vec![0]), (vec![six, mapped], vec![1, 2])];
            return own
                .into_iter()
                .map(|(targets, numbers)| self.flows(place, targets, numbers, NonZeroU32::MIN))
                .collect();
        }
        if self.lasting {
            let flows = NonZeroU32::new(LASTING).context("no flows")?;
            return Ok(vec![self.flows(place, targets.to_vec(), vec![0, 1, 2], flows)?]);
        }
        (0..)
            .zip(targets)
            .map(|(number, target)| {
                let plan = Plan { pause: PAUSE, ..Plan::to(target, self.mode) };
                Ok(Client { traffic: Traffic::start(place, plan)?, numbers: vec![number] })
            })
            .collect()
    }

    fn flows(
        self,
        place: &Place,
        targets: Vec<SocketAddr>,
        numbers: Vec<u32>,
        flows: NonZeroU32,
    ) -> anyhow::Result<Client> {
        let patience = Duration::from_secs(10);
        let flows = Flows { targets, mode: self.mode, flows, pause: PAUSE, patience };
        Ok(Client { traffic: Traffic::flows(place, &flows)?, numbers })
    }
}

/// One client process and the numbers of the addresses that it was given.
#[derive(Debug)]
struct Client {
    traffic: Traffic,
    numbers: Vec<u32>,
}

/// Everything that runs. Fields drop in order: clients before servers.
#[derive(Debug)]
pub(super) struct Load {
    clients: Vec<(Stream, Client)>,
    _servers: Vec<Backends>,
}

/// What the clients of a stream counted; `target` in the records is the address's number.
pub(super) type Outcomes = Vec<(Stream, Vec<Outcome>)>;

impl Load {
    /// Applies the services, starts the servers, then the clients.
    pub(super) fn start(bed: &Testbed) -> anyhow::Result<Self> {
        let mut manifest = Manifest::new();
        let mut servers = Vec::new();
        for stream in STREAMS {
            let backends = stream.backends();
            let listen: Vec<_> = backends.iter().map(|(name, at)| (name.as_str(), *at)).collect();
            servers.push(Backends::start(&Place::in_netns(&bed.netns), stream.mode, &listen)?);
            let ports = [("main", 80, PORT, stream.protocol())];
            manifest = manifest.service_at(stream.service, &stream.vips(), &ports, "");
            for (name, at) in &backends {
                manifest = manifest.endpoint(stream.service, name, name, at.ip());
            }
        }
        bed.meshctl.apply(&manifest)?;
        let place = bed.node.place();
        let mut clients = Vec::new();
        for stream in STREAMS {
            clients.extend(stream.clients(&place)?.into_iter().map(|client| (stream, client)));
        }
        let load = Self { clients, _servers: servers };
        load.progress(20)?;
        Ok(load)
    }

    /// Exchanges so far.
    pub(super) fn so_far(&self) -> u64 {
        self.clients.iter().map(|(_, client)| client.traffic.so_far()).sum()
    }

    /// Waits until every client has made `more` further exchanges: nothing hangs.
    pub(super) fn progress(&self, more: u64) -> anyhow::Result<()> {
        for (stream, client) in &self.clients {
            client.traffic.wait_for(more, PATIENCE).with_context(|| stream.service.to_owned())?;
        }
        Ok(())
    }

    /// Lets everything go on for so long, and makes sure that it does.
    pub(super) fn run_for(&self, time: Duration) -> anyhow::Result<()> {
        thread::sleep(time);
        self.progress(5)
    }

    /// Ends the clients; what they counted.
    pub(super) fn stop(self) -> anyhow::Result<Outcomes> {
        let mut outcomes: Outcomes = STREAMS.map(|stream| (stream, Vec::new())).to_vec();
        for (stream, client) in self.clients {
            let mut outcome = client.traffic.stop()?;
            for record in &mut outcome.records {
                let number = usize::try_from(record.target)?;
                record.target = *client.numbers.get(number).context("an unknown address")?;
            }
            if let Some((_, all)) = outcomes.iter_mut().find(|(other, _)| *other == stream) {
                all.push(outcome);
            }
        }
        Ok(outcomes)
    }
}
