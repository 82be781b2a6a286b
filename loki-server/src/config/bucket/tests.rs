#[cfg(feature = "azure")]
use loki_store::bucket::AzureCredentials;
use loki_store::bucket::{S3Addressing, S3Bucket, S3Encryption};

use super::*;
use crate::config::storage::DataLocation;
use crate::config::{Config, ConfigError};

const SCHEMA: &str = "schema_config: {configs: [{from: 2024-01-01, store: tsdb, object_store: STORE, schema: v13}]}\n";

fn load(store: &str, text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml(&format!("{}{text}", SCHEMA.replace("STORE", store)))
}

fn located(store: &str, text: &str) -> BucketLocation {
    match load(store, text).unwrap_or_else(|error| panic!("{error}")).data.location {
        DataLocation::Bucket(location) => *location,
        other => panic!("{other:?}"),
    }
}

fn s3(text: &str) -> S3Bucket {
    match located("s3", text).bucket {
        Bucket::S3(bucket) => bucket,
        other => panic!("{other:?}"),
    }
}

fn problems(store: &str, text: &str) -> Vec<String> {
    match load(store, text) {
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn minio_as_in_the_examples() {
    let text = "
common:
  path_prefix: /loki
  storage:
    s3:
      endpoint: minio:9000
      insecure: true
      bucketnames: loki-data
      access_key_id: loki
      secret_access_key: supersecret
      s3forcepathstyle: true
";
    let location = located("s3", text);
    assert_eq!(location.wal_folder, std::path::Path::new("/loki/loki-store"));
    assert_eq!(location.prefix, "loki-store");
    let bucket = s3(text);
    assert_eq!(bucket.endpoint, "http://minio:9000");
    assert_eq!(bucket.name, "loki-data");
    assert_eq!(bucket.addressing, S3Addressing::Path);
    assert_eq!(bucket.keys.expect("static keys").secret_access_key.reveal(), "supersecret");
}

#[test]
fn the_disk_cache_is_beside_the_log_unless_it_is_named() {
    let cache = |text: &str| {
        load("s3", &format!("storage_config: {{aws: {{bucketnames: a}}}}\n{text}")).unwrap().data.disk_cache
    };
    assert_eq!(cache(""), None);
    let found = cache("common: {path_prefix: /loki}\nloki_store: {disk_cache_bytes: 10GB}\n").unwrap();
    assert_eq!((found.folder.as_path(), found.max_bytes), (std::path::Path::new("/loki/loki-store/cache"), 10 << 30));
    let found = cache("loki_store: {disk_cache_bytes: 1, disk_cache_folder: /nvme}\n").unwrap();
    assert_eq!((found.folder.as_path(), found.max_bytes), (std::path::Path::new("/nvme"), 1));
}

#[test]
fn the_specific_block_wins_over_the_common_one() {
    let text = "
storage_config: {aws: {bucketnames: specific, region: eu-west-1}, object_prefix: /a/b/}
common: {storage: {s3: {bucketnames: common}}}
";
    let bucket = s3(text);
    assert_eq!((bucket.name.as_str(), bucket.region.as_str()), ("specific", "eu-west-1"));
    assert_eq!(bucket.keys, None, "the environment says who asks");
    assert_eq!(located("aws", text).prefix, "a/b/loki-store");
}

#[test]
fn an_s3_url_says_everything() {
    let bucket = s3("storage_config: {aws: {s3: 's3://key:se%2Fcret@eu-west-1/logs'}}\n");
    assert_eq!((bucket.name.as_str(), bucket.region.as_str(), bucket.endpoint.as_str()), ("logs", "eu-west-1", ""));
    assert_eq!(bucket.keys.expect("static keys").secret_access_key.reveal(), "se/cret");
    let bucket = s3("storage_config: {aws: {s3: 's3://key:secret@s3.example.com/logs'}}\n");
    assert_eq!((bucket.endpoint.as_str(), bucket.addressing), ("https://s3.example.com", S3Addressing::VirtualHost));
    let found = problems("s3", "storage_config: {aws: {s3: 'http://key@host/logs', bucketnames: a}}\n");
    assert!(found[0].contains("must look like s3://key:secret@host/bucket"), "{found:?}");
}

#[test]
fn names_of_servers_tell_region_and_addressing() {
    let of = |endpoint: &str| s3(&format!("storage_config: {{aws: {{bucketnames: a, endpoint: '{endpoint}'}}}}\n"));
    let amazon = of("s3.eu-central-1.amazonaws.com");
    assert_eq!((amazon.region.as_str(), amazon.addressing), ("eu-central-1", S3Addressing::VirtualHost));
    assert_eq!(of("http://127.0.0.1:9000").addressing, S3Addressing::Path);
    assert_eq!(of("http://[::1]:9000").addressing, S3Addressing::Path);
    assert_eq!(of("storage.example.com").endpoint, "https://storage.example.com");
}

#[test]
fn encryption_retries_and_certificates_are_taken_over() {
    let text = "
storage_config:
  aws:
    bucketnames: a
    sse: {type: SSE-KMS, kms_key_id: key}
    backoff_config: {min_period: 10ms, max_period: 1s, max_retries: 2}
    http_config: {ca_file: /ca.pem, insecure_skip_verify: true}
";
    assert_eq!(s3(text).encryption, S3Encryption::Kms { key_id: "key".into() });
    let connection = located("s3", text).connection;
    assert_eq!((connection.first_pause.as_millis(), connection.max_pause.as_secs()), (10, 1));
    assert_eq!((connection.max_retries, connection.trusts_any_certificate), (2, true));
    assert_eq!(connection.ca_file, Some("/ca.pem".into()));
    assert!(load("s3", text).expect("valid").idle.is_empty());
}

#[test]
fn the_storage_class_is_that_of_new_objects() {
    let of = |class: &str| {
        s3(&format!("storage_config: {{aws: {{bucketnames: a, storage_class: {class}}}}}\n")).storage_class
    };
    assert_eq!((of("STANDARD"), of("STANDARD_IA")), (String::new(), "STANDARD_IA".to_owned()));
    let unknown = problems("s3", "storage_config: {aws: {bucketnames: a, storage_class: standard_ia}}\n");
    assert!(unknown[0].contains("\"standard_ia\" is none of STANDARD, "), "{unknown:?}");
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let text = "
storage_config:
  aws:
    bucketnames: a,b
    access_key_id: key
    storage_class: GLACIER
    sse: {type: SSE-C}
";
    assert_eq!(
        problems("s3", text),
        [
            "line 5: storage_config.aws.bucketnames: several buckets are not supported, name one",
            "line 6: storage_config.aws.access_key_id: needs secret_access_key, and the other way round",
            "line 8: storage_config.aws.sse.type: \"SSE-C\" is neither SSE-S3 nor SSE-KMS",
            "line 7: storage_config.aws.storage_class: objects of class GLACIER cannot be read at once",
        ]
    );
    assert_eq!(problems("s3", ""), ["line 1: common.storage.s3.bucketnames: must be set"]);
}

#[test]
fn the_newer_dialect_is_an_alternative() {
    let text = "
storage_config:
  use_thanos_objstore: true
  object_store:
    storage_prefix: team
    s3: {bucket_name: logs, endpoint: minio:9000, insecure: true, max_retries: 3}
";
    let location = located("s3", text);
    assert_eq!((location.prefix.as_str(), location.connection.max_retries), ("team/loki-store", 3));
    assert_eq!(s3(text).addressing, S3Addressing::Path);
    let amazon = "storage_config: {use_thanos_objstore: true, object_store: {s3: {bucket_name: logs}}}\n";
    assert_eq!(s3(amazon).addressing, S3Addressing::VirtualHost);
}

#[cfg(feature = "gcp")]
#[test]
fn buckets_of_google_are_found() {
    let location = located("gcs", "common: {storage: {gcs: {bucket_name: logs, service_account: '{}'}}}\n");
    let Bucket::Gcs(bucket) = location.bucket else { panic!("{location:?}") };
    assert_eq!((bucket.name.as_str(), bucket.service_account), ("logs", Some(Secret::new("{}"))));
    let text = "storage_config: {use_thanos_objstore: true, object_store: {gcs: {bucket_name: logs}}}\n";
    assert_eq!(located("gcs", text).bucket.to_string(), "gs://logs");
}

#[cfg(feature = "azure")]
#[test]
fn containers_of_azure_are_found() {
    let azure = |keys: &str| match located("azure", &format!("storage_config: {{azure: {{{keys}}}}}\n")).bucket {
        Bucket::Azure(container) => container,
        other => panic!("{other:?}"),
    };
    let container = azure("account_name: me, account_key: a2V5, endpoint_suffix: blob.core.chinacloudapi.cn");
    assert_eq!((container.name.as_str(), container.account.as_str()), ("loki", "me"));
    assert_eq!(container.endpoint, "https://me.blob.core.chinacloudapi.cn");
    assert_eq!(container.credentials, AzureCredentials::AccountKey(Secret::new("a2V5")));
    let text = "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=a2V5==;EndpointSuffix=core.windows.net";
    let container = azure(&format!("connection_string: '{text}'"));
    assert_eq!(container.endpoint, "https://me.blob.core.windows.net");
    assert_eq!(container.credentials, AzureCredentials::AccountKey(Secret::new("a2V5==")));
    let container = azure("account_name: me, use_managed_identity: true");
    assert_eq!(container.credentials, AzureCredentials::ManagedIdentity { client_id: None });
    let found = problems("azure", "storage_config: {azure: {account_name: me, use_service_principal: true}}\n");
    assert_eq!(found, ["line 2: storage_config.azure.client_id: must be set"]);
}

#[cfg(not(feature = "azure"))]
#[test]
fn a_kind_that_was_not_built_in_is_refused() {
    let found = problems("azure", "storage_config: {azure: {account_name: me}}\n");
    assert_eq!(
        found,
        ["line 2: storage_config.azure: this build has no support for azure, which the cargo feature azure adds"]
    );
}

#[test]
fn what_a_bucket_holds_is_kept_for_its_readers() {
    let with_delay = |delay: &str| {
        let text =
            format!("storage_config: {{aws: {{bucketnames: a}}}}\ncompactor: {{retention_delete_delay: {delay}}}\n");
        let config = load("s3", &text).expect("valid");
        (config.compaction.delete_delay.as_secs(), config.warnings)
    };
    let raised = "compactor.retention_delete_delay is raised to 3600s, the least for a bucket";
    assert_eq!(with_delay("10m"), (3600, vec![raised.to_owned()]));
    assert_eq!(with_delay("1h"), (3600, vec![]));
    let of_folder = Config::from_yaml("compactor: {retention_delete_delay: 10m}\n").expect("valid");
    assert_eq!((of_folder.compaction.delete_delay.as_secs(), of_folder.warnings.len()), (600, 0));
}
