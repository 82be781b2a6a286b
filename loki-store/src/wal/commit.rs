//! Group commit: one sync for everybody who waits.
//!
//! Whoever waits first leads a round and syncs at once; everybody else who comes while it runs waits for its end, and
//! one of those whom it did not cover leads the next. So nobody waits when the log is idle, and under load a round
//! covers all that was written during the one before. A round runs on a blocking thread and does its bookkeeping
//! there: it completes even if the future that started it is dropped.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::WalError;
use super::files::{AppendFile, Files};

/// A position in the log; the order of records is the order of their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

/// Waits for records to be on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Arc<dyn Files>,
    state: Mutex<State>,
    round_ended: Notify,
    round_ended_blocking: Condvar,
}

/// A file with its name.
type Named = (String, Arc<dyn AppendFile>);

#[derive(Debug, Default)]
struct State {
    written: Lsn,
    synced: Lsn,
    is_running: bool,
    /// The file that grows.
    current: Option<Named>,
    /// Files that ended with bytes that no round has covered.
    ended: Vec<Named>,
    has_new_names: bool,
    failure: Option<WalError>,
    rounds: u64,
}

/// What one round makes durable.
struct Round {
    target: Lsn,
    files: Vec<Named>,
    has_new_names: bool,
}

impl Committer {
    pub(super) fn new(files: Arc<dyn Files>) -> Self {
        let shared =
            Shared { files, state: Mutex::default(), round_ended: Notify::new(), round_ended_blocking: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Returns once everything up to `lsn` is on disk.
    ///
    /// # Errors
    ///
    /// The failure of a sync, then and for ever after: what it left on disk is unknown.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn sync(&self, lsn: Lsn) -> Result<(), WalError> {
        loop {
            let round_ended = self.shared.round_ended.notified();
            let mut round_ended = std::pin::pin!(round_ended);
            // From here on the end of a round is not missed, even before the first poll.
            round_ended.as_mut().enable();
            let round = {
                let mut state = self.shared.state.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if state.synced >= lsn {
                    return Ok(());
                }
                state.next_round()
            };
            if let Some(round) = round {
                let shared = Arc::clone(&self.shared);
                drop(tokio::task::spawn_blocking(move || shared.run(&round)));
            }
            round_ended.await;
        }
    }

    /// The same for programs without a runtime: syncs on this thread.
    pub fn sync_blocking(&self, lsn: Lsn) -> Result<(), WalError> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.synced >= lsn {
                return Ok(());
            }
            if let Some(round) = state.next_round() {
                drop(state);
                self.shared.run(&round);
                state = self.shared.state.lock();
            } else {
                self.shared.round_ended_blocking.wait(&mut state);
            }
        }
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> u64 {
        self.shared.state.lock().rounds
    }

    /// Fails once the log is poisoned.
    pub(super) fn check(&self) -> Result<(), WalError> {
        if self.shared.state.lock().failure.is_some() { Err(WalError::Poisoned) } else { Ok(()) }
    }

    pub(super) fn poison(&self, failure: &WalError) {
        self.shared.state.lock().failure.get_or_insert_with(|| failure.clone());
        self.shared.wake_all();
    }

    /// Notes that `bytes` were appended, and returns the position behind them.
    pub(super) fn written(&self, bytes: u64) -> Lsn {
        let mut state = self.shared.state.lock();
        state.written.0 += bytes;
        state.written
    }

    pub(super) fn begin_file(&self, name: String, file: &Arc<dyn AppendFile>) {
        let mut state = self.shared.state.lock();
        state.current = Some((name, Arc::clone(file)));
        state.has_new_names = true;
    }

    pub(super) fn end_file(&self) {
        let mut state = self.shared.state.lock();
        // A running round may have taken the file before its last bytes were written.
        let has_unsynced = state.written > state.synced;
        if let Some(file) = state.current.take().filter(|_| has_unsynced) {
            state.ended.push(file);
        }
    }
}

impl State {
    /// A round that covers all that was written, unless one is running.
    fn next_round(&mut self) -> Option<Round> {
        if self.is_running {
            return None;
        }
        self.is_running = true;
        let mut files = std::mem::take(&mut self.ended);
        files.extend(self.current.clone());
        Some(Round { target: self.written, files, has_new_names: std::mem::take(&mut self.has_new_names) })
    }
}

impl Shared {
    fn run(&self, round: &Round) {
        let result = self.sync_files(round);
        let mut state = self.state.lock();
        state.is_running = false;
        state.rounds += 1;
        match result {
            Ok(()) => state.synced = state.synced.max(round.target),
            Err(error) => drop(state.failure.get_or_insert(error)),
        }
        drop(state);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.round_ended.notify_waiters();
        self.round_ended_blocking.notify_all();
    }

    /// Syncs older files before newer ones, so that what survives a crash is a prefix of the log.
    fn sync_files(&self, round: &Round) -> Result<(), WalError> {
        for (name, file) in &round.files {
            file.sync().map_err(|error| WalError::io("sync", name, error))?;
        }
        if round.has_new_names {
            let name = round.files.last().map_or("", |(name, _)| name);
            self.files.sync_folder().map_err(|error| WalError::io("sync the folder of", name, error))?;
        }
        Ok(())
    }
}
