//! Merging sorted segments into sorted segments.

use futures::future::try_join_all;
use loki_core::Labels;

use super::divide;
use super::input::{Input, Pass, State};
use super::output::{MergedSegment, OutputOptions, Outputs};
use super::ties::Ties;
use crate::deletes::Deletions;
use crate::error::Error;
use crate::patterns::StreamPatterns;
use crate::segment::reader::TenantSegment;

/// The parts that several segments hold of one tenant, on their way into one segment for each window of time.
///
/// Work alternates between [`Merge::run`], which computes and never waits, and [`Merge::fetch`], which only waits.
/// Dropping a merge in between costs nothing but the work done so far.
#[derive(Debug)]
pub(crate) struct Merge {
    /// In order of arrival.
    inputs: Vec<Input>,
    deletions: Deletions,
    outputs: Outputs,
    pass: Pass,
    /// The stream being merged, and the inputs whose next rows are of it.
    labels: Option<Labels>,
    lanes: Vec<usize>,
    /// Whether some input must look for its next rows.
    is_unsettled: bool,
    ties: Ties,
    rows_written: u64,
    duplicates: u64,
}

/// How far [`Merge::run`] came.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Chunks must be fetched.
    Starved,
    /// A segment is finished; there may be more.
    Segment(Box<MergedSegment>),
    /// Everything is merged.
    Done,
}

/// What became of the entries of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Left out because an equal one is written.
    pub(crate) duplicates: u64,
    /// Left out because of retention or a request to delete them.
    pub(crate) hidden: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.written += other.written;
        self.duplicates += other.duplicates;
        self.hidden += other.hidden;
    }
}

impl Merge {
    /// Prepares to merge `parts`, which are in order of arrival.
    pub(crate) async fn open(
        parts: Vec<TenantSegment>,
        deletions: Deletions,
        options: OutputOptions,
    ) -> Result<Self, Error> {
        let cuts = divide::cuts(&parts, options.windows, options.window_bytes).await?;
        let tenant = parts.first().expect("a merge has inputs").entry().tenant.clone();
        let inputs = try_join_all(parts.into_iter().map(Input::open)).await?;
        let outputs = Outputs::new(tenant, options, cuts);
        let first = inputs.iter().map(Input::first_time).min().unwrap_or_default();
        let mut merge = Self {
            inputs,
            deletions,
            pass: (0, 0),
            outputs,
            labels: None,
            lanes: Vec::new(),
            is_unsettled: true,
            ties: Ties::default(),
            rows_written: 0,
            duplicates: 0,
        };
        merge.begin_pass(first);
        Ok(merge)
    }

    /// Merges what is at hand, until a segment is finished or chunks are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for damage in an input, and [`Error::Encode`]. The merge cannot go on after that.
    pub(crate) fn run(&mut self) -> Result<Progress, Error> {
        loop {
            if let Some(segment) = self.outputs.take_full().map_err(encode)? {
                return Ok(Progress::Segment(Box::new(segment)));
            }
            if self.is_unsettled && !self.settle()? {
                return Ok(Progress::Starved);
            }
            if !self.lanes.is_empty() {
                self.write_rows().map_err(encode)?;
                continue;
            }
            if let Some(segment) = self.outputs.take_any().map_err(encode)? {
                return Ok(Progress::Segment(Box::new(segment)));
            }
            match self.inputs.iter().filter_map(Input::beyond).min() {
                Some(next) => self.begin_pass(next),
                None => return Ok(Progress::Done),
            }
        }
    }

    /// Fetches chunks for all inputs that have none at hand.
    pub(crate) async fn fetch(&mut self) -> Result<(), Error> {
        let hungry = self.inputs.iter_mut().filter(|input| input.is_hungry());
        try_join_all(hungry.map(Input::fetch)).await.map(|_| ())
    }

    /// About the memory that it takes.
    pub(crate) fn held_bytes(&self) -> usize {
        let inputs: usize = self.inputs.iter().map(Input::held_bytes).sum();
        inputs + self.outputs.held_bytes() + self.outputs.stream_bytes()
    }

    /// What became of the entries so far.
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            read: self.inputs.iter().map(|input| input.rows_read).sum(),
            written: self.rows_written,
            duplicates: self.duplicates,
            hidden: self.inputs.iter().map(|input| input.rows_hidden).sum(),
        }
    }

    /// How many entries the inputs say they have.
    pub(crate) fn rows_expected(&self) -> u64 {
        self.inputs.iter().map(Input::rows).sum()
    }

    fn begin_pass(&mut self, first: i64) {
        self.pass = self.outputs.pass(first);
        for input in &mut self.inputs {
            input.begin(self.pass);
        }
        self.labels = None;
        self.is_unsettled = true;
    }

    /// Lets all inputs find their next rows and says which have the next stream; false if chunks are missing.
    fn settle(&mut self) -> Result<bool, Error> {
        for input in &mut self.inputs {
            if input.settle(self.pass, &self.deletions)? == State::Starved {
                return Ok(false);
            }
        }
        self.is_unsettled = false;
        self.lanes.clear();
        let mut first: Option<&Labels> = None;
        for (i, input) in self.inputs.iter().enumerate() {
            let Some(piece) = input.piece() else {
                continue;
            };
            let order = first.map(|first| piece.labels.cmp(first));
            if order.is_none_or(std::cmp::Ordering::is_lt) {
                first = Some(&piece.labels);
                self.lanes.clear();
            }
            if order.is_none_or(std::cmp::Ordering::is_le) {
                self.lanes.push(i);
            }
        }
        if first != self.labels.as_ref() {
            self.labels = first.cloned();
            self.ties.clear();
            if let Some(labels) = &self.labels {
                let mut patterns = StreamPatterns::default();
                for &lane in &self.lanes {
                    self.inputs[lane].add_patterns(&mut patterns)?;
                }
                patterns.join();
                self.outputs.start_stream(labels.clone(), patterns);
            }
        }
        Ok(true)
    }

    /// Writes rows of the input that has the earliest, as far as no other input has a say.
    fn write_rows(&mut self) -> Result<(), loki_core::Error> {
        let (mut lane, mut time, mut bound) = (usize::MAX, i64::MAX, None);
        for &other in &self.lanes {
            let Some(other_time) = self.inputs[other].time() else {
                continue;
            };
            if lane == usize::MAX || other_time < time {
                bound = if lane == usize::MAX { None } else { Some(time) };
                (lane, time) = (other, other_time);
            } else if bound.is_none_or(|bound| other_time < bound) {
                bound = Some(other_time);
            }
        }
        if bound == Some(time) {
            self.ties.begin(time);
        }
        let through = match bound {
            _ if self.ties.is_at(time) => time,
            Some(bound) => bound - 1,
            None => i64::MAX,
        };
        let Some((rows, open)) = self.inputs[lane].take_through(through) else {
            return Ok(());
        };
        let may_repeat = self.ties.is_at(time);
        for row in rows {
            let metadata = open.metadata.of(row as u32);
            if may_repeat && !self.ties.is_new(open.text.line_bytes(row as u32), metadata) {
                self.duplicates += 1;
                continue;
            }
            self.outputs.append(open.times[row], open.text.line(row as u32), metadata)?;
            self.rows_written += 1;
        }
        self.is_unsettled = self.inputs[lane].piece().is_none_or(|piece| piece.rows.is_empty());
        Ok(())
    }
}

fn encode(source: loki_core::Error) -> Error {
    Error::Encode { what: "merged segment", source }
}
