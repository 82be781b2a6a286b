//! Entries in memory: the simplest querier, and the one that others are measured against.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use loki_core::{Direction, Entry, Labels, Matcher, Text, TimeRange};

use crate::querier::{Columns, EntryBatch, Order, Querier, QuerierError, Rows, SelectRequest, StreamRun};

/// A querier over entries in memory. It ignores all hints.
#[derive(Clone, Debug, Default)]
pub struct MemoryQuerier {
    streams: BTreeMap<Labels, Stream>,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    /// In the order of arrival.
    entries: Vec<Entry>,
    known: HashSet<Entry>,
}

impl MemoryQuerier {
    /// A querier without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry to a stream. An entry that the stream has already is not added again.
    pub fn push(&mut self, labels: &Labels, entry: Entry) {
        let stream = self.streams.entry(labels.clone()).or_default();
        if stream.known.insert(entry.clone()) {
            stream.entries.push(entry);
        }
    }

    /// The label sets of all streams that match, sorted.
    pub fn streams<'q>(&'q self, matchers: &'q [Matcher]) -> impl Iterator<Item = &'q Labels> {
        self.streams.keys().filter(|labels| select_stream(matchers, labels))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.streams.values().map(|stream| stream.entries.len()).sum()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }
}

impl<'a> Extend<(&'a Labels, Entry)> for MemoryQuerier {
    fn extend<I: IntoIterator<Item = (&'a Labels, Entry)>>(&mut self, entries: I) {
        for (labels, entry) in entries {
            self.push(labels, entry);
        }
    }
}

impl Querier for MemoryQuerier {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        let selected = self.streams.iter().filter(|(labels, _)| select_stream(&request.matchers, labels));
        let mut batches: Vec<EntryBatch> =
            selected.filter_map(|(labels, stream)| stream.batch(labels, request.range)).collect();
        match request.order {
            Order::Any => {}
            Order::Time(Direction::Forward) => batches.sort_by_key(|batch| batch.bounds.start),
            Order::Time(Direction::Backward) => batches.sort_by_key(|batch| std::cmp::Reverse(batch.bounds.end)),
        }
        stream::iter(batches.into_iter().map(Ok)).boxed()
    }
}

/// Whether all matchers match; an absent label counts as empty.
fn select_stream(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

impl Stream {
    /// The entries in a range, as one batch.
    fn batch(&self, labels: &Labels, range: TimeRange) -> Option<EntryBatch> {
        let wanted: Vec<&Entry> = self.entries.iter().filter(|entry| range.contains(entry.timestamp)).collect();
        let start = wanted.iter().map(|entry| entry.timestamp).min()?;
        let last = wanted.iter().map(|entry| entry.timestamp).max()?;
        let has_metadata = wanted.iter().any(|entry| !entry.metadata.is_empty());
        let metadata = wanted.iter().map(|entry| entry.metadata.clone());
        Some(EntryBatch {
            sequence: 0,
            bounds: TimeRange::new(start, last.saturating_add_nanos(1)),
            runs: vec![StreamRun { labels: labels.clone(), hash: labels.hash64(), rows: 0..wanted.len() as u32 }],
            columns: Columns::Rows(Arc::new(Rows {
                text: Text::from_lines(wanted.iter().map(|entry| &entry.line)),
                timestamps: wanted.iter().map(|entry| entry.timestamp.as_nanos()).collect(),
                metadata: if has_metadata { metadata.collect() } else { Vec::new() },
            })),
            repeats: Arc::from([]),
        })
    }
}

#[cfg(test)]
mod tests {
    use loki_core::{MatchOp, Timestamp};

    use super::*;
    use crate::querier::Hints;

    fn entry(time: i64, line: &'static str) -> Entry {
        Entry { timestamp: Timestamp(time), line: line.into(), metadata: Labels::EMPTY }
    }

    fn select(querier: &MemoryQuerier, matcher: (&str, MatchOp, &str), direction: Direction) -> Vec<String> {
        let (name, op, value) = matcher;
        let request = SelectRequest {
            matchers: vec![Matcher::new(name, op, value).expect("valid regex")],
            range: TimeRange::new(Timestamp(1), Timestamp(10)),
            order: Order::Time(direction),
            hints: Hints::default(),
        };
        let batches: Vec<_> = futures::executor::block_on(querier.select(request).collect());
        let show = |batch: Result<EntryBatch, QuerierError>| {
            let batch = batch.expect("memory never fails");
            format!("{} {:?}", batch.runs[0].labels, batch.columns.timestamps().expect("memory never fails"))
        };
        batches.into_iter().map(show).collect()
    }

    #[test]
    fn absent_labels_count_as_empty_and_ranges_are_half_open() {
        let mut querier = MemoryQuerier::new();
        let a = Labels::from_pairs([("a", "1")]).expect("one label");
        let b = Labels::from_pairs([("b", "1")]).expect("one label");
        querier.extend([
            (&a, entry(5, "x")),
            (&a, entry(2, "y")),
            (&b, entry(0, "z")),
            (&b, entry(9, "z")),
            (&b, entry(10, "z")),
        ]);
        assert_eq!(select(&querier, ("a", MatchOp::Equal, ""), Direction::Forward), [r#"{b="1"} [9]"#]);
        let all = select(&querier, ("a", MatchOp::Regex, ".*"), Direction::Forward);
        assert_eq!(all, [r#"{a="1"} [5, 2]"#, r#"{b="1"} [9]"#]);
        let newest = select(&querier, ("a", MatchOp::Regex, ".*"), Direction::Backward);
        assert_eq!(newest, [r#"{b="1"} [9]"#, r#"{a="1"} [5, 2]"#]);
    }

    #[test]
    fn an_entry_is_stored_once() {
        let mut querier = MemoryQuerier::new();
        let labels = Labels::from_pairs([("a", "1")]).expect("one label");
        querier.extend([(&labels, entry(5, "x")), (&labels, entry(5, "x")), (&labels, entry(5, "y"))]);
        assert_eq!(querier.len(), 2);
    }
}
