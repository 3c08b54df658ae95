//! The ways to fail, and how each ends.

use crate::farm::Member;
use crate::firewall;
use crate::testbed::PORT;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// SIGKILL: open connections are reset, further ones refused by its kernel.
    Killed,
    /// SIGSTOP: its kernel goes on to accept, nobody answers.
    Frozen,
    /// It stops listening: further connections are refused by its kernel.
    Closed,
    /// A firewall drops what arrives: no answer at all.
    Dropped,
    /// It stops listening and listens again, every `FLAP_MS`.
    Flapping,
}

const FLAP_MS: u32 = 200;

impl Fault {
    pub(super) fn begin(self, member: &mut Member) -> anyhow::Result<()> {
        match self {
            Self::Killed => member.kill(),
            Self::Frozen => member.freeze(),
            Self::Closed => member.tell("close"),
            Self::Dropped => firewall::drop_port(&member.netns, PORT),
            Self::Flapping => member.tell(&format!("flap {FLAP_MS}")),
        }
    }

    pub(super) fn end(self, member: &mut Member) -> anyhow::Result<()> {
        match self {
            Self::Killed => member.restart(),
            Self::Frozen => member.thaw(),
            Self::Closed | Self::Flapping => member.tell("listen"),
            Self::Dropped => firewall::open(&member.netns),
        }
    }
}
