//! What a query sees of a head.

use std::sync::Arc;

use hashbrown::HashMap;
use loki_core::{Labels, Matcher, TimeRange, Timestamp};
use loki_logql::querier::{Columns, EntryBatch, StreamRun};

use super::frozen::Row;
use super::slab::Slab;
use super::spans::{Spans, union_within};
use super::streams::StreamName;

/// The entries of one tenant as of one moment. Cheap to clone; shares the rows with the head.
#[derive(Clone, Debug)]
pub(crate) struct HeadSnapshot {
    names: Arc<Vec<StreamName>>,
    times: Arc<[SnapshotTimes]>,
    /// In order of arrival.
    slabs: Arc<[Arc<Slab>]>,
    range: TimeRange,
    /// By stream number; `None` = all.
    selected: Option<Arc<[bool]>>,
    /// Times at which entries may be elsewhere too, by stream number.
    elsewhere: HashMap<u32, Vec<TimeRange>, foldhash::fast::RandomState>,
}

/// The times of a stream.
#[derive(Clone, Debug)]
pub(super) struct SnapshotTimes {
    pub(super) range: TimeRange,
    /// Times at which an entry may be there twice.
    pub(super) repeats: Option<Box<Spans>>,
}

/// A stream of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadStream<'a> {
    /// Its number in this snapshot.
    pub(crate) number: u32,
    /// Its labels.
    pub(crate) labels: &'a Labels,
    /// [`Labels::hash64`] of its labels.
    pub(crate) hash: u64,
    /// The times of its entries.
    pub(crate) range: TimeRange,
}

impl HeadSnapshot {
    /// A snapshot of slabs in order of arrival; `None` when there is nothing in `range`.
    pub(super) fn new(
        names: &Arc<Vec<StreamName>>,
        times: Vec<SnapshotTimes>,
        slabs: impl Iterator<Item = Arc<Slab>>,
        range: TimeRange,
    ) -> Option<Self> {
        let slabs: Arc<[Arc<Slab>]> = slabs.filter(|slab| slab.range.overlaps(&range)).collect();
        let first = slabs.iter().map(|slab| slab.range.start).min()?;
        let last = slabs.iter().map(|slab| slab.range.end).max()?;
        Some(Self {
            names: Arc::clone(names),
            times: times.into(),
            slabs,
            range: TimeRange::new(first, last),
            selected: None,
            elsewhere: HashMap::default(),
        })
    }

    /// The times of all entries, selected or not.
    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    /// The same with those streams only that all `matchers` match.
    #[must_use]
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Self {
        let is_match = |name: &StreamName| {
            matchers.iter().all(|matcher| matcher.matches(name.labels.get(matcher.name()).unwrap_or_default()))
        };
        let is_kept = |(number, name): (usize, &StreamName)| self.is_selected(number as u32) && is_match(name);
        let selected = self.names.iter().enumerate().map(is_kept).collect();
        Self { selected: Some(selected), ..self.clone() }
    }

    /// Whether no stream is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams().next().is_none()
    }

    /// The selected streams in the order of their first entry.
    pub(crate) fn streams(&self) -> impl Iterator<Item = HeadStream<'_>> {
        let streams = self.names.iter().zip(&*self.times).zip(0_u32..);
        streams.filter(|&(_, number)| self.is_selected(number)).map(|((name, times), number)| HeadStream {
            number,
            labels: &name.labels,
            hash: name.hash,
            range: times.range,
        })
    }

    /// Notes times at which entries of a stream may be elsewhere too: batches name them in [`EntryBatch::repeats`].
    pub(crate) fn mark_repeats<'z>(&mut self, of_stream: impl Fn(u32) -> &'z [TimeRange]) {
        let numbers: Vec<u32> = self.streams().map(|stream| stream.number).collect();
        for number in numbers {
            let spans = of_stream(number);
            if !spans.is_empty() {
                self.elsewhere.entry(number).or_default().extend_from_slice(spans);
            }
        }
    }

    /// The entries of the selected streams, one batch a slab, in order of arrival; their sequences count up from
    /// `first_sequence`. Entries outside of `range` may be among them.
    pub(crate) fn batches(&self, range: TimeRange, first_sequence: u64) -> Vec<EntryBatch> {
        let slabs = self.slabs.iter().zip(first_sequence..);
        slabs.filter_map(|(slab, sequence)| self.batch(slab, range, sequence)).collect()
    }

    /// Calls `f` with the labels, the time and the bytes of every entry of the selected streams in `range`: those of
    /// its line and those of names and values of its structured metadata.
    pub(crate) fn for_each_entry(&self, range: TimeRange, mut f: impl FnMut(&Labels, Timestamp, u64)) {
        for slab in self.slabs.iter().filter(|slab| slab.range.overlaps(&range)) {
            let mut lengths = None;
            for (run, rows) in slab.runs() {
                if !self.is_selected(run.stream) || !run.range().overlaps(&range) {
                    continue;
                }
                let lengths: &Vec<u32> = lengths.get_or_insert_with(|| slab.rows.text.line_lengths());
                let labels = &self.names[run.stream as usize].labels;
                let rows = rows.start as usize..rows.end as usize;
                let times = slab.rows.timestamps[rows.clone()].iter().copied().map(Timestamp);
                for ((row, at), len) in rows.clone().zip(times).zip(&lengths[rows]) {
                    if range.contains(at) {
                        let metadata = slab.rows.metadata.get(row).map_or(0, pairs_bytes);
                        f(labels, at, u64::from(*len) + metadata);
                    }
                }
            }
        }
    }

    /// Calls `f` with the labels and the entries of each selected stream, in order of arrival.
    pub(crate) fn for_each_stream<'a>(&'a self, mut f: impl FnMut(&'a Labels, &mut dyn Iterator<Item = Row<'a>>)) {
        let mut runs = vec![Vec::new(); self.names.len()];
        for slab in &*self.slabs {
            let selected = slab.runs().filter(|(run, _)| self.is_selected(run.stream));
            selected.for_each(|(run, rows)| runs[run.stream as usize].push((slab, rows)));
        }
        for (name, runs) in self.names.iter().zip(runs).filter(|(_, runs)| !runs.is_empty()) {
            let mut entries = runs.into_iter().flat_map(|(slab, rows)| {
                rows.map(|row| {
                    let (line, metadata) = slab.row(row);
                    (Timestamp(slab.rows.timestamps[row as usize]), line, metadata)
                })
            });
            f(&name.labels, &mut entries);
        }
    }

    fn is_selected(&self, number: u32) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected[number as usize])
    }

    fn batch(&self, slab: &Arc<Slab>, range: TimeRange, sequence: u64) -> Option<EntryBatch> {
        if !slab.range.overlaps(&range) {
            return None;
        }
        let mut runs = Vec::new();
        let mut repeats = Vec::new();
        let (mut start, mut end) = (Timestamp::MAX, Timestamp::MIN);
        for (run, rows) in slab.runs() {
            let run_range = run.range();
            if !self.is_selected(run.stream) || !run_range.overlaps(&range) {
                continue;
            }
            let name = &self.names[run.stream as usize];
            start = start.min(run_range.start);
            end = end.max(run_range.end);
            let here = self.times[run.stream as usize].repeats.as_ref().map_or(&[][..], |spans| spans.as_slice());
            let elsewhere = self.elsewhere.get(&run.stream).map_or(&[][..], Vec::as_slice);
            let overlapping = here.iter().chain(elsewhere).filter(|span| span.overlaps(&run_range));
            repeats.extend(overlapping.copied());
            runs.push(StreamRun { labels: name.labels.clone(), hash: name.hash, rows });
        }
        let bounds = TimeRange::new(start, end);
        (!runs.is_empty()).then(|| EntryBatch {
            sequence,
            bounds,
            runs,
            columns: Columns::Rows(Arc::clone(&slab.rows)),
            repeats: union_within(repeats, bounds.intersect(&range)).into(),
        })
    }
}

/// The bytes of names and values.
fn pairs_bytes(metadata: &Labels) -> u64 {
    metadata.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}
