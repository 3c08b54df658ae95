//! Which way the connections of a service with rules for requests go. Pure.
//!
//! ```text
//! Envoy listens for it ─────────────────────────────────► redirected
//! Envoy is ready, but does not listen for it yet:
//!   connections go somewhere that works ── up to 10 s ──► waiting: they go on there
//!   otherwise, or after that ───────────────────────────► bypassed or refused, as onNoProxy says
//! no Envoy ─────────────────────────────────────────────► bypassed or refused, at once
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_api::model::OnNoProxy;

use super::ProxyState;
use crate::compile::{UnitKey, Via, Want};
use crate::world::GroupId;

/// How long connections go on as before while Envoy does not listen for them yet.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why it goes the way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// To Envoy.
    Redirected,
    /// As before, up to this moment.
    Waiting(Duration),
    /// To the endpoints, past Envoy.
    Bypassed,
    /// Nowhere.
    Refused,
}

impl Standing {
    /// The names of all of them, for metrics.
    pub const NAMES: [&'static str; 4] = ["redirected", "waiting", "bypassed", "refused"];

    const fn place(self) -> usize {
        match self {
            Self::Redirected => 0,
            Self::Waiting(_) => 1,
            Self::Bypassed => 2,
            Self::Refused => 3,
        }
    }
}

/// How many services go which way, in the order of [`Standing::NAMES`]. One whose ports or families
/// go different ways counts for each.
pub type Counts = [usize; 4];

/// Where a service's connections were sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Nowhere: nobody knew it.
    Nothing,
    /// To its endpoints: it had no rules for requests.
    Endpoints,
    /// It had.
    Course(Course),
}

/// The way of one kernel service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    want: Want,
    via: Via,
    standing: Standing,
}

impl Course {
    /// The way from now on.
    fn next(before: Before, want: Want, proxy: &ProxyState, now: Duration) -> Self {
        let course = |via, standing| Self { want, via, standing };
        if let Some(at) = proxy.listens(want.family, want.port) {
            return course(Via::Proxy(at), Standing::Redirected);
        }
        let failed = match want.otherwise {
            OnNoProxy::Bypass => course(Via::AnyEndpoint, Standing::Bypassed),
            OnNoProxy::Refuse => course(Via::Nobody, Standing::Refused),
        };
        if *proxy == ProxyState::Absent {
            return failed;
        }
        let (kept, until) = match before {
            Before::Nothing => return failed,
            Before::Endpoints => (Via::AnyEndpoint, now.saturating_add(PATIENCE)),
            Before::Course(before) => match before.standing {
                Standing::Bypassed | Standing::Refused => return failed,
                Standing::Redirected => (before.via, now.saturating_add(PATIENCE)),
                Standing::Waiting(until) => (before.via, until),
            },
        };
        let works = match kept {
            Via::Proxy(at) => proxy.listens(want.family, at.port()) == Some(at),
            Via::Endpoints | Via::AnyEndpoint | Via::Nobody => true,
        };
        if works && now < until { course(kept, Standing::Waiting(until)) } else { failed }
    }

    /// What a person should know.
    fn warning(&self, proxy: &ProxyState) -> Option<String> {
        let Want { family, port, .. } = self.want;
        let (family, why) = (
            family.as_str(),
            match proxy {
                ProxyState::Absent => {
                    "this node has no ready Envoy (--envoy, --envoy-admin)".to_owned()
                }
                ProxyState::Ready(_) => format!("this node's Envoy does not listen on port {port}"),
            },
        );
        match self.standing {
            Standing::Redirected | Standing::Waiting(_) => None,
            Standing::Bypassed => Some(format!(
                "{why}: {family} connections go to the endpoints, and what is said about requests \
                 has no effect"
            )),
            Standing::Refused => {
                Some(format!("{why}: {family} connections are refused (onNoProxy: Refuse)"))
            }
        }
    }
}

/// The ways of all kernel services with rules for requests.
#[derive(Clone, Debug, Default)]
pub struct Courses {
    proxy: ProxyState,
    now: Duration,
    all: BTreeMap<UnitKey, Course>,
    /// Those that wait, by the moment when that ends.
    waiting: BTreeSet<(Duration, UnitKey)>,
}

impl Courses {
    /// Sets what is known of Envoy. Returns who goes another way from now on.
    pub fn set_proxy(&mut self, proxy: ProxyState) -> Vec<UnitKey> {
        if self.proxy == proxy {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.proxy, proxy);
        let changed = |(_, course): &(&UnitKey, &Course)| {
            let next = Course::next(Before::Course(**course), course.want, &self.proxy, self.now);
            next != **course || next.warning(&self.proxy) != course.warning(&before)
        };
        self.all.iter().filter(changed).map(|(unit, _)| *unit).collect()
    }

    /// Sets the present moment, since any fixed one. Returns who has waited long enough.
    pub fn set_time(&mut self, now: Duration) -> Vec<UnitKey> {
        self.now = now;
        let late = self.waiting.iter().take_while(|(until, _)| *until <= now);
        late.map(|(_, unit)| *unit).collect()
    }

    /// How long until the first has waited long enough.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.waiting.first().map(|(until, _)| until.saturating_sub(self.now))
    }

    /// The way of a kernel service from now on, and what a person should know about it; it `leads`
    /// somewhere where its addresses are in the maps already.
    pub fn follow(
        &mut self,
        unit: UnitKey,
        want: Option<Want>,
        leads: bool,
    ) -> (Via, Option<String>) {
        let before = match self.forget(unit) {
            Some(course) => Before::Course(course),
            None if leads => Before::Endpoints,
            None => Before::Nothing,
        };
        let Some(want) = want else { return Default::default() };
        let course = Course::next(before, want, &self.proxy, self.now);
        if let Standing::Waiting(until) = course.standing {
            self.waiting.insert((until, unit));
        }
        self.all.insert(unit, course);
        (course.via, course.warning(&self.proxy))
    }

    /// It is no service any more.
    pub fn drop_unit(&mut self, unit: UnitKey) {
        self.forget(unit);
    }

    fn forget(&mut self, unit: UnitKey) -> Option<Course> {
        let course = self.all.remove(&unit)?;
        if let Standing::Waiting(until) = course.standing {
            self.waiting.remove(&(until, unit));
        }
        Some(course)
    }

    /// The ways of all.
    #[must_use]
    pub fn vias(&self) -> BTreeMap<UnitKey, Via> {
        self.all.iter().map(|(unit, course)| (*unit, course.via)).collect()
    }

    /// How many services go which way.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let seen: BTreeSet<(usize, GroupId)> =
            self.all.iter().map(|(unit, it)| (it.standing.place(), unit.group)).collect();
        let mut counts = Counts::default();
        for (place, _) in seen {
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }
}
