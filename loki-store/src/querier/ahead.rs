//! Reading groups of chunks before the consumer asks for them.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, Fuse, FuturesOrdered};
use futures::{FutureExt, Stream, StreamExt};
use loki_logql::budget::{Budget, Reservation};
use loki_logql::querier::EntryBatch;

use super::group::Group;
use crate::config::Location;
use crate::error::Error;
use crate::view::spare;

/// How far a query reads ahead: how much is under way at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Segments that are being opened.
    pub(super) segments: usize,
    /// Groups that are being read.
    pub(super) groups: usize,
    /// Bytes of them at which no further group is begun.
    pub(super) bytes: u64,
}

/// For what is on this machine: reading takes less time than scanning.
const LOCAL: Reach = Reach { segments: 1, groups: 2, bytes: AHEAD_BYTES };
/// For what is behind a network, where an answer takes long but many of them take no longer.
const DISTANT: Reach = Reach { segments: 8, groups: 8, bytes: AHEAD_BYTES };
const AHEAD_BYTES: u64 = 16 << 20;

impl Reach {
    /// What suits a place.
    pub(crate) const fn of(location: &Location) -> Self {
        if matches!(location, Location::Objects { .. }) { DISTANT } else { LOCAL }
    }

    /// So many segments, groups, and bytes of groups.
    #[cfg(test)]
    pub(crate) const fn new(segments: usize, groups: usize, bytes: u64) -> Self {
        Self { segments, groups, bytes }
    }

    /// Little, for those who are in no hurry.
    pub(crate) const fn little() -> Self {
        LOCAL
    }
}

/// The batches of groups, in order, of which some are read ahead.
pub(super) struct ReadAhead {
    groups: Fuse<BoxStream<'static, Result<Group, Error>>>,
    /// A group that waits for memory.
    waiting: Option<Group>,
    reading: FuturesOrdered<BoxFuture<'static, Result<ReadGroup, Error>>>,
    /// Groups that may be read at the same time for now.
    groups_at_once: usize,
    reach: Reach,
    bytes: u64,
    memory: Budget,
}

/// A group that was read, and the memory that it holds until it is handed over.
struct ReadGroup {
    batches: Vec<EntryBatch>,
    bytes: u64,
    _memory: Reservation,
}

impl ReadAhead {
    /// Reads at first `at_once` groups at the same time, then more, until it is as many as the reach allows.
    pub(super) fn new(
        groups: BoxStream<'static, Result<Group, Error>>,
        at_once: usize,
        reach: Reach,
        memory: Budget,
    ) -> Self {
        Self {
            groups: groups.fuse(),
            waiting: None,
            reading: FuturesOrdered::new(),
            groups_at_once: at_once.min(reach.groups),
            reach,
            bytes: 0,
            memory,
        }
    }

    /// Begins to read what may be read now.
    fn begin(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while self.reading.is_empty() || (self.reading.len() < self.groups_at_once && self.bytes < self.reach.bytes) {
            let group = match self.waiting.take() {
                Some(group) => group,
                None => match self.groups.poll_next_unpin(context) {
                    Poll::Ready(Some(group)) => group?,
                    Poll::Ready(None) | Poll::Pending => break,
                },
            };
            let bytes = group.bytes();
            let Some(memory) = spare(&self.memory, bytes, self.reading.is_empty()) else {
                self.waiting = Some(group);
                break;
            };
            self.bytes += bytes;
            let read = group.read().map(move |read| Ok(ReadGroup { batches: read?, bytes, _memory: memory }));
            self.reading.push_back(read.boxed());
        }
        Ok(())
    }
}

impl Stream for ReadAhead {
    type Item = Result<Vec<EntryBatch>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.begin(context) {
            return Poll::Ready(Some(Err(error)));
        }
        match self.reading.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(read))) => {
                self.bytes -= read.bytes;
                self.groups_at_once = (self.groups_at_once * 2).min(self.reach.groups);
                Poll::Ready(Some(Ok(read.batches)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) if self.groups.is_done() && self.waiting.is_none() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
