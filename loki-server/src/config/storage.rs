//! Where data lives, worked out from the blocks in which Loki lets an operator say so.

use std::fmt;
use std::path::{Path, PathBuf};

use loki_store::Location;

use crate::config::bucket::{self, BucketLocation};
use crate::config::check::{Problem, invalid};
use crate::config::settings::Settings;
use crate::config::yaml::Node;

/// The data folder of a bare start.
pub(crate) const BARE_FOLDER: &str = "loki-data";
/// Our folder inside one that Loki's configuration names: Loki's own files may be beside it.
const OWN_FOLDER: &str = "loki-store";
/// Object stores that a schema entry may name.
const STORES: [&str; 4] = ["filesystem", "s3", "gcs", "azure"];
/// Those of them that are not this machine's.
const BUCKETS: [&str; 3] = ["s3", "gcs", "azure"];

/// Where data lives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataLocation {
    /// A local folder.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Box<BucketLocation>),
    /// Memory, for tests.
    Memory,
}

impl DataLocation {
    /// The same place as a store knows it. Prepares the connection to a bucket, without a request.
    ///
    /// # Errors
    ///
    /// Those of [`loki_store::bucket::Bucket::open`].
    pub fn open(&self) -> Result<Location, loki_store::Error> {
        Ok(match self {
            Self::Folder(folder) => Location::Folder(folder.clone()),
            Self::Bucket(place) => Location::Objects {
                store: place.bucket.open(&place.connection)?,
                prefix: place.prefix.clone(),
                wal_folder: Some(place.wal_folder.clone()),
            },
            Self::Memory => Location::Memory,
        })
    }
}

impl fmt::Display for DataLocation {
    /// A path, or an address without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(place) => write!(f, "{}/{}", place.bucket, place.prefix),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// Works out the place; `None` when a problem was found.
pub(crate) fn location(settings: &Settings, problems: &mut Vec<Problem>) -> Option<DataLocation> {
    let found = problems.len();
    check_schema(settings, problems);
    let location = match object_store(settings, problems).as_deref() {
        Some(store) if BUCKETS.contains(&store) => {
            let bucket = bucket::read(settings, store, folder(settings), problems);
            bucket.map(Box::new).map(DataLocation::Bucket)
        }
        _ => Some(DataLocation::Folder(folder(settings))),
    };
    location.filter(|_| problems.len() == found)
}

/// Our own key, else the first folder that Loki's keys name, else the usual one.
fn folder(settings: &Settings) -> PathBuf {
    let own = settings.text("loki_store.data_folder");
    if !own.is_empty() {
        return own.into();
    }
    let named = [
        "common.path_prefix",
        "storage_config.filesystem.directory",
        "common.storage.filesystem.chunks_directory",
        "storage_config.object_store.filesystem.dir",
        "common.storage.object_store.filesystem.dir",
    ];
    let named = named.iter().map(|path| settings.text(path)).find(|folder| !folder.is_empty());
    named.map_or_else(|| PathBuf::from(BARE_FOLDER), |folder| Path::new(&folder).join(OWN_FOLDER))
}

/// Which kind of store holds the data: what `common.storage` has a block for, or what the last schema entry names.
fn object_store(settings: &Settings, problems: &mut Vec<Problem>) -> Option<String> {
    let has = |name: &&str| bucket::says_something(settings, &format!("common.storage.{name}"));
    let blocks: Vec<&str> = STORES.iter().copied().filter(has).collect();
    if blocks.len() > 1 {
        let reason = format!("only one object store may be configured, found {}", blocks.join(", "));
        problems.push(invalid(&settings.origin("common.storage"), "common.storage", reason));
    }
    let named = schema_entries(settings).last().and_then(|entry| entry.get("object_store"));
    let named = named.and_then(Node::text).filter(|name| !name.is_empty()).map(canonical);
    named.or_else(|| blocks.first().map(|name| (*name).to_owned()))
}

/// Loki's `aws` is another name of `s3`.
fn canonical(name: &str) -> String {
    if name == "aws" { "s3".to_owned() } else { name.to_owned() }
}

fn schema_entries(settings: &Settings) -> &[Node] {
    settings.tree().at("schema_config.configs").map_or(&[], Node::items)
}

fn check_schema(settings: &Settings, problems: &mut Vec<Problem>) {
    const PATH: &str = "schema_config.configs";
    let mut previous = None;
    for entry in schema_entries(settings) {
        let field = |name: &str| entry.get(name).and_then(Node::text).unwrap_or_default();
        match field("from").parse::<jiff::civil::Date>() {
            Err(_) => problems.push(invalid(&entry.origin, PATH, "from must be a day such as 2024-04-01")),
            Ok(from) if previous.is_some_and(|previous| previous >= from) => {
                problems.push(invalid(&entry.origin, PATH, "entries must be in ascending order of from"));
            }
            Ok(from) => previous = Some(from),
        }
        let store = field("store");
        if !matches!(store, "" | "tsdb" | "boltdb-shipper" | "boltdb") {
            let reason = format!("store {store} is not supported, use tsdb");
            problems.push(invalid(&entry.origin, PATH, reason));
        }
        let object_store = canonical(field("object_store"));
        if !object_store.is_empty() && !STORES.contains(&object_store.as_str()) {
            let reason = format!("object_store {object_store} is not supported");
            problems.push(invalid(&entry.origin, PATH, reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read(text: &str) -> (Option<DataLocation>, Vec<String>) {
        let settings = Settings::new(yaml::parse(text).expect("valid"));
        let mut problems = Vec::new();
        let location = location(&settings, &mut problems);
        (location, problems.iter().map(ToString::to_string).collect())
    }

    fn folder_of(text: &str) -> PathBuf {
        match read(text) {
            (Some(DataLocation::Folder(folder)), _) => folder,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_folder_is_the_most_specific_one_named() {
        assert_eq!(folder_of("{}"), Path::new("loki-data"));
        assert_eq!(folder_of("common: {path_prefix: /loki}"), Path::new("/loki/loki-store"));
        assert_eq!(folder_of("storage_config: {filesystem: {directory: /chunks}}"), Path::new("/chunks/loki-store"));
        assert_eq!(folder_of("common: {path_prefix: /loki}\nloki_store: {data_folder: /mine}"), Path::new("/mine"));
    }

    #[test]
    fn schema_entries_are_checked() {
        let text = "
schema_config:
  configs:
    - {from: 2024-01-01, store: tsdb, object_store: filesystem}
    - {from: 2023-01-01, store: cassandra, object_store: floppy}
";
        assert_eq!(
            read(text).1,
            [
                "line 5: schema_config.configs: entries must be in ascending order of from",
                "line 5: schema_config.configs: store cassandra is not supported, use tsdb",
                "line 5: schema_config.configs: object_store floppy is not supported",
            ]
        );
    }

    #[test]
    fn two_stores_at_once_are_a_mistake() {
        let text = "common: {storage: {filesystem: {chunks_directory: /a}, gcs: {bucket_name: b}}}";
        assert_eq!(
            read(text).1,
            ["line 1: common.storage: only one object store may be configured, found filesystem, gcs"]
        );
    }
}
