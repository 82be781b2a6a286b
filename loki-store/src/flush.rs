//! From head to segment.

use std::sync::Arc;

use loki_core::chunk::ChunkOptions;
use object_store::path::Path;

use crate::config::StoreConfig;
use crate::counters::{FlushReason, LineLengths};
use crate::error::Error;
use crate::head::FrozenHead;
use crate::objects::{Objects, PutNew};
use crate::patterns::PatternMiner;
use crate::segment::writer::FinishedSegment;
use crate::segment::{Header, SegmentId, SegmentWriter};

/// A head that takes no more entries and waits to become a segment.
///
/// Its header is fixed when it is frozen, so that a put whose answer was lost can be recognised when it is repeated.
#[derive(Clone, Debug)]
pub(crate) struct PendingFlush {
    pub(crate) head: Arc<FrozenHead>,
    pub(crate) header: Header,
    pub(crate) reason: FlushReason,
}

/// The segment that a head became.
#[derive(Debug)]
pub(crate) struct FlushedSegment {
    pub(crate) segment: FinishedSegment,
    pub(crate) line_lengths: LineLengths,
}

impl PendingFlush {
    /// Where the segment goes, relative to the store's prefix.
    pub(crate) fn segment_path(&self) -> String {
        self.header.writer.segment_path(self.header.sequence)
    }

    /// Builds the segment: pure computation, about three CPU seconds per GB of lines.
    pub(crate) fn build(&self, config: &StoreConfig) -> Result<FlushedSegment, Error> {
        self.write(config).map_err(|source| Error::Encode { what: "segment", source })
    }

    fn write(&self, config: &StoreConfig) -> Result<FlushedSegment, loki_core::Error> {
        let options = ChunkOptions { codec: config.codec, level: 0 };
        let mut writer = SegmentWriter::new(&self.header, config.chunk_bytes, options);
        let mut miner = config.patterns.enabled.then(|| PatternMiner::new(config.patterns));
        let mut line_lengths = LineLengths::default();
        let earliest = config.patterns.earliest(self.header.created);
        for (tenant, rows) in self.head.tenants() {
            writer.start_tenant(tenant.clone())?;
            rows.for_each_stream(|labels, entries| {
                writer.start_stream(labels)?;
                for (timestamp, line, metadata) in entries {
                    writer.append(timestamp, line, metadata)?;
                    line_lengths.count(line.len());
                    if let Some(miner) = &mut miner
                        && timestamp >= earliest
                    {
                        miner.add(timestamp, line, metadata);
                    }
                }
                if let Some(miner) = &mut miner {
                    writer.add_patterns(&miner.take_counts());
                }
                Ok(())
            })?;
        }
        Ok(FlushedSegment { segment: writer.finish()?, line_lengths })
    }
}

/// Creates the segment's object, or finds that an earlier attempt did.
pub(crate) async fn publish(
    objects: &Objects,
    path: &Path,
    header: &Header,
    segment: &FinishedSegment,
) -> Result<(), Error> {
    match objects.put_new(path, segment.bytes.clone()).await? {
        PutNew::Created => Ok(()),
        PutNew::Exists => {
            let found = objects.get_range(path, 0..crate::segment::layout::HEADER_LEN as u64).await?;
            let ours = |id: SegmentId| id == header.id;
            match Header::decode(&found) {
                Ok(found) if ours(found.id) => Ok(()),
                _ => Err(Error::Fenced { writer: header.writer.to_string(), object: path.to_string() }),
            }
        }
    }
}
