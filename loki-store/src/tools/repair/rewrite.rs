//! Writing a segment again without entries that had been deleted.

use std::sync::Arc;

use loki_logql::budget::Budget;

use crate::compaction::{MERGED_SEGMENT_BYTES, Merge, OutputOptions, Progress, WINDOW_BYTES, Windows};
use crate::config::{DEFAULT_CHUNK_BYTES, DEFAULT_MERGE_CODEC};
use crate::counters::Counters;
use crate::deletes::{Deletion, Deletions};
use crate::error::Error;
use crate::flush;
use crate::segment::reader::TenantSegment;
use crate::segment::{Segment, WriterId};
use crate::store::selects_any;
use crate::tools::site::Site;
use crate::view::View;

/// Whether a segment has entries that some request selects.
pub(super) async fn is_concerned(segment: &Arc<Segment>, deletions: &[Arc<Deletion>]) -> Result<bool, Error> {
    let counters = Arc::new(Counters::default());
    for deletion in deletions {
        let segments = segment.tenant(&deletion.tenant).into_iter().collect();
        let deletions = Deletions::default();
        let view = View { segments, heads: Vec::new(), deletions, memory: Budget::unlimited() };
        if selects_any(deletion, view, &counters).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the segments that take the place of one.
pub(super) async fn without(
    site: &Site,
    segment: &Arc<Segment>,
    deletions: &[Arc<Deletion>],
) -> Result<Vec<Arc<Segment>>, Error> {
    let mut written = Vec::new();
    for part in segment.footer.tenants.iter().filter_map(|entry| segment.tenant(&entry.tenant)) {
        let tenant = &part.entry().tenant;
        let of_tenant = deletions.iter().filter(|deletion| deletion.tenant == *tenant).cloned().collect();
        written.extend(rewrite(site, segment, part, Deletions::new(of_tenant)).await?);
    }
    Ok(written)
}

async fn rewrite(
    site: &Site,
    segment: &Segment,
    part: TenantSegment,
    deletions: Deletions,
) -> Result<Vec<Arc<Segment>>, Error> {
    let options = OutputOptions {
        writer: WriterId::random(),
        level: segment.header.level.max(1),
        created: segment.header.created,
        windows: Windows::Whole,
        window_bytes: WINDOW_BYTES,
        codec: DEFAULT_MERGE_CODEC,
        chunk_bytes: DEFAULT_CHUNK_BYTES,
        segment_bytes: MERGED_SEGMENT_BYTES,
    };
    let mut merge = Merge::open(vec![part], deletions, options).await?;
    let mut written = Vec::new();
    loop {
        merge.fetch().await?;
        match merge.run()? {
            Progress::Starved => {}
            Progress::Segment(finished) => {
                let path = finished.header.object_path();
                flush::publish(&site.objects, &site.objects.path(&path), &finished.header, &finished.segment).await?;
                written.push(site.segment(&path).await?);
            }
            Progress::Done => break,
        }
    }
    let (tally, expected) = (merge.tally(), merge.rows_expected());
    let found = tally.written + tally.duplicates + tally.hidden;
    if tally.read == expected && found == expected { Ok(written) } else { Err(Error::Merge { expected, found }) }
}
