//! Runs a target over the inputs that are kept for it.

use std::path::{Path, PathBuf};

/// Panics when a target fails on one of its inputs, or has none.
pub fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions").join(target);
    let files = std::fs::read_dir(&folder).expect("the folder of a target").map(|file| file.expect("a file").path());
    let files: Vec<PathBuf> = files.collect();
    assert!(!files.is_empty(), "nothing to replay in {}", folder.display());
    for file in files {
        let input = std::fs::read(&file).expect("a file that can be read");
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "{} fails", file.display());
    }
}
