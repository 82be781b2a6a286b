//! The object store behind a store: paths, put-if-absent, ranged reads, quarantine.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use uuid::Uuid;

use crate::blocks::BlockCache;
use crate::clock::{Clock, SystemClock};
use crate::counters::ObjectOperation::{Attributes, Delete, Get, GetRange, Iter, Upload};
use crate::counters::{ObjectEnd, ObjectOperation, ObjectRequests};
use crate::error::Error;

/// What became of a put-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutNew {
    /// The object is ours.
    Created,
    /// The name was taken. A retried request whose first answer was lost looks the same, so compare the content.
    Exists,
}

/// An object store and the prefix below which everything of one [`crate::Store`] lives.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    requests: Arc<ObjectRequests>,
    clock: Arc<dyn Clock>,
    blocks: Option<Arc<BlockCache>>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, requests: Arc::default(), clock: Arc::new(SystemClock::new()), blocks: None }
    }

    /// The same objects, with another clock to measure requests by.
    pub(crate) fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same objects, of which parts are kept on a local disk by those who ask for that.
    pub(crate) fn with_blocks(self, blocks: Arc<BlockCache>) -> Self {
        Self { blocks: Some(blocks), ..self }
    }

    /// What is kept on a local disk.
    pub(crate) fn blocks(&self) -> Option<&Arc<BlockCache>> {
        self.blocks.as_ref()
    }

    /// What was asked of the object store so far, by all clones.
    pub(crate) fn requests(&self) -> &ObjectRequests {
        &self.requests
    }

    /// The object at `relative` below the prefix.
    pub(crate) fn path(&self, relative: &str) -> Path {
        let mut path = self.prefix.clone();
        for part in relative.split('/') {
            path = path.join(part);
        }
        path
    }

    /// What [`Objects::path`] made this path of.
    pub(crate) fn relative(&self, path: &Path) -> String {
        match path.prefix_match(&self.prefix) {
            Some(parts) => parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
            None => path.to_string(),
        }
    }

    /// Creates an object unless its name is taken; durable on return.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<PutNew, Error> {
        let options = PutOptions::from(PutMode::Create);
        self.requests.writes.add(1);
        self.requests.bytes_written.add(bytes.len() as u64);
        match self.timed(Upload, self.store.put_opts(path, bytes.into(), options)).await {
            Ok(_) => Ok(PutNew::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(PutNew::Exists),
            Err(source) => Err(self.failed("create", path, source)),
        }
    }

    /// Finds out whether the store keeps to put-if-absent, without which two writers could overwrite each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it does not; [`Error::Object`] if that cannot be found out.
    pub(crate) async fn probe_put_new(&self) -> Result<(), Error> {
        const UNSUITABLE: Error = Error::Config { setting: "object store", problem: "does not know put-if-absent" };
        let path = self.path(PROBES).join(Uuid::new_v4().to_string());
        let outcome = match self.put_new(&path, Bytes::from_static(b"first")).await {
            // The name is new, so that somebody who finds it taken meets an earlier attempt of ours.
            Ok(_) => self.put_new(&path, Bytes::from_static(b"second")).await,
            failure => failure,
        };
        match outcome {
            Ok(PutNew::Exists) => self.delete(&path).await,
            Ok(PutNew::Created) => {
                self.delete(&path).await?;
                Err(UNSUITABLE)
            }
            Err(Error::Object {
                source: object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. },
                ..
            }) => Err(UNSUITABLE),
            Err(error) => Err(error),
        }
    }

    /// The whole object.
    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes, Error> {
        self.requests.reads.add(1);
        let read = async { self.store.get(path).await?.bytes().await };
        let read = self.timed(Get, read).await;
        read.inspect(|bytes| self.count_read(bytes)).map_err(|source| self.failed("read", path, source))
    }

    /// Some bytes of an object.
    pub(crate) async fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        self.requests.reads.add(1);
        let read = self.timed(GetRange, self.store.get_range(path, range)).await;
        read.inspect(|bytes| self.count_read(bytes)).map_err(|source| self.failed("read", path, source))
    }

    /// The last bytes of an object, at most `len`, and the object's size.
    pub(crate) async fn get_suffix(&self, path: &Path, len: u64) -> Result<(Bytes, u64), Error> {
        self.requests.reads.add(2);
        let read = async {
            let size = self.timed(Attributes, self.store.head(path)).await?.size;
            if size == 0 {
                return Ok((Bytes::new(), size));
            }
            let options = GetOptions { range: Some((size.saturating_sub(len)..size).into()), ..GetOptions::default() };
            let read = async { self.store.get_opts(path, options).await?.bytes().await };
            Ok((self.timed(GetRange, read).await?, size))
        };
        read.await.inspect(|(bytes, _)| self.count_read(bytes)).map_err(|source| self.failed("read", path, source))
    }

    /// Every object below `relative`, sorted by path.
    pub(crate) async fn list(&self, relative: &str) -> Result<Vec<ObjectMeta>, Error> {
        let prefix = self.path(relative);
        self.requests.lists.add(1);
        let found = self.timed(Iter, self.store.list(Some(&prefix)).try_collect()).await;
        let mut found: Vec<ObjectMeta> = found.map_err(|source| self.failed("list", &prefix, source))?;
        // The first page is counted already.
        self.requests.lists.add((found.len() / LISTED_OBJECTS) as u64);
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Removes an object; one that is already gone counts as removed.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), Error> {
        self.requests.deletes.add(1);
        match self.timed(Delete, self.store.delete(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed("delete", path, source)),
        }
    }

    /// Moves an unreadable object out of the way, to where [`copy_aside`](Self::copy_aside) copies it.
    pub(crate) async fn quarantine(&self, path: &Path) -> Result<Path, Error> {
        let target = self.aside(path);
        self.requests.writes.add(1);
        self.requests.deletes.add(1);
        self.store.rename(path, &target).await.map_err(|source| self.failed("quarantine", path, source))?;
        Ok(target)
    }

    /// Copies an object to `quarantine/`, under a name that says where it came from, and returns the copy's path.
    pub(crate) async fn copy_aside(&self, path: &Path) -> Result<Path, Error> {
        let target = self.aside(path);
        self.requests.writes.add(1);
        self.store.copy(path, &target).await.map_err(|source| self.failed("quarantine", path, source))?;
        Ok(target)
    }

    fn aside(&self, path: &Path) -> Path {
        self.path("quarantine").join(self.relative(path).replace('/', "_"))
    }

    /// Reads ranges of an object at the same time, in order.
    pub(crate) async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        self.requests.reads.add(ranges.len() as u64);
        let read = self.timed(GetRange, self.store.get_ranges(path, ranges)).await;
        let count = |read: &Vec<Bytes>| read.iter().for_each(|bytes| self.count_read(bytes));
        read.inspect(count).map_err(|source| self.failed("read", path, source))
    }

    /// Removes the objects at these paths below the prefix, going on after failures. Returns those that are gone, and
    /// the first failure.
    pub(crate) async fn delete_all(&self, paths: &[String]) -> (HashSet<String>, Result<(), Error>) {
        let (mut gone, mut first_failure) = (HashSet::new(), Ok(()));
        for path in paths {
            match self.delete(&self.path(path)).await {
                Ok(()) => {
                    gone.insert(path.clone());
                }
                Err(error) => first_failure = first_failure.and(Err(error)),
            }
        }
        (gone, first_failure)
    }

    /// Measures an operation.
    async fn timed<T>(
        &self,
        operation: ObjectOperation,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let started = self.clock.monotonic_nanos();
        let result = work.await;
        let nanos = self.clock.monotonic_nanos().saturating_sub(started);
        self.requests.seconds(operation, ObjectEnd::of(&result)).observe(nanos as f64 / NANOS_PER_SECOND);
        result
    }

    fn count_read(&self, bytes: &Bytes) {
        self.requests.bytes_read.add(bytes.len() as u64);
    }

    fn failed(&self, action: &'static str, path: &Path, source: object_store::Error) -> Error {
        self.requests.failures.add(1);
        Error::Object { action, object: path.to_string(), source }
    }
}

const NANOS_PER_SECOND: f64 = 1e9;

/// Objects on a page of a listing: S3 and Google's storage give so many, Azure more.
const LISTED_OBJECTS: usize = 1000;

/// Where objects are created to see what the store does.
const PROBES: &str = "probe";

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::counters::Counter;

    #[tokio::test]
    async fn requests_are_counted_by_kind() {
        let objects = Objects::new(Arc::new(InMemory::new()), Path::default());
        let path = objects.path("s/one");
        assert_eq!(objects.put_new(&path, Bytes::from_static(b"12345")).await.unwrap(), PutNew::Created);
        assert_eq!(objects.put_new(&path, Bytes::from_static(b"123")).await.unwrap(), PutNew::Exists);
        objects.get(&path).await.unwrap();
        objects.clone().get_ranges(&path, &[0..1, 2..4]).await.unwrap();
        objects.get_suffix(&path, 2).await.unwrap();
        objects.get(&objects.path("s/none")).await.unwrap_err();
        assert_eq!(objects.list("s").await.unwrap().len(), 1);
        objects.delete(&path).await.unwrap();
        let found = objects.requests();
        let counts =
            [&found.writes, &found.bytes_written, &found.reads, &found.bytes_read, &found.lists, &found.deletes];
        assert_eq!(counts.map(Counter::value), [2, 8, 6, 10, 1, 1]);
        assert_eq!(found.failures.value(), 1);
        let ends =
            ObjectOperation::ALL.map(|operation| ObjectEnd::ALL.map(|end| found.seconds(operation, end).count()));
        let expected = [[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [2, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]];
        assert_eq!(ends[..5], expected);
        assert_eq!((ends[5], found.operations(Delete)), ([1, 0, 0, 0, 0], 1));
    }
}
