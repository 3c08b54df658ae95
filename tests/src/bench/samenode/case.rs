//! What is measured, and what it should come to.

/// What an accelerated figure should be, as a ratio to direct.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// Time of an exchange, at most.
    Time(f64),
    /// Exchanges in a time, at least.
    Rate(f64),
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    /// Bytes of a question, and of its answer.
    pub(super) bytes: (u32, u32),
    pub(super) connections: u32,
    /// Exchanges of a turn.
    pub(super) per_turn: u32,
    /// Both programs share one CPU.
    pub(super) pinned: bool,
    /// A connection for each exchange.
    pub(super) once: bool,
    /// All data must have gone past the network stack.
    pub(super) past_tcp: bool,
    pub(super) aim: Aim,
}

const PING_PONG: Case = Case {
    name: "ping-pong of 64 B",
    key: "ping_pong_64",
    bytes: (64, 64),
    connections: 1,
    per_turn: 400,
    pinned: true,
    once: false,
    past_tcp: true,
    aim: Aim::Time(0.70),
};

const STREAM: Case = Case {
    name: "stream, 1 connection",
    key: "stream_1",
    bytes: (8 << 20, 1),
    per_turn: 2,
    past_tcp: false,
    aim: Aim::Rate(0.95),
    ..PING_PONG
};

/// Those that use all CPUs come first: afterwards this process keeps off one of them.
pub(super) const CASES: [Case; 9] = [
    Case {
        name: "16 connections, 64 B, all CPUs",
        key: "rate_16",
        connections: 16,
        per_turn: 4_000,
        pinned: false,
        aim: Aim::Rate(1.7),
        ..PING_PONG
    },
    Case {
        name: "16 connections, 64 B, one CPU",
        key: "rate_16_one_cpu",
        connections: 16,
        per_turn: 2_000,
        aim: Aim::Rate(1.7),
        ..PING_PONG
    },
    PING_PONG,
    Case {
        name: "ping-pong of 1 KiB",
        key: "ping_pong_1024",
        bytes: (1 << 10, 1 << 10),
        ..PING_PONG
    },
    Case {
        name: "ping-pong of 16 KiB",
        key: "ping_pong_16384",
        bytes: (16 << 10, 16 << 10),
        per_turn: 200,
        aim: Aim::Time(0.75),
        ..PING_PONG
    },
    Case {
        name: "ping-pong of 64 KiB",
        key: "ping_pong_65536",
        bytes: (64 << 10, 64 << 10),
        per_turn: 80,
        aim: Aim::Time(0.65),
        ..PING_PONG
    },
    STREAM,
    Case {
        name: "stream, 16 connections",
        key: "stream_16",
        bytes: (1 << 20, 1),
        connections: 16,
        per_turn: 32,
        ..STREAM
    },
    Case {
        name: "connect, 64 B each way, close",
        key: "connect_request_close",
        per_turn: 100,
        once: true,
        past_tcp: false,
        aim: Aim::Rate(0.95),
        ..PING_PONG
    },
];

impl Aim {
    /// In words, and whether a median ratio of times to direct is good enough.
    pub(super) fn judge(self, time: f64) -> (String, bool) {
        match self {
            Self::Time(most) => (format!("at most {most:.2} of direct's time"), time <= most),
            Self::Rate(least) => {
                (format!("at least {least:.2} of direct's rate"), time * least <= 1.0)
            }
        }
    }
}
