//! The report as text.

use std::fmt;

use loki_core::Timestamp;

use super::{ChunkReport, ColumnReport, SectionReport, SegmentReport, StoreReport, StreamReport};
use crate::tools::table::{Table, ratio, size, time};

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_summary(f)?;
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        section(f, "Tenants", &self.tenant_table())?;
        section(f, "Levels", &self.level_table())?;
        section(f, "Segments", &segment_table(&self.segments))?;
        for segment in &self.segments {
            if let Some(problem) = &segment.problem {
                writeln!(f, "problem: {problem}")?;
            }
        }
        section(f, "Sizes", &size_table(&self.segments))?;
        section(f, "Sections", &section_table(&self.sections))?;
        section(f, "Columns", &column_table(&self.columns))?;
        section(f, "Retention", &self.retention_table())?;
        section(f, "Streams (approximate: streams share chunks)", &stream_table(&self.streams))?;
        let asked = self.segment.as_ref();
        for segment in self.segments.iter().filter(|segment| asked == Some(&segment.id)) {
            section(f, &format!("Sections of {}", segment.id), &section_table(&segment.sections))?;
            section(f, &format!("Columns of {}", segment.id), &column_table(&segment.columns))?;
        }
        section(f, "Chunks", &chunk_table(&self.chunks))
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, table: &Table) -> fmt::Result {
    if table.has_rows() { write!(f, "\n{title}\n{table}") } else { Ok(()) }
}

impl StoreReport {
    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.levels.iter().map(|level| level.bytes).sum();
        let entries: u64 = self.levels.iter().map(|level| level.entries).sum();
        writeln!(
            f,
            "manifest {}: {} segments, {entries} entries, {}",
            self.manifest,
            self.segments.len(),
            size(bytes)
        )?;
        if let Some(log) = &self.log {
            writeln!(f, "log: {} files, {} records, {}", log.files, log.records, size(log.bytes))?;
            if log.damaged_bytes > 0 || log.files_set_aside > 0 {
                let aside = log.files_set_aside;
                writeln!(f, "problem: log: {} damaged bytes, {aside} files set aside", log.damaged_bytes)?;
            }
        }
        writeln!(f, "deletes: {} waiting, {} processed", self.deletes_waiting, self.deletes_processed)?;
        let (replaced, orphans) = (size(self.replaced_bytes), size(self.orphan_bytes));
        writeln!(
            f,
            "to go: {} replaced objects, {replaced}; {} orphans, {orphans}",
            self.replaced_objects, self.orphans
        )
    }

    fn tenant_table(&self) -> Table {
        let head = ["tenant", "first", "last", "segments", "entries", "lines", "metadata", "stored", "ratio"];
        let mut table = Table::new(3, &head);
        for of in &self.tenants {
            table.row([
                of.tenant.clone(),
                time(of.first),
                time(of.last),
                of.segments.to_string(),
                of.entries.to_string(),
                size(of.line_bytes),
                size(of.metadata_bytes),
                size(of.stored_bytes),
                ratio(of.line_bytes + of.metadata_bytes, of.stored_bytes),
            ]);
        }
        table
    }

    fn level_table(&self) -> Table {
        let mut table = Table::new(1, &["level", "segments", "entries", "bytes"]);
        for level in &self.levels {
            let (segments, entries) = (level.segments.to_string(), level.entries.to_string());
            table.row([level.level.to_string(), segments, entries, size(level.bytes)]);
        }
        table
    }

    fn retention_table(&self) -> Table {
        let mut table = Table::new(2, &["tenant", "streams", "kept for"]);
        let period = |seconds: u64| if seconds == 0 { "ever".to_owned() } else { format!("{}h", seconds / 3600) };
        for of in &self.retention {
            table.row([of.tenant.clone(), "{}".to_owned(), period(of.period_seconds)]);
            for (selector, seconds) in &of.rules {
                table.row([of.tenant.clone(), selector.clone(), period(*seconds)]);
            }
        }
        table
    }
}

fn segment_table(segments: &[SegmentReport]) -> Table {
    let head = ["segment", "tenants", "first", "last", "level", "entries", "streams", "chunks", "bytes"];
    let mut table = Table::new(4, &head);
    let optional = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), time);
    for segment in segments {
        let id = if segment.id.is_empty() { &segment.path } else { &segment.id };
        let tenants = match segment.tenants.as_slice() {
            [] => "-".to_owned(),
            [one] => one.clone(),
            [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        };
        table.row([
            id.clone(),
            tenants,
            optional(segment.first),
            optional(segment.last),
            segment.level.to_string(),
            segment.entries.to_string(),
            segment.streams.to_string(),
            segment.chunks.to_string(),
            size(segment.bytes),
        ]);
    }
    table
}

/// The sections and columns of every segment, one a column.
fn size_table(segments: &[SegmentReport]) -> Table {
    let mut names: Vec<&str> = Vec::new();
    let parts = |segment: &SegmentReport| -> Vec<(String, u64)> {
        let columns = segment.columns.iter().map(|column| (column.column.clone(), column.stored_bytes));
        let sections = segment.sections.iter().map(|section| (section.section.clone(), section.bytes));
        columns.chain(sections).collect()
    };
    let all: Vec<Vec<(String, u64)>> = segments.iter().map(parts).collect();
    for (name, _) in all.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let head: Vec<&str> = std::iter::once("segment").chain(names.iter().copied()).collect();
    let mut table = Table::new(1, &head);
    for (segment, parts) in segments.iter().zip(&all).filter(|(segment, _)| !segment.id.is_empty()) {
        let bytes = |name: &&str| parts.iter().find(|(other, _)| other == name).map_or(0, |(_, bytes)| *bytes);
        let sizes = names.iter().map(|name| size(bytes(name)));
        table.row(std::iter::once(segment.id.clone()).chain(sizes));
    }
    table
}

fn section_table(sections: &[SectionReport]) -> Table {
    let mut table = Table::new(1, &["section", "bytes"]);
    for section in sections {
        table.row([section.section.clone(), size(section.bytes)]);
    }
    table
}

fn column_table(columns: &[ColumnReport]) -> Table {
    let mut table = Table::new(1, &["column", "stored", "raw", "ratio"]);
    for column in columns {
        let (stored, raw) = (column.stored_bytes, column.raw_bytes);
        table.row([column.column.clone(), size(stored), size(raw), ratio(raw, stored)]);
    }
    table
}

fn stream_table(streams: &[StreamReport]) -> Table {
    let mut table = Table::new(2, &["tenant", "stream", "entries", "lines", "stored", "ratio"]);
    for stream in streams {
        table.row([
            stream.tenant.clone(),
            stream.labels.clone(),
            stream.entries.to_string(),
            size(stream.line_bytes),
            size(stream.stored_bytes),
            ratio(stream.line_bytes, stream.stored_bytes),
        ]);
    }
    table
}

fn chunk_table(chunks: &[ChunkReport]) -> Table {
    let head = ["tenant", "chunk", "first", "last", "offset", "bytes", "entries", "lines", "streams", "ratio"];
    let mut table = Table::new(4, &head);
    for chunk in chunks {
        let ratio = match &chunk.problem {
            Some(problem) => problem.clone(),
            None => ratio(chunk.line_bytes, chunk.bytes),
        };
        table.row([
            chunk.tenant.clone(),
            chunk.number.to_string(),
            time(chunk.first),
            time(chunk.last),
            chunk.offset.to_string(),
            size(chunk.bytes),
            chunk.entries.to_string(),
            size(chunk.line_bytes),
            format!("{}..={}", chunk.first_stream, chunk.last_stream),
            ratio,
        ]);
    }
    table
}
