//! The terminal: taken at the beginning, given back however this ends.

use std::time::Instant;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use mesh_api::convert::milliseconds;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::StreamExt as _;

use super::draw::draw;
use super::feed::Feed;
use super::state::{Effect, Input, Key, State};
use super::view::table_rows;
use crate::failure::Failure;
use crate::output::style::Style;

/// Shows the state and changes it, until somebody ends it.
pub(super) async fn run(
    mut state: State,
    mut feed: Feed<'_>,
    first: Input,
    style: Style,
) -> Result<(), Failure> {
    let failed = |error| Failure::io("the terminal", error);
    let signals = |error| Failure::io("signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(signals)?;
    let mut screen = Screen::take().map_err(failed)?;
    let mut keys = EventStream::new();
    let start = Instant::now();
    let mut input = first;
    loop {
        match state.on(input, milliseconds(start.elapsed())) {
            Effect::None => {}
            Effect::Quit => return Ok(()),
            Effect::Interrupt => return Err(Failure::Interrupted),
            Effect::Fetch(query) => feed.fetch(*query),
            Effect::Subscribe(scope) => feed.subscribe(*scope),
        }
        let size = screen.0.size().map_err(failed)?;
        state.fit(table_rows(usize::from(size.height)));
        screen.0.draw(|frame| draw(frame, &state, style.colour())).map_err(failed)?;
        input = tokio::select! {
            event = keys.next() => match event {
                Some(Ok(event)) => read(&event),
                Some(Err(error)) => return Err(failed(error)),
                None => return Err(Failure::Closed),
            },
            heard = feed.next() => heard?,
            _ = terminate.recv() => return Err(Failure::Interrupted),
            _ = hangup.recv() => return Err(Failure::Interrupted),
        };
    }
}

/// The screen in raw mode. A panic gives it back before its message is printed.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> std::io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it fails the terminal has gone.
        self.0.show_cursor().unwrap_or_default();
        ratatui::try_restore().unwrap_or_default();
    }
}

/// What an event means.
fn read(event: &Event) -> Input {
    match event {
        Event::Key(event) if event.kind != KeyEventKind::Release => {
            key(event).map_or(Input::Resize, Input::Key)
        }
        Event::Key(_)
        | Event::Resize(..)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_)
        | Event::Paste(_) => Input::Resize,
    }
}

fn key(event: &KeyEvent) -> Option<Key> {
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return (event.code == KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    let keys = [
        (KeyCode::Enter, Key::Enter),
        (KeyCode::Esc, Key::Escape),
        (KeyCode::Backspace, Key::Backspace),
        (KeyCode::Tab, Key::Tab),
        (KeyCode::BackTab, Key::BackTab),
        (KeyCode::Up, Key::Up),
        (KeyCode::Down, Key::Down),
        (KeyCode::Left, Key::Left),
        (KeyCode::Right, Key::Right),
        (KeyCode::PageUp, Key::PageUp),
        (KeyCode::PageDown, Key::PageDown),
        (KeyCode::Home, Key::Home),
        (KeyCode::End, Key::End),
    ];
    let named = keys.into_iter().find(|(code, _)| *code == event.code).map(|(_, key)| key);
    named.or_else(|| event.code.as_char().map(Key::Char))
}
