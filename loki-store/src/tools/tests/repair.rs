//! Manifests made of segments.

use super::*;
use crate::error::Error;
use crate::manifest::Manifest;

fn remove_manifests(folder: &Path) {
    for file in files(folder, "m") {
        std::fs::remove_file(file).unwrap();
    }
}

const GENTLE: RepairOptions = RepairOptions { force: false, dry_run: false };

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_answers_as_before() {
    let bench = Bench::populated().await;
    let before = entries_of(&bench.open().await).await;
    assert_eq!(before.len(), 2 * 3 * 60 + 20 + 10 - 1, "one entry is deleted");
    remove_manifests(&bench.folder());
    let report = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap();
    assert_eq!(report.guide, 0);
    assert!(!report.warnings.is_empty());
    let store = bench.open().await;
    assert_eq!(entries_of(&store).await, before);
    store.compact().await.unwrap();
    assert_eq!(entries_of(&store).await, before);
    store.close().await.unwrap();
    drop(store);
    let report = verify(&bench.site(), VerifyOptions { deep: true }, &Quiet).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_stays_deleted() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    bench.clock.advance(Duration::from_secs(1));
    while store.deletes(&tenant("a"))[0].status != crate::DeleteStatus::Processed {
        store.maintain().await.unwrap();
    }
    let before = entries_of(&store).await;
    // What is pushed again afterwards counts.
    bench.clock.advance(Duration::from_secs(1));
    push(&store, "a", 0, 3..4).await;
    let after = entries_of(&store).await;
    assert_eq!(after.len(), before.len() + 1);
    store.flush().await.unwrap();
    drop(store);
    assert!(files(&bench.folder(), "w").len() + files(&bench.folder(), "s").len() > 4, "replaced segments are there");
    remove_manifests(&bench.folder());
    let report = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap();
    assert!(!report.rewritten.is_empty(), "{report}");
    assert_eq!(entries_of(&bench.open().await).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_can_be_read_is_replaced_only_by_force() {
    let bench = Bench::populated().await;
    let before = entries_of(&bench.open().await).await;
    let refused = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap_err();
    let RepairError::Readable { number } = refused else { panic!("{refused}") };
    let forced = RepairOptions { force: true, dry_run: false };
    let report = repair(&bench.site(), forced, bench.now(), &Quiet).await.unwrap();
    assert_eq!((report.guide, report.manifest), (number, number + 1));
    assert_eq!(report.set_aside[0].0, format!("quarantine/m_{number:020}.man"));
    assert!(!report.replaced.is_empty(), "what the manifest knows as replaced stays so");
    assert_eq!(entries_of(&bench.open().await).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_in_the_way() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    let refused = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap_err();
    assert!(matches!(refused, RepairError::Store(Error::Locked { .. })), "{refused}");
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let bench = Bench::populated().await;
    remove_manifests(&bench.folder());
    std::fs::write(&files(&bench.folder(), "w")[0], b"no segment").unwrap();
    let before = files(&bench.folder(), "");
    let dry = RepairOptions { force: false, dry_run: true };
    let would = repair(&bench.site(), dry, bench.now(), &Quiet).await.unwrap();
    assert_eq!(files(&bench.folder(), ""), before);
    let done = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap();
    assert_eq!((would.segments, would.entries), (done.segments, done.entries));
    assert_eq!(done.set_aside.len(), 1);
    assert_eq!(files(&bench.folder(), "quarantine").len(), 1);
}

/// Publishes a manifest while segments are being read.
#[derive(Debug)]
struct Contender {
    folder: PathBuf,
    bytes: Vec<u8>,
}

impl Progress for Contender {
    fn begin(&self, _: Stage, _: Option<u64>) {}

    fn advance(&self, _: u64) {}

    fn end(&self) {
        std::fs::create_dir_all(self.folder.join("m")).unwrap();
        std::fs::write(self.folder.join(crate::manifest::path(1)), &self.bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_unless_the_manifest_is_published() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    bench.clock.advance(Duration::from_secs(1));
    while store.deletes(&tenant("a"))[0].status != crate::DeleteStatus::Processed {
        store.maintain().await.unwrap();
    }
    drop(store);
    remove_manifests(&bench.folder());
    std::fs::write(&files(&bench.folder(), "w")[0], b"no segment").unwrap();
    let theirs = Manifest { number: 1, id: uuid::Uuid::from_u128(1), ..Manifest::default() };
    let contender = Contender { folder: bench.folder(), bytes: theirs.encode().to_vec() };
    let mut before = files(&bench.folder(), "");
    let refused = repair(&bench.site(), GENTLE, bench.now(), &contender).await.unwrap_err();
    assert!(matches!(refused, RepairError::Contended { number: 1 }), "{refused}");
    before.push(bench.folder().join(crate::manifest::path(1)));
    before.sort();
    assert_eq!(files(&bench.folder(), ""), before);

    remove_manifests(&bench.folder());
    let report = repair(&bench.site(), GENTLE, bench.now(), &Quiet).await.unwrap();
    assert!(!report.rewritten.is_empty(), "there was more to move than the damaged segment: {report}");
    let aside: Vec<_> = report.set_aside.iter().map(|(path, _)| bench.folder().join(path)).collect();
    assert_eq!(files(&bench.folder(), "quarantine").len(), aside.len());
    assert!(aside.iter().all(|path| path.exists()));
}
