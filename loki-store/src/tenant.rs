//! Who data belongs to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest tenant id in bytes.
pub const MAX_TENANT_ID_BYTES: usize = 150;

/// The tenant of every request when authentication is off.
pub const ANONYMOUS_TENANT: &str = "fake";

/// Separates the ids of a list of tenants.
const LIST_SEPARATOR: char = '|';

/// Separates an id from a part that means nothing to us.
const SUB_SEPARATOR: char = ':';

/// The name of an isolation unit: letters, digits and `! - _ . * ' ( )`, at most [`MAX_TENANT_ID_BYTES`] bytes.
///
/// Cheap to clone. Because `.` and `..` are refused an id is also a safe path segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Takes the id of one tenant, as it stands in a header: whatever follows the first `:` is dropped.
    pub fn parse(header: &str) -> Result<Self, TenantError> {
        let mut tenants = Self::parse_list(header)?;
        match (tenants.pop(), tenants.is_empty()) {
            (Some(tenant), true) => Ok(tenant),
            _ => Err(TenantError::Multiple),
        }
    }

    /// Takes a list of ids separated by `|`; the result is sorted, without repetition, and not empty.
    pub fn parse_list(header: &str) -> Result<Vec<Self>, TenantError> {
        if header.is_empty() {
            return Err(TenantError::Missing);
        }
        let mut tenants = header.split(LIST_SEPARATOR).map(Self::parse_single).collect::<Result<Vec<_>, _>>()?;
        tenants.sort();
        tenants.dedup();
        Ok(tenants)
    }

    /// The tenant of every request when authentication is off.
    pub fn anonymous() -> Self {
        Self(ANONYMOUS_TENANT.into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_single(text: &str) -> Result<Self, TenantError> {
        let id = text.split(SUB_SEPARATOR).next().unwrap_or_default();
        let is_supported = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(character) = id.chars().find(|&c| !is_supported(c)) {
            return Err(TenantError::Character { id: id.to_owned(), character });
        }
        if id.is_empty() {
            return Err(TenantError::Missing);
        }
        if id.len() > MAX_TENANT_ID_BYTES {
            return Err(TenantError::TooLong);
        }
        if id == "." || id == ".." {
            return Err(TenantError::PathSegment);
        }
        Ok(Self(id.into()))
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Why a tenant id was refused, in Loki's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// There is none.
    #[error("no org id")]
    Missing,
    /// A character that ids cannot have.
    #[error("tenant ID '{id}' contains unsupported character '{character}'")]
    Character {
        /// The id as it was given.
        id: String,
        /// Its first bad character.
        character: char,
    },
    /// Longer than [`MAX_TENANT_ID_BYTES`].
    #[error("tenant ID is too long: max {MAX_TENANT_ID_BYTES} characters")]
    TooLong,
    /// It would be a path segment with a meaning of its own.
    #[error("tenant ID is '.' or '..'")]
    PathSegment,
    /// Several tenants where one is needed.
    #[error("multiple org IDs present")]
    Multiple,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(header: &str) -> String {
        TenantId::parse(header).expect_err("must be refused").to_string()
    }

    #[test]
    fn ids_with_every_allowed_character_are_taken() {
        assert_eq!(TenantId::parse("team!_.*'()-Z9").unwrap().as_str(), "team!_.*'()-Z9");
        assert_eq!(TenantId::parse("team:rest|more").unwrap_err(), TenantError::Multiple);
        assert_eq!(TenantId::parse("team:rest").unwrap().as_str(), "team");
    }

    #[test]
    fn refusals_read_like_loki() {
        assert_eq!(refusal(""), "no org id");
        assert_eq!(refusal("team/a"), "tenant ID 'team/a' contains unsupported character '/'");
        assert_eq!(refusal("team\\a"), "tenant ID 'team\\a' contains unsupported character '\\'");
        assert_eq!(refusal(".."), "tenant ID is '.' or '..'");
        assert_eq!(refusal("a|b"), "multiple org IDs present");
    }

    #[test]
    fn the_longest_id_is_150_bytes() {
        assert!(TenantId::parse(&"a".repeat(MAX_TENANT_ID_BYTES)).is_ok());
        assert_eq!(refusal(&"a".repeat(MAX_TENANT_ID_BYTES + 1)), "tenant ID is too long: max 150 characters");
    }

    #[test]
    fn lists_are_sorted_without_repetition() {
        let list = TenantId::parse_list("b|a|b").unwrap();
        assert_eq!(list.iter().map(TenantId::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(TenantId::parse("a|a").unwrap().as_str(), "a", "the same id twice is one tenant");
        assert_eq!(TenantId::parse_list("a|").unwrap_err(), TenantError::Missing);
    }
}
