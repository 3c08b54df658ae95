//! What a connection has carried, and whether that is worth acceleration. Pure.

use mesh_common::accel::Pair;

use crate::sockets::wire::Carried;

/// Messages of both directions together, before a connection counts as chatty.
pub const CHATTY_MESSAGES: u64 = 100;
/// Bytes of a message on average, above which a connection is bulk.
pub const LARGEST_MEAN: u64 = 64 << 10;
/// Bytes below which nothing is called bulk: a single large answer is none.
pub const LEAST_BULK: u64 = 1 << 20;

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Payload bytes.
    pub bytes: u64,
    /// Messages that were redirected, and TCP segments with data of what was not. A message can be
    /// many segments, and few messages one.
    pub messages: u64,
}

/// What went both ways, as the client sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From client to server.
    pub sent: Flow,
    /// From server to client.
    pub received: Flow,
}

/// What kind of connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Too little to tell.
    Quiet,
    /// Many small messages, both ways.
    Chatty,
    /// Much, with few turns.
    Bulk,
}

impl Traffic {
    /// What TCP has carried for the client, and what went past it.
    #[must_use]
    pub fn new(tcp: Carried, pair: &Pair) -> Self {
        let flow = |bytes: u64, segments: u32, redirected: mesh_common::accel::Direction| Flow {
            bytes: bytes.saturating_add(redirected.bytes),
            messages: u64::from(segments).saturating_add(redirected.messages.into()),
        };
        Self {
            sent: flow(tcp.bytes_acked, tcp.segments_out, pair.sent),
            received: flow(tcp.bytes_received, tcp.segments_in, pair.received),
        }
    }

    /// What has come since an earlier look. Counters can begin anew.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        const fn less(now: Flow, before: Flow) -> Flow {
            Flow {
                bytes: now.bytes.saturating_sub(before.bytes),
                messages: now.messages.saturating_sub(before.messages),
            }
        }
        Self { sent: less(self.sent, before.sent), received: less(self.received, before.received) }
    }

    /// What kind of connection carries this. A large message is many segments, so that messages are
    /// counted by the direction that has fewer: who asks and is answered takes turns.
    #[must_use]
    pub fn kind(self) -> Kind {
        let bytes = self.sent.bytes.saturating_add(self.received.bytes);
        let messages = self.sent.messages.saturating_add(self.received.messages);
        let turns = self.sent.messages.min(self.received.messages);
        let most = turns.saturating_mul(2).saturating_mul(LARGEST_MEAN);
        if bytes >= LEAST_BULK && bytes > most {
            Kind::Bulk
        } else if turns > 0 && messages >= CHATTY_MESSAGES && bytes <= most {
            Kind::Chatty
        } else {
            Kind::Quiet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(sent: (u64, u64), received: (u64, u64)) -> Traffic {
        let flow = |(bytes, messages)| Flow { bytes, messages };
        Traffic { sent: flow(sent), received: flow(received) }
    }

    #[test]
    fn chatty_is_many_small_messages_both_ways() {
        for (sent, received, kind) in [
            ((50 * 64, 50), (50 * 64, 50), Kind::Chatty),
            ((49 * 64, 49), (50 * 64, 50), Kind::Quiet),
            // Questions that nobody answers.
            ((500 * 64, 500), (0, 0), Kind::Quiet),
            // 64 KiB each way, in segments of 1,448 bytes.
            ((100 << 16, 4600), (100 << 16, 4600), Kind::Chatty),
            // A download: few questions, many segments.
            ((1000, 10), (10 << 20, 7240), Kind::Bulk),
            ((100 << 20, 80_000), (0, 0), Kind::Bulk),
            // One large answer among many small ones.
            ((6400, 100), (2 << 20, 1500), Kind::Chatty),
            ((0, 0), (0, 0), Kind::Quiet),
        ] {
            assert_eq!(traffic(sent, received).kind(), kind, "{sent:?} {received:?}");
        }
    }

    #[test]
    fn what_is_new_is_told_from_what_was_there() {
        let (before, now) = (traffic((10, 1), (20, 2)), traffic((15, 2), (20, 2)));
        assert_eq!(now.since(before), traffic((5, 1), (0, 0)));
        assert_eq!(before.since(now), Traffic::default());
    }

    #[test]
    fn what_went_past_tcp_counts_as_well() {
        let tcp = Carried { bytes_acked: 1, bytes_received: 2, segments_out: 3, segments_in: 4 };
        let mut pair = Pair::default();
        (pair.sent.bytes, pair.sent.messages) = (10, 30);
        (pair.received.bytes, pair.received.messages) = (20, 40);
        assert_eq!(Traffic::new(tcp, &pair), traffic((11, 33), (22, 44)));
    }
}
