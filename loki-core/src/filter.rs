//! Skip filters: which chunks cannot hold a literal.
