//! Puts answers together: which edges make a row, and what the steps say about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::collector::{Attendance, Collector, EdgeId, NodeId};
use super::counts::Counts;
use super::edge::{Edge, Select, Subject};
use super::series::codec::{Reader, Record};
use super::series::table::Table;
use super::series::{SeriesBook, Steps};

/// One row of totals and rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub subject: Subject<String>,
    /// Since the nodes began to count.
    pub total: Counts,
    /// Within the last time, and how much of it is known; `None`: nothing.
    pub window: Option<(Counts, Duration)>,
}

/// What was counted over time about something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub subject: Subject<String>,
    /// Those that are known, the oldest first.
    pub points: Vec<Point>,
}

/// What was counted within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Steps before the last.
    pub ago: u64,
    /// What.
    pub counts: Counts,
    /// Some node's part is not known.
    pub partial: bool,
}

/// The totals of a row, and the nodes that they are from.
#[derive(Clone, Debug)]
pub struct Total {
    subject: Subject<String>,
    counts: Counts,
    nodes: Vec<NodeId>,
}

/// What nodes report now.
#[must_use]
pub fn totals(collector: &Collector, select: &Select) -> Vec<Total> {
    let mut totals: HashMap<Subject<&str>, (Counts, Vec<NodeId>)> = HashMap::new();
    for (node, edge, counts) in collector.totals() {
        if let Some(subject) = select.subject(edge) {
            let (sum, nodes) = totals.entry(subject).or_default();
            sum.add(counts);
            // Edges come node by node.
            if nodes.last() != Some(&node) {
                nodes.push(node);
            }
        }
    }
    let totals = totals.into_iter().map(|(subject, (counts, nodes))| {
        let subject = subject.to_owned();
        Total { subject, counts, nodes }
    });
    totals.collect()
}

/// The series that a question is about, and the steps; what has to be copied from behind a lock.
#[derive(Clone, Debug)]
pub struct Picture {
    series: Vec<(EdgeId, NodeId, Arc<Edge>)>,
    steps: Steps,
    end: u64,
}

impl Picture {
    /// Of the last so many seconds, in so many points at most.
    #[must_use]
    pub fn new(book: &SeriesBook, select: &Select, seconds: u64, points: u64) -> Self {
        let series = picked(book.table(), select);
        Self { series, steps: book.steps(seconds, points), end: book.open() }
    }

    /// How many points the rows would have at most.
    #[must_use]
    pub const fn points(&self) -> u64 {
        self.steps.points.end - self.steps.points.start
    }

    /// Time of a point.
    #[must_use]
    pub const fn step(&self) -> Duration {
        Duration::from_secs(self.steps.step * self.steps.group)
    }

    /// How long the last point has been over when the second began that goes on.
    #[must_use]
    pub const fn since_end(&self) -> Duration {
        Duration::from_secs(self.end - self.steps.points.end * self.steps.step * self.steps.group)
    }
}

fn picked(table: &Table, select: &Select) -> Vec<(EdgeId, NodeId, Arc<Edge>)> {
    let picked = table.iter().filter(|(_, it)| select.subject(&it.edge).is_some());
    picked.map(|(id, it)| (id, it.node, Arc::clone(&it.edge))).collect()
}

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows {
    steps: Steps,
    totals: Vec<(Subject<String>, Counts)>,
    /// Whose reports a row is made of.
    nodes: Vec<Vec<NodeId>>,
    /// Which series goes into which row; ascends.
    series: Vec<(EdgeId, usize)>,
}

impl Rows {
    /// Of totals and series together. The picture has to be older than the totals, so that nothing
    /// is within a window that is not in the total.
    #[must_use]
    pub fn new(select: &Select, picture: &Picture, totals: Vec<Total>) -> Self {
        let mut nodes: Vec<Vec<NodeId>> = Vec::with_capacity(totals.len());
        let mut rows = Vec::with_capacity(totals.len());
        for Total { subject, counts, nodes: of } in totals {
            rows.push((subject, counts));
            nodes.push(of);
        }
        let known = rows.iter().map(|(subject, _)| subject.as_strs());
        let mut index: HashMap<Subject<&str>, usize> = known.zip(0..).collect();
        let mut more = Vec::new();
        let mut series = Vec::with_capacity(picture.series.len());
        for (id, node, edge) in &picture.series {
            let Some(subject) = select.subject(edge) else { continue };
            let row = *index.entry(subject.clone()).or_insert_with(|| {
                more.push((subject.to_owned(), Counts::default()));
                nodes.push(Vec::new());
                nodes.len() - 1
            });
            if let Some(of) = nodes.get_mut(row) {
                of.push(*node);
            }
            series.push((*id, row));
        }
        rows.append(&mut more);
        for of in &mut nodes {
            of.sort_unstable();
            of.dedup();
        }
        series.sort_unstable();
        Self { steps: picture.steps.clone(), totals: rows, nodes, series }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.totals.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// Totals, and what was counted in all steps together. In order.
    #[must_use]
    pub fn table(self) -> Vec<Row> {
        let mut windows = vec![(Counts::default(), Span::default()); self.len()];
        let mut presence = Presence::default();
        for (step, record) in &self.steps.records {
            let reader = presence.read(record, &self.nodes);
            let seen = presence.known.iter().zip(&presence.partial);
            for ((_, span), (known, late)) in windows.iter_mut().zip(seen) {
                span.see(*step, *known, *late);
            }
            self.each(reader, |row, counts| {
                if let Some((sum, _)) = windows.get_mut(row) {
                    sum.add(&counts);
                }
            });
        }
        let step = self.steps.step;
        let rows = self.totals.into_iter().zip(windows);
        let mut rows: Vec<Row> = rows
            .map(|((subject, total), (counts, span))| {
                let window = span.steps().map(|it| (counts, Duration::from_secs(it * step)));
                Row { subject, total, window }
            })
            .filter(|row| !row.total.is_zero() || row.window.is_some_and(|(it, _)| !it.is_zero()))
            .collect();
        rows.sort_unstable_by(|a, b| a.subject.cmp(&b.subject));
        rows
    }

    /// What was counted in each point. In order.
    #[must_use]
    pub fn lines(self) -> Vec<Line> {
        let points = &self.steps.points;
        let width = usize::try_from(points.end - points.start).unwrap_or(0);
        let mut cells: Vec<Option<(Counts, bool)>> = vec![None; self.len() * width];
        let mut presence = Presence::default();
        for (step, record) in &self.steps.records {
            let Some(point) = (step / self.steps.group).checked_sub(points.start) else { continue };
            let point = usize::try_from(point).unwrap_or(usize::MAX);
            let reader = presence.read(record, &self.nodes);
            let rows = presence.known.iter().zip(&presence.partial).enumerate();
            for (row, (_, partial)) in rows.filter(|(_, (known, _))| **known) {
                if let Some(cell) = cells.get_mut(row * width + point) {
                    cell.get_or_insert_default().1 |= *partial;
                }
            }
            self.each(reader, |row, counts| {
                if let Some(Some((sum, _))) = cells.get_mut(row * width + point) {
                    sum.add(&counts);
                }
            });
        }
        let mut lines = Vec::with_capacity(self.len());
        let mut cells = cells.into_iter();
        for (subject, _) in self.totals {
            let ago = (0..points.end - points.start).rev();
            let row = ago.zip(cells.by_ref().take(width));
            let row = row.filter_map(|(ago, cell)| {
                cell.map(|(counts, partial)| Point { ago, counts, partial })
            });
            let points: Vec<Point> = row.collect();
            if !points.is_empty() {
                lines.push(Line { subject, points });
            }
        }
        lines.sort_unstable_by(|a, b| a.subject.cmp(&b.subject));
        lines
    }

    /// What a step says about rows. Edges of both ascend.
    fn each(&self, edges: Reader<'_>, mut see: impl FnMut(usize, Counts)) {
        let mut series = self.series.iter().peekable();
        for (id, counts) in edges {
            while series.next_if(|(it, _)| *it < id).is_some() {}
            if let Some((_, row)) = series.next_if(|(it, _)| *it == id) {
                see(*row, counts);
            }
        }
    }
}

/// The steps that growth was counted in. What was counted while a node was late is part of what grew
/// when it was known again; what was counted before it was heard of is not.
#[derive(Clone, Copy, Default)]
struct Span {
    first: Option<u64>,
    last: Option<u64>,
}

impl Span {
    fn see(&mut self, step: u64, known: bool, late: bool) {
        if known || late {
            self.first.get_or_insert(step);
        }
        if known {
            self.last = Some(step);
        }
    }

    fn steps(self) -> Option<u64> {
        Some(self.last? - self.first? + 1)
    }
}

/// Of which rows something is known, and of which not all. It seldom changes between steps.
#[derive(Default)]
struct Presence {
    attendance: Option<Attendance>,
    known: Vec<bool>,
    partial: Vec<bool>,
}

impl Presence {
    fn read<'a>(&mut self, record: &'a Record, rows: &[Vec<NodeId>]) -> Reader<'a> {
        let (attendance, reader) = Reader::new(record);
        if self.attendance.as_ref() != Some(&attendance) {
            let among = |all: &[NodeId]| {
                let among = |of: &Vec<NodeId>| of.iter().any(|it| all.binary_search(it).is_ok());
                rows.iter().map(among).collect()
            };
            self.known = among(&attendance.known);
            self.partial = among(&attendance.late);
            self.attendance = Some(attendance);
        }
        reader
    }
}
