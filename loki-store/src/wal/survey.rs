//! Looking at a log without opening it: nothing is cut, removed or renamed.

use std::io;

use bytes::Bytes;

use super::files::Files;
use super::replay::{ReplayRecord, ReplayReport, scan};
use super::{DAMAGED_SUFFIX, WalError, file_name, file_number};

/// What was found in a file of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SurveyedFile {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) bytes: Bytes,
    /// Where the last intact record ends. What follows is being written, or was when a crash came.
    pub(crate) intact_bytes: u64,
    pub(crate) records: u64,
    /// Bytes before that which are no intact record, and cannot be explained by a crash.
    pub(crate) damaged_bytes: u64,
    /// It was set aside because of its damage, and is not looked at again.
    pub(crate) is_set_aside: bool,
}

/// Reads the files of a log, oldest first, and shows their records to `visit`. A file that goes meanwhile is left out:
/// its records live in a segment.
pub(crate) fn survey(files: &dyn Files, mut visit: impl FnMut(ReplayRecord)) -> Result<Vec<SurveyedFile>, WalError> {
    let mut names = files.list().map_err(|error| WalError::io("list", "folder", error))?;
    names.sort();
    let mut found: Vec<SurveyedFile> = Vec::new();
    for name in names {
        let aside = name.strip_suffix(DAMAGED_SUFFIX);
        let Some(number) = file_number(aside.unwrap_or(&name)) else {
            continue;
        };
        let bytes = match files.read(&name) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(WalError::io("read", &name, error)),
        };
        let is_set_aside = aside.is_some();
        if is_set_aside {
            let intact_bytes = bytes.len() as u64;
            found.push(SurveyedFile { name, number, bytes, intact_bytes, is_set_aside, ..SurveyedFile::default() });
            continue;
        }
        let mut report = ReplayReport::default();
        let scan = scan(&file_name(number), number, &bytes, &mut report, &mut |record| {
            visit(record);
            Ok::<_, WalError>(())
        })?;
        // Records behind unfinished bytes say that these were not the end of the log.
        if report.records > 0 {
            for before in found.iter_mut().filter(|file| !file.is_set_aside) {
                before.damaged_bytes += before.bytes.len() as u64 - before.intact_bytes;
                before.intact_bytes = before.bytes.len() as u64;
            }
        }
        found.push(SurveyedFile {
            name,
            number,
            intact_bytes: scan.torn.unwrap_or(bytes.len()) as u64,
            bytes,
            records: report.records,
            damaged_bytes: scan.damaged_bytes,
            is_set_aside,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use loki_core::Timestamp;

    use super::*;
    use crate::tenant::TenantId;
    use crate::wal::{Record, RecordKind, SimulatedFiles, Wal, WalOptions};

    /// Two files with a record each.
    fn two_files() -> SimulatedFiles {
        let files = SimulatedFiles::new();
        let ignore = |_| Ok::<_, WalError>(());
        let (mut wal, _) = Wal::open(Arc::new(files.clone()), WalOptions::default(), ignore).unwrap();
        for body in [b"one", b"two"] {
            let tenant = TenantId::anonymous();
            let record = Record { kind: RecordKind::Snappy, tenant: &tenant, arrival: Timestamp(1), body };
            wal.append(&record).unwrap();
            wal.rotate();
        }
        files
    }

    fn cut(files: &SimulatedFiles, name: &str, by: usize) {
        let len = files.read(name).unwrap().len() - by;
        files.truncate(name, len as u64).unwrap();
    }

    #[test]
    fn an_unfinished_end_is_no_damage_unless_records_follow() {
        let files = two_files();
        let look = |files: &SimulatedFiles| {
            let mut bodies = Vec::new();
            let found = survey(files, |record| bodies.push(record.body)).unwrap();
            (found.iter().map(|file| (file.records, file.damaged_bytes)).collect::<Vec<_>>(), bodies.len())
        };
        assert_eq!(look(&files), (vec![(1, 0), (1, 0)], 2));
        cut(&files, "00000000000000000002.wal", 1);
        assert_eq!(look(&files), (vec![(1, 0), (0, 0)], 1));

        let files = two_files();
        let before = files.read("00000000000000000001.wal").unwrap().len() as u64;
        cut(&files, "00000000000000000001.wal", 1);
        let lost = before - 1 - crate::wal::record::FILE_HEADER_BYTES as u64;
        assert_eq!(look(&files), (vec![(0, lost), (1, 0)], 1));
    }

    #[test]
    fn nothing_changes() {
        let files = two_files();
        cut(&files, "00000000000000000002.wal", 1);
        let before = files.operations();
        survey(&files, |_| ()).unwrap();
        assert_eq!(files.operations(), before);
    }
}
