//! Reading what earlier runs left, however they ended.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use loki_core::Timestamp;
use memchr::memmem;

use super::files::Files;
use super::record::{FILE_HEADER_BYTES, FileHeader, HeaderError, RECORD_MAGIC, VERSION, claimed_range, record_at};
use super::{DAMAGED_SUFFIX, EndedFile, FILE_SUFFIX, RecordKind, WalError, file_name, file_number};
use crate::tenant::TenantId;

/// How often the length of a file may be checksummed in search of intact records behind damage.
const MAX_SEARCH_FACTOR: usize = 16;

/// A record that an earlier run logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRecord {
    /// The number of the file it stands in.
    pub file: u64,
    /// How to read the body.
    pub kind: RecordKind,
    /// Who sent it.
    pub tenant: TenantId,
    /// When it arrived.
    pub arrival: Timestamp,
    /// What was sent.
    pub body: Bytes,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Files read.
    pub files: u64,
    /// Records replayed.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Bytes cut off the end of the newest file: writes that a crash interrupted, never acknowledged.
    pub torn_bytes: u64,
    /// Files with damage before their end. Their intact records were replayed; the files are kept.
    pub damaged: Vec<DamagedFile>,
    /// Damaged files that earlier runs kept.
    pub kept_damaged_files: u64,
}

/// A file that could not be read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its name.
    pub name: String,
    /// Bytes that are no intact records.
    pub lost_bytes: u64,
}

/// Replays all files; returns them as ended, and the number of the file to write next.
pub(super) fn replay<E: From<WalError>>(
    files: &dyn Files,
    mut visit: impl FnMut(ReplayRecord) -> Result<(), E>,
) -> Result<(ReplayReport, Vec<EndedFile>, u64), E> {
    let names = files.list().map_err(|error| WalError::io("list", "folder", error))?;
    let mut report = ReplayReport::default();
    let is_kept = |name: &&String| name.strip_suffix(DAMAGED_SUFFIX).is_some_and(|name| name.ends_with(FILE_SUFFIX));
    report.kept_damaged_files = names.iter().filter(is_kept).count() as u64;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    let kept_numbers = names.iter().filter_map(|name| file_number(name.strip_suffix(DAMAGED_SUFFIX)?));
    let next_number = numbers.iter().copied().chain(kept_numbers).max().map_or(1, |number| number + 1);

    let mut ended = Vec::new();
    for (i, &number) in numbers.iter().enumerate() {
        let name = file_name(number);
        let content = files.read(&name).map_err(|error| WalError::io("read", &name, error))?;
        let content = Bytes::from(content);
        let scan = scan(&name, number, &content, &mut report, &mut visit)?;
        report.files += 1;
        // A crash may also leave newer files behind in which no record is whole.
        let is_last = scan.torn.is_some() && are_empty(files, &numbers[i + 1..])?;
        ended.extend(scan.settle(files, &name, number, content.len(), is_last, &mut report)?);
    }
    Ok((report, ended, next_number))
}

/// Whether files hold no intact record.
fn are_empty(files: &dyn Files, numbers: &[u64]) -> Result<bool, WalError> {
    for &number in numbers {
        let name = file_name(number);
        let content = files.read(&name).map_err(|error| WalError::io("read", &name, error))?;
        let mut found = ReplayReport::default();
        scan(&name, number, &content.into(), &mut found, &mut |_| Ok::<_, WalError>(()))?;
        if found.records > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is wrong with a file.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes between intact records.
    pub(super) damaged_bytes: u64,
    /// Where bytes begin that no intact record follows.
    pub(super) torn: Option<usize>,
}

impl Scan {
    /// Does what follows from a scan, and returns the file if it is still there.
    fn settle(
        self,
        files: &dyn Files,
        name: &str,
        number: u64,
        len: usize,
        is_last: bool,
        report: &mut ReplayReport,
    ) -> Result<Option<EndedFile>, WalError> {
        let torn_bytes = self.torn.map_or(0, |torn| (len - torn) as u64);
        if self.damaged_bytes == 0 && (torn_bytes == 0 || is_last) {
            return cut(files, name, number, len, self.torn, report);
        }
        let lost_bytes = self.damaged_bytes + torn_bytes;
        tracing::error!(file = name, lost_bytes, "log file is damaged; intact records are replayed, the file is kept");
        report.damaged.push(DamagedFile { name: name.to_owned(), lost_bytes });
        Ok(Some(EndedFile { number, len: len as u64, is_damaged: true }))
    }
}

/// Cuts the end of a file that a crash left half written, and removes the file if nothing is left.
fn cut(
    files: &dyn Files,
    name: &str,
    number: u64,
    len: usize,
    torn: Option<usize>,
    report: &mut ReplayReport,
) -> Result<Option<EndedFile>, WalError> {
    let kept = torn.unwrap_or(len);
    if kept < len {
        let torn_bytes = (len - kept) as u64;
        report.torn_bytes += torn_bytes;
        tracing::warn!(file = name, torn_bytes, "cut the unfinished end off a log file");
    }
    if kept <= FILE_HEADER_BYTES {
        files.remove(name).map_err(|error| WalError::io("remove", name, error))?;
        return Ok(None);
    }
    if kept < len {
        files.truncate(name, kept as u64).map_err(|error| WalError::io("cut", name, error))?;
    }
    Ok(Some(EndedFile { number, len: kept as u64, is_damaged: false }))
}

/// Visits the intact records of a file.
pub(super) fn scan<E: From<WalError>>(
    name: &str,
    number: u64,
    content: &Bytes,
    report: &mut ReplayReport,
    visit: &mut impl FnMut(ReplayRecord) -> Result<(), E>,
) -> Result<Scan, E> {
    let mut scan = Scan::default();
    let header = match FileHeader::decode(content) {
        Ok(header) if header.number == number => header,
        Err(HeaderError::Short) => return Ok(Scan { torn: Some(0), ..scan }),
        Err(HeaderError::Version(found)) => {
            let name = name.to_owned();
            return Err(WalError::Version { name, found, supported: VERSION }.into());
        }
        // Without the salt no record can be told from a forged one.
        Ok(_) | Err(HeaderError::Damaged) => return Ok(Scan { damaged_bytes: content.len() as u64, torn: None }),
    };
    let mut at = FILE_HEADER_BYTES;
    let mut search = Search { budget: content.len().saturating_mul(MAX_SEARCH_FACTOR) };
    while at < content.len() {
        let Some(record) = record_at(content, at, header.salt) else {
            let Some(next) = search.next_record(content, at + 1, header.salt) else {
                scan.torn = Some(at);
                break;
            };
            scan.damaged_bytes += (next - at) as u64;
            at = next;
            continue;
        };
        report.records += 1;
        report.record_bytes += (record.end - at) as u64;
        at = record.end;
        visit(ReplayRecord {
            file: number,
            kind: record.kind,
            tenant: record.tenant,
            arrival: record.arrival,
            body: content.slice(record.body),
        })?;
    }
    Ok(scan)
}

/// Looks for intact records behind damage, with a bounded effort.
struct Search {
    /// Bytes that may still be checksummed.
    budget: usize,
}

impl Search {
    fn next_record(&mut self, content: &[u8], from: usize, salt: u32) -> Option<usize> {
        for found in memmem::find_iter(content.get(from..)?, &RECORD_MAGIC) {
            let at = from + found;
            let claimed = claimed_range(content, at).as_ref().map_or(0, Range::len);
            self.budget = self.budget.checked_sub(claimed)?;
            if record_at(content, at, salt).is_some() {
                return Some(at);
            }
        }
        None
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        Self::other(error)
    }
}
