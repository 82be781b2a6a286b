//! Holds a document against the table of known keys.

use crate::config::schema::{Key, Kind, Verdict};
use crate::config::value;
use crate::config::yaml::{Node, Origin, Value};

/// Something wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key that neither Loki nor this server has.
    #[error("{origin}: unknown key {path}{}", suggestion(nearest.as_ref()))]
    UnknownKey {
        /// Where it stands.
        origin: String,
        /// Its dotted path.
        path: String,
        /// The known key most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{origin}: {path} must be {expected}")]
    WrongType {
        /// Where it stands.
        origin: String,
        /// The dotted path of the key.
        path: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A setting that cannot be met and must not be ignored.
    #[error("{origin}: {path} is not supported: {reason}")]
    Refused {
        /// Where it stands.
        origin: String,
        /// The dotted path of the key.
        path: String,
        /// Why.
        reason: String,
    },
    /// A value outside what is allowed, or at odds with another one.
    #[error("{origin}: {path}: {reason}")]
    Invalid {
        /// Where it stands.
        origin: String,
        /// The dotted path of the key.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The file is not YAML, or not a mapping.
    #[error("{0}")]
    Syntax(String),
}

impl Problem {
    /// Whether values do not have the type of their key, so that they cannot be looked at further.
    pub(crate) fn is_about_types(&self) -> bool {
        matches!(self, Self::WrongType { .. } | Self::Syntax(_))
    }
}

fn suggestion(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", did you mean {nearest}?"))
}

/// What checking a document found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Reasons not to start.
    pub(crate) problems: Vec<Problem>,
    /// Dotted paths of settings without effect.
    pub(crate) idle: Vec<String>,
}

/// Checks `node` as the value of `key` at `path`.
pub(crate) fn check(key: &Key, node: &Node, path: &str, findings: &mut Findings) {
    match key.kind {
        Kind::Block => check_block(key, node, path, findings),
        Kind::BlockList => check_list(key, node, path, findings),
        _ => check_value(key, node, path, findings),
    }
}

fn check_block(block: &Key, node: &Node, path: &str, findings: &mut Findings) {
    match &node.value {
        Value::Null => {}
        Value::Map(entries) => {
            for entry in entries {
                let path = join(path, &entry.key);
                match block.key(&entry.key) {
                    Some(key) => check(key, &entry.node, &path, findings),
                    None => findings.problems.push(Problem::UnknownKey {
                        origin: entry.origin.to_string(),
                        path,
                        nearest: block.nearest(&entry.key).map(str::to_owned),
                    }),
                }
            }
        }
        Value::Scalar(_) | Value::List(_) => findings.problems.push(wrong(node, path, "a block of keys")),
    }
}

fn check_list(list: &Key, node: &Node, path: &str, findings: &mut Findings) {
    match &node.value {
        Value::Null => {}
        Value::List(items) => items.iter().for_each(|item| check_block(list, item, path, findings)),
        Value::Scalar(_) | Value::Map(_) => findings.problems.push(wrong(node, path, "a list")),
    }
}

fn check_value(key: &Key, node: &Node, path: &str, findings: &mut Findings) {
    if !well_typed(key, node) {
        findings.problems.push(wrong(node, path, expected(key.kind)));
        return;
    }
    if is_default(key, node) {
        return;
    }
    match &key.verdict {
        Verdict::Honour | Verdict::Quiet => {}
        Verdict::Idle => findings.idle.push(path.to_owned()),
        Verdict::Refuse(reason) => findings.problems.push(Problem::Refused {
            origin: node.origin.to_string(),
            path: path.to_owned(),
            reason: reason.clone(),
        }),
    }
}

fn well_typed(key: &Key, node: &Node) -> bool {
    match (key.kind, &node.value) {
        (Kind::Any, _) | (_, Value::Null) | (Kind::List, Value::Scalar(_)) => true,
        (Kind::List, Value::List(items)) => items.iter().all(|item| item.text().is_some()),
        (kind, Value::Scalar(text)) => value::scalar(kind, text).is_some(),
        (_, Value::List(_) | Value::Map(_)) => false,
    }
}

/// Whether a well-typed value says what would hold without it.
pub(crate) fn is_default(key: &Key, node: &Node) -> bool {
    match (&node.value, key.kind) {
        (Value::Null, _) => true,
        (Value::List(items), Kind::List) => {
            let items: Vec<_> = items.iter().filter_map(Node::text).collect();
            items == value::default_list(&key.default)
        }
        (Value::Scalar(text), Kind::List) => value::comma_list(text) == value::default_list(&key.default),
        (Value::Scalar(text), kind) => value::scalar(kind, text) == value::scalar(kind, &key.default),
        (Value::List(items), _) => items.is_empty(),
        (Value::Map(entries), _) => entries.is_empty(),
    }
}

/// Whether a checked block sets anything to something other than its default.
pub(crate) fn sets_anything(block: &Key, node: &Node) -> bool {
    block.keys.iter().any(|key| match (key.kind, node.get(&key.name)) {
        (_, None) => false,
        (Kind::Block, Some(node)) => sets_anything(key, node),
        (_, Some(node)) => !is_default(key, node),
    })
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int => "a whole number",
        Kind::Float => "a number",
        Kind::Duration => "a duration such as 30s, 1h30m or 7d",
        Kind::Size => "a size such as 512KB or 4MB",
        Kind::Time => "a time such as 2026-01-31T00:00:00Z",
        Kind::List => "a list of texts",
        Kind::Text | Kind::Secret | Kind::Any => "a text",
        Kind::Block => "a block of keys",
        Kind::BlockList => "a list",
    }
}

fn wrong(node: &Node, path: &str, expected: &'static str) -> Problem {
    Problem::WrongType { origin: node.origin.to_string(), path: path.to_owned(), expected }
}

/// The problem of a value that is at odds with the rest.
pub(crate) fn invalid(origin: &Origin, path: &str, reason: impl Into<String>) -> Problem {
    Problem::Invalid { origin: origin.to_string(), path: path.to_owned(), reason: reason.into() }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Schema;
    use crate::config::yaml;

    fn findings(text: &str) -> Findings {
        let mut findings = Findings::default();
        check(&Schema::get().root, &yaml::parse(text).expect("valid"), "", &mut findings);
        findings
    }

    fn problems(text: &str) -> Vec<String> {
        findings(text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_known_key() {
        assert_eq!(
            problems("auth_enabled: false\nserver:\n  http_listen_prot: 1\n  zzz: 1\n"),
            [
                "line 3: unknown key server.http_listen_prot, did you mean http_listen_port?",
                "line 4: unknown key server.zzz",
            ]
        );
    }

    #[test]
    fn every_problem_is_listed() {
        let text = "target: read\nserver:\n  http_listen_port: abc\nlimits_config:\n  volume_enabled: maybe\n  x: 1\n";
        assert_eq!(problems(text).len(), 4, "{:?}", problems(text));
    }

    #[test]
    fn settings_without_effect_are_listed_unless_they_say_the_default() {
        let text =
            "querier:\n  extra_query_delay: 0s\n  query_ingesters_within: 2h\nmemberlist:\n  join_members: [a]\n";
        let found = findings(text);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(found.idle, ["querier.query_ingesters_within", "memberlist"]);
    }

    #[test]
    fn refused_settings_are_fine_at_their_default() {
        assert_eq!(problems("target: all\nlimits_config:\n  unordered_writes: yes\n"), Vec::<String>::new());
        assert_eq!(
            problems("limits_config:\n  unordered_writes: false\n"),
            ["line 2: limits_config.unordered_writes is not supported: entries are accepted in any order"]
        );
    }

    #[test]
    fn a_block_cannot_be_a_scalar_nor_a_list_item_a_number() {
        assert_eq!(
            problems("server: 5\nschema_config:\n  configs: [1]\n"),
            ["line 1: server must be a block of keys", "line 3: schema_config.configs must be a block of keys"]
        );
    }
}
