use std::collections::BTreeSet;

use loki_core::Timestamp;
use proptest::prelude::*;

use super::record::{FILE_HEADER_BYTES, RECORD_PREFIX_BYTES};
use super::*;
use crate::tenant::TenantId;

const ARRIVAL: Timestamp = Timestamp(1_000_000_001);

fn options(file_bytes: u64) -> WalOptions {
    WalOptions { file_bytes, salt: 0x0102_0304, min_file_number: 1 }
}

fn open(files: &SimulatedFiles, file_bytes: u64) -> (Wal, ReplayReport, Vec<Vec<u8>>) {
    try_open(files, file_bytes).expect("a log that can be opened")
}

fn try_open(files: &SimulatedFiles, file_bytes: u64) -> Result<(Wal, ReplayReport, Vec<Vec<u8>>), WalError> {
    let mut bodies = Vec::new();
    let (wal, report) = Wal::open(Arc::new(files.clone()), options(file_bytes), |record| {
        assert_eq!((record.kind, record.tenant.as_str(), record.arrival), (RecordKind::Snappy, "fake", ARRIVAL));
        bodies.push(record.body.to_vec());
        Ok::<_, WalError>(())
    })?;
    Ok((wal, report, bodies))
}

fn append(wal: &mut Wal, body: &[u8]) -> Result<Lsn, WalError> {
    let tenant = TenantId::anonymous();
    wal.append(&Record { kind: RecordKind::Snappy, tenant: &tenant, arrival: ARRIVAL, body })
}

fn append_all(wal: &mut Wal, bodies: &[&[u8]]) {
    for body in bodies {
        append(wal, body).expect("room");
    }
}

fn remove_all(wal: &mut Wal) {
    let through = wal.rotate();
    wal.remove_through(through).unwrap();
}

/// The length of a record of tenant `fake`.
fn record_len(body: &[u8]) -> usize {
    RECORD_PREFIX_BYTES + 1 + 1 + 4 + 8 + body.len()
}

fn only_file(files: &SimulatedFiles) -> (String, Vec<u8>) {
    let names = files.list().unwrap();
    let [name] = &names[..] else { panic!("one file expected: {names:?}") };
    (name.clone(), files.content(name).unwrap())
}

#[test]
fn the_example_of_the_specification_is_what_is_written() {
    let spec = include_str!("../format/wal.md");
    let hex = spec.split("```").find_map(|part| part.strip_prefix("hex\n")).expect("an example in hex");
    let expected: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();

    let files = SimulatedFiles::new();
    let (name, header) = (file_name(1), FileHeader { number: 1, salt: 0x0102_0304 });
    let tenant = TenantId::anonymous();
    let record = Record { kind: RecordKind::Snappy, tenant: &tenant, arrival: ARRIVAL, body: b"hello" };
    let written = [&header.encode()[..], &record.head(header.salt).unwrap(), b"hello"].concat();
    assert_eq!(written, expected, "{written:02x?}");

    files.put(&name, expected);
    let (_, report, bodies) = open(&files, 100);
    assert_eq!(bodies, [b"hello"]);
    assert_eq!(report, ReplayReport { files: 1, records: 1, record_bytes: 31, ..ReplayReport::default() });
}

#[test]
fn records_come_back_in_order_across_files() {
    let files = SimulatedFiles::new();
    let (mut wal, report, bodies) = open(&files, 100);
    assert_eq!((report, bodies), (ReplayReport::default(), vec![]));
    assert_eq!(files.list().unwrap(), [""; 0], "an unused log has no files");
    append_all(&mut wal, &[b"one", b"two", &[b'x'; 200], b"", b"three"]);
    drop(wal);
    let (mut wal, report, bodies) = open(&files, 100);
    assert_eq!(bodies, [&b"one"[..], b"two", &[b'x'; 200], b"", b"three"]);
    assert_eq!((report.files, report.records, report.torn_bytes), (2, 5, 0));
    append_all(&mut wal, &[b"four"]);
    assert_eq!(files.list().unwrap(), [file_name(1), file_name(2), file_name(3)]);
    assert_eq!(wal.bytes(), files.list().unwrap().iter().map(|n| files.content(n).unwrap().len() as u64).sum::<u64>());
    assert_eq!(open(&files, 100).2.len(), 6);
}

#[test]
fn files_are_removed_once_their_records_live_elsewhere() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    assert_eq!(wal.rotate(), 0, "nothing was written");
    append_all(&mut wal, &[b"one"]);
    assert_eq!(wal.rotate(), 1);
    assert_eq!(wal.rotate(), 1, "nothing was written since");
    append_all(&mut wal, &[b"two"]);
    wal.remove_through(1).unwrap();
    assert_eq!(files.list().unwrap(), [file_name(2)]);
    wal.remove_through(99).unwrap();
    assert_eq!(files.list().unwrap(), [file_name(2)], "the file that grows stays");
    let (mut wal, _, bodies) = open(&files, 1 << 20);
    assert_eq!(bodies, [b"two"]);
    remove_all(&mut wal);
    assert_eq!(files.list().unwrap(), [""; 0]);
    append_all(&mut wal, &[b"three"]);
    assert_eq!(files.list().unwrap(), [file_name(3)], "numbers are not used again by one process");
}

#[test]
fn numbers_begin_above_those_that_somebody_remembers() {
    let files = SimulatedFiles::new();
    let options = WalOptions { min_file_number: 7, ..options(100) };
    let (mut wal, _) = Wal::open(Arc::new(files.clone()), options, |_| Ok::<_, WalError>(())).unwrap();
    assert_eq!(wal.rotate(), 6, "nothing above is covered");
    append_all(&mut wal, &[b"one"]);
    assert_eq!(files.list().unwrap(), [file_name(7)]);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_begins() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"first", b"second"]);
    drop(wal);
    let (name, whole) = only_file(&files);
    let second = whole.len() - record_len(b"second");
    for cut in 0..whole.len() {
        let torn = SimulatedFiles::new();
        torn.put(&name, whole[..cut].to_vec());
        let (mut wal, report, bodies) = open(&torn, 1 << 20);
        let kept = [FILE_HEADER_BYTES, second].into_iter().rfind(|&end| end <= cut).unwrap_or(0);
        assert_eq!(bodies.len(), usize::from(cut >= second), "cut at {cut}");
        assert_eq!(report.torn_bytes, (cut - kept) as u64, "cut at {cut}");
        assert_eq!(report.damaged, []);
        append_all(&mut wal, &[b"third"]);
        drop(wal);
        let (_, again, bodies) = open(&torn, 1 << 20);
        assert_eq!(bodies.last().unwrap(), b"third");
        assert_eq!((again.torn_bytes, again.damaged), (0, vec![]), "cut at {cut}: the tail is gone for good");
    }
}

#[test]
fn a_tail_of_zeros_is_torn() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"first"]);
    let (name, mut content) = only_file(&files);
    content.extend([0; 4096]);
    files.put(&name, content);
    let (_, report, bodies) = open(&files, 1 << 20);
    assert_eq!((report.torn_bytes, bodies), (4096, vec![b"first".to_vec()]));
}

#[test]
fn a_torn_file_before_an_empty_one_is_torn_all_the_same() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"first"]);
    let (name, mut content) = only_file(&files);
    content.extend(b"half of a rec");
    files.put(&name, content);
    files.put(&file_name(2), FileHeader { number: 2, salt: 9 }.encode().to_vec());
    let (_, report, bodies) = open(&files, 1 << 20);
    assert_eq!((report.torn_bytes, report.damaged, bodies), (13, vec![], vec![b"first".to_vec()]));
    assert_eq!(files.list().unwrap(), [name]);
}

#[test]
fn every_flipped_bit_costs_at_most_the_record_it_hits() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    let bodies: [&[u8]; 3] = [b"first", b"second", b"third"];
    append_all(&mut wal, &bodies);
    let (name, whole) = only_file(&files);
    for at in FILE_HEADER_BYTES..whole.len() {
        for bit in 0..8 {
            let damaged = SimulatedFiles::new();
            let mut content = whole.clone();
            content[at] ^= 1 << bit;
            damaged.put(&name, content.clone());
            let (mut wal, report, found) = open(&damaged, 1 << 20);
            let hit = if at < FILE_HEADER_BYTES + record_len(b"first") {
                0
            } else if at < FILE_HEADER_BYTES + record_len(b"first") + record_len(b"second") {
                1
            } else {
                2
            };
            let expected: Vec<_> =
                bodies.iter().enumerate().filter(|(i, _)| *i != hit).map(|(_, body)| *body).collect();
            assert_eq!(found, expected, "bit {bit} of byte {at}");
            if hit == 2 {
                assert_eq!(report.torn_bytes, record_len(b"third") as u64);
                continue;
            }
            let lost_bytes = record_len(bodies[hit]) as u64;
            assert_eq!(report.damaged, [DamagedFile { name: name.clone(), lost_bytes }]);
            remove_all(&mut wal);
            assert_eq!(damaged.content(&format!("{name}.damaged")), Some(content), "the evidence is kept");
            let (_, again, found) = open(&damaged, 1 << 20);
            assert_eq!((again.kept_damaged_files, found), (1, vec![]));
        }
    }
}

#[test]
fn damage_in_an_older_file_does_not_hide_newer_ones() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1);
    append_all(&mut wal, &[b"first", b"second"]);
    let name = file_name(1);
    let mut content = files.content(&name).unwrap();
    content.truncate(content.len() - 1);
    files.put(&name, content.clone());
    let (mut wal, report, bodies) = open(&files, 1);
    assert_eq!(bodies, [b"second"]);
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(files.content(&name), Some(content.clone()), "the file is not touched");
    assert_eq!(open(&files, 1).1.damaged.len(), 1, "nor after another crash");
    wal.remove_through(2).unwrap();
    assert_eq!(files.list().unwrap(), [format!("{name}.damaged")]);
}

#[test]
fn a_file_with_a_damaged_header_is_kept() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"first"]);
    let (name, mut content) = only_file(&files);
    content[9] ^= 1;
    files.put(&name, content.clone());
    let (_, report, bodies) = open(&files, 1 << 20);
    assert_eq!((bodies, report.damaged[0].lost_bytes), (vec![], content.len() as u64));
    assert_eq!(files.content(&name), Some(content));
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let files = SimulatedFiles::new();
    let mut header = FileHeader { number: 1, salt: 1 }.encode().to_vec();
    header[4] = 2;
    let checksum = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    files.put(&file_name(1), header.clone());
    let error = try_open(&files, 100).expect_err("must be refused");
    assert_eq!(error.to_string(), "log file 00000000000000000001.wal has version 2, the newest supported is 1");
    assert_eq!(files.content(&file_name(1)), Some(header));
}

#[test]
fn records_hidden_in_bodies_are_not_found_behind_damage() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    let tenant = TenantId::parse("victim").unwrap();
    let forged = Record { kind: RecordKind::Snappy, tenant: &tenant, arrival: ARRIVAL, body: b"forged" };
    let guessed_salt = 0;
    let forged = [&forged.head(guessed_salt).unwrap()[..], b"forged"].concat();
    append_all(&mut wal, &[&forged, b"after"]);
    let (name, mut content) = only_file(&files);
    content[FILE_HEADER_BYTES + 5] ^= 1;
    files.put(&name, content);
    let (_, _, bodies) = open(&files, 1 << 20);
    assert_eq!(bodies, [b"after"]);
}

#[test]
fn bodies_full_of_markers_do_not_stall_a_replay() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 24);
    // Each claims the two megabytes that follow it.
    let bait = [&b"\xA5LWR"[..], &(2_u32 << 20).to_le_bytes()].concat().repeat(512 * 1024);
    append_all(&mut wal, &[&bait, b"after"]);
    let (name, mut content) = only_file(&files);
    content[FILE_HEADER_BYTES + RECORD_PREFIX_BYTES] ^= 1;
    files.put(&name, content);
    let (_, report, _) = open(&files, 1 << 24);
    assert!(report.torn_bytes > 0 || !report.damaged.is_empty());
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    for kept in [0, 1, 20, 1000] {
        let files = SimulatedFiles::new();
        let (mut wal, ..) = open(&files, 1 << 20);
        append_all(&mut wal, &[b"before"]);
        files.fail_at(files.operations(), Fault::NoSpace(kept));
        let error = append(&mut wal, b"refused").expect_err("the disk is full");
        assert!(error.is_disk_full(), "{error:?}");
        assert_eq!(error.to_string(), "cannot append to log file 00000000000000000001.wal");
        append_all(&mut wal, &[b"after"]);
        assert_eq!(open(&files, 1 << 20).2, [&b"before"[..], b"after"], "kept {kept}");
    }
}

#[test]
fn a_file_that_cannot_be_begun_leaves_no_trace() {
    for operation in 0..2 {
        let files = SimulatedFiles::new();
        let (mut wal, ..) = open(&files, 1 << 20);
        files.fail_at(operation, Fault::NoSpace(7));
        assert!(append(&mut wal, b"refused").expect_err("the disk is full").is_disk_full());
        append_all(&mut wal, &[b"after"]);
        let (_, report, bodies) = open(&files, 1 << 20);
        assert_eq!((report.torn_bytes, report.damaged, bodies), (0, vec![], vec![b"after".to_vec()]));
    }
}

#[test]
fn a_write_that_cannot_be_taken_back_poisons_the_log() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"before"]);
    files.fail_at(files.operations(), Fault::NoSpace(9));
    files.fail_at(files.operations() + 1, Fault::Io);
    assert!(append(&mut wal, b"lost").is_err());
    assert!(matches!(append(&mut wal, b"refused"), Err(WalError::Poisoned)));
    assert!(wal.committer().sync_blocking(Lsn::default()).is_err());
    assert_eq!(open(&files, 1 << 20).2, [b"before"], "reopening helps");
}

#[test]
fn a_failed_sync_poisons_the_log() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    let lsn = append(&mut wal, b"first").unwrap();
    files.fail_at(files.operations(), Fault::Io);
    let committer = wal.committer();
    let error = committer.sync_blocking(lsn).expect_err("the device failed");
    assert_eq!(error.to_string(), "cannot sync log file 00000000000000000001.wal");
    assert!(committer.sync_blocking(lsn).is_err(), "a second attempt would only seem to succeed");
    assert!(matches!(append(&mut wal, b"second"), Err(WalError::Poisoned)));
}

#[test]
fn records_too_long_for_any_reader_are_refused() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    let body = vec![0; MAX_RECORD_BYTES];
    assert!(matches!(append(&mut wal, &body), Err(WalError::TooLarge { .. })));
    append_all(&mut wal, &[b"after"]);
    assert_eq!(open(&files, 1 << 20).2, [b"after"]);
}

/// Appends and syncs until something fails; returns the bodies that were acknowledged and those that were tried.
fn run(files: &SimulatedFiles, file_bytes: u64) -> (BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) {
    let (mut acknowledged, mut tried) = (BTreeSet::new(), BTreeSet::new());
    let Ok((mut wal, _, found)) = try_open(files, file_bytes) else {
        return (acknowledged, tried);
    };
    tried.extend(found);
    for i in 0..6 {
        let body = vec![b'a' + i; 10 + usize::from(i)];
        tried.insert(body.clone());
        let Ok(lsn) = append(&mut wal, &body) else { return (acknowledged, tried) };
        if i % 2 == 1 {
            continue;
        }
        if wal.committer().sync_blocking(lsn).is_err() {
            return (acknowledged, tried);
        }
        acknowledged.extend(tried.iter().cloned());
    }
    (acknowledged, tried)
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_invents_anything() {
    for file_bytes in [1, 100, 1 << 20] {
        let reference = SimulatedFiles::new();
        run(&reference, file_bytes);
        for operation in 0..reference.operations() {
            for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Io, Fault::NoSpace(5)] {
                for survival in [Survival::Durable, Survival::Everything, Survival::Torn(3), Survival::Torn(30)] {
                    let files = SimulatedFiles::new();
                    files.fail_at(operation, fault);
                    let (acknowledged, tried) = run(&files, file_bytes);
                    let rebooted = files.reboot(survival);
                    let context = format!("{file_bytes} {operation} {fault:?} {survival:?}");
                    let (wal, report, found) = open(&rebooted, file_bytes);
                    let found: BTreeSet<_> = found.into_iter().collect();
                    assert!(found.is_superset(&acknowledged), "{context}: lost");
                    assert!(found.is_subset(&tried), "{context}: invented");
                    drop(wal);
                    let (_, again, second) = open(&rebooted, file_bytes);
                    assert_eq!(second.into_iter().collect::<BTreeSet<_>>(), found, "{context}: replay can be repeated");
                    assert_eq!(again.torn_bytes, 0, "{context}");
                    assert_eq!(report.damaged.len(), again.damaged.len(), "{context}");
                }
            }
        }
    }
}

#[test]
fn a_crash_during_replay_changes_nothing() {
    let prepare = || {
        let files = SimulatedFiles::new();
        let (mut wal, ..) = open(&files, 1 << 20);
        append_all(&mut wal, &[b"first"]);
        let (name, mut content) = only_file(&files);
        content.extend(b"torn");
        files.put(&name, content);
        files.put(&file_name(2), b"LWAL".to_vec());
        files
    };
    let reference = prepare();
    let before = reference.operations();
    open(&reference, 1 << 20);
    assert!(reference.operations() > before, "the torn tail and the empty file are settled");
    for operation in before..reference.operations() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let files = prepare();
            files.fail_at(operation, fault);
            assert!(try_open(&files, 1 << 20).is_err());
            let (_, report, bodies) = open(&files.reboot(Survival::Durable), 1 << 20);
            assert_eq!((report.damaged, bodies), (vec![], vec![b"first".to_vec()]));
        }
    }
}

#[test]
fn the_callers_error_ends_a_replay() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    append_all(&mut wal, &[b"first", b"second"]);
    let mut seen = 0;
    let result = Wal::open(Arc::new(files), options(100), |_| {
        seen += 1;
        Err(WalError::Poisoned)
    });
    assert!(matches!(result, Err(WalError::Poisoned)));
    assert_eq!(seen, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_waiters_share_few_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(FolderFiles::open(folder.path()).unwrap());
    let (wal, _) = Wal::open(files, options(4096), |_| Ok::<_, WalError>(())).unwrap();
    let committer = wal.committer();
    let wal = Arc::new(parking_lot::Mutex::new(wal));
    let waiters: Vec<_> = (0..200)
        .map(|i| {
            let (wal, committer) = (Arc::clone(&wal), committer.clone());
            tokio::spawn(async move {
                let lsn = append(&mut wal.lock(), format!("record {i}").as_bytes()).unwrap();
                committer.sync(lsn).await
            })
        })
        .collect();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert!(committer.rounds() <= 200, "{}", committer.rounds());
    drop(wal);
    let files = Arc::new(FolderFiles::open(folder.path()).unwrap());
    let mut count = 0;
    Wal::open(files, options(4096), |_| {
        count += 1;
        Ok::<_, WalError>(())
    })
    .unwrap();
    assert_eq!(count, 200);
}

/// A client that goes away while its sync runs must not leave the others waiting for its round.
#[tokio::test]
async fn a_dropped_leader_does_not_strand_the_others() {
    let files = SimulatedFiles::new();
    let (mut wal, ..) = open(&files, 1 << 20);
    let committer = wal.committer();
    for i in 0..20_u8 {
        let lsn = append(&mut wal, &[i]).unwrap();
        let mut leader = Box::pin(committer.sync(lsn));
        let polled = futures::poll!(&mut leader);
        drop(leader);
        assert!(polled.is_pending() || polled.is_ready());
        committer.sync(lsn).await.unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_replayed_without_panic(
        content: Vec<u8>,
        bodies in prop::collection::vec(any::<Vec<u8>>(), 0..3),
        at: prop::sample::Index,
    ) {
        let files = SimulatedFiles::new();
        let (mut wal, ..) = open(&files, 1 << 20);
        append_all(&mut wal, &[b""]);
        for body in &bodies {
            append(&mut wal, body).unwrap();
        }
        let (name, mut whole) = only_file(&files);
        let at = at.index(whole.len() + 1);
        whole.splice(at..at, content);
        files.put(&name, whole);
        let mut seen = 0;
        Wal::open(Arc::new(files), options(100), |_| {
            seen += 1;
            Ok::<_, WalError>(())
        }).unwrap();
        prop_assert!(seen <= bodies.len() + 1);
    }
}
