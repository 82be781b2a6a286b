//! The effective settings: what the file and the flags say, and the table's defaults for the rest.

use std::time::Duration;

use crate::config::schema::{Key, Schema};
use crate::config::value::{self, Scalar};
use crate::config::yaml::{Node, Origin, Value};

/// A checked document with typed access by dotted path.
///
/// The document went through [`check`](crate::config::check) first, so that every value has the type of its key; the
/// accessors panic on a path that is not in the table, which is a bug in the caller.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    tree: Node,
}

impl Settings {
    /// Takes a checked document.
    pub(crate) fn new(tree: Node) -> Self {
        Self { tree }
    }

    /// The document.
    pub(crate) fn tree(&self) -> &Node {
        &self.tree
    }

    /// Gives a key another default: what holds unless the document says otherwise.
    pub(crate) fn set_default(&mut self, path: &str, text: &str) {
        if !self.is_set(path) {
            self.tree.set(path, Node { origin: Origin::Default, value: Value::Scalar(text.to_owned()) });
        }
    }

    /// Whether the document has something for the key.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        self.tree.at(path).is_some_and(|node| node.value != Value::Null)
    }

    /// Where the value comes from.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        self.tree.at(path).map_or(Origin::Default, |node| node.origin.clone())
    }

    /// A text.
    pub(crate) fn text(&self, path: &str) -> String {
        match self.scalar(path) {
            Scalar::Text(text) => text,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A boolean.
    pub(crate) fn bool(&self, path: &str) -> bool {
        match self.scalar(path) {
            Scalar::Bool(value) => value,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A whole number.
    pub(crate) fn int(&self, path: &str) -> i64 {
        match self.scalar(path) {
            Scalar::Int(value) => value,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A whole number that counts something; negative ones are 0.
    pub(crate) fn count(&self, path: &str) -> usize {
        usize::try_from(self.int(path)).unwrap_or(0)
    }

    /// A number.
    pub(crate) fn float(&self, path: &str) -> f64 {
        match self.scalar(path) {
            Scalar::Float(value) => value,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A number of bytes.
    pub(crate) fn size(&self, path: &str) -> u64 {
        match self.scalar(path) {
            Scalar::Size(value) => value,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A length of time in nanoseconds, perhaps negative.
    pub(crate) fn nanos(&self, path: &str) -> i64 {
        match self.scalar(path) {
            Scalar::Duration(value) | Scalar::Time(value) => value,
            other => unreachable!("{path} is {other:?}"),
        }
    }

    /// A length of time; a negative one is zero.
    pub(crate) fn duration(&self, path: &str) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos(path)).unwrap_or(0))
    }

    /// A list of texts.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        match self.tree.at(path) {
            Some(node) => list_of(node),
            None => value::default_list(&key(path).default),
        }
    }

    fn scalar(&self, path: &str) -> Scalar {
        let key = key(path);
        let text = self.tree.at(path).and_then(Node::text).filter(|_| self.is_set(path));
        let text = text.unwrap_or(&key.default);
        value::scalar(key.kind, text).unwrap_or_else(|| unreachable!("{path} was checked when it was loaded"))
    }
}

/// The texts of a list, or of a comma separated text.
pub(crate) fn list_of(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Scalar(text) => value::comma_list(text),
        _ => node.items().iter().filter_map(Node::text).map(str::to_owned).collect(),
    }
}

fn key(path: &str) -> &'static Key {
    Schema::get().at(path).unwrap_or_else(|| unreachable!("{path} is not in keys.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn values_come_from_the_document_or_the_table() {
        let text = "server:\n  http_listen_port: 80\n  log_level: ~\nlimits_config:\n  discover_service_name: []\n";
        let mut settings = Settings::new(yaml::parse(text).expect("valid"));
        assert_eq!(settings.int("server.http_listen_port"), 80);
        assert_eq!(settings.text("server.log_level"), "info");
        assert_eq!(settings.duration("server.http_server_idle_timeout"), Duration::from_mins(2));
        assert_eq!(settings.list("limits_config.discover_service_name"), Vec::<String>::new());
        assert_eq!(settings.list("limits_config.log_level_fields").len(), 14);
        assert_eq!(settings.size("limits_config.max_line_size"), 256 << 10);
        settings.set_default("server.log_level", "warn");
        settings.set_default("server.http_listen_port", "81");
        assert_eq!(settings.text("server.log_level"), "warn");
        assert_eq!(settings.int("server.http_listen_port"), 80);
    }
}
