//! The write-ahead log: what is replayed was appended, in that order, and forged files do no harm.

use std::sync::Arc;

use loki_core::Timestamp;
use loki_store::TenantId;
use loki_store::wal::{Files, Record, RecordKind, ReplayRecord, SimulatedFiles, Survival, Wal, WalError, WalOptions};

use crate::input::Input;

const SALT: u32 = 7;
const FILE_BYTES: u64 = 400;
const FILE_HEADER_BYTES: usize = 24;
const KINDS: [RecordKind; 3] = [RecordKind::Snappy, RecordKind::Final, RecordKind::Plain];

/// Runs the target.
pub fn run(data: &[u8]) {
    let alone = SimulatedFiles::new();
    alone.put("00000000000000000001.wal", data.to_vec());
    let _ = replay(&alone);

    let mut input = Input::new(data);
    let files = SimulatedFiles::new();
    let records = append(&files, &mut input);
    let bodies = |records: &[ReplayRecord]| records.iter().map(|record| record.body.clone()).collect::<Vec<_>>();
    let names = files.list().expect("memory can be listed");
    let replayed = replay(&files.reboot(Survival::Everything)).expect("nothing was damaged");
    assert_eq!(bodies(&replayed), records);

    let has_checksums = input.u8() & 1 == 0;
    let Some(name) = names.get(input.below(names.len().max(1))) else {
        return;
    };
    let mut forged = files.content(name).expect("it was listed");
    input.forge(&mut forged);
    if has_checksums {
        reseal(&mut forged);
    }
    let damaged = files.reboot(Survival::Everything);
    damaged.put(name, forged);
    if let Ok(replayed) = replay(&damaged)
        && !has_checksums
    {
        let replayed = bodies(&replayed);
        let mut rest = records.iter();
        assert!(replayed.iter().all(|body| rest.any(|appended| appended == body)), "what is replayed was appended");
    }
}

/// Appends records and returns their bodies.
fn append(files: &SimulatedFiles, input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let options = WalOptions { file_bytes: FILE_BYTES, salt: SALT, min_file_number: 1 };
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let (mut wal, _) = Wal::open(files, options, |_| Ok::<(), WalError>(())).expect("an empty folder");
    let mut bodies = Vec::new();
    for number in 0..input.below(16) {
        let tenant = TenantId::parse(["a", "tenant"][input.below(2)]).expect("a valid name");
        // The number keeps equal bodies apart.
        let body = [&[number as u8], input.short()].concat();
        let kind = KINDS[input.below(KINDS.len())];
        wal.append(&Record { kind, tenant: &tenant, arrival: Timestamp(input.i64()), body: &body })
            .expect("there is room");
        bodies.push(body);
    }
    bodies
}

fn replay(files: &SimulatedFiles) -> Result<Vec<ReplayRecord>, WalError> {
    let options = WalOptions { file_bytes: FILE_BYTES, salt: SALT, min_file_number: 1 };
    let mut records = Vec::new();
    let (mut wal, report) = Wal::open(Arc::new(files.clone()), options, |record| {
        records.push(record);
        Ok::<(), WalError>(())
    })?;
    assert_eq!(report.records, records.len() as u64);
    // A log goes on after whatever it found.
    let tenant = TenantId::anonymous();
    let record = Record { kind: RecordKind::Plain, tenant: &tenant, arrival: Timestamp(0), body: b"next" };
    wal.append(&record).expect("there is room");
    Ok(records)
}

/// Writes the checksums of the file header and of all records anew.
fn reseal(file: &mut [u8]) {
    if file.len() < FILE_HEADER_BYTES {
        return;
    }
    let salt: [u8; 4] = file[16..20].try_into().expect("four bytes");
    let checksum = loki_core::encoding::crc32(&file[..20]);
    file[20..24].copy_from_slice(&checksum.to_le_bytes());
    let mut at = FILE_HEADER_BYTES;
    while at + 12 <= file.len() {
        let len = u32::from_le_bytes(file[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        let end = (at + 12).saturating_add(len);
        let Some(fields) = file.get(at + 12..end) else {
            return;
        };
        let checked = [&salt[..], &(len as u32).to_le_bytes(), fields].concat();
        file[at + 8..at + 12].copy_from_slice(&loki_core::encoding::crc32(&checked).to_le_bytes());
        at = end;
    }
}
