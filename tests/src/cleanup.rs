//! What must be undone whatever happens: on drop, on panic (unwinding drops), and on Ctrl-C,
//! where a watcher thread undoes everything in reverse order and ends the process.

use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::{sys, ui};

type Undo = Box<dyn FnOnce() + Send>;

struct Registry {
    next: u64,
    /// In order of registration; undone from the back.
    pending: Vec<(u64, Undo)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { next: 0, pending: Vec::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set once the watcher has begun to undo.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// After an interrupt the watcher alone acts: every other thread that reaches a guard, or the
/// end of main, stops here, so that nothing new is made and the process does not end early.
pub fn stop_if_interrupted() {
    while INTERRUPTED.load(Ordering::Relaxed) && thread::current().name() != Some(WATCHER) {
        thread::park();
    }
}

const WATCHER: &str = "interrupt";

/// Undoes its part when dropped, once.
#[derive(Debug)]
#[must_use = "dropping the guard undoes at once"]
pub struct Guard(u64);

/// Registers `undo` to run when the guard drops or the process is interrupted.
pub fn on_exit(undo: impl FnOnce() + Send + 'static) -> Guard {
    stop_if_interrupted();
    let mut registry = registry();
    registry.next += 1;
    let id = registry.next;
    registry.pending.push((id, Box::new(undo)));
    Guard(id)
}

impl Drop for Guard {
    fn drop(&mut self) {
        stop_if_interrupted();
        let undo = {
            let mut registry = registry();
            let at = registry.pending.iter().position(|(id, _)| *id == self.0);
            at.map(|at| registry.pending.remove(at).1)
        };
        if let Some(undo) = undo {
            undo();
        }
    }
}

/// Undoes everything that is still registered, youngest first.
fn undo_all() {
    loop {
        let next = registry().pending.pop();
        let Some((_, undo)) = next else { return };
        undo();
    }
}

/// Makes Ctrl-C, SIGTERM and SIGHUP undo everything and exit with 130. Idempotent.
pub fn catch_interrupts() -> anyhow::Result<()> {
    static INSTALLED: Once = Once::new();
    let mut outcome = Ok(());
    INSTALLED.call_once(|| outcome = install());
    outcome
}

fn install() -> anyhow::Result<()> {
    let (wake, poke) = pipe2(OFlag::O_CLOEXEC)?;
    sys::catch_signals(poke)?;
    thread::Builder::new().name(WATCHER.to_owned()).spawn(move || {
        if File::from(wake).read_exact(&mut [0]).is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
            ui::note("interrupted: cleaning up");
            undo_all();
            #[expect(clippy::exit, reason = "main may be blocked anywhere; all is undone")]
            std::process::exit(130);
        }
    })?;
    Ok(())
}
