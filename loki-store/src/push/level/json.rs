//! A walk over a JSON line that stops at the first value of interest.
//!
//! It checks no more of the grammar than it needs to keep its way; a line that is not JSON just yields nothing.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::quoted_len;

/// The first string value, in the order of the text, whose key is wanted, as it stands between its quotes.
///
/// Keys of the outermost object have depth 1; keys deeper than `max_depth`, and objects inside arrays, are not looked
/// at.
pub(super) fn first_string(line: &[u8], max_depth: usize, is_wanted: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    if max_depth == 0 {
        return None;
    }
    let mut walker = Walker { rest: line };
    walker.expect(b'{')?;
    let mut depth = 1_usize;
    loop {
        match walker.next_token()? {
            b'"' => {
                let key = walker.string_tail()?;
                walker.expect(b':')?;
                match walker.next_token()? {
                    b'"' => {
                        let value = walker.string_tail()?;
                        if is_wanted(key) {
                            return Some(value);
                        }
                    }
                    b'{' if depth < max_depth => depth = depth.saturating_add(1),
                    b'{' | b'[' => walker.skip_container()?,
                    _ => walker.skip_scalar(),
                }
            }
            b',' => {}
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

struct Walker<'a> {
    rest: &'a [u8],
}

impl<'a> Walker<'a> {
    /// Takes the next byte that is not white space.
    fn next_token(&mut self) -> Option<u8> {
        let (&token, rest) = self.rest.trim_ascii_start().split_first()?;
        self.rest = rest;
        Some(token)
    }

    fn expect(&mut self, token: u8) -> Option<()> {
        (self.next_token()? == token).then_some(())
    }

    /// Takes the rest of a string whose first quote was taken, and its last quote.
    fn string_tail(&mut self) -> Option<&'a [u8]> {
        let (text, rest) = self.rest.split_at_checked(quoted_len(self.rest))?;
        self.rest = rest.split_first()?.1;
        Some(text)
    }

    /// Passes the rest of an object or array whose first bracket was taken.
    fn skip_container(&mut self) -> Option<()> {
        let mut open = 1_usize;
        while open > 0 {
            let at = self.rest.iter().position(|b| matches!(b, b'"' | b'{' | b'[' | b'}' | b']'))?;
            let (&token, rest) = self.rest.get(at..)?.split_first()?;
            self.rest = rest;
            match token {
                b'"' => drop(self.string_tail()?),
                b'{' | b'[' => open = open.saturating_add(1),
                _ => open = open.saturating_sub(1),
            }
        }
        Some(())
    }

    /// Passes the rest of a number or a word.
    fn skip_scalar(&mut self) {
        let len = self.rest.iter().position(|b| matches!(b, b',' | b'}')).unwrap_or(self.rest.len());
        self.rest = self.rest.get(len..).unwrap_or_default();
    }
}
