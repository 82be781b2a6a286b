//! Finds the passing rows of a whole text.
//!
//! One filter drives: its literals or its regex are searched in the text as a whole, hits are mapped to rows, and the
//! other filters look at those rows only. Where no filter can drive, rows are tested one by one.

use std::ops::Range;

use loki_core::Text;
use loki_core::chunk::RowFinder;
use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::{LineFilter, LineFilters, LineTest, literals};
use crate::pipeline::text_test::TextTest;
use crate::querier::Literal;

/// Literals shorter than this are no better to search than the regex they come from.
const MIN_DRIVING_LEN: usize = 3;

/// A regex whose matches are at most this long is searched itself, a longer one by its literals.
const MAX_DIRECT_LEN: usize = 64;

/// How rows are found.
#[derive(Clone, Debug, Default)]
pub(super) enum Search {
    /// By testing one after the other.
    #[default]
    EachRow,
    /// Rows with a hit are candidates for filter number `filter`, and pass it if `exact`.
    Hits { needle: Needle, filter: usize, exact: bool },
    /// Rows with a hit fail filter number `filter`, all others pass it.
    Misses { needle: Needle, filter: usize },
}

#[derive(Clone, Debug)]
pub(super) enum Needle {
    Literal(Box<Finder<'static>>),
    /// Never matches across lines.
    Regex(Regex),
}

impl Search {
    pub(super) fn plan(filters: &[LineFilter]) -> Self {
        let drivers = filters.iter().enumerate().filter(|(_, filter)| !filter.negated);
        let best = drivers
            .filter_map(|(i, filter)| Driver::of(&filter.test).map(|driver| (i, driver)))
            .max_by_key(|(_, driver)| driver.worth);
        if let Some((filter, driver)) = best {
            return Self::Hits { needle: driver.needle, filter, exact: driver.exact };
        }
        let negated = filters.iter().enumerate().filter(|(_, filter)| filter.negated);
        let mut exact = negated.filter_map(|(i, filter)| {
            Driver::of(&filter.test).filter(|driver| driver.exact).map(|driver| (i, driver.needle))
        });
        match exact.next() {
            Some((filter, needle)) if filters.iter().all(|filter| filter.negated) => Self::Misses { needle, filter },
            _ => Self::EachRow,
        }
    }
}

/// A way to find candidates for a test.
struct Driver {
    needle: Needle,
    exact: bool,
    /// The length of what is searched: the longer, the fewer hits.
    worth: usize,
}

impl Driver {
    fn of(test: &LineTest) -> Option<Self> {
        match test {
            LineTest::Text(TextTest::Contains(finder)) => {
                Some(Self { needle: Needle::Literal(finder.clone()), exact: true, worth: finder.needle().len() })
            }
            LineTest::Text(TextTest::Any(tests)) => {
                let contains = |test: &TextTest| matches!(test, TextTest::Contains(_));
                Self::of_literals(&test.needles(), tests.iter().all(contains))
            }
            LineTest::Text(TextTest::Regex(regex)) => {
                let direct = Self::of_regex(regex, &test.needles());
                direct.or_else(|| Self::of_literals(&test.needles(), false))
            }
            _ => Self::of_literals(&test.needles(), false),
        }
    }

    /// Searches a regex as it is, if its matches are short and stay within lines.
    fn of_regex(regex: &Regex, needles: &[Vec<Literal>]) -> Option<Self> {
        let hir = literals::parse(regex.as_str())?;
        let worth = needles.iter().map(|any| literals::shortest(any)).max().unwrap_or(0);
        let is_short = hir.properties().maximum_len().is_some_and(|len| len <= MAX_DIRECT_LEN);
        let direct = stays_within_line(&hir) && (is_short || worth < MIN_DRIVING_LEN);
        direct.then(|| Self { needle: Needle::Regex(regex.clone()), exact: true, worth })
    }

    /// Searches the literals that a match must contain.
    fn of_literals(needles: &[Vec<Literal>], exact: bool) -> Option<Self> {
        let best = needles.iter().max_by_key(|any| literals::shortest(any))?;
        let worth = literals::shortest(best);
        let needle = match best.as_slice() {
            [Literal { bytes, case_insensitive: false }] => Needle::Literal(Box::new(Finder::new(bytes).into_owned())),
            many if many.iter().any(|literal| literal.bytes.contains(&b'\n')) => return None,
            many => Needle::Regex(any_of(many)?),
        };
        Some(Self { needle, exact, worth })
    }
}

/// Whether no match contains a newline or depends on what stands around it.
fn stays_within_line(hir: &Hir) -> bool {
    hir.properties().look_set().is_empty() && !can_match_newline(hir)
}

fn can_match_newline(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.contains(&b'\n'),
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&'\n'))
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&b'\n'))
        }
        HirKind::Repetition(repetition) => can_match_newline(&repetition.sub),
        HirKind::Capture(capture) => can_match_newline(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(can_match_newline),
    }
}

/// A regex for any of several literals.
fn any_of(literals: &[Literal]) -> Option<Regex> {
    use std::fmt::Write;

    let mut pattern = String::new();
    for (i, literal) in literals.iter().enumerate() {
        if i > 0 {
            pattern.push('|');
        }
        if let Ok(text) = std::str::from_utf8(&literal.bytes) {
            let flag = if literal.case_insensitive { "(?i:" } else { "(?:" };
            write!(pattern, "{flag}{})", regex_syntax::escape(text)).ok()?;
        } else {
            pattern.push_str("(?-u:");
            literal.bytes.iter().try_for_each(|byte| write!(pattern, "\\x{byte:02x}")).ok()?;
            pattern.push(')');
        }
    }
    RegexBuilder::new(&pattern).build().ok()
}

impl LineFilters {
    /// Appends the rows of the given ranges (ascending and without overlap) whose lines pass to `out`, ascending.
    pub fn select(&self, text: &Text, rows: &[Range<u32>], out: &mut Vec<u32>) {
        match &self.search {
            _ if self.filters.is_empty() => rows.iter().for_each(|range| out.extend(range.clone())),
            Search::EachRow => {
                for row in rows.iter().cloned().flatten() {
                    if self.matches(text.line(row)) {
                        out.push(row);
                    }
                }
            }
            Search::Hits { needle, filter, exact } => {
                let skipped = exact.then_some(*filter);
                let mut wanted = Wanted { ranges: rows };
                let mut hits = Hits::new(needle, text);
                while let Some((row, line)) = hits.next() {
                    match wanted.at_or_behind(row) {
                        None => break,
                        Some(next) if next > row => hits.skip_to(next),
                        Some(_) if self.others_match(skipped, &text.as_bytes()[line]) => out.push(row),
                        Some(_) => {}
                    }
                }
            }
            Search::Misses { needle, filter } => {
                let mut hits = Hits::new(needle, text);
                let mut hit = hits.next();
                for row in rows.iter().cloned().flatten() {
                    if hit.as_ref().is_some_and(|(at, _)| *at < row) {
                        hits.skip_to(row);
                        hit = hits.next();
                    }
                    let is_hit = hit.as_ref().is_some_and(|(at, _)| *at == row);
                    if !is_hit && (self.filters.len() == 1 || self.others_match(Some(*filter), text.line(row))) {
                        out.push(row);
                    }
                }
            }
        }
    }

    fn others_match(&self, skipped: Option<usize>, line: &[u8]) -> bool {
        self.filters.iter().enumerate().all(|(i, filter)| skipped == Some(i) || filter.accepts(line))
    }
}

/// Asks for ascending rows whether they are wanted.
struct Wanted<'r> {
    ranges: &'r [Range<u32>],
}

impl Wanted<'_> {
    /// The first wanted row that is not before `row`.
    fn at_or_behind(&mut self, row: u32) -> Option<u32> {
        while let [first, rest @ ..] = self.ranges
            && first.end <= row
        {
            self.ranges = rest;
        }
        self.ranges.first().map(|range| range.start.max(row))
    }
}

/// The rows in which a needle occurs, ascending, each once, with the place of the line.
struct Hits<'t> {
    needle: &'t Needle,
    text: &'t Text,
    rows: RowFinder<'t>,
    at: usize,
}

impl<'t> Hits<'t> {
    fn new(needle: &'t Needle, text: &'t Text) -> Self {
        Self { needle, text, rows: text.row_finder(), at: 0 }
    }

    /// Leaves out what lies before `row`.
    fn skip_to(&mut self, row: u32) {
        self.at = self.at.max(self.text.range(row).start);
    }

    fn next(&mut self) -> Option<(u32, Range<usize>)> {
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..)?;
            let (start, end) = match self.needle {
                Needle::Literal(finder) => {
                    let start = self.at + finder.find(rest)?;
                    (start, start + finder.needle().len())
                }
                Needle::Regex(regex) => {
                    let found = regex.find(rest)?;
                    (self.at + found.start(), self.at + found.end())
                }
            };
            let line = self.rows.line_at(start)?;
            if end <= line.range.end {
                self.at = line.range.end + 1;
                return Some((line.row, line.range));
            }
            // The needle contains a newline and what was found spans two lines.
            self.at = start + 1;
        }
    }
}
