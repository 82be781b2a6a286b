//! Which segments hold entries that are too old.

use loki_core::Timestamp;

use super::Cuts;
use crate::segment::SegmentId;

/// What expiry needs to know of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Aged<'a> {
    pub(crate) id: SegmentId,
    pub(crate) level: u8,
    /// Per tenant: the time of its last entry, and its cuts.
    pub(crate) tenants: Vec<(Timestamp, &'a Cuts)>,
}

/// What is to be done about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Everything in it is too old.
    Drop(SegmentId),
    /// Streams with some retention are too old as a whole, if there are any; others are not.
    Sift {
        /// The segment.
        id: SegmentId,
        /// How many retentions are over. As long as this stays the same, nothing new is to be found.
        retentions: usize,
    },
}

/// Chooses segments that hold entries which are too old.
///
/// A stream is cut out of a segment only once all of its entries there are too old, so that nothing is written again
/// and again as time goes by: queries do not see what is left until then. Flushed segments are not sifted, since they
/// are merged soon.
pub(crate) fn expire(segments: &[Aged<'_>]) -> Vec<Expiry> {
    segments.iter().filter_map(expire_one).collect()
}

fn expire_one(segment: &Aged<'_>) -> Option<Expiry> {
    let id = segment.id;
    if segment.tenants.iter().all(|(last, cuts)| *last < cuts.earliest()) {
        return Some(Expiry::Drop(id));
    }
    let retentions = segment.tenants.iter().map(|(last, cuts)| cuts.count_after(*last)).sum();
    (retentions > 0 && segment.level > 0).then_some(Expiry::Sift { id, retentions })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::limits::{Limits, RetentionStream};

    /// Keeps 100 s by default and 50 s of some streams; the clock shows 1000 s.
    fn cuts() -> Cuts {
        let rule = RetentionStream { matchers: Vec::new(), priority: 1, period: Duration::from_secs(50) };
        let limits =
            Limits { retention_period: Duration::from_secs(100), retention_streams: vec![rule], ..Limits::unlimited() };
        Cuts::new(&Arc::new(limits), Timestamp::from_seconds(1000))
    }

    fn expiry(level: u8, tenants: &[(i64, &Cuts)]) -> Option<Expiry> {
        let id = SegmentId(Uuid::nil());
        let tenants = tenants.iter().map(|(last, cuts)| (Timestamp::from_seconds(*last), *cuts)).collect();
        expire(&[Aged { id, level, tenants }]).first().copied()
    }

    #[test]
    fn segments_go_as_a_whole_once_all_of_their_tenants_agree() {
        let (id, cuts) = (SegmentId(Uuid::nil()), &cuts());
        assert_eq!(expiry(0, &[(899, cuts)]), Some(Expiry::Drop(id)));
        assert_eq!(expiry(0, &[(900, cuts)]), None);
        assert_eq!(expiry(0, &[(899, cuts), (899, &Cuts::NONE)]), None);
        assert_eq!(expiry(2, &[(0, &Cuts::NONE)]), None);
    }

    #[test]
    fn merged_segments_are_sifted_when_some_retention_is_over() {
        let (id, cuts) = (SegmentId(Uuid::nil()), &cuts());
        assert_eq!(expiry(1, &[(900, cuts)]), Some(Expiry::Sift { id, retentions: 1 }));
        assert_eq!(expiry(1, &[(949, cuts)]), Some(Expiry::Sift { id, retentions: 1 }));
        assert_eq!(expiry(1, &[(950, cuts)]), None);
    }
}
