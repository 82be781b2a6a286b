//! Settings written out again: as YAML for `/config`, as JSON for clients that adapt to limits. Secrets are masked.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use crate::config::check::is_default;
use crate::config::limits::TenantLimits;
use crate::config::schema::{Key, Kind, Schema};
use crate::config::settings::{Settings, list_of};
use crate::config::value::{self, Scalar};
use crate::config::yaml::{Node, Value};

/// What stands for a secret.
const MASK: &str = "********";

/// Which settings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowMode {
    /// All, as they are.
    Effective,
    /// Those that differ from their default.
    Diff,
    /// All, as they would be without a file.
    Defaults,
}

impl TenantLimits {
    /// These limits as YAML, in the form of `limits_config`.
    pub fn to_yaml(&self) -> String {
        let key = limits_key();
        let mut out = String::new();
        let node = self.settings().tree().at("limits_config");
        write_block(&mut out, key, node, 0, ShowMode::Effective);
        out
    }

    /// Some of these limits as JSON; `names` selects them, and none means all.
    pub fn to_json(&self, names: &[String]) -> Json {
        let node = self.settings().tree().at("limits_config");
        let wanted = |key: &&Key| names.is_empty() || names.contains(&key.name);
        let fields = limits_key().keys.iter().filter(wanted);
        let fields = fields.map(|key| (key.name.clone(), json_of(key, node.and_then(|node| node.get(&key.name)))));
        Json::Object(fields.collect())
    }
}

/// The settings as YAML.
pub(crate) fn yaml(settings: &Settings, mode: ShowMode) -> String {
    let mut out = String::new();
    let tree = (mode != ShowMode::Defaults).then(|| settings.tree());
    write_block(&mut out, &Schema::get().root, tree, 0, mode);
    if out.is_empty() { "{}\n".to_owned() } else { out }
}

fn limits_key() -> &'static Key {
    Schema::get().at("limits_config").expect("the table has limits_config")
}

fn write_block(out: &mut String, block: &Key, node: Option<&Node>, depth: usize, mode: ShowMode) {
    for key in &block.keys {
        let node = node.and_then(|node| node.get(&key.name));
        write_key(out, key, node, depth, mode);
    }
}

fn write_key(out: &mut String, key: &Key, node: Option<&Node>, depth: usize, mode: ShowMode) {
    let indent = "  ".repeat(depth);
    let name = &key.name;
    match key.kind {
        Kind::Block => {
            let mut inside = String::new();
            write_block(&mut inside, key, node, depth + 1, mode);
            if !inside.is_empty() {
                write!(out, "{indent}{name}:\n{inside}").expect(INFALLIBLE);
            }
        }
        Kind::BlockList | Kind::Any => {
            if let Some(node) = node.filter(|node| node.value != Value::Null) {
                write!(out, "{indent}{name}:").expect(INFALLIBLE);
                write_node(out, node, depth + 1);
            }
        }
        _ => {
            let unchanged = node.is_none_or(|node| is_default(key, node));
            if mode == ShowMode::Diff && unchanged {
                return;
            }
            write!(out, "{indent}{name}:").expect(INFALLIBLE);
            if key.kind == Kind::List {
                write_list(out, &texts(key, node), &indent);
            } else {
                writeln!(out, " {}", written(key, node)).expect(INFALLIBLE);
            }
        }
    }
}

const INFALLIBLE: &str = "writing to a string cannot fail";

fn write_list(out: &mut String, items: &[String], indent: &str) {
    if items.is_empty() {
        out.push_str(" []\n");
        return;
    }
    out.push('\n');
    for item in items {
        writeln!(out, "{indent}  - {}", quoted(item)).expect(INFALLIBLE);
    }
}

/// Writes what the file said about keys that the table does not describe further.
fn write_node(out: &mut String, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    match &node.value {
        Value::Null => out.push_str(" null\n"),
        Value::Scalar(text) => writeln!(out, " {}", quoted(text)).expect(INFALLIBLE),
        Value::List(items) => {
            out.push('\n');
            for item in items {
                write!(out, "{indent}-").expect(INFALLIBLE);
                write_node(out, item, depth + 1);
            }
        }
        Value::Map(entries) => {
            out.push('\n');
            for entry in entries {
                write!(out, "{indent}{}:", quoted(&entry.key)).expect(INFALLIBLE);
                if is_secret(&entry.key) {
                    writeln!(out, " \"{MASK}\"").expect(INFALLIBLE);
                } else {
                    write_node(out, &entry.node, depth + 1);
                }
            }
        }
    }
}

/// Whether a key that the table does not describe looks like it holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let marks = ["password", "secret", "token", "credentials", "_key", "authorization"];
    marks.iter().any(|mark| name.contains(mark)) && !name.ends_with("_file")
}

fn texts(key: &Key, node: Option<&Node>) -> Vec<String> {
    node.map_or_else(|| value::default_list(&key.default), list_of)
}

fn scalar(key: &Key, node: Option<&Node>) -> Scalar {
    let text = node.filter(|node| node.value != Value::Null).and_then(Node::text).unwrap_or(&key.default);
    value::scalar(key.kind, text).unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

fn written(key: &Key, node: Option<&Node>) -> String {
    match scalar(key, node) {
        Scalar::Text(text) if key.kind == Kind::Secret && !text.is_empty() => format!("\"{MASK}\""),
        Scalar::Text(text) => quoted(&text),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Duration(nanos) => value::write_duration(nanos),
        Scalar::Size(bytes) => value::write_size(bytes),
        Scalar::Time(nanos) => written_time(nanos),
    }
}

fn written_time(nanos: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(moment) if nanos != 0 => format!("\"{moment}\""),
        _ => "0".to_owned(),
    }
}

fn json_of(key: &Key, node: Option<&Node>) -> Json {
    match key.kind {
        Kind::Block => {
            let fields = key.keys.iter();
            let fields =
                fields.map(|inner| (inner.name.clone(), json_of(inner, node.and_then(|node| node.get(&inner.name)))));
            Json::Object(fields.collect())
        }
        Kind::BlockList => {
            let items = node.map_or(&[][..], Node::items);
            Json::Array(items.iter().map(|item| block_json(key, item)).collect())
        }
        Kind::Any => node.map_or(Json::Null, free_json),
        Kind::List => json!(texts(key, node)),
        _ => match scalar(key, node) {
            Scalar::Text(text) if key.kind == Kind::Secret && !text.is_empty() => json!(MASK),
            Scalar::Text(text) => json!(text),
            Scalar::Bool(value) => json!(value),
            Scalar::Int(value) => json!(value),
            Scalar::Float(value) => json!(value),
            Scalar::Duration(nanos) => json!(value::write_duration(nanos)),
            Scalar::Size(bytes) => json!(value::write_size(bytes)),
            Scalar::Time(nanos) => json!(written_time(nanos).trim_matches('"')),
        },
    }
}

fn block_json(block: &Key, item: &Node) -> Json {
    let fields = block.keys.iter().filter_map(|key| {
        let node = item.get(&key.name)?;
        Some((key.name.clone(), json_of(key, Some(node))))
    });
    Json::Object(fields.collect())
}

fn free_json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar(text) => json!(text),
        Value::List(items) => Json::Array(items.iter().map(free_json).collect()),
        Value::Map(entries) => {
            let fields = entries.iter().map(|entry| {
                let value = if is_secret(&entry.key) { json!(MASK) } else { free_json(&entry.node) };
                (entry.key.clone(), value)
            });
            Json::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// A text as YAML, quoted when it would read as something else.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@+*".contains(&byte))
        && !text.starts_with(['-', ':', '@', '*', '.', '+'])
        && !text.ends_with(':')
        && value::bool(text).is_none()
        && text.parse::<f64>().is_err()
        && !matches!(text, "null" | "Null" | "NULL");
    if plain { text.to_owned() } else { Json::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::yaml;

    const TEXT: &str = "
auth_enabled: false
server: {http_listen_port: 80}
common:
  storage:
    filesystem: {chunks_directory: /a b}
limits_config:
  retention_stream:
    - {selector: '{a=\"b\"}', period: 24h}
  max_query_length: 721h
ruler:
  external_labels: {zone: x, api_token: hush}
  alertmanager_client: {basic_auth_password: hunter2}
";

    #[test]
    fn the_difference_is_what_the_file_changed() {
        let config = Config::from_yaml(TEXT).expect("valid");
        assert_eq!(
            config.show(ShowMode::Diff),
            "auth_enabled: false
server:
  http_listen_port: 80
common:
  storage:
    filesystem:
      chunks_directory: \"/a b\"
ruler:
  external_labels:
    zone: x
    api_token: \"********\"
  alertmanager_client:
    basic_auth_password: \"********\"
limits_config:
  retention_stream:
    -
      selector: \"{a=\\\"b\\\"}\"
      period: 24h
"
        );
        assert_eq!(Config::bare().show(ShowMode::Diff), "auth_enabled: false\npattern_ingester:\n  enabled: true\n");
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_settings() {
        let config = Config::from_yaml(TEXT).expect("valid");
        let shown = config.show(ShowMode::Effective);
        let again = Config::from_yaml(&shown).expect("it is a configuration");
        assert_eq!(again.show(ShowMode::Effective), shown);
        assert!(!shown.contains("hunter2"));
        let defaults = config.show(ShowMode::Defaults);
        assert!(defaults.contains("\n  http_listen_port: 3100\n"), "{defaults}");
        yaml::parse(&defaults).expect("it is YAML");
    }

    #[test]
    fn limits_keep_their_units() {
        let limits = Config::from_yaml(TEXT).expect("valid").limits;
        let names =
            ["max_query_length", "max_query_bytes_read", "retention_stream", "volume_enabled", "log_level_fields"];
        let json = limits.to_json(&names.map(str::to_owned));
        assert_eq!(json["max_query_length"], "30d1h");
        assert_eq!(json["max_query_bytes_read"], "0B");
        assert_eq!(json["volume_enabled"], true);
        assert_eq!(json["retention_stream"][0]["period"], "1d");
        assert_eq!(json["log_level_fields"].as_array().map(Vec::len), Some(14));
        assert!(limits.to_yaml().starts_with("ingestion_rate_strategy: global\n"));
    }
}
