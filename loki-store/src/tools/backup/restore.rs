//! Making a store of a backup.

use std::io::IoSlice;

use bytes::Bytes;

use super::catalog::{Catalog, CatalogEntry};
use super::{BackupError, BackupReport, LOCK_FILE, LOG_FOLDER, LOG_ID_FILE, LogCopy, MANIFEST_FOLDER};
use crate::error::Error;
use crate::tools::progress::{Progress, Stage};
use crate::tools::site::{Site, is_gone};
use crate::wal::{Files, is_log_file};

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
    let log_names = catalog.objects.iter().map(log_name).collect::<Result<Vec<_>, _>>()?;
    if target.log.is_none() && log_names.into_iter().flatten().any(is_log_file) {
        return Err(BackupError::NoLog);
    }
    let bytes = catalog.objects.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add);
    let mut report = BackupReport { manifest: catalog.manifest(), ..BackupReport::default() };
    progress.begin(Stage::Copying, Some(bytes));
    // The manifest comes last, and with it everything that it names.
    let (manifests, others): (Vec<_>, Vec<_>) =
        catalog.objects.iter().partition(|entry| entry.path.starts_with(MANIFEST_FOLDER));
    for entry in others.into_iter().chain(manifests) {
        let bytes = read(source, entry).await?;
        match log_name(entry)? {
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

/// The name of a file of the log, behind which its length stands in the backup; `None` for other objects. The list may
/// say anything, and must not lead us out of the log's folder.
fn log_name(entry: &CatalogEntry) -> Result<Option<&str>, BackupError> {
    let Some(name) = entry.path.strip_prefix(LOG_FOLDER) else {
        return Ok(None);
    };
    let name = name.rsplit_once('.').map(|(name, _)| name).filter(|name| *name == LOG_ID_FILE || is_log_file(name));
    name.map(Some).ok_or_else(|| BackupError::Damaged { object: entry.path.clone() })
}

/// Writes a file of the log.
fn restore_log_file(target: &Site, name: &str, bytes: &[u8], log: &mut LogCopy) -> Result<(), BackupError> {
    let Some(files) = &target.log else {
        // The name of a log without records.
        return Ok(());
    };
    write(&**files, name, bytes)?;
    if is_log_file(name) {
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
