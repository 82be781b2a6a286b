//! Which literals a matching text must contain.
//!
//! The answer is a conjunction of disjunctions, and only ever a *necessary* condition: stores prune with it.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::pipeline::text_test::{TextTest, case_variants, fold};
use crate::querier::Literal;

/// The most literals in one disjunction.
const MAX_ALTERNATIVES: usize = 16;

/// The longest literal that is put together; longer ones are cut here and continue as the next condition.
const MAX_LITERAL_LEN: usize = 256;

/// The most characters of a class that are spelled out.
const MAX_CLASS_CHARS: usize = 4;

pub(super) fn exact(text: &[u8]) -> Literal {
    Literal { bytes: text.to_vec(), case_insensitive: false }
}

/// The literals that texts passing `test` contain.
pub(super) fn of_text_test(test: &TextTest) -> Vec<Vec<Literal>> {
    match test {
        TextTest::Always | TextTest::NotEmpty => Vec::new(),
        TextTest::Equals(text) => vec![vec![exact(text)]],
        TextTest::EqualsFold(text) => {
            vec![vec![Literal { bytes: text.as_bytes().to_vec(), case_insensitive: true }]]
        }
        TextTest::Contains(finder) => vec![vec![exact(finder.needle())]],
        TextTest::Regex(regex) => parse(regex.as_str()).map_or_else(Vec::new, |hir| of_hir(&hir)),
        TextTest::Any(tests) => of_any(tests.iter().map(of_text_test)),
    }
}

/// The literals of one of several alternatives, whichever it is.
pub(super) fn of_any(alternatives: impl Iterator<Item = Vec<Vec<Literal>>>) -> Vec<Vec<Literal>> {
    let mut union = Vec::new();
    for conditions in alternatives {
        let Some(best) = conditions.into_iter().max_by_key(|any| shortest(any)) else { return Vec::new() };
        union.extend(best);
    }
    if union.len() > MAX_ALTERNATIVES { Vec::new() } else { vec![union] }
}

/// The length of the shortest literal: what a disjunction is worth.
pub(super) fn shortest(any: &[Literal]) -> usize {
    any.iter().map(|literal| literal.bytes.len()).min().unwrap_or(0)
}

/// A regex that was compiled before, as its parts.
pub(super) fn parse(pattern: &str) -> Option<Hir> {
    regex_syntax::ParserBuilder::new().utf8(false).nest_limit(u32::MAX).build().parse(pattern).ok()
}

fn of_hir(hir: &Hir) -> Vec<Vec<Literal>> {
    let mut known = Known::of(hir);
    known.settle();
    known.required.retain(|any| shortest(any) > 0);
    known.required
}

/// What is known about the texts that a part of a regex matches.
struct Known {
    /// All of them end in one of these, and nothing was said about these yet.
    tail: Vec<Literal>,
    /// Nothing stands before `tail`: it is all there is.
    whole: bool,
    /// Each text contains one of each.
    required: Vec<Vec<Literal>>,
}

impl Known {
    fn nothing() -> Self {
        Self { tail: vec![exact(b"")], whole: false, required: Vec::new() }
    }

    fn one_of(literals: Vec<Literal>) -> Self {
        Self { tail: literals, whole: true, required: Vec::new() }
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::one_of(vec![exact(b"")]),
            HirKind::Literal(literal) => Self::one_of(vec![exact(&literal.0)]),
            HirKind::Class(class) => Self::of_class(class),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min == 0 => Self::nothing(),
            HirKind::Repetition(_) => Self::of_sequence(std::slice::from_ref(hir)),
            HirKind::Concat(parts) => Self::of_sequence(parts),
            HirKind::Alternation(branches) => Self::of_alternatives(branches),
        }
    }

    fn of_sequence(parts: &[Hir]) -> Self {
        let mut known = Self::one_of(vec![exact(b"")]);
        for part in parts {
            match part.kind() {
                // The first round joins what stands before; how many follow is not known.
                HirKind::Repetition(repetition) if repetition.min > 0 => {
                    known.append(Self::of(&repetition.sub));
                    if repetition.max != Some(1) {
                        known.settle();
                    }
                }
                _ => known.append(Self::of(part)),
            }
        }
        known
    }

    fn of_class(class: &Class) -> Self {
        let Class::Unicode(class) = class else { return Self::nothing() };
        let mut chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
        let few: Vec<char> = chars.by_ref().take(MAX_CLASS_CHARS).collect();
        if few.is_empty() || chars.next().is_some() {
            return Self::nothing();
        }
        if few.len() > 1 && case_variants(few[0]) == few {
            let bytes = fold(few[0]).to_string().into_bytes();
            return Self::one_of(vec![Literal { bytes, case_insensitive: true }]);
        }
        Self::one_of(few.into_iter().map(|c| exact(c.to_string().as_bytes())).collect())
    }

    fn of_alternatives(branches: &[Hir]) -> Self {
        let branches: Vec<Self> = branches.iter().map(Self::of).collect();
        let count: usize = branches.iter().map(|branch| branch.tail.len()).sum();
        if count <= MAX_ALTERNATIVES && branches.iter().all(|branch| branch.whole) {
            return Self::one_of(branches.into_iter().flat_map(|branch| branch.tail).collect());
        }
        let conditions = branches.into_iter().map(|mut branch| {
            branch.settle();
            branch.required
        });
        Self { required: of_any(conditions), ..Self::nothing() }
    }

    /// Adds what follows.
    fn append(&mut self, next: Self) {
        if !next.whole {
            self.settle();
            self.required.extend(next.required);
            self.tail = next.tail;
            return;
        }
        let longest = |any: &[Literal]| any.iter().map(|literal| literal.bytes.len()).max().unwrap_or(0);
        let too_many = self.tail.len() * next.tail.len() > MAX_ALTERNATIVES;
        if too_many || longest(&self.tail) + longest(&next.tail) > MAX_LITERAL_LEN {
            self.settle();
            self.tail = next.tail;
            return;
        }
        self.tail = self.tail.iter().flat_map(|head| next.tail.iter().map(|tail| joined(head, tail))).collect();
    }

    /// Nothing can be joined to the tail any more: it becomes a condition.
    fn settle(&mut self) {
        let tail = std::mem::replace(&mut self.tail, vec![exact(b"")]);
        self.whole = false;
        if shortest(&tail) > 0 {
            self.required.push(tail);
        }
    }
}

/// Both in a row. If one matches in either case the whole does, which is true a little more often than it should.
fn joined(head: &Literal, tail: &Literal) -> Literal {
    Literal {
        bytes: [head.bytes.as_slice(), &tail.bytes].concat(),
        case_insensitive: head.case_insensitive || tail.case_insensitive,
    }
}
