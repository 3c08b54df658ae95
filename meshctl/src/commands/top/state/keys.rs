//! What each key does.

use super::{Effect, Page, State};

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Key {
    Char(char),
    Interrupt,
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Keys and what they do, for the page that says so.
pub(in super::super) const HELP: [(&str, &str); 13] = [
    ("↑ ↓ j k", "choose a row"),
    ("PgUp PgDn", "a screen up or down"),
    ("Home End g G", "the first or the last row"),
    ("Enter", "show a row: 15 minutes, causes of failure, versions"),
    ("/", "show only rows whose name contains what is typed"),
    ("Esc", "show all rows again; leave a page"),
    ("← → s S", "sort by another column"),
    ("r", "turn the order round"),
    ("Tab", "rows by service, edge, version, workload, node"),
    ("p Space", "stop and go on"),
    ("?", "this page"),
    ("q", "end"),
    ("Ctrl-C", "end, with exit code 130"),
];

/// Longest filter.
const FILTER: usize = 64;

impl State {
    pub(super) fn key(&mut self, key: Key) -> Effect {
        if key == Key::Interrupt {
            return Effect::Interrupt;
        }
        match &self.page {
            Page::Table if self.typing => self.typed(key),
            Page::Table => self.in_table(key),
            Page::Help => {
                self.page = Page::Table;
                Effect::None
            }
            Page::Row(..) => self.in_row(key),
        }
    }

    fn typed(&mut self, key: Key) -> Effect {
        match key {
            Key::Char(char) if self.filter.chars().count() < FILTER => self.filter.push(char),
            Key::Backspace => {
                self.typing = self.filter.pop().is_some();
            }
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.filter.clear();
                self.typing = false;
            }
            Key::Up => self.move_by(-1),
            Key::Down => self.move_by(1),
            Key::Char(_)
            | Key::Interrupt
            | Key::Tab
            | Key::BackTab
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => {}
        }
        Effect::None
    }

    fn in_table(&mut self, key: Key) -> Effect {
        let screen = isize::try_from(self.height).unwrap_or(1);
        match key {
            Key::Char('q') => return Effect::Quit,
            Key::Enter => return self.open(),
            Key::Tab => return self.group(1),
            Key::BackTab => return self.group(crate::traffic::By::ALL.len() - 1),
            Key::Char('?' | 'h') => self.page = Page::Help,
            Key::Char('/') => self.typing = true,
            Key::Char('p' | ' ') => self.pause(),
            Key::Char('s') | Key::Right => self.sort_by(1),
            Key::Char('S') | Key::Left => self.sort_by(crate::traffic::Column::ALL.len() - 1),
            Key::Char('r') => self.reverse = !self.reverse,
            Key::Char('k') | Key::Up => self.move_by(-1),
            Key::Char('j') | Key::Down => self.move_by(1),
            Key::PageUp => self.move_by(-screen),
            Key::PageDown => self.move_by(screen),
            Key::Char('g') | Key::Home => self.select(0),
            Key::Char('G') | Key::End => self.move_by(isize::MAX),
            Key::Escape => self.filter.clear(),
            Key::Char(_) | Key::Backspace | Key::Interrupt => {}
        }
        Effect::None
    }

    fn in_row(&mut self, key: Key) -> Effect {
        match key {
            Key::Escape | Key::Enter | Key::Backspace | Key::Left | Key::Char('q') => {
                self.page = Page::Table;
            }
            Key::Char('?' | 'h') => self.page = Page::Help,
            Key::Char('p' | ' ') => self.pause(),
            Key::Char(_)
            | Key::Interrupt
            | Key::Tab
            | Key::BackTab
            | Key::Up
            | Key::Down
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => {}
        }
        Effect::None
    }
}
