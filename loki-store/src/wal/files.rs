//! The little that the log asks of a file system.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// A folder of files.
///
/// What the log assumes: appended bytes are safe once [`AppendFile::sync`] has returned; a name is created, changed or
/// gone for good once [`Files::sync_folder`] has returned; until then a crash may leave any state in between.
pub trait Files: Send + Sync + fmt::Debug {
    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The content of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// A new, empty file; fails if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn AppendFile>>;

    /// Cuts a file, durably.
    fn truncate(&self, name: &str, len: u64) -> io::Result<()>;

    /// Gives a file another name, replacing the file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
}

/// A file that grows.
pub trait AppendFile: Send + Sync + fmt::Debug {
    /// Writes all of `parts` at the end. After a failure any part of them may be there.
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Cuts the file, not durably.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes everything that was appended durable.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct FolderFiles {
    folder: PathBuf,
}

impl FolderFiles {
    /// Opens a folder, creating it if it is absent.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)?;
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_path(parent)?;
            }
        }
        Ok(Self { folder })
    }
}

impl Files for FolderFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.folder.join(name))?;
        Ok(Arc::new(FolderFile(file)))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.folder.join(name))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_path(&self.folder)
    }
}

/// Makes the entries of a folder durable, where folders can be opened at all.
fn sync_path(folder: &std::path::Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(folder)?.sync_all()
}

#[derive(Debug)]
struct FolderFile(File);

impl AppendFile for FolderFile {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        // The usual case is one call that takes everything.
        let mut written = (&self.0).write_vectored(parts)?;
        if written == total {
            return Ok(());
        }
        for part in parts {
            let rest = part.get(written.min(part.len())..).unwrap_or_default();
            written -= written.min(part.len());
            (&self.0).write_all(rest)?;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_does_what_the_log_needs() {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderFiles::open(folder.path().join("a/wal")).unwrap();
        let file = files.create("one").unwrap();
        file.append(&[IoSlice::new(b"hello "), IoSlice::new(b""), IoSlice::new(b"world")]).unwrap();
        file.sync().unwrap();
        assert_eq!(files.create("one").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files.read("one").unwrap(), b"hello world");
        file.truncate(5).unwrap();
        file.append(&[IoSlice::new(b"!")]).unwrap();
        assert_eq!(files.read("one").unwrap(), b"hello!");
        files.truncate("one", 2).unwrap();
        files.rename("one", "two").unwrap();
        files.sync_folder().unwrap();
        assert_eq!(files.list().unwrap(), ["two"]);
        assert_eq!(files.read("two").unwrap(), b"he");
        files.remove("two").unwrap();
        assert_eq!(files.list().unwrap(), [""; 0]);
    }
}
