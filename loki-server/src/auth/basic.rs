//! Users with hashed passwords.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::auth::lines;

/// Passwords whose check is remembered: bcrypt is slow by design, and clients send theirs with every request.
const MAX_REMEMBERED: usize = 1024;
/// Passwords that are checked at once; guessing must not take all cores.
const MAX_CONCURRENT_CHECKS: usize = 2;
const BCRYPT_MARKS: [&str; 3] = ["$2y$", "$2a$", "$2b$"];
const SHA1_MARK: &str = "{SHA}";

/// Users of an htpasswd file.
pub(super) struct Users {
    hashes: HashMap<String, Arc<str>>,
    /// Key of the digests of passwords that were right; it lives as long as the process.
    key: hmac::Key,
    remembered: Mutex<VecDeque<hmac::Tag>>,
    checks: Semaphore,
}

impl Users {
    /// Reads lines of `user:hash` with hashes of bcrypt or SHA-1.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut hashes = HashMap::new();
        for (number, line) in lines(text) {
            let (user, hash) = line.split_once(':').ok_or((number, "must be user:hash"))?;
            let is_bcrypt = BCRYPT_MARKS.iter().any(|mark| hash.starts_with(mark));
            if !is_bcrypt && !hash.starts_with(SHA1_MARK) {
                return Err((number, "only hashes of bcrypt (htpasswd -B) and SHA-1 (htpasswd -s) are supported"));
            }
            if hashes.insert(user.to_owned(), hash.into()).is_some() {
                return Err((number, "this user stands in the file twice"));
            }
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| (0, "the system has no randomness"))?;
        Ok(Self { hashes, key, remembered: Mutex::default(), checks: Semaphore::new(MAX_CONCURRENT_CHECKS) })
    }

    /// The user, if the password is theirs.
    pub(super) async fn verify(&self, user: &str, password: &str) -> Option<Arc<str>> {
        let hash = Arc::clone(self.hashes.get(user)?);
        let tag = hmac::sign(&self.key, format!("{user}\0{password}\0{hash}").as_bytes());
        if self.remembered.lock().iter().any(|known| known.as_ref() == tag.as_ref()) {
            return Some(user.into());
        }
        // The semaphore is never closed.
        let _check = self.checks.acquire().await.ok()?;
        let password = password.to_owned();
        let is_right = tokio::task::spawn_blocking(move || matches(&password, &hash)).await.unwrap_or(false);
        if !is_right {
            return None;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(tag);
        Some(user.into())
    }
}

fn matches(password: &str, hash: &str) -> bool {
    match hash.strip_prefix(SHA1_MARK) {
        Some(expected) => {
            let found = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()));
            found == expected
        }
        None => bcrypt::verify(password, hash).unwrap_or(false),
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}
