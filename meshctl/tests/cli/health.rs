//! `health`, and what `describe` and `get` say about health checks, breakers and ejections.

use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::control::Control;
use crate::run::run;

const WEB: &str = include_str!("../../../demo/web.yaml");
const RESILIENCE: &str = include_str!("../../../demo/web-resilience.yaml");

#[test]
fn the_example_is_applied_and_described() {
    let control = Control::start();
    control.apply(&format!("{WEB}---\n{RESILIENCE}"), &[]).quiet();
    let wide = control.run(&["get", "sc", "-o", "wide"]).quiet();
    let cells = "HTTP/1s        connections=1000,endpoint-failures=5   consecutive=3   \
                 connect=1s,idle=10m,attempts=2   ";
    assert!(wide.contains(cells), "{wide}");
    for kind in ["svc/web", "sc/web"] {
        let described = control.run(&["describe", kind]).quiet();
        for line in [
            "Health check:        HTTP GET /healthz, status 200-299, every 1s ±10%, timeout 500ms; \
             unhealthy after 3 failed, healthy after 2 passed, healthy before\n",
            "Circuit breaker:     at most 1000 connections at a time\n",
            "- per endpoint:      open for 5s after 5 failed connects within 10s, then 1 trial\n",
            "Outlier detection:   ejected for 10s, longer each time up to 2m after 3 failed \
             connects in a row; at most 50% of the endpoints at a time\n",
            "Timeouts:            connect 1s, idle 10m, SYN sent again 2 times; first after 200ms\n",
            "Slow start:          30s\n",
            "Panic:               below 40% healthy, health is ignored\n",
        ] {
            assert!(described.contains(line), "{line}{described}");
        }
    }
}

#[test]
fn a_control_plane_that_gathers_no_health_is_told_apart() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let address = "127.0.0.1:0".parse().expect("an address");
    let incoming = runtime.block_on(async { TcpIncoming::bind(address) }).expect("bound");
    let server = format!("http://{}", incoming.local_addr().expect("an address"));
    runtime.spawn(Server::builder().add_routes(Routes::default()).serve_with_incoming(incoming));
    for args in [&["health"][..], &["health", "--watch"]] {
        let run = run(&server, args).code(1);
        assert_eq!(run.out, "");
        assert_eq!(
            run.err,
            "error: the control plane does not gather health: it is older than this meshctl\n"
        );
    }
}
