//! Tables of text: a header, and rows whose columns stand below each other.

use console::measure_text_width;

/// What stands between columns.
const GAP: &str = "  ";
/// A last column isn't broken into lines narrower than this.
const NARROWEST: usize = 24;

/// A column's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A table of text.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(header: &[(&'static str, Align)]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.header.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    /// Without those of the named columns that are blank in every row.
    pub(crate) fn without_blank(mut self, names: &[&str]) -> Self {
        let blank = |i: usize| self.rows.iter().all(|row| row[i].is_empty());
        let kept: Vec<bool> =
            self.header.iter().enumerate().map(|(i, (name, _))| !(names.contains(name) && blank(i))).collect();
        keep(&mut self.header, &kept);
        self.rows.iter_mut().for_each(|row| keep(row, &kept));
        self
    }

    /// The table as lines. With a `width`, the last column is broken into lines at spaces, so that none is wider.
    pub(crate) fn lines(&self, width: Option<usize>) -> String {
        let header: Vec<String> = self.header.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let widest = |i: usize| all().map(|row| measure_text_width(&row[i])).max().unwrap_or_default();
        let widths: Vec<usize> = (0..header.len()).map(widest).collect();
        let (Some((_, last)), Some((_, before))) = (self.header.last(), widths.split_last()) else {
            return String::new();
        };
        let indent = before.iter().sum::<usize>() + before.len() * GAP.len();
        let room = width.map(|width| width.saturating_sub(indent).max(NARROWEST)).filter(|_| *last == Align::Left);
        let mut text = String::new();
        for row in all() {
            let (last, cells) = row.split_last().expect("there is a last column, so there is a last cell");
            let mut line = String::new();
            for (i, cell) in cells.iter().enumerate() {
                pad(&mut line, cell, widths[i], self.header[i].1);
                line.push_str(GAP);
            }
            match room {
                None => pad(&mut line, last, widths[cells.len()], self.header[cells.len()].1),
                Some(room) => line.push_str(&wrapped(last, room, indent)),
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn keep<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| kept.next().copied().unwrap_or(true));
}

fn pad(line: &mut String, cell: &str, width: usize, align: Align) {
    let spaces = " ".repeat(width.saturating_sub(measure_text_width(cell)));
    match align {
        Align::Left => line.extend([cell, &spaces]),
        Align::Right => line.extend([&spaces, cell]),
    }
}

/// A text broken at spaces into lines of `room` columns, all but the first indented.
pub(crate) fn wrapped(text: &str, room: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut begun = false;
    for word in text.split(' ') {
        let width = measure_text_width(word);
        if used > 0 && used + 1 + width > room {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = 0;
        } else if begun {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += width;
        begun = true;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            ("stage", Align::Left),
            ("rows", Align::Right),
            ("failed", Align::Right),
            ("columns", Align::Left),
        ]);
        table.row(["pages".into(), "1,203".into(), String::new(), "uri utf8, size int64, content utf8".into()]);
        table.row(["日本".into(), "7".into(), String::new(), "a bool".into()]);
        table
    }

    #[test]
    fn columns_stand_below_each_other() {
        assert_eq!(
            table().without_blank(&["failed"]).lines(None),
            "stage   rows  columns\n\
             pages  1,203  uri utf8, size int64, content utf8\n\
             日本       7  a bool\n"
        );
    }

    #[test]
    fn the_last_column_is_broken_to_fit() {
        assert_eq!(
            table().without_blank(&["failed", "rows"]).lines(Some(30)),
            "stage   rows  columns\n\
             pages  1,203  uri utf8, size int64,\n              content utf8\n\
             日本       7  a bool\n"
        );
    }

    #[test]
    fn only_named_columns_go_when_they_are_blank() {
        assert!(table().without_blank(&[]).lines(None).starts_with("stage   rows  failed  columns\n"));
    }
}
