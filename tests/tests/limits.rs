//! A map that is full is said aloud, by name and with the flag that mends it; what was there
//! goes on.

use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use mesh_tests::load::Mode;
use mesh_tests::manifest::Manifest;
use mesh_tests::testbed::{PORT, Testbed, VIP, backend, namespace};
use mesh_tests::traffic::{Plan, Traffic, probe};
use mesh_tests::wait::eventually;

#[test]
fn service_that_does_not_fit_is_rejected_by_name_and_fits_once_there_is_room() -> anyhow::Result<()>
{
    // Index 0 is never given out: there is room for one service.
    let bed = Testbed::start_in(&namespace("full")?, "full", &["--max-services", "2"])?;
    let _servers = bed.serve(Mode::Greet, &["v1"])?;
    let first = Manifest::new().service("web", VIP, PORT);
    bed.meshctl.apply(&first.endpoint("web", "web-1", "v1", backend(0)))?;

    let second = SocketAddrV4::new([10, 96, 0, 66].into(), 80);
    let manifest = Manifest::new().service("second", second, PORT).endpoint(
        "second",
        "second-1",
        "v1",
        backend(0),
    );
    let file = bed.meshctl.file(&manifest)?;
    let said = bed.meshctl.run(&["apply", "--wait", "-f", &file])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("--max-services"), "{said:?}");
    assert!(said.stderr.contains("default/second"), "{said:?}");

    // The first service goes on as before, and the second is not served by halves.
    let place = bed.node.place();
    assert_eq!(Traffic::run(&place, Plan::to(VIP, Mode::Greet), 200)?.failed(), 0);
    assert_eq!(probe(&place, second, Mode::Greet)?["connected"], false);

    bed.meshctl.ok(&["delete", "service", "web"])?;
    // The agent frees once nothing has happened for a moment; the next change makes use of it.
    let mut round = 0;
    eventually(|| {
        round += 1;
        thread::sleep(Duration::from_millis(250));
        let change =
            Manifest::new().endpoint("second", &format!("second-{round}"), "v1", backend(0));
        bed.meshctl.file(&change).and_then(|file| bed.meshctl.run(&["apply", "-f", &file])).ok();
        match probe(&place, second, Mode::Greet) {
            Ok(seen) if seen["name"] == "v1" => Ok(()),
            seen => Err(format!("not served: {seen:?}")),
        }
    })
}
