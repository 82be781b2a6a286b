//! Seeded logs.
