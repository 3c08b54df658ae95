//! The cases of the self-test, and what became of them.

use std::fmt;

/// What is tried on this kernel. Names are those of `mesh-agent check` and of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Case {
    /// Small messages go back and forth past TCP, and are counted to the byte.
    Redirect,
    /// A reader that sleeps in epoll is woken by every message.
    EpollReader,
    /// Bodies of some MiB arrive whole, also where the window is full and TCP takes over.
    LargeBody,
    /// After `shutdown(SHUT_WR)` the reader gets every byte, then the end; and can answer.
    HalfClose,
    /// After `close()` the reader gets every byte, then the end.
    AbruptClose,
    /// 10,000 messages of 1 to 64 bytes arrive in order.
    ManySmallWrites,
    /// `MSG_PEEK` shows data and leaves it.
    Peek,
    /// `FIONREAD` says how much can be read.
    Fionread,
    /// A sender that uses `MSG_ZEROCOPY` gets its completions: its data goes by TCP.
    ZeroCopy,
    /// A sender that nobody reads from is held back.
    Bounded,
    /// Switched off in mid-stream: every byte arrives in order, by TCP from then on.
    SwitchOff,
    /// A thread that blocks in `recv()` around a `shutdown(SHUT_WR)` gets the answer.
    BlockingReaderAfterHalfClose,
    /// A reader is not woken before as many bytes are there as `SO_RCVLOWAT` says.
    Rcvlowat,
    /// `splice()` takes data out of the socket.
    SpliceReader,
}

/// Whom a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Every program: nothing is accelerated.
    Everybody,
    /// Programs that do just this: services for which somebody has said that theirs do not may be
    /// accelerated.
    Some,
}

impl Case {
    /// All, in the order of the test: without the first, the others would try TCP.
    pub const ALL: [Self; 14] = [
        Self::Redirect,
        Self::EpollReader,
        Self::LargeBody,
        Self::HalfClose,
        Self::AbruptClose,
        Self::ManySmallWrites,
        Self::Peek,
        Self::Fionread,
        Self::ZeroCopy,
        Self::Bounded,
        Self::SwitchOff,
        Self::BlockingReaderAfterHalfClose,
        Self::Rcvlowat,
        Self::SpliceReader,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::EpollReader => "epoll_reader",
            Self::LargeBody => "large_body",
            Self::HalfClose => "half_close",
            Self::AbruptClose => "abrupt_close",
            Self::ManySmallWrites => "many_small_writes",
            Self::Peek => "peek",
            Self::Fionread => "fionread",
            Self::ZeroCopy => "zero_copy",
            Self::Bounded => "bounded",
            Self::SwitchOff => "switch_off",
            Self::BlockingReaderAfterHalfClose => "blocking_reader_after_half_close",
            Self::Rcvlowat => "rcvlowat",
            Self::SpliceReader => "splice_reader",
        }
    }

    /// Whom a failure concerns.
    #[must_use]
    pub const fn concern(self) -> Concern {
        match self {
            Self::Redirect
            | Self::EpollReader
            | Self::LargeBody
            | Self::HalfClose
            | Self::AbruptClose
            | Self::ManySmallWrites
            | Self::Peek
            | Self::Fionread
            | Self::ZeroCopy
            | Self::Bounded
            | Self::SwitchOff => Concern::Everybody,
            Self::BlockingReaderAfterHalfClose | Self::Rcvlowat | Self::SpliceReader => {
                Concern::Some
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not so; with what was seen.
    Failed(String),
    /// It could not be tried; with why.
    NotRun(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(seen) => write!(f, "failed: {seen}"),
            Self::NotRun(why) => write!(f, "not run: {why}"),
        }
    }
}

/// A case, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which one.
    pub case: Case,
    /// What became of it.
    pub outcome: Outcome,
}
