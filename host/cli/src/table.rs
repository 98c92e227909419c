//! Tables of text: a header, and rows whose columns stand below each other.

use std::borrow::Cow;

use console::measure_text_width;

use crate::words;

/// What stands between columns.
const GAP: &str = "  ";
/// A last column isn't broken into lines narrower than this.
const NARROWEST: usize = 16;
/// Words in the other columns aren't cut shorter than this.
const SHORTEST: usize = 12;

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
    /// The columns that go where there is no room for all, the first one first.
    expendable: &'static [&'static str],
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(header: &[(&'static str, Align)]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), expendable: &[] }
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
        self.keep(&kept);
        self
    }

    /// With columns that go where there is no room for all, the first one first.
    pub(crate) fn expendable(mut self, names: &'static [&'static str]) -> Self {
        self.expendable = names;
        self
    }

    fn keep(&mut self, kept: &[bool]) {
        keep(&mut self.header, kept);
        self.rows.iter_mut().for_each(|row| keep(row, kept));
    }

    /// How wide each column is.
    fn widths(&self) -> Vec<usize> {
        let widest = |(i, (name, _)): (usize, &(&str, Align))| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[i]));
            cells.max().unwrap_or_default().max(measure_text_width(name))
        };
        self.header.iter().enumerate().map(widest).collect()
    }

    /// How many columns of text are too many for a terminal of `width`.
    fn excess(&self, widths: &[usize], width: usize) -> usize {
        let (Some((last, before)), Some((_, align))) = (widths.split_last(), self.header.last()) else { return 0 };
        let last = if *align == Align::Left { NARROWEST.min(*last) } else { *last };
        (before.iter().sum::<usize>() + before.len() * GAP.len() + last).saturating_sub(width)
    }

    /// The table for a terminal of `width`: without expendable columns as long as there is no room for them, and then with words cut.
    fn fitting(&self, width: usize) -> Self {
        let mut table = self.clone();
        for expendable in self.expendable {
            if table.excess(&table.widths(), width) == 0 {
                break;
            }
            let kept: Vec<bool> = table.header.iter().map(|(name, _)| name != expendable).collect();
            table.keep(&kept);
        }
        let mut widths = table.widths();
        let cut = |(i, _): &(usize, &mut usize)| table.header[*i].1 == Align::Left && i + 1 < table.header.len();
        for _ in 0..table.excess(&widths, width) {
            match widths.iter_mut().enumerate().filter(cut).map(|(_, width)| width).max() {
                Some(widest) if *widest > SHORTEST => *widest -= 1,
                _ => break,
            }
        }
        let last = widths.len().saturating_sub(1);
        for row in &mut table.rows {
            for (cell, width) in row.iter_mut().zip(&widths).take(last) {
                if measure_text_width(cell) > *width {
                    *cell = words::fit(cell, *width);
                }
            }
        }
        table
    }

    /// The table as lines, with a `width` for a terminal of so many columns: the last column is broken into lines, and what has no
    /// room even then is left out or cut.
    pub(crate) fn lines(&self, width: Option<usize>) -> String {
        let table = width.map_or(Cow::Borrowed(self), |width| Cow::Owned(self.fitting(width)));
        table.text(width)
    }

    fn text(&self, width: Option<usize>) -> String {
        let header: Vec<String> = self.header.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let widths = self.widths();
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

/// A text broken at spaces into lines of `room` columns, all but the first indented. Words that no line can hold, such as paths, are
/// broken where it ends.
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
        let mut rest = word;
        while measure_text_width(rest) > room {
            let ends = rest.char_indices().map(|(i, c)| i + c.len_utf8());
            let Some(end) = ends.take_while(|end| measure_text_width(&rest[..*end]) <= room).last() else { break };
            out.extend([&rest[..end], "\n", &" ".repeat(indent)]);
            rest = &rest[end..];
        }
        out.push_str(rest);
        used += measure_text_width(rest);
        begun = true;
    }
    out
}

/// A text as lines for a terminal of `width` columns, if it is one; all but the first are indented.
pub(crate) fn paragraph(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) => wrapped(text, width.saturating_sub(2), 2) + "\n",
        None => format!("{text}\n"),
    }
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
             pages  1,203  uri utf8, size\n              int64, content\n              utf8\n\
             日本       7  a bool\n"
        );
    }

    #[test]
    fn what_has_no_room_is_left_out_or_cut() {
        let mut table = Table::new(&[
            ("stage", Align::Left),
            ("what", Align::Left),
            ("rows", Align::Right),
            ("seconds", Align::Right),
        ])
        .expendable(&["seconds"]);
        table.row(["a_stage_of_a_long_name".into(), "text/chunk".into(), "1,203".into(), "0.5".into()]);
        let all =
            "stage                   what         rows  seconds\na_stage_of_a_long_name  text/chunk  1,203      0.5\n";
        assert_eq!(table.lines(Some(50)), all);
        assert_eq!(table.lines(None), all);
        assert_eq!(
            table.lines(Some(49)),
            "stage                   what         rows\na_stage_of_a_long_name  text/chunk  1,203\n"
        );
        assert_eq!(
            table.lines(Some(36)),
            "stage              what         rows\na_stage_of_a_lon…  text/chunk  1,203\n"
        );
    }

    #[test]
    fn a_word_without_room_is_broken() {
        let mut table = Table::new(&[("written", Align::Left), ("where", Align::Left)]);
        table.row(["out".into(), "a/long/path/of/a/file.parquet".into()]);
        assert_eq!(table.lines(Some(26)), "written  where\nout      a/long/path/of/a/\n         file.parquet\n");
    }

    #[test]
    fn only_named_columns_go_when_they_are_blank() {
        assert!(table().without_blank(&[]).lines(None).starts_with("stage   rows  failed  columns\n"));
    }
}
