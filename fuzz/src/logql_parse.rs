//! Any text as a query. What parses is printed and parsed again; what does not has an error that can be drawn.

use loki_logql::parse;

use crate::input::text;

/// Runs the target.
pub fn run(data: &[u8]) {
    match parse(text(data)) {
        Ok(expr) => {
            assert!(!expr.pretty().is_empty());
            // Loki's canonical text cannot express every query: infinite numbers, negative zero, names in quotes. What
            // can be read back must not change any more.
            if let Ok(again) = parse(&expr.to_string()) {
                let settled = again.to_string();
                if let Ok(third) = parse(&settled) {
                    assert_eq!(third.to_string(), settled);
                }
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!error.render().is_empty());
        }
    }
}
