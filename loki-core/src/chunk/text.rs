//! The lines of a chunk as one text.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};

use crate::error::{Corruption, Error};

/// Lines one after the other, each ended by a newline, so that all of them can be searched at once.
///
/// Where no line contains a newline itself, which is nearly always, the newlines are all there is to tell lines apart,
/// and positions of lines are only computed when they are asked for.
#[derive(Debug, Clone, Default)]
pub struct Text {
    bytes: Bytes,
    rows: u32,
    newline_clean: bool,
    /// For each row the position of the newline that ends it.
    ends: OnceLock<Vec<u32>>,
}

impl Text {
    /// Joins `lines`.
    ///
    /// # Panics
    ///
    /// When they take more than 4 GiB.
    pub fn from_lines<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Self {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        let mut newline_clean = true;
        for line in lines {
            let line = line.as_ref();
            newline_clean &= memchr(b'\n', line).is_none();
            bytes.extend_from_slice(line);
            ends.push(u32::try_from(bytes.len()).expect("lines take at most 4 GiB"));
            bytes.push(b'\n');
        }
        Self { bytes: bytes.into(), rows: ends.len() as u32, newline_clean, ends: ends.into() }
    }

    /// Takes `rows` lines of which none contains a newline. Each is ended by one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the last line is not ended. That there are `rows` lines is not counted, because counting
    /// would cost time in every scan: lines that are missing read as empty, and those in excess belong to the last row.
    pub fn from_clean(bytes: Bytes, rows: u32) -> Result<Self, Error> {
        let fits = match bytes.last() {
            None => rows == 0,
            Some(last) => rows > 0 && *last == b'\n' && bytes.len() >= rows as usize,
        };
        if !fits {
            return Err(corrupt("rows of a text that does not end with them", u64::from(rows)));
        }
        Ok(Self { bytes, rows, newline_clean: true, ends: OnceLock::new() })
    }

    /// Takes lines that may contain newlines, with the lengths that tell them apart.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the lengths do not add up to the text, each with the newline behind it.
    pub fn from_lengths(bytes: Bytes, lengths: impl IntoIterator<Item = u32>) -> Result<Self, Error> {
        let mut ends = Vec::new();
        let mut start = 0_u32;
        for len in lengths {
            let end = start.saturating_add(len);
            if bytes.get(end as usize) != Some(&b'\n') {
                return Err(corrupt("end of a line without newline", u64::from(end)));
            }
            ends.push(end);
            start = end.saturating_add(1);
        }
        if start as usize != bytes.len() {
            return Err(corrupt("sum of the lengths of lines", u64::from(start)));
        }
        Ok(Self { bytes, rows: ends.len() as u32, newline_clean: false, ends: ends.into() })
    }

    /// All lines, each ended by a newline.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many lines there are.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Whether no line contains a newline: a match that does not span a newline then lies within one line.
    pub fn is_newline_clean(&self) -> bool {
        self.newline_clean
    }

    /// The line of a row, without the newline that ends it; empty beyond the last row.
    pub fn line(&self, row: u32) -> &[u8] {
        self.bytes.get(self.range(row)).unwrap_or_default()
    }

    /// Like [`Text::line`], as a slice that shares the text's memory.
    pub fn line_bytes(&self, row: u32) -> Bytes {
        let range = self.range(row);
        if range.end <= self.bytes.len() { self.bytes.slice(range) } else { Bytes::new() }
    }

    /// Where the line of a row lies in [`Text::as_bytes`], without its newline.
    pub fn range(&self, row: u32) -> Range<usize> {
        let ends = self.ends();
        let end = |row: u32| ends.get(row as usize).map(|end| *end as usize);
        let start = match row.checked_sub(1) {
            None => 0,
            Some(before) => end(before).map_or(0, |end| end.saturating_add(1)),
        };
        end(row).map_or(0..0, |end| start.min(end)..end)
    }

    /// For each row, the position of the newline that ends its line. Computed on first use.
    pub fn ends(&self) -> &[u32] {
        self.ends.get_or_init(|| {
            let mut ends = Vec::with_capacity(self.rows as usize);
            ends.extend(memchr_iter(b'\n', &self.bytes).take(self.rows as usize).map(|end| end as u32));
            // Nothing to do unless the text has fewer lines than rows or more.
            let last = (self.bytes.len() as u32).saturating_sub(1);
            ends.resize(self.rows as usize, last);
            if let Some(end) = ends.last_mut() {
                *end = last;
            }
            ends
        })
    }

    /// All lines in order, without their newlines. Does not compute positions.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let mut rest = &*self.bytes;
        let ends = if self.newline_clean { None } else { self.ends.get() };
        let mut start = 0_u32;
        (0..self.rows).map(move |row| {
            let len = match ends {
                Some(ends) => {
                    let end = ends.get(row as usize).copied().unwrap_or_default();
                    let len = end.saturating_sub(start) as usize;
                    start = end.saturating_add(1);
                    len
                }
                None if row.saturating_add(1) == self.rows => rest.len().saturating_sub(1),
                None => memchr(b'\n', rest).unwrap_or_default(),
            };
            let (line, behind) = rest.split_at_checked(len).unwrap_or_default();
            rest = behind.get(1..).unwrap_or_default();
            line
        })
    }

    /// The length of each line, without its newline.
    pub fn line_lengths(&self) -> Vec<u32> {
        let mut start = 0_u32;
        let ends = self.ends().iter();
        ends.map(|end| {
            let len = end.saturating_sub(start);
            start = end.saturating_add(1);
            len
        })
        .collect()
    }

    /// Maps positions, such as those of search hits, to rows.
    pub fn row_finder(&self) -> RowFinder<'_> {
        RowFinder { text: self, row: 0, row_start: 0 }
    }
}

/// Finds the rows of ascending positions: between two of them newlines are counted, nothing else.
#[derive(Debug, Clone)]
pub struct RowFinder<'a> {
    text: &'a Text,
    row: u32,
    /// Where the line of `row` begins.
    row_start: usize,
}

/// A line that was found by a position within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineAt {
    /// Its row.
    pub row: u32,
    /// Where it lies in [`Text::as_bytes`], without its newline.
    pub range: Range<usize>,
}

impl RowFinder<'_> {
    /// The line at `position`, which must not be before the line found last; the newline behind a line is part of it.
    ///
    /// `None` beyond the end of the text.
    pub fn line_at(&mut self, position: usize) -> Option<LineAt> {
        if position >= self.text.bytes.len() {
            return None;
        }
        if !self.text.newline_clean {
            return self.line_by_ends(position);
        }
        let bytes = &*self.text.bytes;
        let passed = bytes.get(self.row_start..position).unwrap_or_default();
        let newlines = memchr_iter(b'\n', passed).count() as u32;
        let row = self.row.saturating_add(newlines);
        let last_row = self.text.rows.saturating_sub(1);
        if row < last_row {
            self.row = row;
            if let Some(newline) = memrchr(b'\n', passed) {
                self.row_start = self.row_start.saturating_add(newline).saturating_add(1);
            }
            let behind = bytes.get(position..).unwrap_or_default();
            let end = position.saturating_add(memchr(b'\n', behind).unwrap_or(behind.len()));
            return Some(LineAt { row, range: self.row_start..end });
        }
        // The last row has whatever remains; find its start by going over the rows left before it.
        let before_last = last_row.saturating_sub(self.row) as usize;
        if before_last > 0 {
            let newline = memchr_iter(b'\n', passed).nth(before_last.saturating_sub(1)).unwrap_or_default();
            self.row_start = self.row_start.saturating_add(newline).saturating_add(1);
            self.row = last_row;
        }
        Some(LineAt { row: last_row, range: self.row_start..bytes.len().saturating_sub(1) })
    }

    fn line_by_ends(&mut self, position: usize) -> Option<LineAt> {
        let ends = self.text.ends().get(self.row as usize..).unwrap_or_default();
        let passed = ends.partition_point(|end| (*end as usize) < position);
        if let Some(last_passed) = passed.checked_sub(1).and_then(|before| ends.get(before)) {
            self.row_start = (*last_passed as usize).saturating_add(1);
            self.row = self.row.saturating_add(passed as u32);
        }
        let end = ends.get(passed)?;
        Some(LineAt { row: self.row, range: self.row_start..*end as usize })
    }
}

fn corrupt(field: &'static str, found: u64) -> Error {
    Error::corrupt("text", 0, Corruption::Value { field, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\n'), any::<u8>()], 0..6),
            0..20,
        )
    }

    fn assert_is(text: &Text, lines: &[Vec<u8>]) {
        assert_eq!(text.rows() as usize, lines.len());
        assert!(text.lines().eq(lines.iter().map(Vec::as_slice)));
        let mut finder = text.row_finder();
        for (row, line) in lines.iter().enumerate() {
            let range = text.range(row as u32);
            for position in range.start..=range.end {
                let expected = LineAt { row: row as u32, range: range.clone() };
                assert_eq!(text.clone().row_finder().line_at(position).as_ref(), Some(&expected));
                if position % 3 == 0 {
                    assert_eq!(finder.line_at(position).as_ref(), Some(&expected));
                }
            }
            assert_eq!(text.line(row as u32), line);
            assert_eq!(text.line_bytes(row as u32), line);
        }
        let lengths: Vec<u32> = lines.iter().map(|line| line.len() as u32).collect();
        assert_eq!(text.line_lengths(), lengths);
        assert_eq!(finder.line_at(text.as_bytes().len()), None);
        assert_eq!(text.line(text.rows()), b"");
    }

    proptest! {
        #[test]
        fn lines_come_back_however_the_text_was_made(mut lines in lines(), clean: bool) {
            if clean {
                for line in &mut lines {
                    line.retain(|byte| *byte != b'\n');
                }
            }
            let joined = Text::from_lines(&lines);
            assert_is(&joined, &lines);
            let lengths: Vec<u32> = lines.iter().map(|line| line.len() as u32).collect();
            assert_is(&Text::from_lengths(joined.bytes.clone(), lengths).unwrap(), &lines);
            if joined.is_newline_clean() {
                assert_is(&Text::from_clean(joined.bytes.clone(), joined.rows).unwrap(), &lines);
            }
        }

        #[test]
        fn wrong_row_counts_neither_panic_nor_leave_the_text(bytes in "[a\n]{0,12}\n", rows in 1_u32..12) {
            let Ok(text) = Text::from_clean(bytes.clone().into(), rows) else { return Ok(()) };
            let lines: Vec<_> = text.lines().collect();
            prop_assert_eq!(lines.len(), rows as usize);
            let mut finder = text.row_finder();
            for position in 0..bytes.len() {
                let found = finder.line_at(position).unwrap();
                prop_assert!(found.row < rows && found.range.end <= bytes.len());
                prop_assert_eq!(text.range(found.row), found.range);
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let text = Bytes::from_static(b"ab\ncd\n");
        for bad in [vec![2], vec![2, 1], vec![1, 3], vec![5, 0], vec![2, 2, 0], vec![u32::MAX, 2]] {
            assert!(Text::from_lengths(text.clone(), bad.iter().copied()).is_err(), "{bad:?}");
        }
        assert!(Text::from_clean(Bytes::from_static(b"ab"), 1).is_err());
        assert!(Text::from_clean(Bytes::new(), 1).is_err());
        assert!(Text::from_clean(Bytes::from_static(b"\n"), 2).is_err());
    }
}
