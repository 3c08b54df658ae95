//! Connections that end, or half of them: TCP carries the end, and must not overtake what does not
//! go by TCP.

use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::socket::{Link, beside, compare, receive, receive_end, send};
use super::{Blame as _, Deadline, Problem};
use crate::bpf::accel::Rig;

/// Fits into the window, so that all of it is in flight past TCP.
const IN_FLIGHT: usize = 512 << 10;
/// More than the window: the last part goes by TCP.
const MORE: usize = 2 << 20;
const ANSWER: usize = 64 << 10;

/// Data in flight, then the end; and the other way still works.
pub(super) fn half_close(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = Link::open(rig, deadline)?;
    send(&link.client, 0, IN_FLIGHT, deadline)?;
    link.redirected(rig, IN_FLIGHT as u64)?;
    link.client.shutdown(Shutdown::Write).seen("shutdown")?;
    receive(&link.server, 0, IN_FLIGHT, deadline)?;
    receive_end(&link.server, deadline)?;
    send(&link.server, 0, ANSWER, deadline)?;
    receive(&link.client, 0, ANSWER, deadline)?;

    let link = Link::open(rig, deadline)?;
    let reader = || {
        receive(&link.server, 0, MORE, deadline)?;
        receive_end(&link.server, deadline)
    };
    beside(reader, || {
        send(&link.client, 0, MORE, deadline)?;
        link.client.shutdown(Shutdown::Write).seen("shutdown")
    })
}

/// The same with `close()`: nobody is left who could send anything again.
pub(super) fn abrupt_close(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    let link = Link::open(rig, deadline)?;
    send(&link.client, 0, IN_FLIGHT, deadline)?;
    link.redirected(rig, IN_FLIGHT as u64)?;
    let Link { client, server, .. } = link;
    drop(client);
    receive(&server, 0, IN_FLIGHT, deadline)?;
    receive_end(&server, deadline)?;

    let Link { client, server, .. } = Link::open(rig, deadline)?;
    let reader = || {
        receive(&server, 0, MORE, deadline)?;
        receive_end(&server, deadline)
    };
    beside(reader, move || {
        send(&client, 0, MORE, deadline)?;
        drop(client);
        Ok(())
    })
}

/// A thread sends, half-closes, and blocks in `recv()` for the answer. The acknowledgement of its
/// end wakes it without data.
pub(super) fn blocking_reader(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    (0..3).try_for_each(|_| blocked_once(rig, deadline))
}

fn blocked_once(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const REQUEST: usize = 1_000;
    /// Longer than the kernel keeps the acknowledgement back (`TCP_DELACK_MIN`, 40 ms).
    const PAUSE: Duration = Duration::from_millis(60);
    /// For the socket itself: nothing keeps this thread for ever.
    const PATIENCE: Duration = Duration::from_secs(1);
    let link = Link::open(rig, deadline)?;
    link.client.set_nonblocking(false).needed("O_NONBLOCK")?;
    link.client.set_read_timeout(Some(PATIENCE)).needed("SO_RCVTIMEO")?;
    send(&link.client, 0, REQUEST, deadline)?;
    link.redirected(rig, REQUEST as u64)?;
    link.client.shutdown(Shutdown::Write).seen("shutdown")?;
    let (ended, end) = channel();
    let reader = || {
        let start = Instant::now();
        let mut answer = [0; 256];
        let read = (&link.client).read(&mut answer);
        let after = start.elapsed();
        // Who waits for it may be gone.
        ended.send(()).unwrap_or_default();
        match read {
            Ok(0) => Err(Problem::Saw("recv: the end, instead of the answer".to_owned())),
            Ok(count) => compare(answer.get(..count).unwrap_or_default(), 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock && after < PATIENCE => {
                Err(Problem::Saw(format!("recv: EAGAIN after {} ms", after.as_millis())))
            }
            Err(error) => Err(Problem::Saw(format!("recv: {error}"))),
        }
    };
    beside(reader, || {
        receive(&link.server, 0, REQUEST, deadline)?;
        receive_end(&link.server, deadline)?;
        match end.recv_timeout(PAUSE) {
            // It has not waited: it says what it saw.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => send(&link.server, 0, 100, deadline),
        }
    })
}
