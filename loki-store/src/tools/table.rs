//! Reports as text: tables, sizes and times.

use std::fmt::{self, Write};

use jiff::Timestamp as Moment;
use loki_core::Timestamp;
use serde::Serializer;

/// Rows of cells, printed with columns of equal width.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// How many columns, counted from the first, hold names and not numbers.
    names: usize,
}

impl Table {
    /// A table whose first `names` columns are flush left, and all others flush right.
    pub(super) fn new(names: usize, head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], names }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is more than the head.
    pub(super) fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if i == 0 { "" } else { "  " };
                if i < self.names {
                    write!(line, "{gap}{cell:<width$}")?;
                } else {
                    write!(line, "{gap}{cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// How many times smaller something is than it was.
pub(super) fn ratio(raw: u64, stored: u64) -> String {
    if stored == 0 { "-".to_owned() } else { format!("{:.2}", raw as f64 / stored as f64) }
}

/// A moment in RFC 3339, to the nanosecond where that says something.
pub(super) fn time(at: Timestamp) -> String {
    Moment::from_nanosecond(i128::from(at.0)).map_or_else(|_| format!("{}ns", at.0), |moment| moment.to_string())
}

/// Serializes a moment as text.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn serialize_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time(*at))
}

/// Serializes a moment that there may not be as text.
#[expect(clippy::ref_option, reason = "serde passes references")]
pub(super) fn serialize_optional_time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize_time(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_flush_left_and_numbers_flush_right() {
        let mut table = Table::new(1, &["name", "n"]);
        table.row(["a".into(), "10000".into()]);
        table.row(["longer".into(), "7".into()]);
        assert_eq!(table.to_string(), "name        n\na       10000\nlonger      7\n");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([size(0), size(1023), size(1536), size(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(time(Timestamp::from_millis(1_500)), "1970-01-01T00:00:01.5Z");
        assert_eq!(ratio(10, 4), "2.50");
        assert_eq!(ratio(10, 0), "-");
    }
}
