//! A file system in memory that loses what was not synced and fails when it is told to.
//!
//! It keeps two images: what programs see, and what a disk would hold for certain. Each operation that changes
//! something has a number, counted from zero; [`SimulatedFiles::fail_at`] makes one of them fail, and
//! [`SimulatedFiles::reboot`] shows what a program finds after the power went.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{AppendFile, Files};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes before it has any effect.
    CrashBefore,
    /// The power goes after its effect, before anybody learns of it.
    CrashAfter,
    /// The disk is full; so many bytes of an append still fit.
    NoSpace(usize),
    /// The device fails.
    Io,
}

/// What is left of bytes and names that were not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Durable,
    /// Everything, as if the system had written it back just before.
    Everything,
    /// All names, and of each file's bytes that were not synced only so many.
    Torn(usize),
}

/// A folder in memory. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct SimulatedFiles {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    contents: Vec<Content>,
    /// Names as programs see them.
    live: BTreeMap<String, usize>,
    /// Names as the disk has them.
    durable: BTreeMap<String, usize>,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    is_down: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
}

impl SimulatedFiles {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations changed something, or tried to.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Makes the operation with the given number fail.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state.lock().faults.insert(operation, fault);
    }

    /// The folder that is found when the power is back. This one is down from now on.
    #[must_use]
    pub fn reboot(&self, survival: Survival) -> Self {
        let mut state = self.state.lock();
        state.is_down = true;
        let names = if survival == Survival::Durable { &state.durable } else { &state.live };
        let mut found = State::default();
        for (name, &id) in names {
            let content = &state.contents[id];
            let bytes = match survival {
                Survival::Durable => content.durable.clone(),
                Survival::Everything => content.live.clone(),
                Survival::Torn(kept) => {
                    let len = content.live.len().min(content.durable.len() + kept);
                    content.live[..len].to_vec()
                }
            };
            found.put(name, bytes);
        }
        Self { state: Arc::new(Mutex::new(found)) }
    }

    /// The content of a file as programs see it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.live.get(name).map(|&id| state.contents[id].live.clone())
    }

    /// Puts a file there, durably and without counting it as an operation.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        self.state.lock().put(name, content);
    }

    fn change<T>(&self, apply: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        let fault = state.begin_operation()?;
        match fault {
            None => apply(&mut state),
            Some(Fault::CrashAfter) => {
                apply(&mut state)?;
                Err(state.power_off())
            }
            Some(fault) => Err(state.fail(fault)),
        }
    }
}

impl State {
    fn put(&mut self, name: &str, content: Vec<u8>) {
        let id = self.contents.len();
        self.contents.push(Content { live: content.clone(), durable: content });
        self.live.insert(name.to_owned(), id);
        self.durable.insert(name.to_owned(), id);
    }

    fn begin_operation(&mut self) -> io::Result<Option<Fault>> {
        self.check_power()?;
        let operation = self.operations;
        self.operations += 1;
        Ok(self.faults.remove(&operation))
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_down { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn power_off(&mut self) -> io::Error {
        self.is_down = true;
        io::Error::other("the power went off")
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        match fault {
            Fault::CrashBefore | Fault::CrashAfter => self.power_off(),
            Fault::NoSpace(_) => io::ErrorKind::StorageFull.into(),
            Fault::Io => io::Error::other("the device failed"),
        }
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.live.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for SimulatedFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(state.live.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(state.contents[state.id(name)?].live.clone())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn AppendFile>> {
        let id = self.change(|state| {
            if state.live.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = state.contents.len();
            state.contents.push(Content::default());
            state.live.insert(name.to_owned(), id);
            Ok(id)
        })?;
        Ok(Arc::new(SimulatedFile { files: self.clone(), id }))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.change(|state| {
            let id = state.id(name)?;
            let content = &mut state.contents[id];
            content.live.truncate(len as usize);
            content.durable = content.live.clone();
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let id = state.id(from)?;
            state.live.remove(from);
            state.live.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            state.id(name)?;
            state.live.remove(name);
            Ok(())
        })
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.change(|state| {
            state.durable = state.live.clone();
            Ok(())
        })
    }
}

#[derive(Debug)]
struct SimulatedFile {
    files: SimulatedFiles,
    id: usize,
}

impl AppendFile for SimulatedFile {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.files.state.lock();
        let fault = state.begin_operation()?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let kept = match fault {
            None | Some(Fault::CrashAfter) => bytes.len(),
            Some(Fault::NoSpace(kept)) => kept.min(bytes.len()),
            Some(Fault::CrashBefore | Fault::Io) => 0,
        };
        state.contents[self.id].live.extend_from_slice(&bytes[..kept]);
        fault.map_or(Ok(()), |fault| Err(state.fail(fault)))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.files.change(|state| {
            state.contents[self.id].live.truncate(len as usize);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.files.change(|state| {
            let content = &mut state.contents[self.id];
            content.durable = content.live.clone();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &SimulatedFiles) -> Arc<dyn AppendFile> {
        let file = files.create("f").unwrap();
        file.append(&[IoSlice::new(b"safe")]).unwrap();
        file.sync().unwrap();
        files.sync_folder().unwrap();
        file.append(&[IoSlice::new(b"-lost")]).unwrap();
        file
    }

    #[test]
    fn a_reboot_keeps_what_was_synced_and_more_by_luck() {
        let files = SimulatedFiles::new();
        let file = written(&files);
        assert_eq!(files.reboot(Survival::Durable).read("f").unwrap(), b"safe");
        assert_eq!(files.reboot(Survival::Torn(2)).read("f").unwrap(), b"safe-l");
        assert_eq!(files.reboot(Survival::Everything).read("f").unwrap(), b"safe-lost");
        assert!(file.sync().is_err(), "the old machine is down");
        assert!(files.list().is_err());
    }

    #[test]
    fn names_are_lost_without_a_sync_of_the_folder() {
        let files = SimulatedFiles::new();
        let file = files.create("f").unwrap();
        file.append(&[IoSlice::new(b"x")]).unwrap();
        file.sync().unwrap();
        assert_eq!(files.reboot(Survival::Durable).list().unwrap(), [""; 0]);
    }

    #[test]
    fn faults_hit_the_operation_they_name() {
        let files = SimulatedFiles::new();
        let file = written(&files);
        let next = files.operations();
        files.fail_at(next, Fault::NoSpace(2));
        files.fail_at(next + 1, Fault::Io);
        files.fail_at(next + 3, Fault::CrashAfter);
        let error = file.append(&[IoSlice::new(b"full")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(file.sync().is_err());
        assert_eq!(files.content("f").unwrap(), b"safe-lostfu");
        file.truncate(4).unwrap();
        assert!(file.append(&[IoSlice::new(b"!")]).is_err(), "applied, but nobody learns of it");
        assert_eq!(files.reboot(Survival::Everything).read("f").unwrap(), b"safe!");
    }
}
