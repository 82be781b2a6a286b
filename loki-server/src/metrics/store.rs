//! What the store counts and holds, under Loki's names wherever they mean the same.

use std::sync::atomic::Ordering;

use loki_store::{Counter, Counters, FlushReason, FlushedChunks, StreamCounts};

use super::{Exposition, Metrics, objects};
use crate::app::App;

const NANOS_PER_SECOND: f64 = 1e9;

type StreamCounter = fn(&StreamCounts) -> &Counter;
type Get = fn(&Counters) -> &Counter;

/// Counters without labels.
const COUNTERS: [(&str, &str, Get); 35] = [
    ("store_entries_pushed_total", "Entries accepted.", |c| &c.entries_pushed),
    ("store_line_bytes_pushed_total", "Bytes of lines accepted.", |c| &c.line_bytes_pushed),
    ("store_segments_flushed_total", "Segments written by flushes.", |c| &c.segments_flushed),
    ("store_entries_flushed_total", "Entries in segments written by flushes.", |c| &c.entries_flushed),
    ("store_segment_bytes_flushed_total", "Bytes of segments written by flushes.", |c| &c.segment_bytes_flushed),
    ("store_flush_failures_total", "Flushes that failed.", |c| &c.flush_failures),
    ("store_merges_total", "Merges whose result was published.", |c| &c.merges),
    ("store_segments_merged_total", "Segments replaced by merging.", |c| &c.segments_merged),
    ("store_merge_bytes_read_total", "Bytes of segments replaced by merging.", |c| &c.merge_bytes_read),
    ("store_merge_bytes_written_total", "Bytes of segments written by merging.", |c| &c.merge_bytes_written),
    ("store_entries_merged_total", "Entries written by merging.", |c| &c.entries_merged),
    ("store_duplicates_removed_total", "Entries of which merging kept one.", |c| &c.duplicates_removed),
    ("store_entries_erased_total", "Entries erased by retention or by request.", |c| &c.entries_erased),
    ("store_merge_failures_total", "Merges that failed.", |c| &c.merge_failures),
    ("store_segments_expired_total", "Segments that were too old as a whole.", |c| &c.segments_expired),
    ("store_entries_expired_total", "Entries in them.", |c| &c.entries_expired),
    ("store_segments_evicted_total", "Segments dropped for lack of space.", |c| &c.segments_evicted),
    ("store_segment_bytes_evicted_total", "Bytes of them.", |c| &c.segment_bytes_evicted),
    ("store_entries_evicted_total", "Entries in them.", |c| &c.entries_evicted),
    ("store_manifests_published_total", "Manifests written.", |c| &c.manifests_published),
    ("store_objects_deleted_total", "Replaced objects deleted.", |c| &c.objects_deleted),
    ("store_orphans_deleted_total", "Objects deleted that nothing named.", |c| &c.orphans_deleted),
    ("store_chunks_skipped_total", "Chunks that queries could leave out.", |c| &c.chunks_skipped),
    ("store_chunks_corrupt_total", "Damaged chunks left out of answers.", |c| &c.chunks_corrupt),
    ("store_objects_quarantined_total", "Damaged objects kept aside.", |c| &c.objects_quarantined),
    ("store_segments_missing_total", "Segments that were gone when the store was opened.", |c| &c.segments_missing),
    ("store_wal_bytes_torn_total", "Bytes of the log that a crash had torn.", |c| &c.wal_bytes_torn),
    ("store_wal_records_replayed_total", "Records replayed from the log.", |c| &c.wal_records_replayed),
    ("ingester_wal_corruptions_total", "Damaged records of the log.", |c| &c.wal_corruptions),
    ("ingester_chunk_stored_bytes_total", "Bytes of chunks written by flushes.", |c| &c.chunks_flushed.bytes),
    ("ingester_wal_records_logged_total", "Records written to the log.", |c| &c.wal_records_logged),
    ("ingester_wal_recovered_bytes_total", "Bytes of lines replayed from the log.", |c| &c.wal_line_bytes_replayed),
    ("ingester_wal_recovered_streams_total", "Streams of what was replayed from the log.", |c| &c.wal_streams_replayed),
    ("ingester_wal_recovered_entries_total", "Entries replayed from the log.", |c| &c.wal_entries_replayed),
    ("compactor_delete_requests_processed_total", "Delete requests whose entries are gone.", |c| &c.deletes_processed),
];

impl Metrics {
    /// Writes what the store counts and holds.
    pub(crate) fn expose_store(&self, app: &App, out: &mut Exposition) {
        let store = app.store();
        for (name, about, get) in COUNTERS {
            out.counter(name, about, get(store.counters()).value());
        }
        expose_streams(app, out);
        expose_chunks(&store.counters().chunks_flushed, out);
        let about = "Heads that wait to become segments.";
        out.gauge("ingester_flush_queue_length", about, store.pending_flushes() as f64);
        out.gauge("ingester_wal_replay_active", "Whether the log is being replayed.", 0.0);
        let seconds = store.counters().wal_replay_nanos.value() as f64 / NANOS_PER_SECOND;
        out.gauge("ingester_wal_replay_duration_seconds", "Time that replaying the log took.", seconds);
        let cache = [("cache", "sections".to_owned())];
        out.family("embeddedcache_entries", "gauge", "Parts of segments kept in memory.");
        out.sample("embeddedcache_entries", &cache, store.cached_sections() as f64);
        out.family("embeddedcache_memory_bytes", "gauge", "What they take.");
        out.sample("embeddedcache_memory_bytes", &cache, store.cached_bytes() as f64);
        out.gauge("store_wal_bytes", "Bytes of the log.", store.log_bytes() as f64);
        out.gauge("store_head_bytes", "Memory of entries awaiting flush.", store.head_bytes() as f64);
        out.gauge("store_merge_bytes", "Memory that merging segments uses.", store.merge_bytes() as f64);
        let (process, queries) = (&app.memory().process, app.queries().memory());
        out.gauge("query_memory_bytes", "Memory that running queries use.", queries.used_bytes() as f64);
        out.gauge("memory_used_bytes", "Memory in use or set aside, where it is counted.", process.used_bytes() as f64);
        out.gauge("memory_limit_bytes", "The most that it may be.", process.limit_bytes() as f64);
        objects::expose(app, out);
        expose_disk_cache(app, out);
        expose_disk(app, out);
        expose_deletes(self, app, out);
        self.expose_maintenance(app, out);
    }

    fn expose_maintenance(&self, app: &App, out: &mut Exposition) {
        let rounds = &self.maintenance;
        let retention_enabled = app.config().compaction.retention_enabled;
        out.gauge("boltdb_shipper_compactor_running", "Whether merging happens here.", 1.0);
        let of_retention = retention_enabled.then_some("compactor_apply_retention_operation");
        for name in ["boltdb_shipper_compact_tables_operation"].into_iter().chain(of_retention) {
            let total = format!("{name}_total");
            out.family(&total, "counter", "Rounds of maintenance.");
            for (status, count) in [("success", &rounds.successes), ("failure", &rounds.failures)] {
                out.sample(&total, &[("status", status.to_owned())], count.load(Ordering::Relaxed) as f64);
            }
            let seconds = rounds.last_nanos.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND;
            out.gauge(&format!("{name}_duration_seconds"), "Time that the last round took.", seconds);
            let last = rounds.last_success.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND;
            let last_name = format!("{name}_last_successful_run_timestamp_seconds");
            out.gauge(&last_name, "When the last round that went well ended.", last);
        }
    }
}

fn expose_streams(app: &App, out: &mut Exposition) {
    out.family("ingester_memory_streams", "gauge", "Streams that were written to lately.");
    for (tenant, streams) in app.store().active_streams() {
        out.sample("ingester_memory_streams", &[("tenant", tenant.to_string())], streams as f64);
    }
    let counts = app.store().stream_counts();
    let families: [(&str, &str, StreamCounter); 2] = [
        ("ingester_streams_created_total", "Streams that began to be written to.", |counts| &counts.created),
        ("ingester_streams_removed_total", "Streams not written to any more for a while.", |counts| &counts.removed),
    ];
    for (name, about, get) in families {
        out.family(name, "counter", about);
        for (tenant, counts) in &counts {
            out.sample(name, &[("tenant", tenant.to_string())], get(counts).value() as f64);
        }
    }
}

fn expose_chunks(chunks: &FlushedChunks, out: &mut Exposition) {
    out.counter("ingester_chunks_stored_total", "Chunks in segments written by flushes.", chunks.count());
    out.family("ingester_chunks_flushed_total", "counter", "The same by why they were written.");
    for reason in FlushReason::ALL {
        let labels = [("reason", reason.as_str().to_owned())];
        out.sample("ingester_chunks_flushed_total", &labels, chunks.by_reason(reason).value() as f64);
    }
    let families = [
        ("ingester_chunk_age_seconds", "Age of their first entries when they were written.", &chunks.age_seconds),
        ("ingester_chunk_bounds_hours", "Time from their first to their last entry.", &chunks.span_hours),
        ("ingester_chunk_size_bytes", "Their sizes, compressed.", &chunks.size_bytes),
        ("ingester_chunk_entries", "Entries in them.", &chunks.entries),
        ("ingester_chunk_utilization", "How full they were, by bytes of lines.", &chunks.utilization),
        ("ingester_chunk_compression_ratio", "Bytes of lines by bytes written.", &chunks.compression_ratio),
        ("bytes_per_line", "Lengths of the lines in them.", &chunks.line_bytes),
    ];
    for (name, about, histogram) in families {
        out.family(name, "histogram", about);
        out.histogram(name, &[], histogram);
    }
}

fn expose_disk_cache(app: &App, out: &mut Exposition) {
    let Some(cache) = app.store().disk_cache() else {
        return;
    };
    out.gauge("store_disk_cache_blocks", "Blocks of segments in the disk cache.", cache.blocks as f64);
    out.gauge("store_disk_cache_bytes", "What they take on the disk.", cache.used_bytes as f64);
    let counters = cache.counters;
    let counted = [
        ("store_disk_cache_hits_total", "Blocks that were in the disk cache.", &counters.hits),
        ("store_disk_cache_hit_bytes_total", "Bytes of them.", &counters.bytes_hit),
        ("store_disk_cache_misses_total", "Blocks that had to be fetched.", &counters.misses),
        ("store_disk_cache_evictions_total", "Blocks removed to make room.", &counters.evictions),
        ("store_disk_cache_damaged_total", "Blocks that could not be read any more.", &counters.damaged),
        ("store_disk_cache_skipped_total", "Fetches not kept because the disk is slow.", &counters.skipped),
        ("store_disk_cache_write_failures_total", "Fetches that could not be kept.", &counters.write_failures),
    ];
    for (name, about, count) in counted {
        out.counter(name, about, count.value());
    }
}

fn expose_disk(app: &App, out: &mut Exposition) {
    // What cannot be known now is left out; the next scrape may find it.
    let Ok(status) = app.store().storage_status() else {
        return;
    };
    out.family("store_segments", "gauge", "Live segments by level: as flushed, merged, merged by day.");
    for level in &status.levels {
        out.sample("store_segments", &[("level", level.level.to_string())], level.segments as f64);
    }
    out.family("store_segment_bytes", "gauge", "Bytes of live segments.");
    for level in &status.levels {
        out.sample("store_segment_bytes", &[("level", level.level.to_string())], level.bytes as f64);
    }
    out.gauge("store_used_bytes", "Bytes of all segments and the log.", status.used_bytes as f64);
    out.gauge("store_replaced_bytes", "Bytes of segments that wait to be deleted.", status.replaced_bytes as f64);
    if let Some(free_bytes) = status.free_bytes {
        out.gauge("store_free_bytes", "Free bytes on the disk.", free_bytes as f64);
    }
}

fn expose_deletes(metrics: &Metrics, app: &App, out: &mut Exposition) {
    if !app.config().compaction.retention_enabled {
        return;
    }
    let received = metrics.delete_requests.load(Ordering::Relaxed);
    out.counter("compactor_delete_requests_received_total", "Requests to delete entries.", received);
    let waiting = app.store().waiting_deletes();
    let about = "Requests to delete entries that are not processed yet.";
    out.gauge("compactor_pending_delete_requests_count", about, waiting.len() as f64);
    let age_nanos = waiting.first().map_or(0, |oldest| app.now().0.saturating_sub(oldest.0));
    let about = "Age of the oldest of them.";
    let seconds = age_nanos as f64 / NANOS_PER_SECOND;
    out.gauge("compactor_oldest_pending_delete_request_age_seconds", about, seconds);
}
