use super::*;

fn problems(text: &str) -> Vec<String> {
    match Config::from_yaml(text) {
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

fn with_flags(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let flags: Vec<_> = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::build("flags", Node::empty(), &flags, true)
}

#[test]
fn a_bare_start_is_useful() {
    let config = Config::bare();
    assert_eq!(config.http.port, 3100);
    assert!(!config.auth_enabled);
    assert!(config.patterns.enabled);
    assert_eq!(config.data.location, DataLocation::Folder("loki-data".into()));
    assert!(config.idle.is_empty());
}

#[test]
fn a_file_brings_lokis_defaults() {
    let config = Config::from_yaml("server: {http_listen_port: 1}\n").expect("valid");
    assert!(config.auth_enabled);
    assert!(!config.patterns.enabled);
}

#[test]
fn flags_win_over_the_file() {
    let tree = yaml::parse("server: {http_listen_port: 1, log_level: warn}\n").expect("valid");
    let flags = [("server.http-listen-port".to_owned(), "2".to_owned())];
    let config = Config::build("file", tree, &flags, false).expect("valid");
    assert_eq!(config.http.port, 2);
    assert_eq!(config.log.level, "warn");
}

#[test]
fn list_flags_collect() {
    let config = with_flags(&[("validation.discover-service-name", "a,b"), ("validation.discover-service-name", "c")]);
    assert_eq!(config.expect("valid").limits.limits.discover_service_name, ["a", "b", "c"]);
}

#[test]
fn a_wrong_flag_value_names_the_flag() {
    let error = with_flags(&[("server.http-listen-port", "http")]).expect_err("not a number");
    assert_eq!(
        error.to_string(),
        "CONFIGURATION INVALID: 1 error in flags\n  \
         flag -server.http-listen-port: server.http_listen_port must be a whole number"
    );
}

#[test]
fn values_out_of_range_are_all_listed() {
    let found = problems(
        "server: {http_listen_port: 70000, log_level: loud, http_tls_config: {cert_file: c}}\nlimits_config: {retention_period: 1h}\n",
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn lokis_container_file_starts_unchanged() {
    let text = "
auth_enabled: false
server:
  http_listen_port: 3100
common:
  instance_addr: 127.0.0.1
  path_prefix: /loki
  storage:
    filesystem:
      chunks_directory: /loki/chunks
      rules_directory: /loki/rules
  replication_factor: 1
  ring:
    kvstore:
      store: inmemory
schema_config:
  configs:
    - from: 2020-10-24
      store: tsdb
      object_store: filesystem
      schema: v13
      index:
        prefix: index_
        period: 24h
ruler:
  alertmanager_url: http://localhost:9093
";
    let config = Config::from_yaml(text).expect("valid");
    assert_eq!(config.idle, ["ruler.alertmanager_url"]);
    assert_eq!(config.data.location, DataLocation::Folder("/loki/loki-store".into()));
}

#[test]
fn the_helm_charts_single_binary_file_starts_unchanged() {
    let text = "
auth_enabled: true
bloom_build: {builder: {planner_address: ''}, enabled: false}
bloom_gateway: {client: {addresses: ''}, enabled: false}
chunk_store_config:
  chunk_cache_config:
    background: {writeback_buffer: 500000, writeback_goroutines: 1, writeback_size_limit: 500MB}
    memcached: {batch_size: 4, parallelism: 5}
    memcached_client: {addresses: dnssrvnoa+_memcached-client._tcp.loki-chunks-cache.default.svc, consistent_hash: true, max_idle_conns: 72, timeout: 2000ms}
common:
  compactor_grpc_address: 'loki.default.svc.cluster.local:9095'
  path_prefix: /var/loki
  replication_factor: 1
  storage: {filesystem: {chunks_directory: /var/loki/chunks, rules_directory: /var/loki/rules}}
frontend: {scheduler_address: '', tail_proxy_url: ''}
frontend_worker: {scheduler_address: ''}
index_gateway: {mode: simple}
limits_config:
  max_cache_freshness_per_query: 10m
  query_timeout: 300s
  reject_old_samples: true
  reject_old_samples_max_age: 168h
  split_queries_by_interval: 15m
  volume_enabled: true
memberlist: {join_members: [loki-memberlist.default.svc.cluster.local]}
pattern_ingester: {enabled: false}
query_range:
  align_queries_with_step: true
  cache_results: true
  results_cache:
    cache: {memcached_client: {addresses: x, consistent_hash: true, timeout: 500ms, update_interval: 60s}}
ruler:
  storage: {type: local, local: {directory: /rules}}
  wal: {dir: /var/loki/ruler-wal}
ruler_storage: {backend: filesystem, filesystem: {dir: /var/loki/rules}}
runtime_config: {file: /etc/loki/runtime-config/runtime-config.yaml}
schema_config:
  configs: [{from: '2024-04-01', index: {period: 24h, prefix: index_}, object_store: filesystem, schema: v13, store: tsdb}]
server: {grpc_listen_port: 9095, http_listen_port: 3100, http_server_read_timeout: 600s, http_server_write_timeout: 600s}
storage_config:
  bloom_shipper: {working_directory: /var/loki/data/bloomshipper}
  boltdb_shipper: {index_gateway_client: {server_address: ''}}
  hedging: {at: 250ms, max_per_second: 20, up_to: 3}
  tsdb_shipper: {index_gateway_client: {server_address: ''}}
  use_thanos_objstore: false
  object_store: {filesystem: {dir: /var/loki/chunks}}
tracing: {enabled: false}
analytics: {reporting_enabled: true}
";
    let config = Config::from_yaml(text).expect("valid");
    assert!(config.query.align_with_step);
    assert!(config.limits.limits.reject_old_samples);
    assert_eq!(config.limits.limits.query_timeout, Duration::from_mins(5));
    assert!(config.idle.contains(&"memberlist".to_owned()), "{:?}", config.idle);
}

#[test]
fn a_retention_that_is_not_active_is_pointed_out() {
    let warned = Config::from_yaml("limits_config: {retention_period: 48h}\n").expect("valid").warnings;
    assert_eq!(warned.len(), 1);
    let text = "limits_config: {retention_period: 48h}\ncompactor: {retention_enabled: true}\n";
    assert!(Config::from_yaml(text).expect("valid").warnings.is_empty());
}

#[test]
fn only_a_file_that_was_named_must_exist() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (absent, present) = (folder.path().join("absent.yaml"), folder.path().join("present.yaml"));
    std::fs::write(&present, "auth_enabled: false\n").expect("written");
    let mut sources = Sources { files: vec![absent.clone(), present], ..Sources::default() };
    assert!(!Config::load(&sources).expect("the second file exists").auth_enabled);
    sources.files = vec![absent];
    assert!(matches!(Config::load(&sources), Err(ConfigError::NoFile { .. })));
}

#[test]
fn path_prefixes_have_one_slash_in_front() {
    for prefix in ["base", "/base", "/base/"] {
        let text = format!("server: {{http_path_prefix: {prefix}}}\n");
        assert_eq!(Config::from_yaml(&text).expect("valid").http.path_prefix, "/base", "{prefix}");
    }
}
