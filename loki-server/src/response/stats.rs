//! The `stats` object of query answers.
//!
//! Clients decode every key, so all are written; what has no meaning here
//! (result caches, columnar objects, index lookups of their own) is zero.

use std::io::Write as _;

use loki_logql::stats::{ReadStats, Stats};

const NANOS_PER_SECOND: f64 = 1e9;

/// Times that the engine does not see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueryTimes {
    /// How long the query waited for its turn, in nanoseconds.
    pub(crate) queue_nanos: u64,
}

/// Sections of `cache`, all of the same shape.
const CACHES: [&str; 8] =
    ["chunk", "index", "result", "statsResult", "volumeResult", "seriesResult", "labelResult", "instantMetricResult"];

/// Writes the whole object.
pub(crate) fn write_stats(out: &mut Vec<u8>, stats: &Stats, times: QueryTimes) {
    out.extend_from_slice(b"{\"summary\":");
    write_summary(out, stats, times);
    out.extend_from_slice(b",\"querier\":{\"store\":");
    write_store(out, stats, stats.chunks_read, stats.chunks, ReadStats::default());
    write(out, format_args!(",\"querierExecTime\":{}}},\"ingester\":{{", stats.execution_nanos));
    write(
        out,
        format_args!(
            "\"totalReached\":1,\"totalChunksMatched\":0,\"totalBatches\":{},\"totalLinesSent\":{},\"store\":",
            stats.batches - stats.chunks_read.min(stats.batches),
            stats.head.entries,
        ),
    );
    write_store(out, stats, 0, ReadStats::default(), stats.head);
    out.extend_from_slice(b"},\"cache\":{");
    super::write_list(out, CACHES, |out, cache| {
        write(
            out,
            format_args!(
                "\"{cache}\":{{\"entriesFound\":0,\"entriesRequested\":0,\"entriesStored\":0,\"bytesReceived\":0,\
                 \"bytesSent\":0,\"requests\":0,\"downloadTime\":0,\"queryLengthServed\":0}}"
            ),
        );
    });
    write(
        out,
        format_args!(
            "}},\"index\":{{\"totalChunks\":{},\"postFilterChunks\":{},\"shardsDuration\":0,\
             \"usedBloomFilters\":false,\"totalStreams\":0,\"chunkRefsLookupTime\":0,\"bloomFilterTime\":0}}}}",
            stats.chunks_read, stats.chunks_read,
        ),
    );
}

fn write_summary(out: &mut Vec<u8>, stats: &Stats, times: QueryTimes) {
    let seconds = stats.execution_nanos as f64 / NANOS_PER_SECOND;
    let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
    write(
        out,
        format_args!(
            "{{\"bytesProcessedPerSecond\":{},\"linesProcessedPerSecond\":{},\"totalBytesProcessed\":{},\
             \"totalLinesProcessed\":{},\"execTime\":{},\"queueTime\":{},\"subqueries\":{},\
             \"totalEntriesReturned\":{},\"splits\":0,\"shards\":0,\"totalPostFilterLines\":{},\
             \"totalStructuredMetadataBytesProcessed\":{}}}",
            per_second(stats.processed_bytes()),
            per_second(stats.processed_entries()),
            stats.processed_bytes(),
            stats.processed_entries(),
            seconds,
            times.queue_nanos as f64 / NANOS_PER_SECOND,
            stats.selections,
            stats.returned,
            stats.post_filter_entries,
            stats.processed_metadata_bytes(),
        ),
    );
}

/// Writes one `store` object: of the querier about sealed chunks, of the ingester about entries in memory.
fn write_store(out: &mut Vec<u8>, stats: &Stats, chunks: u64, sealed: ReadStats, head: ReadStats) {
    write(
        out,
        format_args!(
            "{{\"totalChunksRef\":{chunks},\"totalChunksDownloaded\":{chunks},\"chunksDownloadTime\":0,\
             \"queryReferencedStructuredMetadata\":{},\"queryUsedV2Engine\":false,\"chunk\":{{\
             \"headChunkBytes\":{},\"headChunkLines\":{},\"decompressedBytes\":{},\"decompressedLines\":{},\
             \"compressedBytes\":0,\"totalDuplicates\":{},\"postFilterLines\":{},\
             \"headChunkStructuredMetadataBytes\":{},\"decompressedStructuredMetadataBytes\":{}}},",
            stats.metadata_used,
            head.line_bytes,
            head.entries,
            sealed.line_bytes,
            sealed.entries,
            stats.duplicates,
            stats.post_filter_entries,
            head.metadata_bytes,
            sealed.metadata_bytes,
        ),
    );
    out.extend_from_slice(
        b"\"chunkRefsFetchTime\":0,\"congestionControlLatency\":0,\"pipelineWrapperFilteredLines\":0,\"dataobj\":{\
          \"prePredicateDecompressedRows\":0,\"prePredicateDecompressedBytes\":0,\
          \"prePredicateDecompressedStructuredMetadataBytes\":0,\"postPredicateRows\":0,\
          \"postPredicateDecompressedBytes\":0,\"postPredicateStructuredMetadataBytes\":0,\"postFilterRows\":0,\
          \"pagesScanned\":0,\"pagesDownloaded\":0,\"pagesDownloadedBytes\":0,\"pageBatches\":0,\
          \"totalRowsAvailable\":0,\"totalPageDownloadTime\":0}}",
    );
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}
