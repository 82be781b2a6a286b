//! Stream selectors.
