//! How much each stream takes of the chunks that it shares with others.

use std::collections::HashMap;

use loki_core::Labels;
use loki_core::rollup::Columns;
use roaring::RoaringBitmap;

use super::StreamReport;
use crate::error::Error;
use crate::segment::ChunkEntry;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::tenant::TenantId;

/// The streams of all segments.
#[derive(Debug, Default)]
pub(super) struct StreamSizes {
    by_stream: HashMap<(TenantId, Labels), StreamSize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct StreamSize {
    entries: u64,
    line_bytes: u64,
    stored_bytes: f64,
}

impl StreamSize {
    /// What its share of a chunk depends on.
    fn weight(&self) -> u64 {
        self.line_bytes.saturating_add(self.entries)
    }
}

impl StreamSizes {
    /// Adds what a tenant's part of a segment holds.
    pub(super) async fn add(&mut self, part: &TenantSegment) -> Result<(), Error> {
        let (index, rollup, table) = (part.index().await?, part.rollup().await?, part.chunks().await?);
        let all: RoaringBitmap = (0..index.streams()).collect();
        let mut sizes = vec![StreamSize::default(); index.streams() as usize];
        let mut scan = rollup.scan(&all, Columns::All);
        while let Some(cells) = scan.next_cells().map_err(|damage| part.damaged(damage))? {
            let size = &mut sizes[cells.stream as usize];
            size.entries = cells.entries.iter().fold(size.entries, |sum, n| sum.saturating_add(*n));
            size.line_bytes = cells.line_bytes.iter().fold(size.line_bytes, |sum, n| sum.saturating_add(*n));
        }
        share(&mut sizes, &table.chunks);
        let mut labels = LabelReader::new(part, &index);
        for (ordinal, size) in (0..).zip(sizes) {
            let key = (part.entry().tenant.clone(), labels.get(ordinal)?.labels.clone());
            let total = self.by_stream.entry(key).or_default();
            total.entries += size.entries;
            total.line_bytes += size.line_bytes;
            total.stored_bytes += size.stored_bytes;
        }
        Ok(())
    }

    /// All streams, the largest first.
    pub(super) fn finish(self) -> Vec<StreamReport> {
        let report = |((tenant, labels), size): ((TenantId, Labels), StreamSize)| StreamReport {
            tenant: tenant.to_string(),
            labels: labels.to_string(),
            entries: size.entries,
            line_bytes: size.line_bytes,
            stored_bytes: size.stored_bytes.round() as u64,
        };
        let mut reports: Vec<StreamReport> = self.by_stream.into_iter().map(report).collect();
        reports.sort_by(|a, b| {
            b.stored_bytes.cmp(&a.stored_bytes).then_with(|| (&a.tenant, &a.labels).cmp(&(&b.tenant, &b.labels)))
        });
        reports
    }
}

/// Divides chunks among streams. Streams and chunks have the same order, so that both divide the same line of bytes.
fn share(sizes: &mut [StreamSize], chunks: &[ChunkEntry]) {
    let mut streams = sizes.iter_mut();
    let mut current = streams.next();
    let mut left = current.as_ref().map_or(0, |size| size.weight());
    for chunk in chunks {
        let weight = chunk.line_bytes.saturating_add(u64::from(chunk.rows));
        let stored = chunk.span.end.saturating_sub(chunk.span.start) as f64;
        let mut unshared = weight;
        while unshared > 0 {
            let Some(size) = current.as_mut() else {
                return;
            };
            let taken = left.min(unshared);
            size.stored_bytes += stored * taken as f64 / weight as f64;
            unshared -= taken;
            left -= taken;
            if left == 0 {
                current = streams.next();
                left = current.as_ref().map_or(0, |size| size.weight());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;

    use super::*;

    #[test]
    fn chunks_are_divided_by_bytes_of_lines() {
        let stream = |line_bytes| StreamSize { entries: 10, line_bytes, stored_bytes: 0.0 };
        let chunk = |span, line_bytes, rows| ChunkEntry {
            span,
            rows,
            line_bytes,
            first: Timestamp(0),
            last: Timestamp(0),
            first_stream: 0,
            last_stream: 0,
            has_metadata: false,
        };
        // The second stream has a quarter of the first chunk and all of the second.
        let mut sizes = [stream(290), stream(190), stream(0)];
        share(&mut sizes, &[chunk(0..400, 386, 14), chunk(400..500, 94, 6), chunk(500..510, 0, 10)]);
        let stored: Vec<u64> = sizes.iter().map(|size| size.stored_bytes.round() as u64).collect();
        assert_eq!(stored, [300, 200, 10]);
    }
}
