//! Ends that block, as simple programs do: the client asks, half-closes and waits in `recv`; the
//! server reads to the end, waits until the client's end is acknowledged, and answers.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::plan::{Pattern, Plan, Side};
use super::{Options, beside};
use crate::ui;

/// Longer than it takes to acknowledge the client's end, which is what wakes its reader.
const LATER: Duration = Duration::from_millis(10);

/// Outcomes of a client's reads.
#[derive(Debug, Default)]
struct Seen {
    would_block: u64,
    mismatches: u64,
    bytes: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let pattern = Pattern::new(options.seed);
    let mut seen = Seen::default();
    beside(
        options,
        |ready| serve(options, &pattern, &ready),
        || {
            for number in 0..options.connections {
                let asked = ask(options, &pattern, number, &mut seen);
                asked.with_context(|| format!("connection {number}"))?;
            }
            Ok(())
        },
    )?;
    ui::say(
        json!({
            "connections": options.connections,
            "bytes": seen.bytes,
            "would_block": seen.would_block,
            "mismatches": seen.mismatches,
        })
        .to_string(),
    );
    Ok(())
}

/// All that one end sends.
fn content<'a>(pattern: &'a Pattern, plan: &Plan, by: Side) -> &'a [u8] {
    let most = usize::try_from(plan.total(by)).unwrap_or(usize::MAX);
    pattern.at(0, 0, most)
}

fn serve(options: &Options, pattern: &Pattern, ready: &Sender<()>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    ready.send(())?;
    for number in 0..options.connections {
        let plan = Plan::new(options.seed, number, options.largest);
        let (mut stream, _) = listener.accept()?;
        // A client that was told to come back has gone.
        drop(answer(&mut stream, content(pattern, &plan, Side::Server)));
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, content: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer)? > 0 {}
    thread::sleep(LATER);
    stream.write_all(content)
}

fn ask(options: &Options, pattern: &Pattern, number: u64, seen: &mut Seen) -> Result<()> {
    let plan = Plan::new(options.seed, number, options.largest);
    let mut stream = TcpStream::connect(options.target)?;
    stream.write_all(content(pattern, &plan, Side::Client))?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) if answer == content(pattern, &plan, Side::Server) => {}
        Ok(_) => seen.mismatches += 1,
        Err(error) if error.kind() == ErrorKind::WouldBlock => seen.would_block += 1,
        Err(error) => return Err(error),
    }
    seen.bytes += u64::try_from(answer.len()).unwrap_or(0);
    Ok(())
}
