//! The flags of tools: Go's syntax, with places between them.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::args::{Args, ArgsError, kind_of, switch};
use crate::config::{FlagKind, Sources};

/// A subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tool {
    /// Lists what a store consists of.
    Inspect,
    /// Checks a store.
    Verify,
    /// Makes a manifest of segments.
    Repair,
    /// Copies a store.
    Backup,
    /// Makes a store of a copy.
    Restore,
    /// Writes entries.
    Export,
}

/// A flag of tools: name, whether it takes a value, and what it does.
type Flag = (&'static str, FlagKind, &'static str);

const QUIET: Flag = ("quiet", FlagKind::Switch, "do not tell how far it has come");
const JSON: Flag = ("json", FlagKind::Switch, "print the result as JSON");
const INSPECT: [Flag; 4] = [
    JSON,
    QUIET,
    ("segment", FlagKind::Value, "list the chunks of the segment with this id"),
    ("streams", FlagKind::Switch, "list how much each stream takes, nearly: streams share chunks"),
];
const VERIFY: [Flag; 3] =
    [("deep", FlagKind::Switch, "build every filter again instead of asking it for some lines"), JSON, QUIET];
const REPAIR: [Flag; 5] = [
    ("dry-run", FlagKind::Switch, "only say what would be done"),
    ("force", FlagKind::Switch, "replace a manifest that can be read"),
    JSON,
    QUIET,
    (
        "rebuild-manifest",
        FlagKind::Switch,
        "make a manifest of all segments that can be read; no server may be running",
    ),
];
const COPY: [Flag; 2] = [JSON, QUIET];
const EXPORT: [Flag; 7] = [
    ("format", FlagKind::Value, "ndjson (default), or push: a body for POST /loki/api/v1/push a line"),
    ("from", FlagKind::Value, "the first moment: seconds, nanoseconds or RFC 3339 (default: the beginning)"),
    ("output", FlagKind::Value, "the file to write, a new one (default: stdout)"),
    ("query", FlagKind::Value, "a log query that selects entries, which come out as they are stored (default {})"),
    QUIET,
    ("tenant", FlagKind::Value, "whose entries (default fake, as without authentication)"),
    ("to", FlagKind::Value, "the first moment after (default: the end)"),
];

impl Tool {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Inspect, Self::Verify, Self::Repair, Self::Backup, Self::Restore, Self::Export];

    /// The tool of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Export => "export",
        }
    }

    /// What stands behind its name.
    pub const fn synopsis(self) -> &'static str {
        match self {
            Self::Inspect | Self::Verify | Self::Export => "[flags] [PLACE]",
            Self::Repair => "-rebuild-manifest [flags] [PLACE]",
            Self::Backup => "[flags] [PLACE] TARGET",
            Self::Restore => "[flags] BACKUP [TARGET]",
        }
    }

    /// What it does.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Inspect => "list segments, sections, columns, streams and their sizes",
            Self::Verify => "check everything in a store against everything else; exit with 1 if something is wrong",
            Self::Repair => "make a manifest of the segments that are there",
            Self::Backup => "copy a store to an empty place or to an earlier copy, while a server may be using it",
            Self::Restore => "make a store of a copy, in an empty place",
            Self::Export => "write entries as lines of JSON or as bodies of pushes",
        }
    }

    /// The text of `-help`.
    pub fn help(self) -> String {
        let mut text = format!("Usage: loki-server {} {}\n{}\n", self.name(), self.synopsis(), self.about());
        for (name, kind, about) in self.flags() {
            let value = if *kind == FlagKind::Value { " value" } else { "" };
            writeln!(text, "  -{name}{value}\n    \t{about}").expect("writing to a string cannot fail");
        }
        text.push_str(
            "A place is a folder, or a configuration file (*.yaml, *.yml) that says where data is. Without one, \
             -config.file\nand all other flags of the configuration say so, as for the server.\n",
        );
        text
    }

    fn flags(self) -> &'static [Flag] {
        match self {
            Self::Inspect => &INSPECT,
            Self::Verify => &VERIFY,
            Self::Repair => &REPAIR,
            Self::Backup | Self::Restore => &COPY,
            Self::Export => &EXPORT,
        }
    }
}

/// What stands behind the name of a tool.
#[derive(Debug)]
pub(super) struct Flags {
    own: BTreeMap<&'static str, String>,
    places: Vec<String>,
    sources: Sources,
    wants_help: bool,
}

impl Flags {
    pub(super) fn parse(tool: Tool, words: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let (mut own, mut places, mut of_config) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut wants_help = false;
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|flag| !flag.is_empty())
            else {
                places.push(word);
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let known = tool.flags().iter().find(|(known, ..)| *known == name);
            let kind = known.map_or_else(|| kind_of(name), |(_, kind, _)| Ok(*kind))?;
            let value = match (kind, value) {
                (_, Some(value)) => value,
                (FlagKind::Switch, None) => "true".to_owned(),
                (FlagKind::Family, None) => words.next_if(|word| !word.starts_with('-')).unwrap_or_default(),
                (FlagKind::Value, None) => words.next().ok_or_else(|| ArgsError::NoValue { name: name.to_owned() })?,
            };
            match known {
                Some((known, ..)) => {
                    own.insert(*known, value);
                }
                None if matches!(name, "h" | "help") => wants_help = switch(name, &value)?,
                None => of_config.push(format!("-{name}={value}")),
            }
        }
        Ok(Self { own, places, sources: Args::parse(of_config)?.sources, wants_help })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }

    pub(super) fn is_on(&self, name: &'static str) -> Result<bool, ArgsError> {
        self.get(name).map_or(Ok(false), |value| switch(name, value))
    }

    pub(super) fn places(&self) -> &[String] {
        &self.places
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn wants_help(&self) -> bool {
        self.wants_help
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tool: Tool, line: &str) -> Result<Flags, ArgsError> {
        Flags::parse(tool, line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_of_tool_and_configuration_stand_beside_places() {
        let flags = parse(Tool::Inspect, "-json folder --segment x -config.file=a.yaml -auth.enabled").expect("valid");
        assert_eq!(flags.places(), ["folder"]);
        assert_eq!((flags.is_on("json"), flags.get("segment")), (Ok(true), Some("x")));
        assert_eq!(flags.sources().files, [std::path::PathBuf::from("a.yaml")]);
        assert_eq!(flags.sources().flags.len(), 1);
        assert!(parse(Tool::Verify, "-h").expect("valid").wants_help());
    }

    #[test]
    fn flags_of_other_tools_are_mistakes() {
        assert!(parse(Tool::Verify, "-streams").is_err());
        assert!(parse(Tool::Inspect, "-segment").is_err());
        assert!(parse(Tool::Inspect, "-streams=perhaps").expect("read later").is_on("streams").is_err());
    }

    #[test]
    fn every_tool_explains_itself() {
        for tool in Tool::ALL {
            assert_eq!(Tool::named(tool.name()), Some(tool));
            assert!(tool.help().starts_with(&format!("Usage: loki-server {} ", tool.name())));
        }
    }
}
