//! Making a store of a backup.

use std::io::IoSlice;

use bytes::Bytes;

use super::catalog::{Catalog, CatalogEntry};
use super::{BackupError, BackupReport, LOCK_FILE, LOG_FOLDER, LogCopy};
use crate::error::Error;
use crate::tools::progress::{Progress, Stage};
use crate::tools::site::{Site, is_gone};
use crate::wal::{FILE_SUFFIX, Files};

/// Makes a store of a backup in an empty place, made by [`Site::create`]. Every object is compared with its checksum.
///
/// # Errors
///
/// See [`BackupError`]. What was written by then is no complete store, and must be removed.
pub async fn restore(source: &Site, target: &Site, progress: &dyn Progress) -> Result<BackupReport, BackupError> {
    let _lock = target.lock()?;
    let catalog = Catalog::read(source).await?.filter(Catalog::is_finished).ok_or(BackupError::NoBackup)?;
    if let Some(object) = target.all_names().await?.into_iter().find(|name| name != LOCK_FILE) {
        return Err(BackupError::NotEmpty { object });
    }
    if let Some(files) = &target.log {
        let names = files.list().map_err(log_failed("list"))?;
        if let Some(object) = names.into_iter().find(|name| name != LOCK_FILE) {
            return Err(BackupError::NotEmpty { object });
        }
    }
    let has_records = |entry: &&CatalogEntry| entry.path.starts_with(LOG_FOLDER) && entry.path.contains(FILE_SUFFIX);
    if target.log.is_none() && catalog.objects.iter().any(|entry| has_records(&entry)) {
        return Err(BackupError::NoLog);
    }
    let bytes = catalog.objects.iter().map(|entry| entry.bytes).sum();
    let mut report = BackupReport { manifest: catalog.manifest(), ..BackupReport::default() };
    progress.begin(Stage::Copying, Some(bytes));
    // The manifest comes last, and with it everything that it names.
    let (manifests, others): (Vec<_>, Vec<_>) = catalog.objects.iter().partition(|entry| entry.path.starts_with("m/"));
    for entry in others.into_iter().chain(manifests) {
        let bytes = read(source, entry).await?;
        match entry.path.strip_prefix(LOG_FOLDER) {
            Some(name) => restore_log_file(target, name, &bytes, &mut report.log)?,
            None => {
                target.objects.put_new(&target.objects.path(&entry.path), bytes).await?;
            }
        }
        report.objects += 1;
        report.bytes += entry.bytes;
        progress.advance(entry.bytes);
    }
    (report.copied_objects, report.copied_bytes) = (report.objects, report.bytes);
    if let Some(files) = &target.log {
        files.sync_folder().map_err(log_failed("sync"))?;
    }
    progress.end();
    Ok(report)
}

/// An object of the backup, if it is what was copied.
async fn read(source: &Site, entry: &CatalogEntry) -> Result<Bytes, BackupError> {
    let damaged = || BackupError::Damaged { object: entry.path.clone() };
    match source.objects.get(&source.objects.path(&entry.path)).await {
        Ok(bytes) if CatalogEntry::of(&entry.path, &bytes) == *entry => Ok(bytes),
        Ok(_) => Err(damaged()),
        Err(error) if is_gone(&error) => Err(damaged()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a file of the log, whose name in the backup ends with its length.
fn restore_log_file(target: &Site, name: &str, bytes: &[u8], log: &mut LogCopy) -> Result<(), BackupError> {
    let Some(files) = &target.log else {
        // The name of a log without records.
        return Ok(());
    };
    let name = name.rsplit_once('.').map_or(name, |(name, _)| name);
    write(&**files, name, bytes)?;
    if name.contains(FILE_SUFFIX) {
        log.files += 1;
        log.bytes += bytes.len() as u64;
    }
    Ok(())
}

fn write(files: &dyn Files, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    let file = files.create(name).map_err(log_failed("create"))?;
    file.append(&[IoSlice::new(bytes)]).map_err(log_failed("write"))?;
    file.sync().map_err(log_failed("sync"))?;
    Ok(())
}

fn log_failed(action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: "wal".into(), source }
}
