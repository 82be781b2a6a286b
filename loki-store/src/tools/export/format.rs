//! Entries as JSON.

use std::borrow::Cow;
use std::io::{self, Write};

use loki_core::Labels;

use super::{ExportFormat, MAX_EXPORT_BODY_BYTES};
use crate::deletes::SelectedRow;
use crate::tools::table::time;

/// What goes behind the last entry of a body.
const BODY_END: &[u8] = b"]}]}\n";

/// Writes entries one after the other.
pub(super) struct Formatter<'w> {
    format: ExportFormat,
    out: &'w mut (dyn Write + Send),
    written_bytes: u64,
    /// The body being filled, and whose entries come next in it.
    body: Vec<u8>,
    stream: Option<Labels>,
}

impl<'w> Formatter<'w> {
    pub(super) fn new(format: ExportFormat, out: &'w mut (dyn Write + Send)) -> Self {
        Self { format, out, written_bytes: 0, body: Vec::new(), stream: None }
    }

    /// Writes an entry; says whether its line had to be changed.
    pub(super) fn write(&mut self, row: &SelectedRow<'_>) -> io::Result<bool> {
        let line = String::from_utf8_lossy(row.line);
        let is_changed = matches!(line, Cow::Owned(_));
        match self.format {
            ExportFormat::NdJson => self.write_object(row, &line)?,
            ExportFormat::Push => self.write_value(row, &line)?,
        }
        Ok(is_changed)
    }

    /// Writes what is left; returns how many bytes were written altogether.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.end_body()?;
        self.out.flush()?;
        Ok(self.written_bytes)
    }

    fn write_object(&mut self, row: &SelectedRow<'_>, line: &str) -> io::Result<()> {
        let out = &mut self.body;
        out.extend_from_slice(b"{\"timestamp\":");
        write_text(out, &time(row.timestamp))?;
        out.extend_from_slice(b",\"labels\":");
        write_labels(out, row.labels)?;
        out.extend_from_slice(b",\"line\":");
        write_text(out, line)?;
        let start = out.len();
        out.extend_from_slice(b",\"metadata\":");
        if !write_metadata(out, row)? {
            out.truncate(start);
        }
        out.extend_from_slice(b"}\n");
        self.put_body()
    }

    fn write_value(&mut self, row: &SelectedRow<'_>, line: &str) -> io::Result<()> {
        let mut value = Vec::with_capacity(line.len() + 64);
        write!(value, "[\"{}\",", row.timestamp.0)?;
        write_text(&mut value, line)?;
        let start = value.len();
        value.push(b',');
        if !write_metadata(&mut value, row)? {
            value.truncate(start);
        }
        value.push(b']');
        let mut opening = self.opening(row.labels)?;
        let len = self.body.len() + opening.len() + value.len() + BODY_END.len();
        if !self.body.is_empty() && len > MAX_EXPORT_BODY_BYTES {
            self.end_body()?;
            opening = self.opening(row.labels)?;
        }
        self.body.extend_from_slice(&opening);
        self.body.extend_from_slice(&value);
        if self.stream.as_ref() != Some(row.labels) {
            self.stream = Some(row.labels.clone());
        }
        Ok(())
    }

    /// What goes before an entry of a stream.
    fn opening(&self, labels: &Labels) -> io::Result<Vec<u8>> {
        let mut out = match &self.stream {
            Some(stream) if stream == labels => return Ok(b",".to_vec()),
            Some(_) => b"]},{\"stream\":".to_vec(),
            None => b"{\"streams\":[{\"stream\":".to_vec(),
        };
        write_labels(&mut out, labels)?;
        out.extend_from_slice(b",\"values\":[");
        Ok(out)
    }

    fn end_body(&mut self) -> io::Result<()> {
        if self.stream.take().is_some() {
            self.body.extend_from_slice(BODY_END);
        }
        self.put_body()
    }

    fn put_body(&mut self) -> io::Result<()> {
        self.out.write_all(&self.body)?;
        self.written_bytes += self.body.len() as u64;
        self.body.clear();
        Ok(())
    }
}

/// Writes the structured metadata, unless there is none.
fn write_metadata(out: &mut Vec<u8>, row: &SelectedRow<'_>) -> io::Result<bool> {
    let mut pairs = Vec::new();
    row.metadata.for_each(row.row, |name, value| pairs.push((name.to_owned(), value.to_owned())));
    if pairs.is_empty() {
        return Ok(false);
    }
    write_pairs(out, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    Ok(true)
}

fn write_labels(out: &mut Vec<u8>, labels: &Labels) -> io::Result<()> {
    write_pairs(out, labels.iter())
}

fn write_pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
    out.push(b'{');
    for (i, (name, value)) in pairs.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(out, name)?;
        out.push(b':');
        write_text(out, value)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::other)
}
