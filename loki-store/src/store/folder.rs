//! A local folder as the place of a store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use uuid::Uuid;

use super::open::FreeSpace;
use crate::error::Error;
use crate::wal::{Files, FolderFiles};

/// The file inside the log's folder that names the log.
const LOG_ID_FILE: &str = "id";
/// Folders of objects, and how deep they are.
const OBJECT_FOLDERS: [&str; 4] = ["d", "m", "s", "w"];
const OBJECT_FOLDERS_DEPTH: usize = 2;

/// The folder as an object store. Nobody else may be using it.
pub(super) fn open_objects(folder: &Path) -> Result<Arc<dyn ObjectStore>, Error> {
    for objects in OBJECT_FOLDERS {
        remove_unfinished(&folder.join(objects), OBJECT_FOLDERS_DEPTH);
    }
    let local = LocalFileSystem::new_with_prefix(folder).map_err(|source| Error::Object {
        action: "open",
        object: folder.display().to_string(),
        source,
    })?;
    Ok(Arc::new(local.with_fsync(true).with_automatic_cleanup(true)))
}

/// Says how many bytes are free on the folder's disk.
pub(super) fn free_space(folder: &Path) -> FreeSpace {
    let folder = folder.to_owned();
    Arc::new(move || fs4::available_space(&folder).map_err(io_error("find out the free space of", &folder)))
}

/// The log in `folder` and its name, which it gets when it is first opened.
pub(super) fn open_log(folder: &Path) -> Result<(Arc<dyn Files>, Uuid), Error> {
    let files = FolderFiles::open(folder).map_err(io_error("open", folder))?;
    let path = folder.join(LOG_ID_FILE);
    let id = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let id = if let Some(id) = id {
        id
    } else {
        let id = Uuid::new_v4();
        // A name that a crash tore is replaced by another: at worst, log files are read that need not be.
        std::fs::write(&path, id.to_string()).map_err(io_error("write", &path))?;
        id
    };
    Ok((Arc::new(files), id))
}

/// Removes what a crash left of objects that were being written: files named `<object>#<number>`. They are in nobody's
/// way but take space, so that a failure does not matter.
fn remove_unfinished(folder: &Path, depth: usize) {
    let Ok(found) = std::fs::read_dir(folder) else {
        return;
    };
    for path in found.filter_map(|found| found.ok().map(|found| found.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if path.is_dir() && depth > 0 {
            remove_unfinished(&path, depth - 1);
        } else if name.rsplit_once('#').is_some_and(|(_, number)| is_number(number))
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(file = %path.display(), error = %error, "cannot remove what a crash left of an object");
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_name_of_a_log_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for torn in [&b""[..], b"0123", b"\xff\xfe"] {
            std::fs::write(folder.path().join(LOG_ID_FILE), torn).unwrap();
            let (_, id) = open_log(folder.path()).unwrap();
            assert_eq!(open_log(folder.path()).unwrap().1, id);
        }
    }

    #[test]
    fn unfinished_files_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = ["s/a.seg#1", "w/writer/00000000000000000001.seg#12", "m/1.man#1"];
        let others = ["s/a.seg", "s/b#c", "s/d#", "w/writer/1.seg", "wal/1#1", "note#1"];
        for file in unfinished.iter().chain(&others) {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        open_objects(folder.path()).unwrap();
        assert!(unfinished.iter().all(|file| !folder.path().join(file).exists()));
        assert!(others.iter().all(|file| folder.path().join(file).exists()));
    }
}
