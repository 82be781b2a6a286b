//! What can go wrong in a store, and what a caller can do about it.

use std::io;
use std::path::PathBuf;

use loki_logql::budget::BudgetExceeded;

use crate::deletes::DeleteError;
use crate::wal::WalError;

/// A failure of the store. Rejected entries are not failures: see [`crate::PushOutcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the data folder open.
    #[error("data folder {} is locked by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The object store refused or failed a request.
    #[error("cannot {action} object {object}")]
    Object {
        /// What was attempted.
        action: &'static str,
        /// The object's path.
        object: String,
        /// The object store's answer.
        source: object_store::Error,
    },
    /// An object does not hold what was once written to it.
    #[error("object {object} is damaged")]
    Corrupt {
        /// The object's path.
        object: String,
        /// The damage.
        source: loki_core::Error,
    },
    /// Something to be written does not fit its format.
    #[error("cannot encode {what}")]
    Encode {
        /// What was being written.
        what: &'static str,
        /// Why it does not fit.
        source: loki_core::Error,
    },
    /// A merge did not come to the number of entries that its inputs have, so that it was not made to count.
    #[error("a merge of {expected} entries met {found}")]
    Merge {
        /// Entries that the inputs say they have.
        expected: u64,
        /// Entries that were written or left out for a reason.
        found: u64,
    },
    /// The write-ahead log failed.
    #[error("the write-ahead log failed")]
    Wal(#[from] WalError),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Another writer took this store's place in the object store.
    #[error("writer {writer} was fenced: object {object} belongs to somebody else")]
    Fenced {
        /// This store's writer id.
        writer: String,
        /// The object that was expected to be free.
        object: String,
    },
    /// Memory for entries awaiting flush is used up.
    #[error("{used_bytes} bytes await flush, the limit is {limit_bytes}; retry later")]
    HeadFull {
        /// Bytes in memory.
        used_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A request to delete entries, or to cancel one, was refused.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// There is no memory for what a query has to hold.
    #[error(transparent)]
    Memory(#[from] BudgetExceeded),
    /// A configuration cannot work.
    #[error("{setting} {problem}")]
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The reaction that an [`Error`] calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or the configuration must change.
    Invalid,
    /// What the request names does not exist.
    NotFound,
    /// The same request succeeds later.
    RateLimited,
    /// The store cannot serve this now; retrying may help.
    Unavailable,
    /// There is no room to write to; retrying helps once there is.
    StorageFull,
    /// Stored bytes are damaged.
    Corrupt,
    /// Writes need the store reopened.
    Poisoned,
    /// The store was closed.
    Closed,
}

impl Error {
    /// The reaction this error calls for.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Wal(WalError::Poisoned) | Self::Fenced { .. } => ErrorKind::Poisoned,
            Self::Wal(WalError::TooLarge { .. }) | Self::Encode { .. } | Self::Config { .. } | Self::Memory(_) => {
                ErrorKind::Invalid
            }
            Self::Wal(error) if error.is_disk_full() => ErrorKind::StorageFull,
            Self::Io { .. } | Self::Object { .. } if self.is_storage_full() => ErrorKind::StorageFull,
            Self::Locked { .. } | Self::Io { .. } | Self::Object { .. } | Self::Wal(_) => ErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::Merge { .. } => ErrorKind::Corrupt,
            Self::Closed => ErrorKind::Closed,
            Self::HeadFull { .. } | Self::Delete(DeleteError::TooMany) => ErrorKind::RateLimited,
            Self::Delete(DeleteError::Unknown) => ErrorKind::NotFound,
            Self::Delete(_) => ErrorKind::Invalid,
        }
    }

    /// Whether some cause is a lack of space.
    fn is_storage_full(&self) -> bool {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_out_of_space)
    }
}

/// Whether the system refused to write because there is no room.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let put = |source: io::Error| Error::Object {
            action: "create",
            object: "w/1.seg".into(),
            source: object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) },
        };
        let log = |source: io::Error| WalError::Io { action: "append to", name: "1.wal".into(), source: source.into() };
        assert_eq!(put(full()).kind(), ErrorKind::StorageFull);
        assert_eq!(put(io::ErrorKind::TimedOut.into()).kind(), ErrorKind::Unavailable);
        assert_eq!(Error::from(log(full())).kind(), ErrorKind::StorageFull);
        assert_eq!(Error::from(log(io::ErrorKind::Other.into())).kind(), ErrorKind::Unavailable);
        assert_eq!(Error::Io { action: "write", path: "id".into(), source: full() }.kind(), ErrorKind::StorageFull);
        assert_eq!(Error::from(WalError::Poisoned).kind(), ErrorKind::Poisoned);
    }
}
