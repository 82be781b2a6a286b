//! The command line: Go's flag syntax, Loki's flags.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::config::{FlagKind, Sources, flag_kind, flag_names, nearest_flag};
use crate::tools::Tool;

/// Flags that are not keys of the configuration, with what they do.
const OWN_FLAGS: [(&str, FlagKind, &str); 12] = [
    ("config.expand-env", FlagKind::Switch, "replace ${VAR} in the configuration file by environment variables"),
    ("config.file", FlagKind::Value, "YAML file to load; of a comma separated list the first that exists"),
    ("h", FlagKind::Switch, "same as -help"),
    ("health", FlagKind::Switch, "ask a running server whether it is ready, exit with 0 or 1"),
    ("health.url", FlagKind::Value, "URL that -health asks (default http://localhost:<port>/ready)"),
    ("help", FlagKind::Switch, "print this and exit"),
    ("help-all", FlagKind::Switch, "print every flag and exit"),
    ("list-targets", FlagKind::Switch, "print the targets and exit"),
    ("log-config-reverse-order", FlagKind::Switch, "log the effective configuration, last line first"),
    ("print-config-stderr", FlagKind::Switch, "print the effective configuration to stderr at start"),
    ("verify-config", FlagKind::Switch, "check the configuration and exit with 0 or 1"),
    ("version", FlagKind::Switch, "print the version and exit"),
];

/// Configuration flags that `-help` shows; `-help-all` shows the rest.
const COMMON_FLAGS: [&str; 8] = [
    "auth.enabled",
    "common.path-prefix",
    "log.format",
    "log.level",
    "runtime-config.file",
    "server.http-listen-address",
    "server.http-listen-port",
    "target",
];

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub command: Command,
    /// Where the configuration comes from.
    pub sources: Sources,
    /// How the effective configuration is printed at start.
    pub print_config: PrintConfig,
    /// What `-health` asks instead of the configured address.
    pub health_url: Option<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    #[default]
    Serve,
    /// Check the configuration.
    VerifyConfig,
    /// Print the version.
    Version,
    /// Explain the flags that matter.
    Help,
    /// List all flags.
    HelpAll,
    /// List the targets.
    ListTargets,
    /// Ask a running server whether it is ready.
    Health,
}

/// How the effective configuration is printed at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrintConfig {
    /// Not at all.
    #[default]
    No,
    /// To stderr.
    Stderr,
    /// To the log, last line first.
    LogReversed,
}

/// Why a command line was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// There is no such flag.
    #[error("flag provided but not defined: -{name}{}", nearest.map_or_else(String::new, |near| format!(", did you mean -{near}?")))]
    Unknown {
        /// The flag.
        name: String,
        /// The flag most like it.
        nearest: Option<&'static str>,
    },
    /// A flag lacks its value.
    #[error("flag needs an argument: -{name}")]
    NoValue {
        /// The flag.
        name: String,
    },
    /// A switch has a value that is not a boolean.
    #[error("invalid boolean value {value:?} for -{name}")]
    NotBoolean {
        /// The flag.
        name: String,
        /// The value.
        value: String,
    },
    /// A word that belongs to no flag.
    #[error("unexpected argument {word:?}: options start with a dash")]
    Stray {
        /// The word.
        word: String,
    },
}

impl Args {
    /// Reads the words after the program's name.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|flag| !flag.is_empty())
            else {
                return Err(ArgsError::Stray { word });
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let value = match (kind_of(name)?, value) {
                (_, Some(value)) => value,
                (FlagKind::Switch, None) => "true".to_owned(),
                (FlagKind::Family, None) => words.next_if(|word| !word.starts_with('-')).unwrap_or_default(),
                (FlagKind::Value, None) => words.next().ok_or_else(|| ArgsError::NoValue { name: name.to_owned() })?,
            };
            args.apply(name, value)?;
        }
        Ok(args)
    }

    fn apply(&mut self, name: &str, value: String) -> Result<(), ArgsError> {
        match name {
            "config.file" => {
                let files = value.split(',').map(str::trim).filter(|file| !file.is_empty());
                self.sources.files = files.map(PathBuf::from).collect();
            }
            "config.expand-env" => self.sources.expand_env = switch(name, &value)?,
            "health.url" => {
                self.command = Command::Health;
                self.health_url = Some(value);
            }
            "print-config-stderr" if switch(name, &value)? => self.print_config = PrintConfig::Stderr,
            "log-config-reverse-order" if switch(name, &value)? => self.print_config = PrintConfig::LogReversed,
            _ => match command(name) {
                Some(command) if switch(name, &value)? => self.command = command,
                None if !is_own(name) => self.sources.flags.push((name.to_owned(), value)),
                _ => {}
            },
        }
        Ok(())
    }
}

/// The text of `-help`.
pub fn help(all: bool) -> String {
    let mut text = "Usage of loki-server:\n".to_owned();
    for (name, kind, about) in OWN_FLAGS {
        let value = if kind == FlagKind::Value { " value" } else { "" };
        writeln!(text, "  -{name}{value}\n    \t{about}").expect("writing to a string cannot fail");
    }
    for (name, default) in flag_names() {
        if all || COMMON_FLAGS.contains(&name) {
            let default = if default.is_empty() { String::new() } else { format!(" (default {default})") };
            writeln!(text, "  -{name}{default}").expect("writing to a string cannot fail");
        }
    }
    text.push_str("Tools, each with its own -help:\n");
    for tool in Tool::ALL {
        writeln!(text, "  {} {}\n    \t{}", tool.name(), tool.synopsis(), tool.about())
            .expect("writing to a string cannot fail");
    }
    if !all {
        text.push_str("Every flag of Loki is accepted; -help-all lists them.\n");
    }
    text
}

fn command(name: &str) -> Option<Command> {
    Some(match name {
        "verify-config" => Command::VerifyConfig,
        "version" => Command::Version,
        "help" | "h" => Command::Help,
        "help-all" => Command::HelpAll,
        "list-targets" => Command::ListTargets,
        "health" => Command::Health,
        _ => return None,
    })
}

fn is_own(name: &str) -> bool {
    OWN_FLAGS.iter().any(|(own, ..)| *own == name)
}

/// Whether a flag takes a value.
pub(crate) fn kind_of(name: &str) -> Result<FlagKind, ArgsError> {
    let own = OWN_FLAGS.iter().find(|(own, ..)| *own == name).map(|(_, kind, _)| *kind);
    own.or_else(|| flag_kind(name)).ok_or_else(|| {
        let own = OWN_FLAGS.iter().map(|(own, ..)| *own).find(|own| own.replace('.', "-") == name.replace('.', "-"));
        ArgsError::Unknown { name: name.to_owned(), nearest: own.or_else(|| nearest_flag(name)) }
    })
}

/// A boolean as Go's flag package reads it.
pub(crate) fn switch(name: &str, value: &str) -> Result<bool, ArgsError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ArgsError::NotBoolean { name: name.to_owned(), value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn gos_flag_syntax_is_understood() {
        let args = parse("-config.file=a.yaml,b.yaml --config.expand-env -server.http-listen-port 80 -auth.enabled")
            .expect("valid");
        assert_eq!(args.sources.files, [PathBuf::from("a.yaml"), PathBuf::from("b.yaml")]);
        assert!(args.sources.expand_env);
        assert_eq!(
            args.sources.flags,
            [("server.http-listen-port".to_owned(), "80".to_owned()), ("auth.enabled".to_owned(), "true".to_owned())]
        );
        assert_eq!(args.command, Command::Serve);
    }

    #[test]
    fn switches_can_be_switched_off() {
        assert_eq!(parse("-verify-config=false").expect("valid").command, Command::Serve);
        assert_eq!(parse("-verify-config").expect("valid").command, Command::VerifyConfig);
        assert_eq!(parse("-print-config-stderr=true").expect("valid").print_config, PrintConfig::Stderr);
        assert_eq!(
            parse("-auth.enabled=false").expect("valid").sources.flags,
            [("auth.enabled".to_owned(), "false".to_owned())]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                "-server.http-listen-prot=1",
                "flag provided but not defined: -server.http-listen-prot, did you mean -server.http-listen-port?",
            ),
            ("-zzz", "flag provided but not defined: -zzz"),
            ("-config-file x", "flag provided but not defined: -config-file, did you mean -config.file?"),
            ("-config.file", "flag needs an argument: -config.file"),
            ("-version=maybe", "invalid boolean value \"maybe\" for -version"),
            ("serve", "unexpected argument \"serve\": options start with a dash"),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line).expect_err("a mistake").to_string(), expected, "{line}");
        }
    }

    #[test]
    fn families_of_flags_without_effect_are_accepted() {
        assert!(parse("-memberlist.join=a -kafka.topic t -bloom-build.enabled -memberlist.x -h").is_ok());
    }

    #[test]
    fn help_names_the_flags_that_matter() {
        assert!(help(false).contains("-server.http-listen-port (default 3100)"));
        assert!(!help(false).contains("-ingester.sync-period"));
        assert!(help(true).contains("-ingester.sync-period (default 1h)"));
    }
}
