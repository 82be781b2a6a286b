//! `/metrics` has what Loki's dashboards and alerts read.

use std::collections::BTreeMap;

use crate::support::{TestServer, escaped, one_line, request};

const HISTOGRAM: &str = "histogram";
const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// Names of Loki that mean the same here, with a label that samples must have if there is one to check.
const NAMES: [(&str, &str, &str); 65] = [
    ("request_duration_seconds", HISTOGRAM, "route=\"loki_api_v1_push\""),
    ("inflight_requests", GAUGE, "method=\"GET\",route=\"metrics\""),
    ("request_message_bytes", HISTOGRAM, "route=\"loki_api_v1_push\""),
    ("response_message_bytes", HISTOGRAM, "route=\"loki_api_v1_query_range\""),
    ("tcp_connections", GAUGE, ""),
    ("build_info", GAUGE, "version=\"3.7.6\""),
    ("panic_total", COUNTER, ""),
    ("internal_log_messages_total", COUNTER, "level=\"error\""),
    ("distributor_ingester_append_failures_total", COUNTER, ""),
    ("distributor_bytes_received_total", COUNTER, "tenant=\"fake\",retention_hours=\"48\""),
    ("distributor_structured_metadata_bytes_received_total", COUNTER, "is_internal_stream=\"false\""),
    ("distributor_lines_received_total", COUNTER, "is_internal_stream=\"false\",policy=\"\",format=\"loki\""),
    ("distributor_lag_ms_total", COUNTER, "tenant=\"fake\""),
    ("bytes_per_line", HISTOGRAM, "le=\"8\""),
    ("discarded_samples_total", COUNTER, "reason=\"line_too_long\",tenant=\"fake\",retention_hours=\"48\""),
    ("discarded_bytes_total", COUNTER, "reason=\"line_too_long\""),
    ("mutated_samples_total", COUNTER, "reason=\"line_too_long\",tenant=\"fake\""),
    ("mutated_bytes_total", COUNTER, "reason=\"line_too_long\",tenant=\"fake\""),
    ("ingester_memory_streams", GAUGE, "tenant=\"fake\""),
    ("ingester_streams_created_total", COUNTER, "tenant=\"fake\""),
    ("ingester_streams_removed_total", COUNTER, "tenant=\"fake\""),
    ("ingester_flush_queue_length", GAUGE, ""),
    ("ingester_wal_disk_full_failures_total", COUNTER, ""),
    ("ingester_wal_corruptions_total", COUNTER, ""),
    ("ingester_wal_replay_active", GAUGE, ""),
    ("ingester_wal_recovered_streams_total", COUNTER, ""),
    ("ingester_wal_recovered_entries_total", COUNTER, ""),
    ("ingester_wal_recovered_bytes_total", COUNTER, ""),
    ("ingester_wal_records_logged_total", COUNTER, ""),
    ("ingester_wal_replay_duration_seconds", GAUGE, ""),
    ("ingester_chunks_stored_total", COUNTER, ""),
    ("ingester_chunk_stored_bytes_total", COUNTER, ""),
    ("ingester_chunks_flushed_total", COUNTER, "reason=\"forced\""),
    ("ingester_chunk_age_seconds", HISTOGRAM, ""),
    ("ingester_chunk_size_bytes", HISTOGRAM, ""),
    ("ingester_chunk_utilization", HISTOGRAM, ""),
    ("ingester_chunk_entries", HISTOGRAM, ""),
    ("ingester_chunk_bounds_hours", HISTOGRAM, ""),
    ("ingester_chunk_compression_ratio", HISTOGRAM, ""),
    ("objstore_bucket_operations_total", COUNTER, "bucket=\"\",operation=\"upload\""),
    ("objstore_bucket_operation_failures_total", COUNTER, "operation=\"get_range\""),
    ("objstore_bucket_operation_duration_seconds", HISTOGRAM, "operation=\"upload\",le=\"0.1\""),
    ("embeddedcache_entries", GAUGE, "cache=\"sections\""),
    ("embeddedcache_memory_bytes", GAUGE, "cache=\"sections\""),
    ("index_request_duration_seconds", HISTOGRAM, "operation=\"label_names\",status_code=\"200\""),
    ("boltdb_shipper_compactor_running", GAUGE, ""),
    ("boltdb_shipper_compact_tables_operation_total", COUNTER, "status=\"success\""),
    ("boltdb_shipper_compact_tables_operation_duration_seconds", GAUGE, ""),
    ("boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds", GAUGE, ""),
    ("compactor_apply_retention_operation_total", COUNTER, "status=\"failure\""),
    ("compactor_apply_retention_operation_duration_seconds", GAUGE, ""),
    ("compactor_apply_retention_operation_last_successful_run_timestamp_seconds", GAUGE, ""),
    ("compactor_delete_requests_received_total", COUNTER, ""),
    ("compactor_delete_requests_processed_total", COUNTER, ""),
    ("compactor_pending_delete_requests_count", GAUGE, ""),
    ("compactor_oldest_pending_delete_request_age_seconds", GAUGE, ""),
    ("logql_querystats_latency_seconds", HISTOGRAM, "status_code=\"200\",query_type=\"limited\",range=\"range\""),
    ("logql_querystats_bytes_processed_per_seconds", HISTOGRAM, "type=\"limited\""),
    ("logql_querystats_downloaded_chunk_total", COUNTER, "status_code=\"200\""),
    ("logql_querystats_duplicates_total", COUNTER, ""),
    ("logql_querystats_ingester_sent_lines_total", COUNTER, ""),
    ("querier_tail_active", GAUGE, ""),
    ("querier_tail_bytes_total", COUNTER, ""),
    ("query_scheduler_queue_length", GAUGE, ""),
    ("runtime_config_last_reload_successful", GAUGE, ""),
];

/// A server with everything that counts something, after a request of each kind.
async fn busy() -> TestServer {
    let yaml = "auth_enabled: false\ncompactor: {retention_enabled: true}\n\
        limits_config: {max_line_size: 10B, retention_period: 48h}\n";
    let server = TestServer::configured(yaml).await;
    assert_eq!(server.push(one_line(&server, "a", "short")).await.status, 204);
    assert_eq!(server.push(one_line(&server, "a", "a line that is too long")).await.status, 400);
    let query = format!("query={}", escaped(r#"{app="a"}"#));
    for uri in [format!("/loki/api/v1/query_range?{query}"), "/loki/api/v1/labels".to_owned()] {
        assert_eq!(server.ask("GET", &uri).await.status, 200);
    }
    assert_eq!(server.ask("POST", &format!("/loki/api/v1/delete?{query}&start=1")).await.status, 204);
    assert_eq!(server.ask("POST", "/flush").await.status, 204);
    server
}

/// The samples of each family, which come behind its type.
fn families(text: &str) -> BTreeMap<&str, (&str, Vec<&str>)> {
    let mut families: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a name and a type");
            assert!(families.insert(name, (kind, Vec::new())).is_none(), "{name} stands there twice");
            current = name;
        } else if !line.starts_with('#') {
            assert!(line.starts_with(current), "{line} is not of {current}");
            families.get_mut(current).expect("samples follow their type").1.push(line);
        }
    }
    families
}

#[tokio::test]
async fn names_and_types_are_those_of_loki() {
    let server = busy().await;
    let text = server.ask("GET", "/metrics").await.text();
    let families = families(&text);
    for (name, kind, label) in NAMES {
        let name = format!("loki_{name}");
        let Some((found, samples)) = families.get(name.as_str()) else {
            panic!("{name} is missing in\n{text}");
        };
        assert_eq!(*found, kind, "{name}");
        assert!(samples.iter().any(|sample| sample.contains(label)), "{name} without {label}: {samples:?}");
    }
    for line in [
        "loki_compactor_pending_delete_requests_count 1",
        "loki_compactor_delete_requests_received_total 1",
        "loki_ingester_memory_streams{tenant=\"fake\"} 1",
        "loki_ingester_streams_created_total{tenant=\"fake\"} 1",
        "loki_inflight_requests{method=\"GET\",route=\"metrics\"} 1",
        "loki_inflight_requests{method=\"POST\",route=\"loki_api_v1_push\"} 0",
        "loki_ingester_chunks_flushed_total{reason=\"forced\"} 1",
        "loki_ingester_chunk_entries_sum 1",
        "loki_bytes_per_line_bucket{le=\"1\"} 0",
        "loki_bytes_per_line_bucket{le=\"8\"} 1",
        "loki_bytes_per_line_sum 5",
    ] {
        assert!(text.lines().any(|candidate| candidate == line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn scrapers_may_ask_for_open_metrics() {
    let server = busy().await;
    let accept = [("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")];
    let answer = server.send(request("GET", "/metrics", &accept, "")).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"));
    let families = families(text.trim_end_matches("# EOF\n"));
    for (name, (kind, samples)) in families {
        let is_named = match kind {
            COUNTER => {
                !name.ends_with("_total") && samples.iter().all(|sample| sample[name.len()..].starts_with("_total"))
            }
            _ => true,
        };
        assert!(is_named, "{name}: {samples:?}");
    }
}
