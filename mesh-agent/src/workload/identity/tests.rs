//! Paths as real machines have them, and what they say.

use proptest::prelude::*;

use super::*;

const ID: &str = "4f2a7c1be0935d68a1c4f20b97de3a5586c0e1d24b7f9a3360c5d81e72f4ab09";
const SHORT: &str = "4f2a7c1be093";
const UID: &str = "7f3ac0de-1b2c-4d5e-8f90-a1b2c3d4e5f6";
const UID_: &str = "7f3ac0de_1b2c_4d5e_8f90_a1b2c3d4e5f6";
const STATIC: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn told(path: &str) -> (Kind, String) {
    let path = fill(path);
    let workload = identify(&path, 1);
    assert_eq!(workload.path, path);
    (workload.kind, workload.name)
}

fn fill(path: &str) -> String {
    let path = path.replace("<UID_>", UID_).replace("<UID>", UID);
    path.replace("<ID>", ID).replace("<STATIC>", STATIC)
}

#[test]
fn systemd_names_units_and_slices() {
    for (path, kind, name) in [
        ("/system.slice/nginx.service", Kind::Unit, "nginx.service"),
        ("/system.slice/nginx.service/worker", Kind::Unit, "nginx.service"),
        ("/system.slice/docker.service", Kind::Unit, "docker.service"),
        ("/system.slice/docker.socket", Kind::Unit, "docker.socket"),
        ("/system.slice/system-getty.slice/getty@tty1.service", Kind::Unit, "getty@tty1.service"),
        (
            r"/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-x.service",
            Kind::Unit,
            "systemd-fsck@dev-disk-by-uuid-x.service",
        ),
        (
            r"/system.slice/dev-disk-by\x2dlabel-swap.swap",
            Kind::Unit,
            "dev-disk-by-label-swap.swap",
        ),
        ("/system.slice/boot-efi.mount", Kind::Unit, "boot-efi.mount"),
        ("/init.scope", Kind::Unit, "init.scope"),
        ("/system.slice", Kind::Slice, "system.slice"),
        (
            r"/system.slice/system-openvpn\x2dclient.slice",
            Kind::Slice,
            "system-openvpn-client.slice",
        ),
        ("/user.slice/user-1000.slice", Kind::Slice, "user-1000.slice"),
        ("/user.slice/user-1000.slice/session-3.scope", Kind::Unit, "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service", Kind::Unit, "user@1000.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            Kind::Unit,
            "user-1000:init.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice",
            Kind::Slice,
            "user-1000:app.slice",
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-org.gnome\x2dmaps-7.scope",
            Kind::Unit,
            "user-1000:app-gnome-org.gnome-maps-7.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/foo@bar.service",
            Kind::Unit,
            "user-1000:foo@bar.service",
        ),
        // A unit may have a colon in its name.
        ("/system.slice/a:b.service", Kind::Unit, "a:b.service"),
        // The monitors of containers run on the host.
        ("/machine.slice/libpod-conmon-<ID>.scope", Kind::Unit, &*fill("libpod-conmon-<ID>.scope")),
        // Broken escapes stay as they are.
        (r"/system.slice/a\x2.service", Kind::Unit, r"a\x2.service"),
        (r"/system.slice/a\xzz.service", Kind::Unit, r"a\xzz.service"),
    ] {
        assert_eq!(told(path), (kind, name.to_owned()), "{path}");
    }
}

#[test]
fn pods_of_kubernetes_are_found_with_both_drivers_and_all_runtimes() {
    let cgroupfs = [
        "/kubepods/pod<UID>/<ID>",
        "/kubepods/burstable/pod<UID>/<ID>",
        "/kubepods/besteffort/pod<UID>/<ID>",
        "/kubepods/burstable/pod<UID>/crio-<ID>",
        "/kubelet/kubepods/burstable/pod<UID>/<ID>",
        "/docker/0000000000000000000000000000000000000000000000000000000000000000/kubepods/besteffort/pod<UID>/<ID>",
    ];
    let systemd = [
        "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<UID_>.slice/crio-<ID>.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<UID_>.slice/crio-<ID>.scope/container",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/docker-<ID>.scope",
        // kind: a kubelet below a slice of its own, in a container.
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
        "/system.slice/docker-0000000000000000000000000000000000000000000000000000000000000000.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
        // containerd's cgroupfs driver under the names of systemd's.
        "/system.slice/containerd.service/kubepods-burstable-pod<UID_>.slice:cri-containerd:<ID>",
        // systemd inside the container.
        "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope/system.slice/nginx.service",
    ];
    for path in cgroupfs.iter().chain(&systemd) {
        let workload = identify(&fill(path), 7);
        assert_eq!((workload.kind, workload.name.as_str()), (Kind::Pod, UID), "{path}");
        assert_eq!(workload.pod_uid.as_deref(), Some(UID), "{path}");
        assert_eq!(workload.container_id.as_deref(), Some(ID), "{path}");
        assert!(!workload.is_group() && workload.cgroup_id == 7, "{path}");
    }
}

#[test]
fn a_pod_above_its_containers_is_a_group() {
    for path in [
        "/kubepods/burstable/pod<UID>",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice",
    ] {
        let workload = identify(&fill(path), 1);
        assert_eq!(workload.pod_uid.as_deref(), Some(UID), "{path}");
        assert!(workload.is_group(), "{path}");
    }
    // A static pod is named after the hash of its manifest.
    let path = fill("/kubepods/burstable/pod<STATIC>/<ID>");
    assert_eq!(identify(&path, 1).pod_uid.as_deref(), Some(STATIC));
    let path =
        fill("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<STATIC>.slice");
    assert_eq!(identify(&path, 1).pod_uid.as_deref(), Some(STATIC));
    for (path, kind) in [
        ("/kubepods", Kind::Cgroup),
        ("/kubepods.slice", Kind::Slice),
        ("/kubepods.slice/kubepods-burstable.slice", Kind::Slice),
        ("/kubepods/pod-of-whales", Kind::Cgroup),
        ("/pods.slice/pods-pod1234.slice", Kind::Slice),
    ] {
        assert_eq!(told(path).0, kind, "{path}");
    }
}

#[test]
fn containers_are_found_by_their_ids() {
    for path in [
        "/docker/<ID>",
        "/docker/<ID>/system.slice/nginx.service",
        "/system.slice/docker-<ID>.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-<ID>.scope",
        "/machine.slice/libpod-<ID>.scope",
        "/machine.slice/libpod-<ID>.scope/container",
        "/machine.slice/machine-libpod_pod_<ID>.slice/libpod-<ID>.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<ID>.scope/container",
        "/libpod_parent/libpod-<ID>",
        "/system.slice/nerdctl-<ID>.scope",
        "/default/<ID>",
        "/k8s.io/<ID>",
        "/system.slice/crio-<ID>.scope",
    ] {
        let workload = identify(&fill(path), 1);
        assert_eq!((workload.kind, workload.name.as_str()), (Kind::Container, SHORT), "{path}");
        assert_eq!(workload.container_id.as_deref(), Some(ID), "{path}");
        assert_eq!(workload.pod_uid, None, "{path}");
    }
    // Too short for an id, or not hexadecimal.
    assert_eq!(told("/docker/4f2a7c1be093").0, Kind::Cgroup);
    assert_eq!(told("/system.slice/docker-compose.scope").1, "docker-compose.scope");
    assert_eq!(told(&format!("/docker/{}", "g".repeat(64))).0, Kind::Cgroup);
}

#[test]
fn machines_and_lxc_containers_have_names() {
    for (path, kind, name) in [
        ("/machine.slice/systemd-nspawn@web.service", Kind::Machine, "web"),
        ("/machine.slice/systemd-nspawn@web.service/payload/init.scope", Kind::Machine, "web"),
        (
            r"/machine.slice/systemd-nspawn@web\x2d2.service/payload/system.slice/x.service",
            Kind::Machine,
            "web-2",
        ),
        ("/machine.slice/machine-web.scope", Kind::Machine, "web"),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            Kind::Machine,
            "qemu-1-vm",
        ),
        ("/machine.slice", Kind::Slice, "machine.slice"),
        ("/lxc/web", Kind::Lxc, "web"),
        ("/lxc.payload/web/system.slice/nginx.service", Kind::Lxc, "web"),
        ("/lxc.payload.web", Kind::Lxc, "web"),
        ("/lxc.payload.web/init.scope", Kind::Lxc, "web"),
        ("/lxc.monitor.web", Kind::Cgroup, "/lxc.monitor.web"),
        ("/lxc", Kind::Cgroup, "/lxc"),
        ("/lxc.payload.outer/lxc/inner", Kind::Lxc, "inner"),
        ("/", Kind::Cgroup, "/"),
        ("/my-app/worker 1", Kind::Cgroup, "/my-app/worker_1"),
    ] {
        assert_eq!(told(path), (kind, name.to_owned()), "{path}");
    }
    // The innermost wins.
    assert_eq!(told("/lxc.payload.web/docker/<ID>"), (Kind::Container, SHORT.to_owned()));
}

#[test]
fn long_names_are_cut_and_stay_different() {
    let names = ["a", "b"].map(|end| told(&format!("/x/{}{end}", "n".repeat(300))).1);
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| name.len() == 100), "{names:?}");
}

proptest! {
    #[test]
    fn every_path_has_a_name_that_fits_a_label(path in "(/[^/\n]{1,40}){0,8}") {
        let workload = identify(&path, 1);
        prop_assert!(workload.name.parse::<mesh_api::model::Label>().is_ok());
        prop_assert!(workload.name.len() <= 100);
        prop_assert_eq!(workload.path, path);
    }
}
