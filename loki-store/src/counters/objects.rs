//! What was asked of the object store, how long that took, and how it ended.

use super::{Counter, Histogram};

/// From a local disk to a bucket far away.
const BOUNDS_SECONDS: [f64; 15] =
    [0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What was asked of the object store since the store was opened, which buckets charge for. Attempts that are repeated
/// after a failure count once.
#[derive(Debug, Default)]
pub struct ObjectRequests {
    /// Objects created, and copies made.
    pub writes: Counter,
    /// Bytes of objects created.
    pub bytes_written: Counter,
    /// Objects or ranges of them that were read, and sizes that were asked for. Neighbouring ranges count one by one,
    /// though they are fetched together.
    pub reads: Counter,
    /// Bytes read.
    pub bytes_read: Counter,
    /// Listings; each page of one is a request.
    pub lists: Counter,
    /// Objects deleted.
    pub deletes: Counter,
    /// Requests of any kind that failed for good.
    pub failures: Counter,
    durations: Durations,
}

impl ObjectRequests {
    /// How long such operations took that ended like that, in seconds, with all attempts.
    pub fn seconds(&self, operation: ObjectOperation, end: ObjectEnd) -> &Histogram {
        &self.durations.0[operation as usize][end as usize]
    }

    /// How many such operations there were, however they ended.
    pub fn operations(&self, operation: ObjectOperation) -> u64 {
        ObjectEnd::ALL.iter().map(|&end| self.seconds(operation, end).count()).sum()
    }
}

/// What the object store is asked to do. Ranges that are fetched together, and all pages of a listing, are one
/// operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOperation {
    /// Create an object.
    Upload,
    /// Read an object.
    Get,
    /// Read parts of an object.
    GetRange,
    /// Tell an object's size.
    Attributes,
    /// List objects.
    Iter,
    /// Delete an object.
    Delete,
}

impl ObjectOperation {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] = [Self::Upload, Self::Get, Self::GetRange, Self::Attributes, Self::Iter, Self::Delete];

    /// The name that Loki's metrics give it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Attributes => "attributes",
            Self::Iter => "iter",
            Self::Delete => "delete",
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectEnd {
    /// It was done.
    Done,
    /// There is no such object.
    Absent,
    /// The name of an object to be created is taken.
    Taken,
    /// We may not do that.
    Denied,
    /// It failed for another reason.
    Failed,
}

impl ObjectEnd {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Done, Self::Absent, Self::Taken, Self::Denied, Self::Failed];

    pub(crate) fn of<T>(result: &Result<T, object_store::Error>) -> Self {
        use object_store::Error;

        match result {
            Ok(_) => Self::Done,
            Err(Error::NotFound { .. }) => Self::Absent,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Self::Taken,
            Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => Self::Denied,
            Err(_) => Self::Failed,
        }
    }

    /// The status that a bucket answers in such a case.
    pub const fn status(self) -> u16 {
        match self {
            Self::Done => 200,
            Self::Absent => 404,
            Self::Taken => 412,
            Self::Denied => 403,
            Self::Failed => 500,
        }
    }
}

#[derive(Debug)]
struct Durations([[Histogram; ObjectEnd::ALL.len()]; ObjectOperation::ALL.len()]);

impl Default for Durations {
    fn default() -> Self {
        Self(ObjectOperation::ALL.map(|_| ObjectEnd::ALL.map(|_| Histogram::new(&BOUNDS_SECONDS))))
    }
}
