//! Which places a tool works on.

use std::path::{Path, PathBuf};

use loki_store::Location;

use super::{Flags, Tool, ToolError};
use crate::config::{Config, Sources};

/// The places on a command line.
#[derive(Debug)]
pub(super) struct Places {
    /// The store; `None` if the configuration names it.
    store: Option<String>,
    /// The copy of it.
    copy: Option<String>,
}

impl Places {
    pub(super) fn of(tool: Tool, flags: &Flags) -> Result<Self, ToolError> {
        let places = flags.places().iter().map(String::as_str).collect::<Vec<_>>();
        let (store, copy) = match (tool, places.as_slice()) {
            (Tool::Backup | Tool::Restore, [copy]) => (None, Some(*copy)),
            (Tool::Backup, [store, copy]) | (Tool::Restore, [copy, store]) => (Some(*store), Some(*copy)),
            (Tool::Backup | Tool::Restore, _) => return Err(ToolError::Usage { tool }),
            (_, []) => (None, None),
            (_, [store]) => (Some(*store), None),
            _ => return Err(ToolError::Usage { tool }),
        };
        Ok(Self { store: store.map(str::to_owned), copy: copy.map(str::to_owned) })
    }

    /// Where the store is.
    pub(super) fn store(&self, config: &Config) -> Result<Location, ToolError> {
        match &self.store {
            Some(place) => location(place),
            None => Ok(config.data.location.open()?),
        }
    }

    /// Where the copy is, which has no log beside it.
    pub(super) fn copy(&self) -> Result<Location, ToolError> {
        let place = self.copy.as_deref().unwrap_or_default();
        Ok(match location(place)? {
            Location::Objects { store, prefix, .. } => Location::Objects { store, prefix, wal_folder: None },
            location => location,
        })
    }
}

/// A folder, or what a configuration file says.
fn location(place: &str) -> Result<Location, ToolError> {
    let is_config = Path::new(place).extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if !is_config {
        return Ok(Location::Folder(PathBuf::from(place)));
    }
    let sources = Sources { files: vec![place.into()], ..Sources::default() };
    Ok(Config::load(&sources)?.data.location.open()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(tool: Tool, line: &str) -> Option<(Option<String>, Option<String>)> {
        let flags = Flags::parse(tool, line.split_whitespace().map(str::to_owned)).expect("valid");
        Places::of(tool, &flags).ok().map(|places| (places.store, places.copy))
    }

    #[test]
    fn what_is_left_out_is_the_configured_store() {
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(places(Tool::Inspect, ""), Some((None, None)));
        assert_eq!(places(Tool::Inspect, "a"), Some((named("a"), None)));
        assert_eq!(places(Tool::Inspect, "a b"), None);
        assert_eq!(places(Tool::Backup, "copy"), Some((None, named("copy"))));
        assert_eq!(places(Tool::Backup, "a copy"), Some((named("a"), named("copy"))));
        assert_eq!(places(Tool::Restore, "copy a"), Some((named("a"), named("copy"))));
        assert_eq!(places(Tool::Restore, ""), None);
    }

    #[test]
    fn a_configuration_file_names_a_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("other.yaml");
        std::fs::write(&file, "loki_store: {data_folder: /elsewhere}\n").expect("writable");
        let named = location(file.to_str().expect("UTF-8")).expect("valid");
        assert!(matches!(named, Location::Folder(folder) if folder == Path::new("/elsewhere")));
        assert!(matches!(location("./logs"), Ok(Location::Folder(folder)) if folder == Path::new("./logs")));
    }
}
