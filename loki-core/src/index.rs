//! The label and stream index of a segment.
