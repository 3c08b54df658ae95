//! Tells from the path of a cgroup who runs there. Runtimes and systemd choose the names of
//! cgroups by fixed rules: systemd by unit (`systemd.unit(5)`), the kubelet by pod with one of
//! two drivers (`pkg/kubelet/cm/cgroup_manager_linux.go`), runtimes by container id (64 hex
//! digits; `runc` `libcontainer/specconv`, `crun` `src/libcrun/cgroup-systemd.c`).
//!
//! The innermost pod, container or machine wins; units count only outside of these, because what
//! systemd starts inside a container is that container's. What is below a unit (delegation) is
//! the unit's.

mod label;
#[cfg(test)]
mod tests;

use super::{Kind, Workload};

/// Length of a container id as runtimes print it.
const SHORT_ID: usize = 12;
/// Suffixes of units that have processes (`systemd.unit(5)`).
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
/// Before the id of a container. Conmon's own scopes (`crio-conmon-…`) are units.
const RUNTIMES: [&str; 6] =
    ["docker-", "libpod-", "cri-containerd-", "crio-", "containerd-", "nerdctl-"];

/// What one part of the path adds.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Pod(String),
    Container(&'a str),
    Machine(String),
    Lxc(&'a str),
    UserManager(&'a str),
    Unit(&'a str),
    Slice(&'a str),
    Other,
}

/// Who runs in the cgroup at `path` (from the root of cgroup v2).
#[must_use]
pub fn identify(path: &str, cgroup_id: u64) -> Workload {
    let mut found = Found::default();
    let mut before = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        // containerd without a systemd driver under systemd names: `SLICE:cri-containerd:ID`.
        let pieces = if part.contains(".slice:") { 3 } else { 1 };
        for piece in part.splitn(pieces, ':') {
            found.add(classify(piece, before));
        }
        before = part;
    }
    let (kind, name) = found.kind_and_name(path);
    Workload {
        kind,
        name: label::fit(&name),
        pod_uid: found.pod,
        container_id: found.container,
        path: path.to_owned(),
        cgroup_id,
    }
}

#[derive(Default)]
struct Found<'a> {
    pod: Option<String>,
    container: Option<String>,
    /// Kind and name of the innermost machine or LXC container.
    machine: Option<(Kind, String)>,
    user: Option<&'a str>,
    unit: Option<&'a str>,
    slice: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn add(&mut self, part: Part<'a>) {
        match part {
            Part::Pod(uid) => {
                *self = Self { pod: Some(uid), ..Self::default() };
            }
            Part::Container(id) => {
                // Inside the pod that was found, unless that has its container already: a node
                // of its own inside a container.
                let pod = self.pod.take().filter(|_| self.container.is_none());
                *self = Self { pod, container: Some(id.to_owned()), ..Self::default() };
            }
            Part::Machine(name) => {
                *self = Self { machine: Some((Kind::Machine, name)), ..Self::default() };
            }
            Part::Lxc(name) => {
                *self = Self { machine: Some((Kind::Lxc, name.to_owned())), ..Self::default() };
            }
            Part::UserManager(uid) => {
                (self.user, self.unit, self.slice) = (Some(uid), None, None);
            }
            Part::Unit(name) => (self.unit, self.slice) = (Some(name), None),
            Part::Slice(name) => self.slice = Some(name),
            Part::Other => {}
        }
    }

    fn kind_and_name(&self, path: &str) -> (Kind, String) {
        if let Some(uid) = &self.pod {
            return (Kind::Pod, uid.clone());
        }
        if let Some(id) = &self.container {
            return (Kind::Container, id.get(..SHORT_ID).unwrap_or(id).to_owned());
        }
        if let Some((kind, name)) = &self.machine {
            return (*kind, name.clone());
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        match (self.user, self.unit, self.slice) {
            (Some(uid), Some(unit), _) => (Kind::Unit, format!("user-{uid}:{}", unescape(unit))),
            (Some(uid), None, Some(slice)) if slice == last => {
                (Kind::Slice, format!("user-{uid}:{}", unescape(slice)))
            }
            (Some(uid), None, None) => (Kind::Unit, format!("user@{uid}.service")),
            (None, Some(unit), _) => (Kind::Unit, unescape(unit)),
            (None, None, Some(slice)) if slice == last => (Kind::Slice, unescape(slice)),
            (_, None, _) => (Kind::Cgroup, path.to_owned()),
        }
    }
}

fn classify<'a>(part: &'a str, before: &str) -> Part<'a> {
    if let Some(slice) = part.strip_suffix(".slice") {
        return pod_of_slice(slice).map_or(Part::Slice(part), Part::Pod);
    }
    if let Some(uid) = part.strip_prefix("pod").filter(|uid| is_uid(uid)) {
        return Part::Pod(uid.to_owned());
    }
    // The id alone: below `/docker`, `/kubepods/…/podUID`, a containerd namespace, and as the
    // last piece of `SLICE:cri-containerd:ID`.
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    let id = RUNTIMES.iter().find_map(|runtime| stem.strip_prefix(runtime)).unwrap_or(stem);
    if is_container_id(id) {
        return Part::Container(id);
    }
    let machine = part.strip_suffix(".scope").and_then(|stem| stem.strip_prefix("machine-"));
    if let Some(name) = machine {
        return Part::Machine(unescape(name));
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(unit_stem) {
        return Part::Machine(unescape(name));
    }
    if let Some(uid) = part.strip_prefix("user@").and_then(unit_stem).filter(|uid| is_number(uid)) {
        return Part::UserManager(uid);
    }
    let lxc = part.strip_prefix("lxc.payload.").or_else(|| {
        (["lxc", "lxc.payload"].contains(&before) && !part.starts_with("lxc.")).then_some(part)
    });
    if let Some(name) = lxc.filter(|name| !name.is_empty()) {
        return Part::Lxc(name);
    }
    if UNITS.iter().any(|suffix| part.len() > suffix.len() && part.ends_with(suffix)) {
        return Part::Unit(part);
    }
    Part::Other
}

fn unit_stem(rest: &str) -> Option<&str> {
    rest.strip_suffix(".service").filter(|stem| !stem.is_empty())
}

/// `kubepods-burstable-podUID`, also below a kubelet of its own (`kubelet-kubepods-…`); slices
/// cannot have `-` in a part of the name, so the kubelet writes `_`.
fn pod_of_slice(slice: &str) -> Option<String> {
    let (before, uid) = slice.rsplit_once("-pod")?;
    let is_pods = before.split('-').any(|part| part == "kubepods");
    let uid = uid.replace('_', "-");
    (is_pods && is_uid(&uid)).then_some(uid)
}

/// A UUID, or the 32 digits that name a static pod.
fn is_uid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = text.bytes().filter(|byte| *byte == b'-').count();
    digits == 32 && digits + dashes == text.len() && (dashes == 0 || dashes == 4)
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Undoes `systemd-escape`: `\x2d` is `-`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = if rest.starts_with(b"\\x") { hex(rest.get(2..4)) } else { None };
        if let Some(byte) = byte {
            out.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
