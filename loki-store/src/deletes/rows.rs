//! Taking what requests hide out of batches of entries.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use loki_core::{Error, Text, TimeRange, Timestamp};
use loki_logql::pipeline::Pipeline;
use loki_logql::querier::{Columns, EntryBatch, RowMetadata, StreamRun};

use super::Deletion;
use crate::retention::Cuts;

/// Requests that are to be applied together, and the retention that hides entries too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletions {
    requests: Arc<[Arc<Deletion>]>,
    retention: Cuts,
}

impl Deletions {
    pub(crate) fn new(requests: Vec<Arc<Deletion>>) -> Self {
        Self { requests: requests.into(), retention: Cuts::NONE }
    }

    /// The same with a retention.
    #[must_use]
    pub(crate) fn with_retention(self, retention: Cuts) -> Self {
        Self { retention, ..self }
    }

    pub(crate) fn retention(&self) -> &Cuts {
        &self.retention
    }

    /// Whether entries in `span` may be hidden.
    pub(crate) fn may_hide(&self, span: TimeRange) -> bool {
        self.retention.may_hide(span) || self.iter().any(|deletion| deletion.range.overlaps(&span))
    }

    /// The requests.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Deletion> {
        self.requests.iter().map(|deletion| &**deletion)
    }

    /// The batch without the rows that are hidden; `None` when nothing is left of it. Counts stay as they are.
    ///
    /// Runs pipelines over lines, so it is no work for an asynchronous task.
    pub(crate) fn subtract(&self, mut batch: EntryBatch) -> Result<Option<EntryBatch>, Error> {
        if matches!(batch.columns, Columns::Counts(_)) {
            return Ok(Some(batch));
        }
        let mut hidden = Vec::new();
        let mut rows = BatchRows::new(&batch);
        for deletion in self.iter().filter(|deletion| deletion.range.overlaps(&batch.bounds)) {
            deletion.select(&batch, &mut rows, &mut hidden)?;
        }
        if self.retention.may_hide(batch.bounds) {
            self.select_expired(&batch, &mut rows, &mut hidden)?;
        }
        if !hidden.is_empty() {
            hidden.sort_unstable_by_key(|rows| rows.start);
            batch.runs = without(&batch.runs, &hidden);
        }
        Ok((!batch.runs.is_empty()).then_some(batch))
    }

    /// Appends the rows that are older than the retention of their stream, in ranges.
    fn select_expired(
        &self,
        batch: &EntryBatch,
        rows: &mut BatchRows<'_>,
        selected: &mut Vec<Range<u32>>,
    ) -> Result<(), Error> {
        for run in &batch.runs {
            let range = TimeRange::new(Timestamp::MIN, self.retention.of(&run.labels));
            let times = &rows.timestamps()?[run.rows.start as usize..run.rows.end as usize];
            let push = |rows: Range<usize>| selected.push(offset(run.rows.start, rows));
            if batch.columns.sorted() {
                sorted_rows_within(times, range, push);
            } else {
                rows_within(times, range, push);
            }
        }
        Ok(())
    }
}

/// Rows of a run as rows of its batch.
fn offset(first: u32, rows: Range<usize>) -> Range<u32> {
    first + rows.start as u32..first + rows.end as u32
}

/// The columns of a batch, decoded when they are first asked for.
struct BatchRows<'b> {
    columns: &'b Columns,
    timestamps: Option<Cow<'b, [i64]>>,
    lines: Option<(Cow<'b, Text>, RowMetadata)>,
}

impl<'b> BatchRows<'b> {
    fn new(batch: &'b EntryBatch) -> Self {
        Self { columns: &batch.columns, timestamps: None, lines: None }
    }

    fn timestamps(&mut self) -> Result<&[i64], Error> {
        match &mut self.timestamps {
            Some(timestamps) => Ok(timestamps),
            none => Ok(none.insert(self.columns.timestamps()?)),
        }
    }

    fn lines(&mut self) -> Result<&(Cow<'b, Text>, RowMetadata), Error> {
        match &mut self.lines {
            Some(lines) => Ok(lines),
            none => {
                let text = self.columns.text()?.unwrap_or_else(|| Cow::Owned(Text::from_lines::<&[u8]>([])));
                Ok(none.insert((text, self.columns.metadata()?)))
            }
        }
    }
}

/// Rows of a run that lie in the time range of a request.
struct Candidates<'b> {
    run: &'b StreamRun,
    rows: Range<u32>,
}

impl Deletion {
    /// The rows of a batch that are selected, ascending and in ranges; none of counts.
    ///
    /// Runs pipelines over lines, so it is no work for an asynchronous task.
    pub(crate) fn selected_rows(&self, batch: &EntryBatch) -> Result<Vec<Range<u32>>, Error> {
        let mut selected = Vec::new();
        if !matches!(batch.columns, Columns::Counts(_)) {
            self.select(batch, &mut BatchRows::new(batch), &mut selected)?;
            selected.sort_unstable_by_key(|rows| rows.start);
        }
        Ok(selected)
    }

    /// Appends the rows that are selected, in ranges.
    fn select(
        &self,
        batch: &EntryBatch,
        rows: &mut BatchRows<'_>,
        selected: &mut Vec<Range<u32>>,
    ) -> Result<(), Error> {
        let mut candidates = Vec::new();
        for run in batch.runs.iter().filter(|run| self.selects(&run.labels)) {
            let times = &rows.timestamps()?[run.rows.start as usize..run.rows.end as usize];
            let push = |rows: Range<usize>| candidates.push(Candidates { run, rows: offset(run.rows.start, rows) });
            if batch.columns.sorted() {
                sorted_rows_within(times, self.range, push);
            } else {
                rows_within(times, self.range, push);
            }
        }
        match self.pipeline() {
            _ if candidates.is_empty() => {}
            None => selected.extend(candidates.into_iter().map(|candidates| candidates.rows)),
            Some(pipeline) => select_lines(pipeline, &candidates, rows, selected)?,
        }
        Ok(())
    }
}

/// Appends the candidates that pass a pipeline.
fn select_lines(
    pipeline: &Pipeline,
    candidates: &[Candidates<'_>],
    rows: &mut BatchRows<'_>,
    selected: &mut Vec<Range<u32>>,
) -> Result<(), Error> {
    rows.timestamps()?;
    rows.lines()?;
    let (Some(timestamps), Some((text, metadata))) = (&rows.timestamps, &rows.lines) else {
        unreachable!("both were just decoded");
    };
    let ranges: Vec<Range<u32>> = candidates.iter().map(|candidates| candidates.rows.clone()).collect();
    let mut passed = Vec::new();
    pipeline.prefilter().select(text, &ranges, &mut passed);
    if pipeline.is_trivial() {
        selected.extend(passed.into_iter().map(|row| row..row + 1));
        return Ok(());
    }
    let mut worker = pipeline.worker(metadata);
    let mut rest = passed.as_slice();
    for Candidates { run, rows } in candidates {
        let (own, behind) = rest.split_at(rest.partition_point(|&row| row < rows.end));
        rest = behind;
        if own.is_empty() {
            continue;
        }
        worker.start_stream(&run.labels);
        for &row in own {
            let at = Timestamp(timestamps[row as usize]);
            if worker.process(at, text.line(row), row).is_some() {
                selected.push(row..row + 1);
            }
        }
    }
    Ok(())
}

/// Finds the rows with times in `range`; times ascend.
fn sorted_rows_within(times: &[i64], range: TimeRange, mut found: impl FnMut(Range<usize>)) {
    let rows = range.indexes_in(times);
    if !rows.is_empty() {
        found(rows);
    }
}

/// Finds the rows with times in `range`, in ranges as long as possible.
fn rows_within(times: &[i64], range: TimeRange, mut found: impl FnMut(Range<usize>)) {
    let mut start = 0;
    for run in times.chunk_by(|a, b| range.contains(Timestamp(*a)) == range.contains(Timestamp(*b))) {
        let end = start + run.len();
        if range.contains(Timestamp(run[0])) {
            found(start..end);
        }
        start = end;
    }
}

/// What is left of runs without `hidden` rows, which are sorted and may overlap.
fn without(runs: &[StreamRun], hidden: &[Range<u32>]) -> Vec<StreamRun> {
    let mut left = Vec::with_capacity(runs.len());
    let mut hidden = hidden.iter().peekable();
    for run in runs {
        let mut from = run.rows.start;
        let mut keep = |rows: Range<u32>| {
            if !rows.is_empty() {
                left.push(StreamRun { rows, ..run.clone() });
            }
        };
        while let Some(rows) = hidden.next_if(|rows| rows.start < run.rows.end) {
            keep(from..rows.start);
            from = from.max(rows.end);
        }
        keep(from..run.rows.end);
    }
    left
}

#[cfg(test)]
mod tests {
    use loki_core::Labels;
    use loki_logql::querier::Rows;
    use proptest::prelude::*;

    use super::*;
    use crate::deletes::{DeleteId, StoredDelete};
    use crate::tenant::TenantId;

    fn deletion(query: &str, start: i64, end: i64) -> Arc<Deletion> {
        let range = TimeRange::new(Timestamp(start), Timestamp(end));
        let (id, tenant, created_at) = (DeleteId::random(), TenantId::anonymous(), Timestamp(0));
        let stored = StoredDelete { id, tenant, query: query.to_owned(), range, created_at };
        Arc::new(Deletion::new(stored).expect("a log query"))
    }

    fn labels(app: &str) -> Labels {
        Labels::from_pairs([("app", app)]).expect("one label")
    }

    /// Runs of the streams `a` and `b`, with a time for each row; the line of a row is its number.
    fn batch(a: &[i64], b: &[i64]) -> EntryBatch {
        let timestamps: Vec<i64> = [a, b].concat();
        let lines = (0..timestamps.len()).map(|row| format!("line {row}"));
        let run = |app: &str, rows| StreamRun { labels: labels(app), hash: labels(app).hash64(), rows };
        let (split, end) = (a.len() as u32, timestamps.len() as u32);
        let start_time = timestamps.iter().min().copied().unwrap_or_default();
        let end_time = timestamps.iter().max().copied().unwrap_or_default() + 1;
        let metadata = timestamps.iter().map(|time| labels(&format!("t{time}"))).collect();
        EntryBatch {
            sequence: 0,
            bounds: TimeRange::new(Timestamp(start_time), Timestamp(end_time)),
            runs: [run("a", 0..split), run("b", split..end)].into_iter().filter(|run| !run.rows.is_empty()).collect(),
            columns: Columns::Rows(Arc::new(Rows { text: Text::from_lines(lines), timestamps, metadata })),
            repeats: Arc::new([]),
        }
    }

    fn left(batch: EntryBatch, deletions: Vec<Arc<Deletion>>) -> Vec<Range<u32>> {
        let left = Deletions::new(deletions).subtract(batch).expect("no damage");
        left.map_or_else(Vec::new, |batch| batch.runs.into_iter().map(|run| run.rows).collect())
    }

    #[test]
    fn rows_outside_of_the_time_range_stay() {
        let batch = || batch(&[1, 5, 2, 6, 7], &[3, 4]);
        assert_eq!(left(batch(), vec![deletion(r#"{app="a"}"#, 5, 7)]), [0..1, 2..3, 4..5, 5..7]);
        assert_eq!(left(batch(), vec![deletion("{}", 1, 7)]), std::slice::from_ref(&(4..5)));
        assert_eq!(left(batch(), vec![deletion("{}", 1, 8)]), []);
        assert_eq!(left(batch(), vec![deletion("{}", 8, 9)]), [0..5, 5..7]);
    }

    #[test]
    fn what_a_query_would_show_goes() {
        let batch = || batch(&[1, 2, 3], &[4, 5]);
        assert_eq!(left(batch(), vec![deletion(r#"{app="a"} |= "1""#, 0, 9)]), [0..1, 2..3, 3..5]);
        assert_eq!(left(batch(), vec![deletion(r#"{app=~".+"} != "line 1""#, 0, 9)]), std::slice::from_ref(&(1..2)));
        let by_parsed = deletion(r#"{app=~".+"} | pattern "line <n>" | n > 2"#, 0, 9);
        assert_eq!(left(batch(), vec![by_parsed]), std::slice::from_ref(&(0..3)));
        // Metadata of the same name as a label gets another one.
        let by_metadata = deletion(r#"{app="b"} | app_extracted="t4""#, 0, 9);
        assert_eq!(left(batch(), vec![by_metadata]), [0..3, 4..5]);
    }

    #[test]
    fn several_requests_add_up() {
        let deletions = vec![deletion(r#"{app="a"}"#, 0, 3), deletion(r#"{app="a"}"#, 2, 4), deletion("{}", 6, 7)];
        assert_eq!(left(batch(&[1, 2, 3, 4], &[5, 6]), deletions), [3..4, 4..5]);
    }

    proptest! {
        #[test]
        fn rows_stay_exactly_if_no_request_hides_them(
            a in prop::collection::vec(0_i64..20, 0..12),
            b in prop::collection::vec(0_i64..20, 1..12),
            ranges in prop::collection::vec((0_i64..20, 0_i64..10, 0..3_usize), 0..4),
        ) {
            let queries = [r#"{app="a"}"#, r#"{app="b"} |~ "[13579]$""#, "{}"];
            let deletions =
                ranges.iter().map(|&(start, len, query)| deletion(queries[query], start, start + len)).collect();
            let times = [a.clone(), b.clone()].concat();
            let stays = |row: u32| ranges.iter().all(|&(start, len, query)| {
                let time = times[row as usize];
                let of_a = (row as usize) < a.len();
                let selected = [of_a, !of_a && row % 2 == 1, true][query];
                !(selected && (start..start + len).contains(&time))
            });
            let expected: Vec<u32> = (0..times.len() as u32).filter(|&row| stays(row)).collect();
            let found: Vec<u32> = left(batch(&a, &b), deletions).into_iter().flatten().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
