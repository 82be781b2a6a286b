//! The list of what belongs to a backup.

use std::collections::BTreeMap;

use loki_core::Timestamp;
use loki_core::encoding::crc32;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};

use super::{BACKUP_MARKER, BackupError};
use crate::error::Error;
use crate::tools::site::{Site, is_gone};
use crate::tools::table::time;

/// The version this code writes, and the newest it reads.
const VERSION: u32 = 1;

/// What belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    version: u32,
    /// When it was finished; empty as long as none was.
    taken_at: String,
    /// The number of the manifest.
    manifest: u64,
    /// By path.
    pub(super) objects: Vec<CatalogEntry>,
    /// What we put there, or were about to, and is no part of the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
}

/// An object of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CatalogEntry {
    pub(super) path: String,
    pub(super) bytes: u64,
    crc32: u32,
}

impl Default for Catalog {
    /// No backup was finished yet.
    fn default() -> Self {
        Self { version: VERSION, taken_at: String::new(), manifest: 0, objects: Vec::new(), others: Vec::new() }
    }
}

impl Catalog {
    /// A finished backup.
    pub(super) fn of(entries: BTreeMap<String, CatalogEntry>, now: Timestamp, manifest: u64) -> Self {
        let objects = entries.into_values().collect();
        Self { version: VERSION, taken_at: time(now), manifest, objects, others: Vec::new() }
    }

    /// The same with other names of what we put there.
    pub(super) fn with_others(self, others: Vec<String>) -> Self {
        Self { others, ..self }
    }

    /// The list of a place; `None` if there is none.
    pub(super) async fn read(site: &Site) -> Result<Option<Self>, BackupError> {
        let bytes = match site.objects.get(&site.objects.path(BACKUP_MARKER)).await {
            Ok(bytes) => bytes,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let catalog: Self = serde_json::from_slice(&bytes).map_err(BackupError::Catalog)?;
        if catalog.version > VERSION {
            return Err(BackupError::Version { found: catalog.version, supported: VERSION });
        }
        Ok(Some(catalog))
    }

    /// Replaces the list of a place.
    pub(super) async fn write(&self, site: &Site) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(self).map_err(BackupError::Catalog)?;
        let (store, _) = site.raw();
        let failed = |source| Error::Object { action: "write", object: BACKUP_MARKER.to_owned(), source };
        store.put(&site.objects.path(BACKUP_MARKER), text.into()).await.map_err(failed)?;
        Ok(())
    }

    /// Whether some backup was finished.
    pub(super) fn is_finished(&self) -> bool {
        !self.taken_at.is_empty()
    }

    /// Everything that we put there.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().map(|entry| entry.path.as_str()).chain(self.others.iter().map(String::as_str))
    }

    pub(super) fn entry(&self, path: &str) -> Option<&CatalogEntry> {
        let place = self.objects.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.objects.get(place)
    }

    pub(super) fn manifest(&self) -> u64 {
        self.manifest
    }
}

impl CatalogEntry {
    pub(super) fn of(path: &str, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), bytes: bytes.len() as u64, crc32: crc32(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_format_is_what_is_written() {
        let format = include_str!("../../format/backup.md");
        let example = format.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let path = "log/00000000000000000001.wal.5";
        let entries = BTreeMap::from([(path.to_owned(), CatalogEntry::of(path, b"hello"))]);
        let catalog = Catalog::of(entries, Timestamp::from_seconds(1_719_828_000), 7);
        assert_eq!(serde_json::from_str::<Catalog>(example).expect("valid"), catalog);
        let written = serde_json::to_value(&catalog).expect("writable");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(example).expect("valid"));
        assert!(catalog.is_finished() && !Catalog::default().is_finished());
    }
}
