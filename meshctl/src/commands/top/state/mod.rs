//! What is being looked at: changed by keys and by answers, without a clock, a screen or a network.

mod keys;

use mesh_api::wire;

use super::detail::{Detail, Query};
use super::history::History;
use crate::traffic::{By, Column, Found, Row, Scope, Subject};

pub(super) use keys::{HELP, Key};

/// Answers after which the details of a row are asked for again.
const REFRESH: u32 = 5;

/// What happens.
#[derive(Debug)]
pub(super) enum Input {
    /// Somebody pressed a key.
    Key(Key),
    /// The screen has another size, or is to be drawn again.
    Resize,
    /// The control plane has answered; with its last minute where the connection is new.
    Connected(wire::SeriesResponse),
    Answer(wire::StatResponse),
    /// The details that were asked for; none where they could not be had.
    Details(Option<Box<Detail>>),
    /// The connection is lost: why.
    Lost(String),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    None,
    Quit,
    /// As Ctrl-C ends any command.
    Interrupt,
    /// Ask for the details of a row.
    Fetch(Box<Query>),
    /// Ask for rows that stand for something else.
    Subscribe(Box<Scope>),
}

/// What fills the screen.
#[derive(Debug, PartialEq)]
pub(super) enum Page {
    Table,
    Help,
    /// Of a row; its details as soon as they are there.
    Row(Subject, Option<Box<Detail>>),
}

/// All that is shown follows from it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) scope: Scope,
    pub(super) server: String,
    pub(super) sort: Column,
    pub(super) reverse: bool,
    /// What is shown; `None` before the first answer.
    pub(super) found: Option<Found>,
    /// The newest answer, held back while paused.
    held: Option<Found>,
    pub(super) history: History,
    pub(super) paused: bool,
    pub(super) filter: String,
    /// Whether the filter is being typed.
    pub(super) typing: bool,
    pub(super) page: Page,
    /// Why there is no connection.
    pub(super) lost: Option<String>,
    selected: Option<Subject>,
    /// First row on the screen.
    pub(super) top: usize,
    /// Rows that fit on the screen.
    height: usize,
    answers: u32,
}

impl State {
    pub(super) fn new(scope: Scope, sort: Column, server: &str) -> Self {
        Self {
            scope,
            server: server.to_owned(),
            sort,
            reverse: false,
            found: None,
            held: None,
            history: History::default(),
            paused: false,
            filter: String::new(),
            typing: false,
            page: Page::Table,
            lost: None,
            selected: None,
            top: 0,
            height: 1,
            answers: 0,
        }
    }

    /// Takes what has happened in; `now_ms` is any clock that goes on.
    pub(super) fn on(&mut self, input: Input, now_ms: u64) -> Effect {
        let effect = match input {
            Input::Key(key) => self.key(key),
            Input::Resize => Effect::None,
            Input::Connected(series) => {
                self.lost = None;
                self.history.seed(&series);
                Effect::None
            }
            Input::Answer(response) => self.answer(response, now_ms),
            Input::Details(detail) => {
                self.details(detail);
                Effect::None
            }
            Input::Lost(reason) => {
                self.lost = Some(reason);
                Effect::None
            }
        };
        self.settle();
        effect
    }

    /// How many rows fit.
    pub(super) fn fit(&mut self, rows: usize) {
        self.height = rows.max(1);
        self.settle();
    }

    fn answer(&mut self, response: wire::StatResponse, now_ms: u64) -> Effect {
        self.lost = None;
        let found = Found::new(self.scope.by, Column::Name, response);
        self.history.answer(&found.rows, now_ms);
        if self.paused {
            self.held = Some(found);
            return Effect::None;
        }
        self.found = Some(found);
        self.answers = self.answers.wrapping_add(1);
        match &self.page {
            Page::Row(subject, _) if self.answers.is_multiple_of(REFRESH) => {
                Effect::Fetch(Box::new(Query::new(&self.scope, subject)))
            }
            Page::Row(..) | Page::Table | Page::Help => Effect::None,
        }
    }

    fn details(&mut self, detail: Option<Box<Detail>>) {
        if let (Page::Row(subject, shown), Some(detail)) = (&mut self.page, detail)
            && detail.subject == *subject
        {
            *shown = Some(detail);
        }
    }

    /// The rows that pass the filter, sorted.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let wanted = self.filter.to_lowercase();
        let all = self.found.iter().flat_map(|found| &found.rows);
        let mut rows: Vec<&Row> =
            all.filter(|row| self.name(&row.subject).to_lowercase().contains(&wanted)).collect();
        rows.sort_by(|a, b| {
            let order = self.sort.compare(a, b);
            if self.reverse { order.reverse() } else { order }
        });
        rows
    }

    /// A row's name in this view.
    pub(super) fn name(&self, subject: &Subject) -> String {
        subject.name(self.scope.by, self.scope.namespace.is_empty())
    }

    /// Where the selected row is; the first where there is no such row.
    pub(super) fn cursor(&self) -> usize {
        let rows = self.rows();
        let is = |row: &&Row| self.selected.as_ref() == Some(&row.subject);
        rows.iter().position(is).unwrap_or(0)
    }

    /// Whether the newest answer is held back.
    pub(super) const fn is_behind(&self) -> bool {
        self.held.is_some()
    }

    /// Row of the details.
    pub(super) fn row(&self, subject: &Subject) -> Option<&Row> {
        self.found.iter().flat_map(|found| &found.rows).find(|row| row.subject == *subject)
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if let Some(found) = self.held.take() {
            self.found = Some(found);
        }
    }

    fn select(&mut self, index: usize) {
        let row = self.rows().get(index).map(|row| row.subject.clone());
        self.selected = row;
    }

    fn move_by(&mut self, rows: isize) {
        let last = self.rows().len().saturating_sub(1);
        self.select(self.cursor().saturating_add_signed(rows).min(last));
    }

    fn open(&mut self) -> Effect {
        let Some(subject) = self.rows().get(self.cursor()).map(|row| row.subject.clone()) else {
            return Effect::None;
        };
        let query = Query::new(&self.scope, &subject);
        self.selected = Some(subject.clone());
        self.page = Page::Row(subject, None);
        Effect::Fetch(Box::new(query))
    }

    fn group(&mut self, step: usize) -> Effect {
        let at = By::ALL.iter().position(|by| *by == self.scope.by).unwrap_or(0);
        let next = By::ALL.get((at + step) % By::ALL.len());
        self.scope.by = next.copied().unwrap_or(self.scope.by);
        self.history = History::default();
        (self.found, self.held, self.selected, self.top) = (None, None, None, 0);
        self.paused = false;
        Effect::Subscribe(Box::new(self.scope.clone()))
    }

    fn sort_by(&mut self, step: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        let next = Column::ALL.get((at + step) % Column::ALL.len());
        self.sort = next.copied().unwrap_or(self.sort);
        self.reverse = false;
    }

    /// Keeps the selected row on the screen, and the screen full.
    fn settle(&mut self) {
        let (cursor, rows) = (self.cursor(), self.rows().len());
        let least = (cursor + 1).saturating_sub(self.height);
        self.top = self.top.clamp(least, cursor).min(rows.saturating_sub(self.height).max(least));
    }
}
