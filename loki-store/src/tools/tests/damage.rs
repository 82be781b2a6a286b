//! `verify` and `inspect` on damaged stores.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::segment::layout::TRAILER_LEN;

/// Something that happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { at: Index, bit: u8 },
    Cut { to: Index },
    Remove,
    Overwrite { with: Vec<u8> },
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        1 => any::<Index>().prop_map(|to| Damage::Cut { to }),
        1 => Just(Damage::Remove),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|with| Damage::Overwrite { with }),
    ]
}

impl Damage {
    /// Applies it and says whether something that matters changed.
    fn apply(&self, file: &Path, is_segment: bool) -> bool {
        let mut bytes = std::fs::read(file).unwrap();
        match self {
            Self::Flip { at, bit } => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                // The minor version and two reserved bytes say nothing yet.
                let trailer = bytes.len().saturating_sub(TRAILER_LEN);
                let is_idle = is_segment && (trailer + 9..trailer + 12).contains(&at);
                std::fs::write(file, bytes).unwrap();
                !is_idle
            }
            Self::Cut { to } => {
                bytes.truncate(to.index(bytes.len()));
                std::fs::write(file, bytes).unwrap();
                true
            }
            Self::Remove => {
                std::fs::remove_file(file).unwrap();
                true
            }
            Self::Overwrite { with } => {
                std::fs::write(file, with).unwrap();
                true
            }
        }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

#[test]
fn damage_of_what_counts_is_found_and_nothing_panics() {
    let bench = wait(Bench::populated());
    let folder = bench.folder();
    let clean = wait(verify(&bench.site(), VerifyOptions { deep: true }, &Quiet)).unwrap();
    assert!(clean.is_clean(), "{clean}");
    let live: Vec<PathBuf> = {
        let report = wait(inspect(&bench.site(), &InspectOptions::default(), &Quiet)).unwrap();
        report.segments.iter().map(|segment| folder.join(&segment.path)).collect()
    };
    let manifest = files(&folder, "m").pop().unwrap();
    let requests = files(&folder, "d");
    let named: Vec<PathBuf> = live.iter().chain([&manifest]).chain(&requests).cloned().collect();
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let run = runner.run(&(any::<Index>(), damages()), |(which, damage)| {
        let file = which.get(&named);
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&folder, copy.path());
        let target = copy.path().join(file.strip_prefix(&folder).unwrap());
        let is_unnoticeable = matches!(damage, Damage::Remove)
            && (*file == manifest || requests.contains(file) || !is_named_by_manifest(file, &folder));
        let matters = damage.apply(&target, live.contains(file));
        let site = site(copy.path());
        let report = wait(verify(&site, VerifyOptions { deep: true }, &Quiet)).unwrap();
        prop_assert!(!report.is_clean() || !matters || is_unnoticeable, "{file:?} {report}");
        let options = InspectOptions { streams: true, ..InspectOptions::default() };
        let report = wait(inspect(&site, &options, &Quiet)).unwrap();
        prop_assert!(!report.to_string().is_empty());
        Ok(())
    });
    run.unwrap();
}

/// A segment behind the manifest that is the last of its writer goes without a trace.
fn is_named_by_manifest(file: &Path, folder: &Path) -> bool {
    file.starts_with(folder.join("s"))
}

#[test]
fn damage_of_several_files_never_panics() {
    let bench = wait(Bench::populated());
    let folder = bench.folder();
    let all = files(&folder, "");
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let damages = prop::collection::vec((any::<Index>(), damages()), 1..6);
    let run = runner.run(&damages, |damages| {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&folder, copy.path());
        for (which, damage) in damages {
            let target = copy.path().join(which.get(&all).strip_prefix(&folder).unwrap());
            if std::fs::metadata(&target).is_ok_and(|found| found.len() > 0) {
                damage.apply(&target, false);
            }
        }
        let site = site(copy.path());
        wait(verify(&site, VerifyOptions { deep: false }, &Quiet)).unwrap();
        wait(inspect(&site, &InspectOptions { streams: true, ..InspectOptions::default() }, &Quiet)).unwrap();
        let options = RepairOptions { force: true, dry_run: false };
        wait(repair(&site, options, at(0), &Quiet)).unwrap();
        wait(bench.open_at(copy.path()));
        Ok(())
    });
    run.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_before_the_end_of_the_log_is_missed() {
    let bench = Bench::new();
    let store = bench.open().await;
    for second in 0..3 {
        push(&store, "a", 0, second..second + 1).await;
    }
    drop(store);
    let log = files(&bench.folder(), "wal").into_iter().find(|file| file.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let report = verify(&bench.site(), VerifyOptions::default(), &Quiet).await.unwrap();
    assert_eq!(report.log_records, 2);
    assert!(report.findings[0].problem.ends_with("bytes are no intact record"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_and_what_was_set_aside_are_noted() {
    let bench = Bench::populated().await;
    let folder = bench.folder();
    let orphan = folder.join(format!("s/{}.seg", uuid::Uuid::new_v4()));
    std::fs::copy(&files(&folder, "s")[0], orphan).unwrap();
    std::fs::create_dir(folder.join("quarantine")).unwrap();
    std::fs::write(folder.join("quarantine/s_x.seg"), b"x").unwrap();
    let report = verify(&bench.site(), VerifyOptions::default(), &Quiet).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.notes.len(), 2, "{report}");
}
