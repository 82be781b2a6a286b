//! Reads a pattern by Go's rules and writes it in the syntax of the `regex` crate, in one pass.

use super::class::{before, bracket_class, escape, perl_class, push_rune, unicode_class};
use super::{MAX_NESTING, MAX_REPEAT, RegexError, RegexErrorKind};

/// The rewritten pattern and the names of its groups, the whole match first.
pub(super) fn translate(pattern: &str, dot_matches_newline: bool) -> Result<(String, Vec<Option<String>>), RegexError> {
    let flags = Flags { dot_matches_newline, ..Flags::default() };
    let mut translator = Translator {
        pattern,
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        flags,
        written_flags: Flags::default(),
        groups: vec![Group::default()],
        capture_names: vec![None],
    };
    translator.run()?;
    Ok((translator.out, translator.capture_names))
}

#[expect(clippy::struct_excessive_bools, reason = "the four flags of the syntax are independent of one another")]
#[derive(Copy, Clone, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    /// Resolved while translating, because it belongs to the operator and not to what the operator repeats.
    swap_greed: bool,
}

impl Flags {
    /// The flags that are written.
    fn letters(self) -> [(char, bool); 3] {
        [('i', self.ignore_case), ('m', self.multi_line), ('s', self.dot_matches_newline)]
    }

    fn set(&mut self, letter: char, value: bool) -> bool {
        let flag = match letter {
            'i' => &mut self.ignore_case,
            'm' => &mut self.multi_line,
            's' => &mut self.dot_matches_newline,
            'U' => &mut self.swap_greed,
            _ => return false,
        };
        *flag = value;
        true
    }
}

/// The smallest thing a repetition applies to.
#[derive(Copy, Clone)]
struct Atom {
    /// Where it begins in the output.
    start: usize,
    /// The largest product of nested repetition counts inside.
    repeats: u32,
    /// How deeply operators nest inside.
    height: u32,
    /// Whether it is a repetition already.
    repeated: bool,
}

impl Atom {
    fn single(start: usize) -> Self {
        Self { start, repeats: 1, height: 1, repeated: false }
    }
}

/// An open parenthesis, or the whole pattern.
#[derive(Default)]
struct Group {
    start: usize,
    captures: bool,
    flags_outside: Flags,
    written_flags_outside: Flags,
    last_atom: Option<Atom>,
    /// Atoms of the current alternative.
    atoms: u32,
    alternatives: u32,
    /// The largest [`Atom::repeats`] so far.
    repeats: u32,
    /// The largest [`Atom::height`] of the current alternative, and of the alternatives before it.
    atom_height: u32,
    alternative_height: u32,
}

impl Group {
    fn push(&mut self, atom: Atom) {
        self.settle();
        self.atoms += 1;
        self.last_atom = Some(atom);
    }

    /// Accounts for the last atom, which can no longer be repeated.
    fn settle(&mut self) {
        if let Some(atom) = self.last_atom.take() {
            self.repeats = self.repeats.max(atom.repeats);
            self.atom_height = self.atom_height.max(atom.height);
        }
    }

    fn end_alternative(&mut self) {
        self.settle();
        let concatenation = u32::from(self.atoms > 1);
        self.alternative_height = self.alternative_height.max(self.atom_height + concatenation);
        self.alternatives += 1;
        self.atoms = 0;
        self.atom_height = 0;
    }

    /// The whole group as an atom; its last alternative must have been ended.
    fn as_atom(&self) -> Atom {
        let height = self.alternative_height.max(1) + u32::from(self.alternatives > 1) + u32::from(self.captures);
        Atom { start: self.start, repeats: self.repeats.max(1), height, repeated: false }
    }
}

struct Translator<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    /// The flags in force by Go's rules, and those in force in the output. They are written as late as possible, so
    /// that `a(?i)*` can still repeat the `a`.
    flags: Flags,
    written_flags: Flags,
    /// Never empty: the first is the whole pattern.
    groups: Vec<Group>,
    capture_names: Vec<Option<String>>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), RegexError> {
        // The text of the repetition operator just read: a second one directly behind it is refused.
        let mut last_repeat: Option<&'a str> = None;
        while let Some(c) = self.rest.chars().next() {
            let repeat = match c {
                '*' => Some((0, None)),
                '+' => Some((1, None)),
                '?' => Some((0, Some(1))),
                '{' => self.counts(),
                _ => None,
            };
            if let Some((min, max)) = repeat {
                last_repeat = Some(self.repeat(c, min, max, last_repeat)?);
                continue;
            }
            last_repeat = None;
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.group().end_alternative();
                    self.take(1);
                    self.out.push('|');
                }
                '[' => {
                    let start = self.start_atom();
                    self.rest = bracket_class(self.rest, &mut self.out)?;
                    self.group().push(Atom::single(start));
                }
                '\\' => self.backslash()?,
                '.' | '^' | '$' => self.verbatim(c, 1),
                c => self.literal(u32::from(c), &self.rest[c.len_utf8()..]),
            }
        }
        if self.groups.len() > 1 {
            return Err(self.error(RegexErrorKind::MissingParen, self.pattern));
        }
        let group = self.group();
        group.end_alternative();
        let height = group.as_atom().height;
        self.check_height(height)
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole pattern is never closed")
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn error(&self, kind: RegexErrorKind, fragment: &str) -> RegexError {
        debug_assert!(fragment.is_empty() || self.pattern.contains(fragment));
        RegexError::new(kind, fragment)
    }

    /// Writes the flags in force if they changed; returns where the next atom begins.
    fn start_atom(&mut self) -> usize {
        let changes =
            self.flags.letters().into_iter().zip(self.written_flags.letters()).filter(|(new, old)| new != old);
        let (on, off): (Vec<_>, Vec<_>) = changes.map(|(new, _)| new).partition(|(_, value)| *value);
        if !on.is_empty() || !off.is_empty() {
            self.out.push_str("(?");
            self.out.extend(on.iter().map(|(letter, _)| letter));
            if !off.is_empty() {
                self.out.push('-');
                self.out.extend(off.iter().map(|(letter, _)| letter));
            }
            self.out.push(')');
            self.written_flags = self.flags;
        }
        self.out.len()
    }

    fn literal(&mut self, rune: u32, rest: &'a str) {
        let start = self.start_atom();
        push_rune(&mut self.out, rune);
        self.group().push(Atom::single(start));
        self.rest = rest;
    }

    /// An operator of `len` bytes that means the same in both syntaxes.
    fn verbatim(&mut self, written: impl std::fmt::Display, len: usize) {
        use std::fmt::Write;

        let start = self.start_atom();
        // Writing to a `String` cannot fail.
        let _ = write!(self.out, "{written}");
        self.group().push(Atom::single(start));
        self.take(len);
    }

    fn backslash(&mut self) -> Result<(), RegexError> {
        match self.rest.as_bytes().get(1) {
            Some(b'A') => self.verbatim(r"\A", 2),
            Some(b'z') => self.verbatim(r"\z", 2),
            Some(b'b') => self.verbatim(r"(?-u:\b)", 2),
            Some(b'B') => self.verbatim(r"(?-u:\B)", 2),
            Some(b'Q') => {
                let quoted = &self.rest[2..];
                let (quoted, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                for c in quoted.chars() {
                    self.literal(u32::from(c), rest);
                }
                self.rest = rest;
            }
            _ => {
                let start = self.start_atom();
                if let Some(rest) = perl_class(self.rest, &mut self.out) {
                    self.rest = rest;
                } else if let Some(rest) = unicode_class(self.rest, &mut self.out)? {
                    self.rest = rest;
                } else {
                    let (rune, rest) = escape(self.rest)?;
                    push_rune(&mut self.out, rune);
                    self.rest = rest;
                }
                self.group().push(Atom::single(start));
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), RegexError> {
        if self.rest.starts_with("(?") {
            return self.open_perl();
        }
        self.capture_names.push(None);
        self.open_group("(", true);
        self.take(1);
        Ok(())
    }

    fn open_group(&mut self, opening: &str, captures: bool) {
        let start = self.start_atom();
        self.out.push_str(opening);
        self.groups.push(Group {
            start,
            captures,
            flags_outside: self.flags,
            written_flags_outside: self.written_flags,
            ..Group::default()
        });
    }

    /// `(?P<name>`, `(?<name>`, `(?flags:` or `(?flags)`.
    fn open_perl(&mut self) -> Result<(), RegexError> {
        let text = self.rest;
        let name = text.strip_prefix("(?P<").or_else(|| text.strip_prefix("(?<")).filter(|name| !name.is_empty());
        if let Some(name) = name {
            let Some((name, rest)) = name.split_once('>') else {
                return Err(self.error(RegexErrorKind::NamedCapture, text));
            };
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(self.error(RegexErrorKind::NamedCapture, before(text, rest)));
            }
            self.open_named(name);
            self.rest = rest;
            return Ok(());
        }
        let mut flags = self.flags;
        let mut value = true;
        let mut is_flag_due = false;
        let mut chars = text[2..].chars();
        while let Some(c) = chars.next() {
            match c {
                '-' if value => {
                    value = false;
                    is_flag_due = true;
                }
                ':' if !is_flag_due => {
                    self.open_group("(?:", false);
                    self.flags = flags;
                    self.rest = chars.as_str();
                    return Ok(());
                }
                ')' if !is_flag_due => {
                    self.flags = flags;
                    self.rest = chars.as_str();
                    return Ok(());
                }
                letter if flags.set(letter, value) => is_flag_due = false,
                _ => break,
            }
        }
        Err(self.error(RegexErrorKind::PerlSyntax, before(text, chars.as_str())))
    }

    fn open_named(&mut self, name: &str) {
        let name = Some(name.to_owned());
        let repeats = self.capture_names.contains(&name);
        let named = name.as_deref().filter(|name| !repeats && !name.starts_with(|c: char| c.is_ascii_digit()));
        let opening = named.map_or_else(|| "(".to_owned(), |name| format!("(?P<{name}>"));
        self.capture_names.push(name);
        self.open_group(&opening, true);
    }

    fn close(&mut self) -> Result<(), RegexError> {
        if self.groups.len() == 1 {
            return Err(self.error(RegexErrorKind::UnexpectedParen, self.pattern));
        }
        let group = self.group();
        group.end_alternative();
        let atom = group.as_atom();
        self.flags = group.flags_outside;
        self.written_flags = self.groups.last().map_or(self.flags, |group| group.written_flags_outside);
        self.groups.pop();
        self.check_height(atom.height)?;
        self.group().push(atom);
        self.out.push(')');
        self.take(1);
        Ok(())
    }

    fn check_height(&self, height: u32) -> Result<(), RegexError> {
        if height > MAX_NESTING {
            return Err(self.error(RegexErrorKind::NestsTooDeeply, self.pattern));
        }
        Ok(())
    }

    /// The bounds of a counted repetition if one begins here; otherwise the brace is a literal.
    fn counts(&self) -> Option<(u32, Option<u32>)> {
        let (counts, _) = self.rest[1..].split_once('}')?;
        match counts.split_once(',') {
            None => count(counts).map(|exactly| (exactly, Some(exactly))),
            Some((min, "")) => count(min).map(|min| (min, None)),
            Some((min, max)) => Some((count(min)?, Some(count(max)?))),
        }
    }

    /// Applies the repetition that begins here to the last atom; returns its text.
    fn repeat(
        &mut self,
        operator: char,
        min: u32,
        max: Option<u32>,
        last_repeat: Option<&'a str>,
    ) -> Result<&'a str, RegexError> {
        let text = self.rest;
        let operator_len = if operator == '{' { text.find('}').map_or(1, |at| at + 1) } else { 1 };
        let largest = max.unwrap_or(min);
        if min > MAX_REPEAT || largest > MAX_REPEAT || largest < min {
            return Err(self.error(RegexErrorKind::RepeatCount, &text[..operator_len]));
        }
        let has_suffix = text[operator_len..].starts_with('?');
        let written = self.take(operator_len + usize::from(has_suffix));
        if let Some(last) = last_repeat {
            let end = self.pattern.len() - self.rest.len();
            let both = &self.pattern[end - written.len() - last.len()..end];
            return Err(self.error(RegexErrorKind::NestedRepeat, both));
        }
        let Some(mut atom) = self.group().last_atom else {
            return Err(self.error(RegexErrorKind::RepeatArgument, written));
        };
        if operator == '{' {
            atom.repeats = match (max, largest) {
                (Some(0), _) => 1,
                (_, largest) => atom.repeats.saturating_mul(largest.max(1)),
            };
            if largest >= 2 && atom.repeats > MAX_REPEAT {
                return Err(self.error(RegexErrorKind::RepeatCount, written));
            }
        }
        atom.height += 1;
        self.check_height(atom.height)?;
        if atom.repeated {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(&text[..operator_len]);
        if has_suffix != self.flags.swap_greed {
            self.out.push('?');
        }
        atom.repeated = true;
        self.group().last_atom = Some(atom);
        Ok(written)
    }
}

/// A count without leading zeros.
fn count(digits: &str) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    // What does not fit is beyond the limit all the same.
    Some(digits.parse().unwrap_or(u32::MAX))
}
