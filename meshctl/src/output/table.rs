//! Tables for people: aligned columns, no lines, cut nowhere, so that `awk` reads them as well.

use super::style::{Style, Tone};

/// Space between columns.
const GAP: usize = 3;

/// A table that is being filled.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
    /// Least width of each column.
    widths: Vec<usize>,
}

#[derive(Debug)]
struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let mut table = Self::bare();
        table.row(heading.iter().map(|text| (*text).to_owned()).collect());
        table
    }

    /// A table without a heading.
    pub(crate) const fn bare() -> Self {
        Self { rows: Vec::new(), widths: Vec::new() }
    }

    /// The same, with columns that are so wide from the beginning on.
    pub(crate) fn at_least(mut self, widths: &[usize]) -> Self {
        for (width, least) in self.widths.iter_mut().zip(widths) {
            *width = (*width).max(*least);
        }
        self
    }

    /// Adds a row. An empty cell shows as `-`.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.toned(cells.into_iter().map(|text| (text, None)).collect());
    }

    /// Adds a row whose cells may have a tone.
    pub(crate) fn toned(&mut self, cells: Vec<(String, Option<Tone>)>) {
        let cell = |(text, tone): (String, _)| Cell {
            text: if text.is_empty() { "-".to_owned() } else { text },
            tone,
        };
        let cells: Vec<_> = cells.into_iter().map(cell).collect();
        self.widths.resize(self.widths.len().max(cells.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.text.chars().count());
        }
        self.rows.push(cells);
    }

    /// Takes the rows out as text; the columns keep their widths for the rows to come.
    pub(crate) fn render(&mut self, style: Style) -> String {
        let mut out = String::new();
        for row in self.rows.drain(..) {
            let last = row.len().saturating_sub(1);
            for (index, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
                match cell.tone {
                    Some(tone) => out.push_str(&style.paint(tone, &cell.text)),
                    None => out.push_str(&cell.text),
                }
                if index != last {
                    let space = width.saturating_sub(cell.text.chars().count()) + GAP;
                    out.push_str(&" ".repeat(space));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_later_rows_keep_the_widths() {
        let mut table = Table::new(&["NAME", "VIPS"]);
        table.row(vec!["reviews".to_owned(), "10.96.0.10".to_owned()]);
        table.row(vec!["a".to_owned(), String::new()]);
        assert_eq!(
            table.render(Style::PLAIN),
            "NAME      VIPS\nreviews   10.96.0.10\na         -\n"
        );
        table.row(vec!["b".to_owned(), "x".to_owned()]);
        assert_eq!(table.render(Style::PLAIN), "b         x\n");
    }
}
