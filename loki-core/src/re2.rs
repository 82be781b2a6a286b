//! Go regular expressions on top of the `regex` crate.
