//! Parses any text. What parses is printed and parsed again; what does not has an error that can be drawn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loki_logql::parse;

fuzz_target!(|query: &str| {
    match parse(query) {
        Ok(expr) => {
            assert!(!expr.pretty().is_empty());
            let printed = expr.to_string();
            // Loki's canonical text cannot express every query: infinite numbers, negative zero, names in quotes. What
            // can be read back must not change any more.
            if let Ok(again) = parse(&printed) {
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
});
