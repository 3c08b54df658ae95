//! Several threads that write to one connection at the same time, while one reads what as many threads
//! at the other end write. Each thread's bytes have to arrive in its order, however they are mixed
//! with those of others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::poll::PollFlags;

use super::end::once_ready;

/// Threads that write at each end.
pub(super) const WRITERS: u8 = 4;
/// The numbers that a thread counts through: the upper two bits say which thread.
const NUMBERS: usize = 64;
/// So much is read between two pauses: what is written meanwhile has to wait somewhere.
const BETWEEN_PAUSES: usize = 3 << 20;

/// Each thread writes so many bytes, in messages of this size.
pub(super) fn run(stream: &TcpStream, bytes: usize, message: usize) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|own| scope.spawn(move || write(stream, own, bytes, message)))
            .collect();
        read(stream, bytes)?;
        for writer in writers {
            writer.join().ok().context("a writer panicked")??;
        }
        Ok(())
    })
}

fn write(mut stream: &TcpStream, own: u8, bytes: usize, message: usize) -> anyhow::Result<()> {
    let numbers: Vec<u8> = (0..NUMBERS).map(|number| byte(own, number)).collect();
    let text = numbers.repeat(message / NUMBERS + 2);
    let mut sent = 0;
    while sent < bytes {
        let from = sent % NUMBERS;
        let part = text.get(from..from + message.min(bytes - sent)).context("too long")?;
        sent += once_ready(stream, PollFlags::POLLOUT, || stream.write(part))?;
    }
    Ok(())
}

fn read(mut stream: &TcpStream, bytes: usize) -> anyhow::Result<()> {
    let mut taken = [0; WRITERS as usize];
    let mut buffer = vec![0; 64 << 10];
    let (mut all, mut pause) = (0, BETWEEN_PAUSES);
    while all < bytes * usize::from(WRITERS) {
        let count = once_ready(stream, PollFlags::POLLIN, || stream.read(&mut buffer))?;
        ensure!(count > 0, "the stream ends after {all} bytes");
        for seen in buffer.get(..count).unwrap_or_default() {
            let own = seen >> 6;
            let taken = taken.get_mut(usize::from(own)).context("no such writer")?;
            ensure!(*seen == byte(own, *taken), "writer {own}: out of order after {taken} bytes");
            *taken += 1;
        }
        all += count;
        if all > pause {
            thread::sleep(Duration::from_millis(2));
            pause += BETWEEN_PAUSES;
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "less than 64")]
const fn byte(own: u8, number: usize) -> u8 {
    own << 6 | (number % NUMBERS) as u8
}
