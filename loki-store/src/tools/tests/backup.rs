//! Copies of stores that are being used.

use object_store::memory::InMemory;

use super::*;

async fn back_up(bench: &Bench, to: &Path) -> Result<BackupReport, BackupError> {
    let target = Site::create_for_backup(&Location::Folder(to.to_owned())).unwrap();
    backup(&bench.site(), &target, bench.now(), &Quiet).await
}

async fn bring_back(from: &Path, to: &Path) -> Result<BackupReport, BackupError> {
    let target = Site::create(&Location::Folder(to.to_owned())).unwrap();
    restore(&site(from), &target, &Quiet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_every_entry() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    let (copy, back) = (bench.folder.path().join("copy"), bench.folder.path().join("back"));
    let report = back_up(&bench, &copy).await.unwrap();
    assert_eq!((report.copied_objects, report.log.records), (report.objects, 1), "{report}");
    bring_back(&copy, &back).await.unwrap();
    assert_eq!(entries_of(&bench.open_at(&back).await).await, entries_of(&store).await);
    let report = verify(&site(&back), VerifyOptions { deep: true }, &Quiet).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_can_be_in_between() {
    let bench = Bench::populated().await;
    let before = entries_of(&bench.open().await).await;
    let bucket =
        Location::Objects { store: Arc::new(InMemory::new()), prefix: "backups/today".into(), wal_folder: None };
    let bucket = Site::of(&bucket).unwrap();
    backup(&bench.site(), &bucket, bench.now(), &Quiet).await.unwrap();
    let back = bench.folder.path().join("back");
    restore(&bucket, &Site::create(&Location::Folder(back.clone())).unwrap(), &Quiet).await.unwrap();
    assert_eq!(entries_of(&bench.open_at(&back).await).await, before);
    let nowhere = Location::Objects { store: Arc::new(InMemory::new()), prefix: String::new(), wal_folder: None };
    let refused = restore(&bucket, &Site::of(&nowhere).unwrap(), &Quiet).await.unwrap_err();
    assert!(matches!(refused, BackupError::NoLog), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_copied_again_and_what_is_gone_goes() {
    let bench = Bench::populated().await;
    let (copy, back) = (bench.folder.path().join("copy"), bench.folder.path().join("back"));
    let first = back_up(&bench, &copy).await.unwrap();
    let again = back_up(&bench, &copy).await.unwrap();
    assert_eq!((again.copied_objects, again.removed_objects, again.objects), (0, 0, first.objects));
    let store = bench.open().await;
    store.cancel_delete(&tenant("a"), store.deletes(&tenant("a"))[0].id.as_str(), true).await.unwrap();
    push(&store, "a", 0, 100..110).await;
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    let third = back_up(&bench, &copy).await.unwrap();
    assert!(third.copied_objects > 0 && third.removed_objects > 0, "{third}");
    bring_back(&copy, &back).await.unwrap();
    assert_eq!(entries_of(&bench.open_at(&back).await).await, entries_of(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_goes_on_and_is_none_until_then() {
    let bench = Bench::populated().await;
    let (copy, back) = (bench.folder.path().join("copy"), bench.folder.path().join("back"));
    let whole = back_up(&bench, &copy).await.unwrap();
    // As if it had ended before the list was written, with one object half there.
    let list = std::fs::read_to_string(copy.join(BACKUP_MARKER)).unwrap();
    let mut list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names = list["objects"].as_array().unwrap().iter().map(|object| object["path"].clone()).collect();
    list["others"] = serde_json::Value::Array(names);
    list["objects"] = serde_json::json!([]);
    list["taken_at"] = "".into();
    std::fs::write(copy.join(BACKUP_MARKER), list.to_string()).unwrap();
    let torn = &files(&copy, "s")[0];
    let bytes = std::fs::read(torn).unwrap();
    std::fs::write(torn, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(bring_back(&copy, &back).await, Err(BackupError::NoBackup)));
    let rest = back_up(&bench, &copy).await.unwrap();
    assert_eq!(rest.objects, whole.objects);
    assert!(rest.copied_objects < rest.objects, "{rest}");
    let leftover = copy.join("s/leftover.seg");
    std::fs::write(&leftover, b"of an attempt").unwrap();
    let list = std::fs::read_to_string(copy.join(BACKUP_MARKER)).unwrap();
    let list = list.replacen("\"objects\"", "\"others\": [\"s/leftover.seg\"], \"objects\"", 1);
    std::fs::write(copy.join(BACKUP_MARKER), list).unwrap();
    assert_eq!(back_up(&bench, &copy).await.unwrap().removed_objects, 1);
    assert!(!leftover.exists());
    let before = entries_of(&bench.open().await).await;
    bring_back(&copy, &back).await.unwrap();
    assert_eq!(entries_of(&bench.open_at(&back).await).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_hold_something_else_are_refused() {
    let bench = Bench::populated().await;
    let (copy, other) = (bench.folder.path().join("copy"), bench.folder.path().join("other"));
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.txt"), b"years of work").unwrap();
    assert!(matches!(back_up(&bench, &other).await, Err(BackupError::Foreign { .. })));
    assert!(other.join("thesis.txt").exists());
    assert!(matches!(back_up(&bench, &bench.folder()).await, Err(BackupError::Foreign { .. })));
    back_up(&bench, &copy).await.unwrap();
    // What was put beside a backup later stays.
    std::fs::write(copy.join("notes.txt"), b"to be kept").unwrap();
    back_up(&bench, &copy).await.unwrap();
    assert!(copy.join("notes.txt").exists());
    assert!(matches!(bring_back(&copy, &other).await, Err(BackupError::NotEmpty { .. })));
    assert!(matches!(bring_back(&copy, &bench.folder()).await, Err(BackupError::NotEmpty { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_manifest_is_damaged_is_copied_with_all_that_it_named() {
    let bench = Bench::populated().await;
    let manifest = &files(&bench.folder(), "m")[0];
    std::fs::write(manifest, b"torn").unwrap();
    let (copy, back) = (bench.folder.path().join("copy"), bench.folder.path().join("back"));
    let report = back_up(&bench, &copy).await.unwrap();
    assert_eq!(report.damaged.len(), 1, "{report}");
    bring_back(&copy, &back).await.unwrap();
    let restored = entries_of(&bench.open_at(&back).await).await;
    assert_eq!(restored.len(), 2 * 3 * 60 + 20 + 10 - 1);
    assert_eq!(restored, entries_of(&bench.open().await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_restored() {
    let bench = Bench::populated().await;
    let (copy, back) = (bench.folder.path().join("copy"), bench.folder.path().join("back"));
    back_up(&bench, &copy).await.unwrap();
    let file = &files(&copy, "s")[0];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(file, bytes).unwrap();
    assert!(matches!(bring_back(&copy, &back).await, Err(BackupError::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_leads_out_of_the_folder_is_not_followed() {
    let bench = Bench::populated().await;
    let copy = bench.folder.path().join("copy");
    back_up(&bench, &copy).await.unwrap();
    let list = std::fs::read_to_string(copy.join(BACKUP_MARKER)).unwrap();
    let log = files(&copy, "log")[0].strip_prefix(&copy).unwrap().to_str().unwrap().to_owned();
    for (number, name) in ["log/../../outside.wal.5", "log//outside.5", "log/other.5", "log/id"].iter().enumerate() {
        std::fs::write(copy.join(BACKUP_MARKER), list.replace(&log, name)).unwrap();
        let back = bench.folder.path().join(format!("back{number}"));
        let refused = bring_back(&copy, &back).await.unwrap_err();
        assert!(matches!(&refused, BackupError::Damaged { object } if object == name), "{refused}");
        let written: Vec<_> = files(&back, "").into_iter().filter(|file| !file.ends_with("LOCK")).collect();
        assert!(written.is_empty(), "{written:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_went_another_way_is_copied_with_its_own_manifest() {
    let bench = Bench::populated().await;
    let (old, copy) = (bench.folder.path().join("old"), bench.folder.path().join("copy"));
    back_up(&bench, &old).await.unwrap();
    // Two stores of one backup give the same number to their next manifests.
    let mut ways = Vec::new();
    for (name, seconds) in [("one", 200..210), ("two", 300..310)] {
        let folder = bench.folder.path().join(name);
        bring_back(&old, &folder).await.unwrap();
        let store = bench.open_at(&folder).await;
        push(&store, "a", 0, seconds).await;
        store.flush().await.unwrap();
        store.compact().await.unwrap();
        ways.push((folder, entries_of(&store).await));
    }
    let numbers: Vec<_> = ways.iter().map(|(folder, _)| files(folder, "m").pop().unwrap()).collect();
    assert_eq!(numbers[0].file_name(), numbers[1].file_name());
    for (number, (folder, entries)) in ways.iter().enumerate() {
        let target = Site::create_for_backup(&Location::Folder(copy.clone())).unwrap();
        backup(&site(folder), &target, bench.now(), &Quiet).await.unwrap();
        let back = bench.folder.path().join(format!("back{number}"));
        bring_back(&copy, &back).await.unwrap();
        assert_eq!(entries_of(&bench.open_at(&back).await).await, *entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_before_is_lost_while_the_store_is_at_work() {
    let bench = Arc::new(Bench::new());
    let store = bench.open().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (acknowledged, last) = tokio::sync::watch::channel(0_i64);
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut second = 0;
            while !*stopped.borrow() {
                push(&store, "a", (second % 3) as u8, second..second + 1).await;
                second += 1;
                acknowledged.send_replace(second);
                if second % 5 == 0 {
                    store.flush().await.unwrap();
                }
                if second % 40 == 0 {
                    store.compact().await.unwrap();
                }
            }
        })
    };
    let copy = bench.folder.path().join("copy");
    for round in 1..=4 {
        last.clone().wait_for(|seen| *seen >= round * 50).await.unwrap();
        let before = *last.borrow();
        back_up(&bench, &copy).await.unwrap();
        let back = bench.folder.path().join(format!("back{round}"));
        bring_back(&copy, &back).await.unwrap();
        let restored = bench.open_at(&back).await;
        let seconds: BTreeSet<i64> = entries_of(&restored).await.into_iter().map(|(_, entry)| entry.1).collect();
        let lost: Vec<i64> = (0..before).filter(|second| !seconds.contains(&at(*second).0)).collect();
        assert!(lost.is_empty(), "{lost:?} of {before}");
    }
    stop.send_replace(true);
    writer.await.unwrap();
}
