//! `otlp_config`: which OTLP attributes become stream labels, structured metadata, or nothing.

use regex::Regex;

use crate::config::check::{Problem, invalid};
use crate::config::settings::{Settings, list_of};
use crate::config::value;
use crate::config::yaml::Node;

const BLOCK: &str = "limits_config.otlp_config";

/// Where the attributes of a tenant's OTLP records go.
#[derive(Clone, Debug, Default)]
pub struct OtlpRules {
    /// Rules for resource attributes.
    pub resource: Vec<AttributeRule>,
    /// Rules for scope attributes; none makes labels.
    pub scope: Vec<AttributeRule>,
    /// Rules for log attributes.
    pub log: Vec<AttributeRule>,
    /// Whether the severity text is a stream label too.
    pub severity_text_as_label: bool,
}

/// Says what happens to the attributes it selects.
#[derive(Clone, Debug)]
pub struct AttributeRule {
    /// Which attributes.
    pub selector: AttributeSelector,
    /// What happens to them.
    pub action: AttributeAction,
}

/// Selects attributes by name.
#[derive(Clone, Debug)]
pub enum AttributeSelector {
    /// Those of the list.
    Names(Vec<String>),
    /// Those whose whole name matches.
    Regex(Regex),
}

/// What happens to an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeAction {
    /// It becomes a label of the stream.
    IndexLabel,
    /// It becomes structured metadata, as it does without a rule.
    StructuredMetadata,
    /// It is left out.
    Drop,
}

impl AttributeSelector {
    /// Whether an attribute of that name is meant.
    pub fn selects(&self, name: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|candidate| candidate == name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// What `rules` do with an attribute: the first that selects it decides.
pub fn action(rules: &[AttributeRule], name: &str) -> AttributeAction {
    let rule = rules.iter().find(|rule| rule.selector.selects(name));
    rule.map_or(AttributeAction::StructuredMetadata, |rule| rule.action)
}

/// Reads the rules; `defaults` are the resource attributes that become labels unless the defaults are ignored.
pub(crate) fn read(settings: &Settings, defaults: Vec<String>, problems: &mut Vec<Problem>) -> OtlpRules {
    let node = settings.tree().at(BLOCK);
    let list = |path: &str| node.and_then(|node| node.at(path)).map_or(&[][..], Node::items);
    let flag = |path: &str| {
        let text = node.and_then(|node| node.at(path)).and_then(Node::text);
        text.and_then(value::bool).unwrap_or(false)
    };
    let mut resource = rules(list("resource_attributes.attributes_config"), true, problems);
    if !flag("resource_attributes.ignore_defaults") {
        resource
            .push(AttributeRule { selector: AttributeSelector::Names(defaults), action: AttributeAction::IndexLabel });
    }
    OtlpRules {
        resource,
        scope: rules(list("scope_attributes"), false, problems),
        log: rules(list("log_attributes"), true, problems),
        severity_text_as_label: flag("severity_text_as_label"),
    }
}

fn rules(items: &[Node], labels_allowed: bool, problems: &mut Vec<Problem>) -> Vec<AttributeRule> {
    let mut rules = Vec::new();
    for item in items {
        match rule(item, labels_allowed) {
            Ok(rule) => rules.push(rule),
            Err(reason) => problems.push(invalid(&item.origin, BLOCK, reason)),
        }
    }
    rules
}

fn rule(item: &Node, labels_allowed: bool) -> Result<AttributeRule, String> {
    let text = |name: &str| item.get(name).and_then(Node::text).unwrap_or_default();
    let action = match text("action") {
        "index_label" if labels_allowed => AttributeAction::IndexLabel,
        "index_label" => return Err("scope attributes cannot become index labels".to_owned()),
        "structured_metadata" => AttributeAction::StructuredMetadata,
        "drop" => AttributeAction::Drop,
        other => return Err(format!("action {other:?} is none of index_label, structured_metadata and drop")),
    };
    let names = item.get("attributes").map_or_else(Vec::new, list_of);
    let selector = match (names.is_empty(), text("regex")) {
        (false, "") => AttributeSelector::Names(names),
        (true, "") => return Err("either attributes or regex must be given".to_owned()),
        (false, _) => return Err("attributes and regex exclude each other".to_owned()),
        (true, pattern) => {
            let anchored = format!("^(?s:{pattern})$");
            AttributeSelector::Regex(Regex::new(&anchored).map_err(|error| error.to_string())?)
        }
    };
    Ok(AttributeRule { selector, action })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read_text(text: &str) -> (OtlpRules, Vec<String>) {
        let settings = Settings::new(yaml::parse(text).expect("valid"));
        let mut problems = Vec::new();
        let rules = read(&settings, vec!["service.name".to_owned()], &mut problems);
        (rules, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_come_after_the_tenants_own_rules() {
        let text = "
limits_config:
  otlp_config:
    resource_attributes:
      attributes_config:
        - {action: drop, attributes: [service.name, x]}
        - {action: index_label, regex: 'k8s\\..*'}
";
        let (rules, problems) = read_text(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(action(&rules.resource, "service.name"), AttributeAction::Drop);
        assert_eq!(action(&rules.resource, "k8s.pod"), AttributeAction::IndexLabel);
        assert_eq!(action(&rules.resource, "my.k8s.pod"), AttributeAction::StructuredMetadata);
        assert_eq!(action(&read_text("").0.resource, "service.name"), AttributeAction::IndexLabel);
    }

    #[test]
    fn defaults_can_be_ignored() {
        let text = "limits_config: {otlp_config: {resource_attributes: {ignore_defaults: true}}}";
        assert_eq!(action(&read_text(text).0.resource, "service.name"), AttributeAction::StructuredMetadata);
    }

    #[test]
    fn impossible_rules_are_named() {
        let text = "
limits_config:
  otlp_config:
    scope_attributes:
      - {action: index_label, attributes: [a]}
    log_attributes:
      - {action: keep, attributes: [a]}
      - {action: drop}
      - {action: drop, regex: '('}
";
        assert_eq!(read_text(text).1.len(), 4);
    }
}
