//! Bearer tokens.

use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::auth::lines;

/// Precedes the digest of a token that the file does not tell.
const DIGEST_MARK: &str = "sha256:";

type Digest = [u8; SHA256_OUTPUT_LEN];

/// Known tokens. Only digests are kept, and looking one up takes the same time whatever is right about it.
#[derive(Debug)]
pub(super) struct Tokens {
    names: HashMap<Digest, Arc<str>>,
}

impl Tokens {
    /// Reads lines of `name:token` or `name:sha256:<digest>`.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut names = HashMap::new();
        for (number, line) in lines(text) {
            let (name, secret) = line.split_once(':').ok_or((number, "must be name:token"))?;
            let digest = match secret.strip_prefix(DIGEST_MARK) {
                Some(hex) => from_hex(hex).ok_or((number, "the digest must be 64 hexadecimal digits"))?,
                None if secret.is_empty() => return Err((number, "the token is empty")),
                None => digest_of(secret),
            };
            if names.insert(digest, name.into()).is_some() {
                return Err((number, "this token stands in the file twice"));
            }
        }
        Ok(Self { names })
    }

    /// Whose token it is.
    pub(super) fn name(&self, token: &str) -> Option<Arc<str>> {
        self.names.get(&digest_of(token)).cloned()
    }
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

fn from_hex(text: &str) -> Option<Digest> {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 2 * SHA256_OUTPUT_LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
