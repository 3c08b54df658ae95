//! Payload bytes of a finished TCP connection, from the kernel's sequence-space counters.
//!
//! `bytes_acked` and `bytes_received` (`struct tcp_sock`) count sequence numbers: SYN and FIN
//! are one each. Whether the FINs were counted follows from the state the socket closed from
//! (RFC 9293 §3.3.2, Linux `tcp_fin`, `tcp_time_wait`).

/// TCP states as sockops reports them (`include/net/tcp_states.h`).
pub mod state {
    /// Established.
    pub const ESTABLISHED: u32 = 1;
    /// Our FIN sent, theirs not seen.
    pub const FIN_WAIT1: u32 = 4;
    /// Our FIN sent and acknowledged, theirs not seen.
    pub const FIN_WAIT2: u32 = 5;
    /// Closed.
    pub const CLOSE: u32 = 7;
    /// Their FIN seen, ours not sent.
    pub const CLOSE_WAIT: u32 = 8;
    /// Their FIN seen, ours sent.
    pub const LAST_ACK: u32 = 9;
    /// Both FINs sent at once, ours not yet acknowledged.
    pub const CLOSING: u32 = 11;
}

/// What a socket shows when it goes to `CLOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Final {
    /// The state before.
    pub from: u32,
    /// Whether everything sent has been acknowledged: `snd_una == snd_nxt`.
    pub all_acked: bool,
    /// `bytes_acked`.
    pub acked: u64,
    /// `bytes_received`.
    pub received: u64,
    /// Low half of `bytes_received` on entering `FIN_WAIT2`.
    pub received_mark: u32,
}

/// Payload bytes acknowledged by the peer.
#[must_use]
#[inline(always)]
pub const fn sent(end: &Final) -> u64 {
    let fin = match end.from {
        state::FIN_WAIT2 => true,
        state::LAST_ACK | state::CLOSING => end.all_acked,
        _ => false,
    };
    end.acked.saturating_sub(1 + fin as u64)
}

/// Payload bytes sent by the end that has accepted the connection, of which `in_flight` were not
/// acknowledged: what a client acknowledges together with its reset, the kernel does not look at.
/// The counter begins behind the SYN (`tcp_create_openreq_child`). One too few if it was closed
/// before there was room in the client's window for the FIN.
#[must_use]
#[inline(always)]
pub const fn sent_by_server(end: &Final, in_flight: u32) -> u64 {
    let fin =
        matches!(end.from, state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING);
    (end.acked + in_flight as u64).saturating_sub(fin as u64)
}

/// Payload bytes received. One too few if a half-closed socket received data and was then
/// closed before the peer's FIN came; nothing in the BPF context tells this case apart.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "compared with a low half")]
pub const fn received(end: &Final) -> u64 {
    let fin = match end.from {
        state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING => true,
        // An orphan leaves for TIME_WAIT with nothing received since; otherwise the FIN was.
        state::FIN_WAIT2 => end.received as u32 != end.received_mark,
        _ => false,
    };
    end.received.saturating_sub(fin as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Final = Final {
        from: state::ESTABLISHED,
        all_acked: true,
        acked: 101,
        received: 200,
        received_mark: 0,
    };

    #[test]
    fn a_reset_connection_sent_no_fin() {
        assert_eq!((sent(&END), received(&END)), (100, 200));
    }

    #[test]
    fn the_peer_closed_first() {
        let end = Final { from: state::LAST_ACK, acked: 102, received: 201, ..END };
        assert_eq!((sent(&end), received(&end)), (100, 200));
        let reset = Final { all_acked: false, acked: 101, ..end };
        assert_eq!(sent(&reset), 100);
        let server = Final { acked: 101, ..end };
        assert_eq!((sent_by_server(&server, 0), received(&server)), (100, 200));
        let lost = Final { all_acked: false, acked: 80, ..end };
        assert_eq!(sent_by_server(&lost, 21), 100);
    }

    #[test]
    fn what_a_client_took_before_its_reset_was_sent() {
        let end = Final { all_acked: false, acked: 0, ..END };
        assert_eq!((sent_by_server(&end, 100), received(&end)), (100, 200));
    }

    #[test]
    fn we_closed_first() {
        let orphan =
            Final { from: state::FIN_WAIT2, acked: 102, received: 200, received_mark: 200, ..END };
        assert_eq!((sent(&orphan), received(&orphan)), (100, 200));
        let waited = Final { received: 201, ..orphan };
        assert_eq!(received(&waited), 200);
    }
}
