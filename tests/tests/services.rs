//! Services over UDP, IPv6 and mapped addresses in the details that the matrix does not show:
//! ports, many services from one socket, and what a client is told when there is no backend.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mesh_tests::backend::Backends;
use mesh_tests::dnsmasq::Dnsmasq;
use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::meshctl::run_command;
use mesh_tests::process::Place;
use mesh_tests::require;
use mesh_tests::stats::float;
use mesh_tests::testbed::{PORT, Testbed, VIP, VIP6, backend, backend6, mapped};
use mesh_tests::traffic::{Flows, Traffic, probe};
use mesh_tests::wait::eventually;

const MODES: [Mode; 4] = [Mode::Greet, Mode::Ping, Mode::Udp, Mode::UdpSendto];

fn vips() -> [IpAddr; 2] {
    [(*VIP.ip()).into(), (*VIP6.ip()).into()]
}

/// The ways to a service of both families: IPv4, IPv6, mapped.
fn ways(port: u16) -> [SocketAddr; 3] {
    let [four, six] = vips().map(|ip| SocketAddr::new(ip, port));
    [four, six, mapped(four)]
}

fn serve(bed: &Testbed, mode: Mode, servers: &[(&str, SocketAddr)]) -> anyhow::Result<Backends> {
    Backends::start(&Place::in_netns(&bed.netns), mode, servers)
}

#[test]
fn ports_of_a_service_lead_apart_also_where_tcp_and_udp_share_a_number() -> anyhow::Result<()> {
    let bed = Testbed::start("ports")?;
    let at = |ip: IpAddr, port| SocketAddr::new(ip, port);
    let (four, six): (IpAddr, IpAddr) = (backend(0).into(), backend6(0).into());
    let tcp = [("tcp-53-4", at(four, 8053)), ("tcp-53-6", at(six, 8053))];
    let more = [("tcp-80-4", at(four, 8080)), ("tcp-80-6", at(six, 8080))];
    let udp = [("udp-53-4", at(four, 9053)), ("udp-53-6", at(six, 9053))];
    let last = [("udp-80-4", at(four, 9080)), ("udp-80-6", at(six, 9080))];
    let _servers = [
        serve(&bed, Mode::Ping, &[tcp, more].concat())?,
        serve(&bed, Mode::Udp, &[udp, last].concat())?,
    ];
    let ports = [
        ("dns-tcp", 53, 8053, "TCP"),
        ("dns-udp", 53, 9053, "UDP"),
        ("web", 80, 8080, "TCP"),
        ("web-udp", 80, 9080, "UDP"),
    ];
    let manifest = Manifest::new()
        .service_at("both", &vips(), &ports, "")
        .endpoint("both", "four", "v1", four)
        .endpoint("both", "six", "v1", six);
    bed.meshctl.apply(&manifest)?;
    for port in [53, 80] {
        for (target, family) in ways(port).into_iter().zip(["4", "6", "4"]) {
            for (mode, protocol) in
                [(Mode::Ping, "tcp"), (Mode::Udp, "udp"), (Mode::UdpSendto, "udp")]
            {
                let seen = probe(&bed.node.place(), target, mode)?;
                assert_eq!(seen["name"], format!("{protocol}-{port}-{family}"), "{seen}");
                assert_eq!(seen["peer"], target.to_string(), "{mode:?}: {seen}");
            }
        }
    }
    Ok(())
}

/// A service of its own for each number, with one backend of each family.
fn numbered(count: u8) -> (Manifest, Vec<(String, SocketAddr)>) {
    let mut manifest = Manifest::new();
    let mut servers = Vec::new();
    for n in 0..count {
        let [four, six] = numbered_vips(n);
        let name = format!("s{n}");
        manifest = manifest.service_at(&name, &[four, six], &[("main", 53, PORT, "UDP")], "");
        let ips: [(IpAddr, char); 2] = [(backend(n).into(), '4'), (backend6(n).into(), '6')];
        for (ip, family) in ips {
            manifest = manifest.endpoint(&name, &format!("{name}-{family}"), "v1", ip);
            servers.push((format!("{name}-{family}"), SocketAddr::new(ip, PORT)));
        }
    }
    (manifest, servers)
}

fn numbered_vips(n: u8) -> [IpAddr; 2] {
    let six = Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 2, n.into());
    [Ipv4Addr::new(10, 96, 2, n).into(), six.into()]
}

#[test]
fn unconnected_socket_talks_to_many_services_and_hears_each_from_its_address() -> anyhow::Result<()>
{
    // More than a socket's flows have room for: the oldest makes way, nothing is mixed up.
    const SERVICES: u8 = 40;
    let bed = Testbed::start("many")?;
    let (manifest, servers) = numbered(SERVICES);
    let listen: Vec<_> = servers.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    let _servers = serve(&bed, Mode::UdpSendto, &listen)?;
    bed.meshctl.apply(&manifest)?;
    let ways: [fn(u8) -> (SocketAddr, char); 3] = [
        |n| (SocketAddr::new(numbered_vips(n)[0], 53), '4'),
        |n| (SocketAddr::new(numbered_vips(n)[1], 53), '6'),
        |n| (mapped(SocketAddr::new(numbered_vips(n)[0], 53)), '4'),
    ];
    for way in ways {
        for services in [10, SERVICES] {
            let targets: Vec<_> = (0..services).map(|n| way(n).0).collect();
            let flows =
                Flows { targets, pause: Duration::ZERO, ..Flows::to(way(0).0, Mode::UdpSendto) };
            let outcome = Traffic::run_flows(&bed.node.place(), &flows, 400)?;
            assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
            for ((_, target), names) in outcome.names_by_flow() {
                let expected = format!("s{target}-{}", way(0).1);
                assert_eq!(names, [Arc::from(expected)], "service {target}");
            }
        }
    }
    Ok(())
}

#[test]
fn replies_of_a_shared_backend_follow_their_requests() -> anyhow::Result<()> {
    // Both addresses lead to the same server: only the order of the questions tells them apart.
    let bed = Testbed::start("shared")?;
    let _servers =
        serve(&bed, Mode::UdpSendto, &[("one", SocketAddr::new(backend(0).into(), PORT))])?;
    let vips = [numbered_vips(0)[0], numbered_vips(1)[0]];
    let manifest = Manifest::new()
        .service_at("both", &vips, &[("main", 53, PORT, "UDP")], "")
        .endpoint("both", "one", "v1", backend(0));
    bed.meshctl.apply(&manifest)?;
    let targets: Vec<_> = vips.into_iter().map(|ip| SocketAddr::new(ip, 53)).collect();
    let flows = Flows { targets, ..Flows::to((vips[0], 53), Mode::UdpSendto) };
    let outcome = Traffic::run_flows(&bed.node.place(), &flows, 50)?;
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    Ok(())
}

#[test]
fn socket_that_asks_the_backend_directly_as_well_hears_each_reply_as_it_asked() -> anyhow::Result<()>
{
    let bed = Testbed::start("besides")?;
    let own = SocketAddr::new(backend(0).into(), PORT);
    let _servers = serve(&bed, Mode::UdpSendto, &[("one", own)])?;
    let vip = SocketAddr::new(numbered_vips(0)[0], 53);
    let manifest = Manifest::new()
        .service_at("one", &[vip.ip()], &[("main", 53, PORT, "UDP")], "")
        .endpoint("one", "one", "v1", backend(0));
    bed.meshctl.apply(&manifest)?;
    for targets in [vec![vip, own], vec![own, vip], vec![mapped(own), mapped(vip)]] {
        let flows = Flows { targets, ..Flows::to(vip, Mode::UdpSendto) };
        let outcome = Traffic::run_flows(&bed.node.place(), &flows, 50)?;
        assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
    }
    Ok(())
}

#[test]
fn dnsmasq_with_a_single_socket_asks_each_service_for_its_own_names() -> anyhow::Result<()> {
    const SERVICES: u8 = 6;
    let bed = Testbed::start("forward")?;
    let (manifest, servers) = numbered(SERVICES);
    let domain = |n: u8| format!("d{n}.test");
    let mut running = Vec::new();
    for (at, (name, address)) in servers.iter().enumerate() {
        let question = format!("who.{}", domain(u8::try_from(at / 2)?));
        running.push(Dnsmasq::server(&bed.netns, name, *address, &question)?);
    }
    bed.meshctl.apply(&manifest)?;
    let dig = require::program("dig", "bind9-dnsutils")?;
    for (family, mark) in [(0, '4'), (1, '6')] {
        let names: Vec<_> = (0..SERVICES).map(domain).collect();
        let vips = (0..SERVICES).map(|n| SocketAddr::new(numbered_vips(n)[family], 53));
        let upstreams: Vec<_> = names.iter().map(String::as_str).zip(vips).collect();
        let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7053);
        let _forwarder =
            Dnsmasq::forwarder(&bed.netns, &bed.node.place(), own, &upstreams, Some(5400))?;
        for round in 0..4 {
            for n in 0..SERVICES {
                let mut command = Command::new(&dig);
                command.args(["+short", "+tries=1", "+time=5", "-p", "7053", "@127.0.0.1"]);
                command.args([&format!("who.{}", domain(n)), "TXT"]);
                let said = run_command(command, &Place::in_netns(&bed.netns))?;
                let expected = format!("\"s{n}-{mark}\"");
                assert_eq!(said.stdout.trim(), expected, "round {round}: {said:?}");
            }
        }
    }
    Ok(())
}

/// Waits for the value of a counter of the agent.
fn counted(
    bed: &Testbed,
    name: &str,
    labels: &[(&str, &str)],
    expected: u64,
) -> anyhow::Result<()> {
    eventually(|| {
        let metrics = bed.node.metrics().map_err(|error| error.to_string())?;
        let found = metrics.sum(name, labels);
        if (found - float(expected)).abs() < 0.5 {
            return Ok(());
        }
        Err(format!("{name}{labels:?}: {found} instead of {expected}"))
    })
}

#[test]
fn service_with_endpoints_of_the_other_family_only_refuses_at_once_and_says_why()
-> anyhow::Result<()> {
    let bed = Testbed::start("family")?;
    let (four, six) = (SocketAddr::from(VIP), SocketAddr::from(VIP6));
    let ports = [("main", 80, PORT, "TCP"), ("main-udp", 80, PORT, "UDP")];
    let manifest = Manifest::new()
        .service_at("four", &[four.ip()], &ports, "")
        .endpoint("four", "four-1", "v1", backend6(0))
        .service_at("six", &[six.ip()], &ports, "")
        .endpoint("six", "six-1", "v1", backend(0));
    bed.meshctl.apply(&manifest)?;
    let mut calls = 0;
    for target in [four, six, mapped(four)] {
        for mode in MODES {
            let seen = probe(&bed.node.place(), target, mode)?;
            assert_eq!(seen["connected"], false, "{target} {mode:?}: {seen}");
            assert_eq!(seen["errno"], 113, "{target} {mode:?}: {seen}");
            calls += 1;
        }
    }
    counted(&bed, "mesh_bpf_exits_total", &[("reason", "other_family")], calls)
}

#[test]
fn refusal_has_the_errno_of_the_service_in_every_protocol() -> anyhow::Result<()> {
    const ERRNOS: [(&str, i32); 8] = [
        ("EHOSTUNREACH", 113),
        ("ECONNREFUSED", 111),
        ("ENETUNREACH", 101),
        ("EACCES", 13),
        ("EPERM", 1),
        ("ETIMEDOUT", 110),
        ("ECONNRESET", 104),
        ("EAGAIN", 11),
    ];
    let bed = Testbed::start("errno")?;
    let mut manifest = Manifest::new();
    let ports = [("main", 53, PORT, "TCP"), ("main-udp", 53, PORT, "UDP")];
    for ((name, _), n) in ERRNOS.into_iter().zip(0..) {
        let more = format!("  refuseErrno: {name}\n");
        let service = format!("s{n}");
        manifest = manifest.service_at(&service, &numbered_vips(n), &ports, &more);
    }
    bed.meshctl.apply(&manifest)?;
    let mut seen_errnos = BTreeSet::new();
    for ((name, errno), n) in ERRNOS.into_iter().zip(0..) {
        let [four, six] = numbered_vips(n).map(|ip| SocketAddr::new(ip, 53));
        for target in [four, six, mapped(four)] {
            for mode in [Mode::Ping, Mode::Udp, Mode::UdpSendto] {
                let seen = probe(&bed.node.place(), target, mode)?;
                assert_eq!(seen["connected"], false, "{name} {target} {mode:?}: {seen}");
                assert_eq!(seen["errno"], errno, "{name} {target} {mode:?}: {seen}");
                seen_errnos.insert(errno);
            }
        }
    }
    assert_eq!(seen_errnos.len(), ERRNOS.len());
    counted(
        &bed,
        "mesh_tcp_connects_without_backend_total",
        &[("outcome", "refused")],
        // Eight services, three ways, three modes.
        72,
    )
}
