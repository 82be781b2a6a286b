#![doc = include_str!("format/wal.md")]
//!
//! # In this crate
//!
//! [`Wal::open`] replays what earlier runs left and returns a [`Wal`] to append to. Appending is quick and does not
//! wait; [`Committer::sync`] waits until a record is on disk, together with everybody else who waits.
//!
//! A write that fails is taken back, so that a full disk refuses records only while it is full. When that is not
//! possible, or when a sync fails, nobody knows what is on disk any more: the log is *poisoned* and takes nothing until
//! it is opened again.

use std::io::{self, IoSlice};
use std::sync::Arc;

mod commit;
mod files;
mod record;
mod replay;
mod simulated;
mod survey;

pub use commit::{Committer, Lsn};
pub use files::{AppendFile, Files, FolderFiles};
pub use record::{MAX_RECORD_BYTES, Record, RecordKind};
pub use replay::{DamagedFile, ReplayRecord, ReplayReport};
pub use simulated::{Fault, SimulatedFiles, Survival};
pub(crate) use survey::survey;

use crate::error::is_out_of_space;
use record::FileHeader;

/// Default of [`WalOptions::file_bytes`].
pub const DEFAULT_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// How the names of log files end.
const FILE_SUFFIX: &str = ".wal";

/// Appended to the name of a file that could not be read in full, once its records live elsewhere.
const DAMAGED_SUFFIX: &str = ".damaged";

/// Options of [`Wal::open`].
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Length at which a file is ended and the next one begun.
    pub file_bytes: u64,
    /// A number that clients cannot guess: it keeps them from hiding whole records in the bodies they send.
    pub salt: u32,
    /// The lowest number a new file may get. Whoever remembers numbers of removed files, to know which records live
    /// elsewhere, must set it above them: a folder without files would begin at one again.
    pub min_file_number: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { file_bytes: DEFAULT_FILE_BYTES, salt: uuid::Uuid::new_v4().as_u128() as u32, min_file_number: 1 }
    }
}

/// Why the log could not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The file system refused something.
    #[error("cannot {action} log file {name}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        name: String,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// An earlier failure left the log in an unknown state.
    #[error("the log takes no records since it failed; it must be opened again")]
    Poisoned,
    /// A file was written by a version that this one cannot read.
    #[error("log file {name} has version {found}, the newest supported is {supported}")]
    Version {
        /// The file.
        name: String,
        /// Its version.
        found: u16,
        /// The newest version this code reads.
        supported: u16,
    },
    /// A record is longer than any reader would accept.
    #[error("a log record would be {bytes} bytes, the limit is {MAX_RECORD_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
}

impl WalError {
    fn io(action: &'static str, name: &str, source: io::Error) -> Self {
        Self::Io { action, name: name.to_owned(), source: Arc::new(source) }
    }

    /// Whether the cause is a lack of space.
    pub fn is_disk_full(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        is_out_of_space(source)
    }
}

/// A write-ahead log: the pushes that are not in a segment yet.
#[derive(Debug)]
pub struct Wal {
    files: Arc<dyn Files>,
    options: WalOptions,
    current: Option<CurrentFile>,
    next_number: u64,
    ended: Vec<EndedFile>,
    committer: Committer,
}

#[derive(Debug)]
struct CurrentFile {
    number: u64,
    file: Arc<dyn AppendFile>,
    len: u64,
    salt: u32,
}

#[derive(Debug)]
struct EndedFile {
    number: u64,
    len: u64,
    /// It is not removed but set aside.
    is_damaged: bool,
}

impl Wal {
    /// Hands every record that is left from earlier runs to `replay`, oldest first, then opens the log for appending.
    ///
    /// The first error of `replay` ends it all and is returned.
    pub fn open<E: From<WalError>>(
        files: Arc<dyn Files>,
        options: WalOptions,
        replay: impl FnMut(ReplayRecord) -> Result<(), E>,
    ) -> Result<(Self, ReplayReport), E> {
        let (report, ended, next_number) = replay::replay(&*files, replay)?;
        let next_number = next_number.max(options.min_file_number);
        let committer = Committer::new(Arc::clone(&files));
        Ok((Self { files, options, current: None, next_number, ended, committer }, report))
    }

    /// Writes a record behind all others. It is not safe before [`Committer::sync`] has returned for the result.
    pub fn append(&mut self, record: &Record<'_>) -> Result<Lsn, WalError> {
        self.committer.check()?;
        if self.current.as_ref().is_some_and(|current| current.len >= self.options.file_bytes) {
            self.rotate();
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin_file()?,
        };
        let current = self.current.insert(current);
        let head = record.head(current.salt)?;
        let len = (head.len() + record.body.len()) as u64;
        if let Err(error) = current.file.append(&[IoSlice::new(&head), IoSlice::new(record.body)]) {
            let error = WalError::io("append to", &file_name(current.number), error);
            if current.file.truncate(current.len).is_err() {
                self.committer.poison(&error);
            }
            return Err(error);
        }
        current.len += len;
        Ok(self.committer.written(len))
    }

    /// Ends the current file and returns the number up to which all files are ended now.
    pub fn rotate(&mut self) -> u64 {
        if let Some(current) = self.current.take() {
            self.committer.end_file();
            self.ended.push(EndedFile { number: current.number, len: current.len, is_damaged: false });
        }
        self.next_number - 1
    }

    /// Removes ended files up to and including `number`: their records live elsewhere now.
    ///
    /// Files that could not be read in full, and those that [`Wal::keep`] names, are kept under another name.
    pub fn remove_through(&mut self, number: u64) -> Result<(), WalError> {
        while let Some(file) = self.ended.first().filter(|file| file.number <= number) {
            let name = file_name(file.number);
            if file.is_damaged {
                let kept = format!("{name}{DAMAGED_SUFFIX}");
                self.files.rename(&name, &kept).map_err(|error| WalError::io("set aside", &name, error))?;
            } else {
                self.files.remove(&name).map_err(|error| WalError::io("remove", &name, error))?;
            }
            self.ended.remove(0);
        }
        Ok(())
    }

    /// Lets an ended file be kept under another name, as if it were damaged, when it would be removed: for records that
    /// are intact but cannot be read.
    pub fn keep(&mut self, number: u64) {
        for file in self.ended.iter_mut().filter(|file| file.number == number) {
            file.is_damaged = true;
        }
    }

    /// The handle that waits for records to be on disk.
    pub fn committer(&self) -> Committer {
        self.committer.clone()
    }

    /// The length of all files together.
    pub fn bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |current| current.len);
        self.ended.iter().map(|file| file.len).sum::<u64>() + current
    }

    fn begin_file(&mut self) -> Result<CurrentFile, WalError> {
        let number = self.next_number;
        let name = file_name(number);
        // Files of one run must differ in their salt, or a record could move from one to another unnoticed.
        let salt = self.options.salt.wrapping_add((number as u32).wrapping_mul(0x9E37_79B9));
        let header = FileHeader { number, salt }.encode();
        let file = self.files.create(&name).map_err(|error| WalError::io("create", &name, error))?;
        if let Err(error) = file.append(&[IoSlice::new(&header)]) {
            let error = WalError::io("append to", &name, error);
            if self.files.remove(&name).is_err() {
                // It cannot be created again under this name.
                self.next_number += 1;
                self.ended.push(EndedFile { number, len: 0, is_damaged: false });
            }
            return Err(error);
        }
        self.next_number += 1;
        self.committer.begin_file(name, &file);
        Ok(CurrentFile { number, file, len: header.len() as u64, salt })
    }
}

/// The name of a log file; names sort as the numbers do.
fn file_name(number: u64) -> String {
    format!("{number:020}{FILE_SUFFIX}")
}

/// The number of a log file, if `name` is that of one.
fn file_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(FILE_SUFFIX)?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether `name` is one that a log gives its files, damaged ones included.
pub(crate) fn is_log_file(name: &str) -> bool {
    file_number(name.strip_suffix(DAMAGED_SUFFIX).unwrap_or(name)).is_some()
}

#[cfg(test)]
mod tests;
