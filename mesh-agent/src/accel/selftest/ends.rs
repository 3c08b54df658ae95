//! Connections that end, or half of them: TCP carries the end, and must not overtake what does not
//! go by TCP.

use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
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

/// A thread blocks in `recv()` for the answer, and the connection is half-closed: that, and the
/// acknowledgement of it, wake the thread without data. A program with one thread meets only the
/// acknowledgement, some milliseconds later, and only if it is asleep by then; here it always is.
pub(super) fn blocking_reader(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    (0..3).try_for_each(|_| blocked_once(rig, deadline))
}

fn blocked_once(rig: &mut Rig, deadline: Deadline) -> Result<(), Problem> {
    const REQUEST: usize = 1_000;
    /// Longer than the kernel keeps an acknowledgement back (`TCP_DELACK_MIN`, 40 ms).
    const PAUSE: Duration = Duration::from_millis(60);
    /// Until a thread that is about to call `recv()` sleeps there.
    const SOON: Duration = Duration::from_millis(5);
    /// For the socket itself: nothing keeps this thread for ever.
    const PATIENCE: Duration = Duration::from_secs(1);
    let link = Link::open(rig, deadline)?;
    link.client.set_nonblocking(false).needed("O_NONBLOCK")?;
    link.client.set_read_timeout(Some(PATIENCE)).needed("SO_RCVTIMEO")?;
    send(&link.client, 0, REQUEST, deadline)?;
    link.redirected(rig, REQUEST as u64)?;
    let (tell, told) = channel();
    let reader = || {
        // Who waits for it may be gone.
        tell.send(()).unwrap_or_default();
        let start = Instant::now();
        let mut answer = [0; 256];
        let read = (&link.client).read(&mut answer);
        let after = start.elapsed();
        tell.send(()).unwrap_or_default();
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
        told.recv_timeout(deadline.left()).needed("start a thread")?;
        thread::sleep(SOON);
        link.client.shutdown(Shutdown::Write).seen("shutdown")?;
        receive(&link.server, 0, REQUEST, deadline)?;
        receive_end(&link.server, deadline)?;
        match told.recv_timeout(PAUSE) {
            // It has not waited: it says what it saw.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => send(&link.server, 0, 100, deadline),
        }
    })
}
