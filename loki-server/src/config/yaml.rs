//! YAML as a tree that remembers where everything stood.
//!
//! Configuration errors name lines, duplicate keys are refused, and what a scalar means is decided by the key it
//! belongs to, not by how it looks: none of which serde's data model can carry, so the tree is built from the
//! parser's events.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

/// How deep blocks and lists may nest.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many nodes a document may have once its aliases are expanded.
pub(crate) const MAX_NODES: usize = 200_000;

const MERGE_KEY: &str = "<<";

/// A value and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where it came from, for messages.
    pub(crate) origin: Origin,
    /// What it is.
    pub(crate) value: Value,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// A flag, by its name without dashes.
    Flag(String),
    /// The built-in default.
    Default,
}

/// The three shapes of YAML and the absence of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing: an empty plain scalar, `~` or `null`.
    Null,
    /// Text; whether it is a number is for the key to say.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, its keys unique.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stood.
    pub(crate) origin: Origin,
    /// The value.
    pub(crate) node: Node,
}

/// Why text is not a YAML document that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct YamlError {
    /// Line of the offending token, from 1.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) problem: YamlProblem,
}

/// What can be wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlProblem {
    /// The scanner or the parser gave up.
    #[error("{0}")]
    Syntax(String),
    /// A key occurs twice in one mapping.
    #[error("key \"{key}\" already set in map, first on line {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Line of its first occurrence.
        first: usize,
    },
    /// A key is itself a list or a mapping.
    #[error("a key must be a plain value")]
    ComplexKey,
    /// `<<` is followed by something that is not a mapping.
    #[error("<< must refer to a mapping or a list of mappings")]
    Merge,
    /// An alias names an anchor that does not exist, or encloses itself.
    #[error("this alias has no finished anchor")]
    Alias,
    /// Nested beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// More than [`MAX_NODES`].
    #[error("more than {MAX_NODES} values")]
    Size,
}

/// Reads the first document of `text`; an empty one is [`Value::Null`].
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => return Ok(Node::null(span.start.line())),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => return builder.node(event, span, 0),
        }
    }
}

struct Builder<'input> {
    parser: Parser<'input, StrInput<'input>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'input> Builder<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, YamlError> {
        let line = span.start.line();
        self.count(1, line)?;
        if depth > MAX_DEPTH {
            return Err(problem(line, YamlProblem::Depth));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar(text.into_owned()) };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => return self.alias(anchor, line),
            _ => return Err(problem(line, YamlProblem::Syntax("expected a value".to_owned()))),
        };
        let node = Node { origin: Origin::Line(line), value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, YamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(problem(line, YamlProblem::ComplexKey)),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key == MERGE_KEY {
                merged.extend(mergeable(node, line)?);
                continue;
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let first = first.origin.line().unwrap_or_default();
                return Err(problem(line, YamlProblem::DuplicateKey { key, first }));
            }
            entries.push(Entry { key, origin: Origin::Line(line), node });
        }
        // A key of the mapping itself wins over a merged one, an earlier merged one over a later.
        for entry in merged {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, YamlError> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(problem(line, YamlProblem::Alias));
        };
        self.count(node.size(), line)?;
        Ok(node)
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), YamlError> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(problem(line, YamlProblem::Size));
        }
        Ok(())
    }
}

fn mergeable(node: Node, line: usize) -> Result<Vec<Entry>, YamlError> {
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) => {
            let mut all = Vec::new();
            for item in items {
                let Value::Map(entries) = item.value else {
                    return Err(problem(line, YamlProblem::Merge));
                };
                all.extend(entries);
            }
            Ok(all)
        }
        Value::Null | Value::Scalar(_) => Err(problem(line, YamlProblem::Merge)),
    }
}

const fn problem(line: usize, problem: YamlProblem) -> YamlError {
    YamlError { line, problem }
}

fn syntax(error: &ScanError) -> YamlError {
    problem(error.marker().line(), YamlProblem::Syntax(error.info().to_owned()))
}

impl Node {
    fn null(line: usize) -> Self {
        Self { origin: Origin::Line(line), value: Value::Null }
    }

    /// The text of a scalar; a null is empty.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Null => Some(""),
            Value::Scalar(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value of `key` when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value at the end of a dotted path.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Puts `node` at the end of a dotted path, making mappings on the way and replacing what was there.
    pub(crate) fn set(&mut self, path: &str, node: Self) {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let child = self.child(key, &node.origin);
        if rest.is_empty() {
            *child = node;
        } else {
            child.set(rest, node);
        }
    }

    fn child(&mut self, key: &str, origin: &Origin) -> &mut Self {
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else {
            unreachable!("it was made a mapping just above");
        };
        let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            entries.push(Entry {
                key: key.to_owned(),
                origin: origin.clone(),
                node: Self { origin: origin.clone(), value: Value::Null },
            });
            entries.len() - 1
        });
        &mut entries[index].node
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }
}

impl Origin {
    /// The line of the file, if it came from there.
    pub(crate) const fn line(&self) -> Option<usize> {
        match self {
            Self::Line(line) => Some(*line),
            Self::Flag(_) | Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Flag(name) => write!(f, "flag -{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(text: &str) -> (usize, String) {
        let error = parse(text).expect_err("the document is wrong");
        (error.line, error.problem.to_string())
    }

    #[test]
    fn values_know_their_lines() {
        let root = parse("a: 1\nb:\n  c: [x, 'y']\n  d: ~\n").expect("valid");
        assert_eq!(root.at("a").and_then(Node::text), Some("1"));
        assert_eq!(root.at("b.c").map(|n| n.origin.clone()), Some(Origin::Line(3)));
        assert_eq!(root.at("b.c").map_or(0, |n| n.items().len()), 2);
        assert_eq!(root.at("b.d").map(|n| n.value.clone()), Some(Value::Null));
        assert!(root.at("b.c.nope").is_none());
    }

    #[test]
    fn quoted_nulls_are_text() {
        let root = parse("a: \"\"\nb: 'null'\n").expect("valid");
        assert_eq!(root.at("a").map(|n| n.value.clone()), Some(Value::Scalar(String::new())));
        assert_eq!(root.at("b").and_then(Node::text), Some("null"));
    }

    #[test]
    fn duplicate_keys_name_both_lines() {
        let (line, text) = problem_of("server:\n  port: 1\n  host: x\n  port: 2\n");
        assert_eq!(line, 4);
        assert_eq!(text, "key \"port\" already set in map, first on line 2");
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let (line, _) = problem_of("a: 1\nb: [1, 2\nc: 3\n");
        assert!((2..=4).contains(&line), "{line}");
    }

    #[test]
    fn aliases_and_merges_copy() {
        let text = "base: &b\n  x: 1\n  y: 2\none:\n  <<: *b\n  y: 3\ntwo: *b\n";
        let root = parse(text).expect("valid");
        assert_eq!(root.at("one.x").and_then(Node::text), Some("1"));
        assert_eq!(root.at("one.y").and_then(Node::text), Some("3"));
        assert_eq!(root.at("two.y").and_then(Node::text), Some("2"));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let prev = level - 1;
            let refs = vec![format!("*a{prev}"); 10].join(",");
            text = format!("{text}a{level}: &a{level} [{refs}]\n");
        }
        assert_eq!(problem_of(&text).1, YamlProblem::Size.to_string());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(problem_of(&deep(MAX_DEPTH + 2)).1, YamlProblem::Depth.to_string());
    }

    #[test]
    fn an_empty_document_is_null() {
        for text in ["", "\n# only a comment\n", "---\n"] {
            assert_eq!(parse(text).expect("valid").value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn setting_a_path_makes_blocks() {
        let mut root = parse("a:\n  b: 1\n").expect("valid");
        let node = |text: &str| Node { origin: Origin::Flag("f".into()), value: Value::Scalar(text.into()) };
        root.set("a.b", node("2"));
        root.set("c.d.e", node("3"));
        assert_eq!(root.at("a.b").and_then(Node::text), Some("2"));
        assert_eq!(root.at("c.d.e").and_then(Node::text), Some("3"));
    }
}
