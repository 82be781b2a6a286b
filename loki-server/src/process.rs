//! The text of `/metrics`: what the server, its store and its process count.

use loki_store::{Counter, Counters};

use crate::app::App;
use crate::metrics::Exposition;
use crate::version;

const NANOS_PER_SECOND: f64 = 1e9;
/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Everything there is to count.
pub(crate) fn metrics(app: &App) -> String {
    let mut out = Exposition::new(&app.config().metrics_namespace);
    build_info(&mut out);
    app.metrics().expose(&mut out);
    app.queries().expose(&mut out);
    log_lines(app, &mut out);
    store(app, &mut out);
    process(&mut out);
    out.finish()
}

fn build_info(out: &mut Exposition) {
    out.family("build_info", "gauge", "The release, as labels.");
    let labels = [("version", version::LOKI.to_owned()), ("revision", version::OWN.to_owned())];
    out.sample("build_info", &labels, 1.0);
}

fn log_lines(app: &App, out: &mut Exposition) {
    out.family("internal_log_messages_total", "counter", "Lines written to the log.");
    for (level, count) in app.log().counts() {
        out.sample("internal_log_messages_total", &[("level", level.to_owned())], count as f64);
    }
}

fn store(app: &App, out: &mut Exposition) {
    type Get = fn(&Counters) -> &Counter;
    let counters: [(&str, &str, Get); 13] = [
        ("store_entries_pushed_total", "Entries accepted.", |c| &c.entries_pushed),
        ("store_line_bytes_pushed_total", "Bytes of lines accepted.", |c| &c.line_bytes_pushed),
        ("store_segments_flushed_total", "Segments written.", |c| &c.segments_flushed),
        ("store_entries_flushed_total", "Entries in segments written.", |c| &c.entries_flushed),
        ("store_segment_bytes_flushed_total", "Bytes of segments written.", |c| &c.segment_bytes_flushed),
        ("store_flush_failures_total", "Flushes that failed.", |c| &c.flush_failures),
        ("store_chunks_skipped_total", "Chunks that queries could leave out.", |c| &c.chunks_skipped),
        ("store_chunks_corrupt_total", "Damaged chunks left out of answers.", |c| &c.chunks_corrupt),
        ("store_objects_quarantined_total", "Damaged objects kept aside.", |c| &c.objects_quarantined),
        ("store_wal_bytes_torn_total", "Bytes of the log that a crash had torn.", |c| &c.wal_bytes_torn),
        ("ingester_wal_corruptions_total", "Damaged records of the log.", |c| &c.wal_corruptions),
        ("ingester_wal_recovered_entries_total", "Entries replayed from the log.", |c| &c.wal_entries_replayed),
        ("store_wal_records_replayed_total", "Records replayed from the log.", |c| &c.wal_records_replayed),
    ];
    for (name, about, get) in counters {
        out.counter(name, about, get(app.store().counters()).value());
    }
    out.gauge("store_head_bytes", "Memory of entries awaiting flush.", app.store().head_bytes() as f64);
    out.gauge("store_segments", "Live segments.", app.store().segment_count() as f64);
    out.gauge("query_memory_bytes", "Memory that running queries use.", app.query_memory().used_bytes() as f64);
    let uptime = app.clock().monotonic_nanos() as f64 / NANOS_PER_SECOND;
    out.gauge("uptime_seconds", "Time since the clock of this process began.", uptime);
}

/// Numbers of the operating system, where it gives them.
fn process(out: &mut Exposition) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // The second field is the program's name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let cpu_seconds = (field(14) + field(15)) / TICKS_PER_SECOND;
    out.bare("process_cpu_seconds_total", "counter", "CPU time used.", cpu_seconds);
    out.bare("process_virtual_memory_bytes", "gauge", "Virtual memory.", field(23));
    out.bare("process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes().unwrap_or(0.0));
    out.bare("process_threads", "gauge", "Threads.", field(20));
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.bare("process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
    if let Some(started) = boot_seconds() {
        let start = started + field(22) / TICKS_PER_SECOND;
        out.bare("process_start_time_seconds", "gauge", "When the process started.", start);
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// When the machine started, in seconds since the epoch.
fn boot_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
