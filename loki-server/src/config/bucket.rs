//! Buckets as Loki's keys describe them: the blocks of `common.storage` and `storage_config`, and the newer
//! `object_store` blocks that `use_thanos_objstore` switches to.

mod azure;
mod s3;

use std::path::PathBuf;

use loki_store::bucket::{Bucket, Connection, GcsBucket, Secret};

use crate::config::check::{Problem, invalid, sets_anything};
use crate::config::schema::Schema;
use crate::config::settings::Settings;

/// Our folder inside a bucket: Loki's own objects may be beside it.
const OWN_PREFIX: &str = "loki-store";

/// Data in a bucket, with its log in a local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLocation {
    /// The bucket.
    pub bucket: Bucket,
    /// How requests to it are made.
    pub connection: Connection,
    /// What all names of objects begin with.
    pub prefix: String,
    /// The folder of the log.
    pub wal_folder: PathBuf,
}

/// A block of settings that describes a bucket, in one of two dialects.
#[derive(Clone, Copy)]
struct Block<'a> {
    settings: &'a Settings,
    path: &'a str,
    is_thanos: bool,
}

/// Reads the bucket of a kind of store: `s3`, `gcs` or `azure`. `None` when a problem was found.
pub(super) fn read(
    settings: &Settings,
    store: &str,
    wal_folder: PathBuf,
    problems: &mut Vec<Problem>,
) -> Option<BucketLocation> {
    let is_thanos = settings.bool("storage_config.use_thanos_objstore");
    let path = block_path(settings, store, is_thanos);
    let block = Block { settings, path: &path, is_thanos };
    let mut connection = Connection::default();
    let bucket = match store {
        "s3" => s3::read(block, &mut connection, problems).map(Bucket::S3),
        "gcs" => read_gcs(block, &mut connection, problems).map(Bucket::Gcs),
        _ => azure::read(block, &mut connection, problems).map(Bucket::Azure),
    }?;
    if !bucket.is_supported() {
        let feature = match store {
            "s3" => "aws",
            "gcs" => "gcp",
            _ => "azure",
        };
        let reason = format!("this build has no support for {store}, which the cargo feature {feature} adds");
        problems.push(invalid(&settings.origin(&path), &path, reason));
        return None;
    }
    Some(BucketLocation { bucket, connection, prefix: prefix(settings, is_thanos), wal_folder })
}

/// The block that says something: the specific one before the common one.
fn block_path(settings: &Settings, store: &str, is_thanos: bool) -> String {
    let paths = if is_thanos {
        [format!("storage_config.object_store.{store}"), format!("common.storage.object_store.{store}")]
    } else {
        let own = if store == "s3" { "aws" } else { store };
        [format!("storage_config.{own}"), format!("common.storage.{store}")]
    };
    let [specific, common] = paths;
    if says_something(settings, &specific) { specific } else { common }
}

/// Whether the document sets anything below a path to something else than its default.
pub(super) fn says_something(settings: &Settings, path: &str) -> bool {
    let block = Schema::get().at(path).zip(settings.tree().at(path));
    block.is_some_and(|(key, node)| sets_anything(key, node))
}

fn prefix(settings: &Settings, is_thanos: bool) -> String {
    let paths: &[&str] = if is_thanos {
        &["storage_config.object_store.storage_prefix", "common.storage.object_store.storage_prefix"]
    } else {
        &["storage_config.object_prefix"]
    };
    let named = paths.iter().map(|path| settings.text(path)).find(|prefix| !prefix.is_empty());
    match named.as_deref().map(|prefix| prefix.trim_matches('/')) {
        Some(named) if !named.is_empty() => format!("{named}/{OWN_PREFIX}"),
        _ => OWN_PREFIX.to_owned(),
    }
}

fn read_gcs(block: Block<'_>, connection: &mut Connection, problems: &mut Vec<Problem>) -> Option<GcsBucket> {
    if block.is_thanos {
        connection.max_retries = block.settings.count(&block.path_of("max_retries"));
    }
    let name = block.required("bucket_name", problems)?;
    let endpoint = if block.is_thanos { String::new() } else { block.text("endpoint") };
    Some(GcsBucket { name, endpoint, service_account: block.secret("service_account") })
}

impl Block<'_> {
    fn path_of(self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn text(self, key: &str) -> String {
        self.settings.text(&self.path_of(key))
    }

    fn bool(self, key: &str) -> bool {
        self.settings.bool(&self.path_of(key))
    }

    /// A secret, unless it is empty.
    fn secret(self, key: &str) -> Option<Secret> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// A text that must not be empty.
    fn required(self, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let text = self.text(key);
        if text.is_empty() {
            problems.push(self.wrong(key, "must be set"));
            return None;
        }
        Some(text)
    }

    /// The problem of a key of the block; where it is not set, the block has it.
    fn wrong(self, key: &str, reason: impl Into<String>) -> Problem {
        let path = self.path_of(key);
        let known = [path.as_str(), self.path, "schema_config.configs"];
        let known = known.into_iter().find(|path| self.settings.is_set(path)).unwrap_or_default();
        invalid(&self.settings.origin(known), &path, reason)
    }
}

#[cfg(test)]
mod tests;
