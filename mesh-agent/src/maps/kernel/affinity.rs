//! Forgets clients that have not come back within their service's time: the programs only add.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mesh_common::affinity::{Affinity, AffinityKey};
use mesh_common::names;
use mesh_common::service::ServiceIndex;

use super::{open_error, pinned, read_error};
use crate::bpf::pinned::Pinned;
use crate::maps::MapError;

/// The clients that services remember.
#[derive(Debug)]
pub struct Clients {
    map: Pinned<AffinityKey, Affinity>,
}

impl Clients {
    /// Opens the pinned map.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        Ok(Self { map: pinned(pin_path, names::AFFINITY)? })
    }

    /// How many it has room for.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.map.info().max_entries
    }

    /// Forgets those whose time is over, and those of services that remember none; says how many
    /// are left. `now` is `CLOCK_MONOTONIC`. A client that comes back in this moment, after its
    /// time, may be forgotten once more, and then gets a backend like any other.
    pub fn sweep(
        &self,
        now: Duration,
        times: &BTreeMap<ServiceIndex, Duration>,
    ) -> Result<u64, MapError> {
        let (mut gone, mut left) = (Vec::new(), 0);
        self.map
            .each(|key, values| {
                let used = values.first().map_or(0, |value| value.used_ns);
                if is_over(now, Duration::from_nanos(used), times.get(&key.service)) {
                    gone.push(key);
                } else {
                    left += 1;
                }
            })
            .map_err(read_error(names::AFFINITY))?;
        let mut rest = gone.as_slice();
        while let Err((done, source)) = self.map.delete(rest) {
            // Somebody else's agent, or `bpftool`, was faster.
            if source.kind() != std::io::ErrorKind::NotFound {
                return Err(MapError::Write { map: names::AFFINITY, source: source.into() });
            }
            rest = rest.get(done + 1..).unwrap_or_default();
        }
        Ok(left)
    }
}

fn is_over(now: Duration, used: Duration, time: Option<&Duration>) -> bool {
    time.is_none_or(|time| now.saturating_sub(used) >= *time)
}

/// `CLOCK_MONOTONIC`, which the programs note.
pub fn monotonic() -> Result<Duration, MapError> {
    let open = |source: nix::Error| open_error(Path::new("CLOCK_MONOTONIC"))(source.into());
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_err(open)?;
    Ok(now.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_remembered_for_the_services_time() {
        let (used, hour) = (Duration::from_hours(100), Duration::from_hours(1));
        let almost = Duration::from_millis(3_599_999);
        assert!(!is_over(used, used, Some(&hour)));
        assert!(!is_over(used + almost, used, Some(&hour)));
        assert!(is_over(used + hour, used, Some(&hour)));
        assert!(is_over(used, used, None));
        // The program noted its time after this one was taken.
        assert!(!is_over(used, used + hour, Some(&hour)));
    }
}
