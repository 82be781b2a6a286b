//! Recognises regexes that are really literals.
//!
//! What is recognised follows from how Go's parser normalises a regex before Loki looks at it: adjacent literals are
//! joined, common literal prefixes of neighbouring alternatives are factored out, and neighbouring one-character
//! alternatives become a class. The steps here are the same, because the outcome is visible in label filters.

use loki_core::re2::Pattern;
use regex_syntax::ast::{self, Ast, GroupKind, RepetitionKind, RepetitionRange};
use regex_syntax::hir::{Class, HirKind};

use super::fold;

/// At most this many characters come out of counted repetitions such as `x{1000}`; longer ones stay regexes.
const MAX_REPEATED_CHARS: usize = 1000;

/// At most this many parts may stand in a row for a substring test.
const MAX_PARTS: usize = 3;

/// What a regex boils down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Matches everything.
    Always,
    /// Matches every text but the empty one.
    NotEmpty,
    /// One literal and nothing else.
    Literal { text: String, fold: bool },
    /// A literal and whatever stands beside it.
    Substring { text: String, fold: bool },
    /// One of several.
    Any(Vec<Self>),
}

/// What `pattern` boils down to; `None` when only a regex will do.
pub(crate) fn of_pattern(pattern: &Pattern) -> Option<Shape> {
    let text = pattern.as_str();
    let ast = ast::parse::ParserBuilder::new().build().parse(text).ok()?;
    shape_of(&Reader { pattern: text }.read(&ast, &mut Flags::default()))
}

#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    dot_matches_newline: bool,
}

/// A normalised regex, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Empty,
    Literal {
        chars: Vec<char>,
        fold: bool,
    },
    /// `.` that does not match a newline.
    Dot,
    /// `.*`
    AnyNumber,
    /// `.+`
    AtLeastOne,
    Concat(Vec<Self>),
    Alternate(Vec<Self>),
    /// A group that remembers what it matched: it has no other meaning, but nothing is factored out of it.
    Capture(Box<Self>),
    /// A class of characters.
    Class,
    /// Anything that needs a regex.
    Other,
}

struct Reader<'p> {
    pattern: &'p str,
}

impl Reader<'_> {
    fn read(&self, ast: &Ast, flags: &mut Flags) -> Node {
        match ast {
            Ast::Empty(_) => Node::Empty,
            Ast::Flags(set) => {
                apply(&set.flags, flags);
                Node::Empty
            }
            Ast::Literal(literal) => one_char(literal.c, flags.ignore_case),
            Ast::Dot(_) if !flags.dot_matches_newline => Node::Dot,
            Ast::Dot(_) | Ast::Assertion(_) => Node::Other,
            Ast::ClassUnicode(_) | Ast::ClassPerl(_) | Ast::ClassBracketed(_) => self.class(ast, *flags),
            Ast::Repetition(repetition) => {
                let inner = self.read(&repetition.ast, flags);
                repeat(inner, &repetition.op.kind)
            }
            Ast::Group(group) => {
                let mut inside = *flags;
                if let GroupKind::NonCapturing(set) = &group.kind {
                    apply(set, &mut inside);
                }
                let inner = self.read(&group.ast, &mut inside);
                match group.kind {
                    GroupKind::NonCapturing(_) => inner,
                    GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => Node::Capture(Box::new(inner)),
                }
            }
            Ast::Concat(concat) => {
                let mut parts = Vec::with_capacity(concat.asts.len());
                for part in &concat.asts {
                    let node = self.read(part, flags);
                    if !matches!(part, Ast::Flags(_)) {
                        push_part(&mut parts, node);
                    }
                }
                single_or(parts, Node::Concat)
            }
            // A flag set inside an alternative holds in the later ones too.
            Ast::Alternation(alternation) => {
                let branches = alternation.asts.iter().map(|branch| self.read(branch, flags)).collect();
                alternate(branches)
            }
        }
    }

    /// A class of one character, or of one letter in both cases, is a literal.
    fn class(&self, ast: &Ast, flags: Flags) -> Node {
        let span = ast.span();
        let text = &self.pattern[span.start.offset..span.end.offset];
        let flag = if flags.ignore_case { "(?i)" } else { "" };
        let Ok(hir) = regex_syntax::parse(&format!("{flag}{text}")) else { return Node::Class };
        match hir.kind() {
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0).map(|text| text.chars().collect()) {
                Ok(chars) => Node::Literal { chars, fold: false },
                Err(_) => Node::Class,
            },
            HirKind::Class(Class::Unicode(class)) => {
                let mut chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
                match (chars.next(), chars.next(), chars.next()) {
                    (Some(a), Some(b), None) if fold(a) == fold(b) => one_char(a, true),
                    _ => Node::Class,
                }
            }
            _ => Node::Class,
        }
    }
}

fn apply(set: &ast::Flags, flags: &mut Flags) {
    if let Some(value) = set.flag_state(ast::Flag::CaseInsensitive) {
        flags.ignore_case = value;
    }
    if let Some(value) = set.flag_state(ast::Flag::DotMatchesNewLine) {
        flags.dot_matches_newline = value;
    }
}

fn one_char(c: char, fold_case: bool) -> Node {
    let c = if fold_case { fold(c) } else { c };
    Node::Literal { chars: vec![c], fold: fold_case }
}

fn repeat(inner: Node, kind: &RepetitionKind) -> Node {
    match (kind, inner) {
        (RepetitionKind::ZeroOrMore | RepetitionKind::Range(RepetitionRange::AtLeast(0)), Node::Dot) => Node::AnyNumber,
        (RepetitionKind::OneOrMore | RepetitionKind::Range(RepetitionRange::AtLeast(1)), Node::Dot) => Node::AtLeastOne,
        (RepetitionKind::Range(RepetitionRange::Exactly(0)), _) => Node::Empty,
        (RepetitionKind::Range(RepetitionRange::Exactly(1)), inner) => inner,
        (RepetitionKind::Range(RepetitionRange::Exactly(times)), Node::Literal { chars, fold })
            if (*times as usize).saturating_mul(chars.len()) <= MAX_REPEATED_CHARS =>
        {
            Node::Literal { chars: chars.repeat(*times as usize), fold }
        }
        _ => Node::Other,
    }
}

/// Appends to a concatenation, which holds no concatenation itself and no two literals of a kind side by side.
fn push_part(parts: &mut Vec<Node>, part: Node) {
    match part {
        Node::Concat(inner) => {
            for part in inner {
                push_part(parts, part);
            }
        }
        Node::Literal { chars, fold } => match parts.last_mut() {
            Some(Node::Literal { chars: before, fold: same }) if *same == fold => before.extend(chars),
            _ => parts.push(Node::Literal { chars, fold }),
        },
        other => parts.push(other),
    }
}

fn single_or(mut nodes: Vec<Node>, make: fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        0 => Node::Empty,
        1 => nodes.swap_remove(0),
        _ => make(nodes),
    }
}

/// An alternation with common prefixes factored out and single characters merged.
fn alternate(branches: Vec<Node>) -> Node {
    let mut flat = Vec::with_capacity(branches.len());
    for branch in branches {
        match branch {
            Node::Alternate(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    let mut merged: Vec<Node> = Vec::new();
    for branch in factor_prefixes(flat) {
        match (merged.last_mut(), &branch) {
            (Some(last), new) if is_single_char(last) && is_single_char(new) => *last = Node::Class,
            (Some(Node::Empty), Node::Empty) => {}
            _ => merged.push(branch),
        }
    }
    single_or(merged, Node::Alternate)
}

fn is_single_char(node: &Node) -> bool {
    match node {
        Node::Literal { chars, .. } => chars.len() == 1,
        Node::Class => true,
        _ => false,
    }
}

/// Turns each run of neighbours that begin with the same characters into one branch: prefix, then alternatives.
fn factor_prefixes(branches: Vec<Node>) -> Vec<Node> {
    let mut factored = Vec::with_capacity(branches.len());
    let mut run: Vec<Node> = Vec::new();
    let mut shared: (Vec<char>, bool) = (Vec::new(), false);
    for branch in branches {
        let (chars, fold) = leading_chars(&branch);
        let common = if fold == shared.1 { common_len(&shared.0, chars) } else { 0 };
        if !run.is_empty() && common > 0 {
            shared.0.truncate(common);
        } else {
            finish_run(&mut run, &shared, &mut factored);
            shared = (chars.to_vec(), fold);
        }
        run.push(branch);
    }
    finish_run(&mut run, &shared, &mut factored);
    factored
}

fn finish_run(run: &mut Vec<Node>, (prefix, fold): &(Vec<char>, bool), factored: &mut Vec<Node>) {
    if run.len() < 2 {
        factored.append(run);
        return;
    }
    let suffixes = run.drain(..).map(|branch| without_leading(branch, prefix.len())).collect();
    let mut parts = vec![Node::Literal { chars: prefix.clone(), fold: *fold }];
    push_part(&mut parts, alternate(suffixes));
    factored.push(single_or(parts, Node::Concat));
}

fn leading_chars(node: &Node) -> (&[char], bool) {
    match node {
        Node::Literal { chars, fold } => (chars, *fold),
        Node::Concat(parts) => match parts.first() {
            Some(Node::Literal { chars, fold }) => (chars, *fold),
            _ => (&[], false),
        },
        _ => (&[], false),
    }
}

fn common_len(a: &[char], b: &[char]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn without_leading(node: Node, count: usize) -> Node {
    match node {
        Node::Literal { mut chars, fold } => {
            chars.drain(..count);
            if chars.is_empty() { Node::Empty } else { Node::Literal { chars, fold } }
        }
        Node::Concat(mut parts) => {
            let first = without_leading(parts.remove(0), count);
            if first != Node::Empty {
                parts.insert(0, first);
            }
            single_or(parts, Node::Concat)
        }
        other => other,
    }
}

fn shape_of(node: &Node) -> Option<Shape> {
    match node {
        Node::Empty | Node::AnyNumber => Some(Shape::Always),
        Node::AtLeastOne => Some(Shape::NotEmpty),
        Node::Literal { chars, fold } => Some(Shape::Literal { text: chars.iter().collect(), fold: *fold }),
        Node::Capture(inner) => shape_of(inner),
        Node::Concat(parts) => {
            let mut open = Vec::with_capacity(parts.len());
            for part in parts {
                push_part(&mut open, uncaptured(part).clone());
            }
            match open.as_slice() {
                [only] => shape_of(only),
                parts => substring(parts).or_else(|| prefixed_alternatives(parts)),
            }
        }
        Node::Alternate(branches) => {
            let shapes: Option<Vec<Shape>> = branches.iter().map(shape_of).collect();
            shapes.map(Shape::Any)
        }
        Node::Dot | Node::Class | Node::Other => None,
    }
}

fn uncaptured(node: &Node) -> &Node {
    match node {
        Node::Capture(inner) => uncaptured(inner),
        other => other,
    }
}

/// A literal with `.*` around it, or with an empty group behind it.
fn substring(parts: &[Node]) -> Option<Shape> {
    let mut literals = parts.iter().filter(|part| matches!(part, Node::Literal { .. }));
    let (Some(Node::Literal { chars, fold }), None) = (literals.next(), literals.next()) else { return None };
    let rest_is_free = parts.iter().all(|part| matches!(part, Node::Literal { .. } | Node::AnyNumber))
        || matches!(parts, [Node::Literal { .. }, Node::Empty]);
    (rest_is_free && parts.len() <= MAX_PARTS).then(|| Shape::Substring { text: chars.iter().collect(), fold: *fold })
}

/// A literal followed by alternatives that are literals, nothing, or end in `.*`. Of the last kind only the last one
/// is ever tested.
fn prefixed_alternatives(parts: &[Node]) -> Option<Shape> {
    let [Node::Literal { chars: prefix, fold }, Node::Alternate(branches)] = parts else { return None };
    let with = |suffix: &[char]| Shape::Substring { text: prefix.iter().chain(suffix).collect(), fold: *fold };
    let mut shapes = Vec::with_capacity(branches.len());
    let mut open_ended = None;
    for branch in branches {
        match uncaptured(branch) {
            Node::Empty | Node::AnyNumber => shapes.push(with(&[])),
            Node::Literal { chars, fold: same } if same == fold => shapes.push(with(chars)),
            Node::Concat(parts) => match parts.as_slice() {
                [Node::Literal { chars, fold: same }, Node::AnyNumber] if same == fold => {
                    open_ended = Some(with(chars));
                }
                _ => return None,
            },
            _ => return None,
        }
    }
    shapes.extend(open_ended);
    Some(Shape::Any(shapes))
}
