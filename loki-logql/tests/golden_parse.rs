//! Parses the queries of `tests/data/parse/*.txt` and compares what comes of them.
//!
//! A case is `=== name`, the query, `---`, and then either the canonical text followed by the layout of
//! `format_query` if it differs, or the error's one-line text and its drawing. `UPDATE_GOLDEN=1 cargo test --test
//! golden_parse` rewrites what follows `---`.

use std::{fmt::Write as _, fs, path::Path};

#[test]
fn golden_queries() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parse");
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    let mut differing = String::new();
    for file in fs::read_dir(folder).expect("the folder with cases") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let mut updated = String::new();
        for case in text.split("=== ").skip(1) {
            let (name, body) = case.split_once('\n').expect("a line with the name");
            let (query, expected) = body.split_once("\n---\n").expect("a line with ---");
            let actual = check(query);
            if actual.trim_end() != expected.trim_end() {
                let _ = write!(differing, "\n{name}: {query}\nexpected:\n{expected}\nactual:\n{actual}");
            }
            let _ = write!(updated, "=== {name}\n{query}\n---\n{}\n\n", actual.trim_end());
            cases += 1;
        }
        if is_update {
            fs::write(&path, updated.trim_end().to_owned() + "\n").expect("writable cases");
        }
    }
    assert!(cases > 0, "no cases");
    assert!(is_update || differing.is_empty(), "{differing}");
}

fn check(query: &str) -> String {
    match loki_logql::parse(query) {
        Ok(expr) => {
            let (canonical, pretty) = (expr.to_string(), expr.pretty());
            if canonical == pretty { canonical } else { format!("{canonical}\n\n{pretty}") }
        }
        Err(error) => format!("{error}\n\n{}", error.render()),
    }
}
