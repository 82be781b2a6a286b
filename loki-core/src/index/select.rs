//! Which streams a selector selects.

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use super::Index;
use crate::error::Error;
use crate::matcher::Matcher;

impl Index {
    /// The streams that satisfy all `matchers`; all streams if there are none.
    ///
    /// An absent label has the empty value. Strings, alternatives (`a|b|c`) and prefixes are looked up; other regexes
    /// are tried on the values of their label.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when symbols or postings are damaged.
    pub fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Error> {
        let mut matchers: Vec<&Matcher> = matchers.iter().collect();
        // What selects little at little cost goes first: an empty selection ends the work.
        matchers.sort_by_key(|matcher| (describes_absent(matcher), matcher.op().is_negative(), cost(matcher)));
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in matchers {
            let streams = self.streams_of(matcher)?;
            let narrowed = match (selected, streams) {
                (None, Streams::Only(only)) => only,
                (None, Streams::AllBut(others)) => self.all() - others,
                (Some(selected), Streams::Only(only)) => selected & only,
                (Some(selected), Streams::AllBut(others)) => selected - others,
            };
            if narrowed.is_empty() {
                return Ok(narrowed);
            }
            selected = Some(narrowed);
        }
        Ok(selected.unwrap_or_else(|| self.all()))
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.streams());
        all
    }

    fn streams_of(&self, matcher: &Matcher) -> Result<Streams, Error> {
        // A value is *described* if the matcher's string or regex matches it, whatever the operator makes of that.
        // Streams without the label are in no posting list, so the union is made of the side that excludes them.
        let described_absent = describes_absent(matcher);
        let union = self.union_where(matcher, !described_absent)?;
        Ok(if described_absent == matcher.op().is_negative() { Streams::Only(union) } else { Streams::AllBut(union) })
    }

    /// The streams that have the label with a value that is described by `matcher`, or with one that is not.
    fn union_where(&self, matcher: &Matcher, described: bool) -> Result<RoaringBitmap, Error> {
        let mut union = RoaringBitmap::new();
        if described && let Some(values) = matcher.alternatives() {
            for value in values {
                if let Some(symbol) = self.symbol(matcher.name(), value)? {
                    self.stream_set(symbol)?.add_to(&mut union);
                }
            }
            return Ok(union);
        }
        let prefix = matcher.prefix().filter(|_| described).unwrap_or_default();
        self.for_each_value(matcher.name(), prefix, |value, symbol| {
            if describes(matcher, value) == described {
                self.stream_set(symbol)?.add_to(&mut union);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(union)
    }
}

/// What one matcher selects.
enum Streams {
    Only(RoaringBitmap),
    AllBut(RoaringBitmap),
}

/// Whether the string or regex of `matcher` matches `value`.
fn describes(matcher: &Matcher, value: &str) -> bool {
    matcher.matches(value) != matcher.op().is_negative()
}

fn describes_absent(matcher: &Matcher) -> bool {
    describes(matcher, "")
}

/// A rank: how much of the map has to be looked at.
fn cost(matcher: &Matcher) -> usize {
    match (matcher.alternatives(), matcher.prefix()) {
        (Some(values), _) => values.len(),
        (None, Some(_)) => usize::MAX - 1,
        (None, None) => usize::MAX,
    }
}
