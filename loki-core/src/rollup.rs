//! Entry and byte counts per stream and minute.
