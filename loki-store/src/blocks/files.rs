//! Where blocks are.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use super::block::{BLOCK_BYTES, BlockKey, HEADER_BYTES};
use crate::segment::SegmentId;

/// The end of names of files that are being written.
const UNFINISHED: &str = "tmp";

/// The files of blocks. One caller at a time writes.
pub(crate) trait BlockFiles: Send + Sync + fmt::Debug {
    /// All blocks, in no order. Removes what was not written to its end.
    fn list(&self) -> io::Result<Vec<BlockFile>>;

    /// The content of a block's file, if it is not larger than it can be.
    fn read(&self, key: BlockKey) -> io::Result<Vec<u8>>;

    /// Makes or replaces a block's file; a failure leaves none that is new.
    fn write(&self, key: BlockKey, header: &[u8], payload: &[u8]) -> io::Result<()>;

    /// Removes a block's file.
    fn remove(&self, key: BlockKey) -> io::Result<()>;
}

/// A file that holds a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockFile {
    pub(crate) key: BlockKey,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

/// Files in a folder: `<two digits>/<segment id>.<number>`, the digits being the first ones of the id.
#[derive(Debug)]
pub(crate) struct FolderBlocks {
    folder: PathBuf,
}

impl FolderBlocks {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, key: BlockKey) -> PathBuf {
        let name = key.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// Writes a file beside the block's, and gives it its name once it is whole. It is not synced: the checksum tells a
    /// block that a crash of the machine tore.
    fn replace(&self, key: BlockKey, header: &[u8], payload: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let unfinished = path.with_added_extension(UNFINISHED);
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(header)?;
            file.write_all(payload)?;
            fs::rename(&unfinished, &path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

impl BlockFiles for FolderBlocks {
    fn list(&self) -> io::Result<Vec<BlockFile>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let name = file.file_name();
                let Some(key) = name.to_str().and_then(|name| key_of(name.trim_end_matches(".tmp"))) else {
                    continue;
                };
                if file.path() != self.path(key) {
                    let _ = fs::remove_file(file.path());
                    continue;
                }
                let metadata = file.metadata()?;
                found.push(BlockFile { key, bytes: metadata.len(), modified: metadata.modified()? });
            }
        }
        Ok(found)
    }

    fn read(&self, key: BlockKey) -> io::Result<Vec<u8>> {
        const MAX_BYTES: u64 = HEADER_BYTES as u64 + BLOCK_BYTES;
        let file = File::open(self.path(key))?;
        let bytes = file.metadata()?.len();
        if bytes > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::with_capacity(bytes as usize);
        file.take(MAX_BYTES).read_to_end(&mut content)?;
        Ok(content)
    }

    fn write(&self, key: BlockKey, header: &[u8], payload: &[u8]) -> io::Result<()> {
        match self.replace(key, header, payload) {
            // The folder is new, or somebody removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.path(key).parent().unwrap_or(&self.folder))?;
                self.replace(key, header, payload)
            }
            outcome => outcome,
        }
    }

    fn remove(&self, key: BlockKey) -> io::Result<()> {
        fs::remove_file(self.path(key))
    }
}

/// The block that a name is of.
fn key_of(name: &str) -> Option<BlockKey> {
    let (segment, number) = name.split_once('.')?;
    let key = BlockKey { segment: SegmentId(Uuid::try_parse(segment).ok()?), number: number.parse().ok()? };
    (key.to_string() == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> BlockKey {
        BlockKey { segment: SegmentId(Uuid::from_u128(0xab << 120)), number }
    }

    #[test]
    fn blocks_are_found_again_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderBlocks::new(folder.path());
        files.write(key(7), b"head", b"and tail").unwrap();
        let own = folder.path().join("ab").join(key(7).to_string());
        let unfinished = own.with_added_extension(UNFINISHED);
        let astray = folder.path().join("ab").join(key(0).to_string().replace("ab", "cd"));
        let foreign = folder.path().join("ab").join("note.txt");
        for path in [&unfinished, &astray, &foreign, &folder.path().join("LOCK")] {
            fs::write(path, b"x").unwrap();
        }
        let found = files.list().unwrap();
        assert_eq!(found.iter().map(|file| (file.key, file.bytes)).collect::<Vec<_>>(), [(key(7), 12)]);
        assert_eq!(files.read(key(7)).unwrap(), b"headand tail");
        assert!(!unfinished.exists() && !astray.exists() && foreign.exists());
        files.remove(key(7)).unwrap();
        assert!(!own.exists());
        assert_eq!(files.read(key(7)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_no_block_can_be_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderBlocks::new(folder.path());
        files.write(key(1), &[0; HEADER_BYTES], &vec![0; BLOCK_BYTES as usize]).unwrap();
        assert!(files.read(key(1)).is_ok());
        files.write(key(1), &[0; HEADER_BYTES], &vec![0; BLOCK_BYTES as usize + 1]).unwrap();
        assert_eq!(files.read(key(1)).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
