//! The self-test: real connections over loopback between sockets of the agent's own, put into private
//! maps. Whatever the kernel does wrong, each case ends in time.

mod bodies;
mod ends;
mod exchange;
mod options;
mod socket;

use std::fmt::Display;
use std::time::{Duration, Instant};

use mesh_common::accel::SocketLayout;

use super::case::{Case, Outcome, Verdict};
use super::not_run;
use crate::bpf::accel::Rig;

/// Most time for a case.
const CASE: Duration = Duration::from_secs(2);
/// Most time for all.
const ALL: Duration = Duration::from_secs(5);

/// Why a case has not passed.
#[derive(Debug)]
enum Problem {
    /// The kernel did something else.
    Saw(String),
    /// It could not be tried.
    CouldNot(String),
}

/// Turns errors into problems.
trait Blame<T> {
    /// The error is what the case is about.
    fn seen(self, call: &str) -> Result<T, Problem>;
    /// The error has nothing to do with it.
    fn needed(self, call: &str) -> Result<T, Problem>;
}

impl<T, E: Display> Blame<T> for Result<T, E> {
    fn seen(self, call: &str) -> Result<T, Problem> {
        self.map_err(|error| Problem::Saw(format!("{call}: {error}")))
    }

    fn needed(self, call: &str) -> Result<T, Problem> {
        self.map_err(|error| Problem::CouldNot(format!("{call}: {error}")))
    }
}

/// When a case must have ended.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
}

impl Deadline {
    fn new(all: Instant) -> Self {
        Self { at: all.min(Instant::now() + CASE) }
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Tries every case.
pub(super) fn run(object: &[u8], layout: &SocketLayout) -> Vec<Verdict> {
    let all = Instant::now() + ALL;
    let rig = Rig::load(object, layout);
    let rig = rig.and_then(|mut rig| rig.switch(true).map(|()| rig));
    let mut rig = match rig {
        Ok(rig) => rig,
        Err(error) => return not_run(&error.to_string()),
    };
    let mut verdicts: Vec<Verdict> = Vec::new();
    for case in Case::ALL {
        // By TCP everything works: what follows would prove nothing.
        let redirects = verdicts.first().is_none_or(|redirect| redirect.outcome == Outcome::Passed);
        let outcome = if !redirects {
            Outcome::NotRun("nothing is redirected".to_owned())
        } else if Instant::now() >= all {
            Outcome::NotRun(format!("{} s are over", ALL.as_secs()))
        } else {
            match attempt(case, &mut rig, Deadline::new(all)) {
                Ok(()) => Outcome::Passed,
                Err(Problem::Saw(seen)) => Outcome::Failed(seen),
                Err(Problem::CouldNot(why)) => Outcome::NotRun(why),
            }
        };
        verdicts.push(Verdict { case, outcome });
    }
    verdicts
}

fn attempt(case: Case, rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    match case {
        Case::Redirect => exchange::redirect(rig, deadline),
        Case::EpollReader => exchange::epoll_reader(rig, deadline),
        Case::LargeBody => bodies::large_body(rig, deadline),
        Case::HalfClose => ends::half_close(rig, deadline),
        Case::AbruptClose => ends::abrupt_close(rig, deadline),
        Case::ManySmallWrites => bodies::many_small_writes(rig, deadline),
        Case::Peek => options::peek(rig, deadline),
        Case::Fionread => options::fionread(rig, deadline),
        Case::ZeroCopy => options::zero_copy(rig, deadline),
        Case::Bounded => bodies::bounded(rig, deadline),
        Case::SwitchOff => bodies::switch_off(rig, deadline),
        Case::BlockingReaderAfterHalfClose => ends::blocking_reader(rig, deadline),
        Case::Rcvlowat => options::rcvlowat(rig, deadline),
        Case::SpliceReader => options::splice_reader(rig, deadline),
    }
}
