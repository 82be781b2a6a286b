//! S3 as Loki's keys describe it.

use std::net::IpAddr;

use http::Uri;
use loki_store::bucket::{Connection, S3Addressing, S3Bucket, S3Encryption, S3Keys, Secret};
use percent_encoding::percent_decode_str;

use super::Block;
use crate::config::check::Problem;

/// What ends the names of Amazon's servers.
const AMAZON: &str = ".amazonaws.com";

/// The class that objects have unless they are given another.
const STANDARD_CLASS: &str = "STANDARD";
/// Other classes whose objects can be read like those of the usual one.
const STORAGE_CLASSES: [&str; 8] = [
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
];
/// Classes whose objects must be restored before they can be read.
const ARCHIVE_CLASSES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// What the two dialects have in common.
#[derive(Default)]
struct Parts {
    bucket: String,
    /// With or without a scheme; empty means Amazon's.
    endpoint: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<Secret>,
}

pub(super) fn read(block: Block<'_>, connection: &mut Connection, problems: &mut Vec<Problem>) -> Option<S3Bucket> {
    let found = problems.len();
    read_connection(block, connection);
    let bucket_key = if block.is_thanos { "bucket_name" } else { "bucketnames" };
    let mut parts = Parts {
        bucket: block.text(bucket_key),
        endpoint: block.text("endpoint"),
        region: block.text("region"),
        access_key_id: block.text("access_key_id"),
        secret_access_key: block.text("secret_access_key"),
        session_token: block.secret("session_token"),
    };
    let url = if block.is_thanos { String::new() } else { block.text("s3") };
    if !url.is_empty() && read_url(&url, &mut parts).is_none() {
        problems.push(block.wrong("s3", "must look like s3://key:secret@host/bucket, with the secret percent-encoded"));
    }
    if parts.bucket.is_empty() {
        problems.push(block.wrong(bucket_key, "must be set"));
    } else if parts.bucket.contains(',') {
        problems.push(block.wrong(bucket_key, "several buckets are not supported, name one"));
    }
    if parts.access_key_id.is_empty() != parts.secret_access_key.is_empty() {
        problems.push(block.wrong("access_key_id", "needs secret_access_key, and the other way round"));
    }
    let encryption = read_encryption(block, problems);
    let storage_class = read_storage_class(block, problems);
    let endpoint = with_scheme(&parts.endpoint, block.bool("insecure"));
    let addressing = read_addressing(block, &parts.endpoint, problems);
    if parts.region.is_empty() {
        region_of(host(&parts.endpoint)).unwrap_or_default().clone_into(&mut parts.region);
    }
    let keys = (!parts.access_key_id.is_empty()).then(|| S3Keys {
        access_key_id: parts.access_key_id,
        secret_access_key: Secret::new(parts.secret_access_key),
        session_token: parts.session_token,
    });
    let bucket = S3Bucket {
        name: parts.bucket,
        region: parts.region,
        endpoint,
        addressing,
        keys,
        encryption: encryption?,
        storage_class,
    };
    (problems.len() == found).then_some(bucket)
}

fn read_connection(block: Block<'_>, connection: &mut Connection) {
    if block.is_thanos {
        connection.max_retries = block.settings.count(&block.path_of("max_retries"));
        return;
    }
    connection.first_pause = block.settings.duration(&block.path_of("backoff_config.min_period"));
    connection.max_pause = block.settings.duration(&block.path_of("backoff_config.max_period"));
    connection.max_retries = block.settings.count(&block.path_of("backoff_config.max_retries"));
    connection.trusts_any_certificate = block.bool("http_config.insecure_skip_verify");
    let ca_file = block.text("http_config.ca_file");
    connection.ca_file = (!ca_file.is_empty()).then(|| ca_file.into());
}

/// `s3://key:secret@host/bucket`, where a host without a dot is a region of Amazon's. What the URL says wins.
fn read_url(url: &str, parts: &mut Parts) -> Option<()> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.as_str();
    if uri.scheme_str() != Some("s3") {
        return None;
    }
    let (credentials, host) = match authority.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, authority),
    };
    if let Some(credentials) = credentials {
        let (key, secret) = credentials.split_once(':')?;
        let decoded = |text| percent_decode_str(text).decode_utf8().ok();
        parts.access_key_id = decoded(key)?.into_owned();
        parts.secret_access_key = decoded(secret)?.into_owned();
    }
    if host.contains(['.', ':']) {
        host.clone_into(&mut parts.endpoint);
    } else {
        host.clone_into(&mut parts.region);
    }
    let bucket = uri.path().trim_matches('/');
    if !bucket.is_empty() {
        bucket.clone_into(&mut parts.bucket);
    }
    Some(())
}

fn read_encryption(block: Block<'_>, problems: &mut Vec<Problem>) -> Option<S3Encryption> {
    let key_id = block.text("sse.kms_key_id");
    match block.text("sse.type").as_str() {
        "" => Some(S3Encryption::BucketDefault),
        "SSE-S3" => Some(S3Encryption::S3),
        "SSE-KMS" if key_id.is_empty() => {
            problems.push(block.wrong("sse.kms_key_id", "must be set for SSE-KMS"));
            None
        }
        "SSE-KMS" => Some(S3Encryption::Kms { key_id }),
        other => {
            problems.push(block.wrong("sse.type", format!("{other:?} is neither SSE-S3 nor SSE-KMS")));
            None
        }
    }
}

/// The class of new objects; nothing for the usual one, which servers that speak like S3 may not know by name.
fn read_storage_class(block: Block<'_>, problems: &mut Vec<Problem>) -> String {
    let class = block.text("storage_class");
    if ARCHIVE_CLASSES.contains(&class.as_str()) {
        problems.push(block.wrong("storage_class", format!("objects of class {class} cannot be read at once")));
    } else if class != STANDARD_CLASS && !class.is_empty() && !STORAGE_CLASSES.contains(&class.as_str()) {
        let reason = format!("{class:?} is none of {STANDARD_CLASS}, {}", STORAGE_CLASSES.join(", "));
        problems.push(block.wrong("storage_class", reason));
    }
    if class == STANDARD_CLASS { String::new() } else { class }
}

/// Names of buckets go into the path where they were asked to, and where they cannot be part of a name of a server.
fn read_addressing(block: Block<'_>, endpoint: &str, problems: &mut Vec<Problem>) -> S3Addressing {
    let host = host(endpoint);
    let is_amazon = host.is_empty() || host.ends_with(AMAZON);
    let uses_path = if block.is_thanos {
        match block.text("bucket_lookup_type").as_str() {
            "auto" => !is_amazon,
            "path" => true,
            "virtual-hosted" => false,
            other => {
                let reason = format!("{other:?} is none of auto, path and virtual-hosted");
                problems.push(block.wrong("bucket_lookup_type", reason));
                true
            }
        }
    } else {
        block.bool("s3forcepathstyle") || host == "localhost" || host.parse::<IpAddr>().is_ok()
    };
    if uses_path { S3Addressing::Path } else { S3Addressing::VirtualHost }
}

fn with_scheme(endpoint: &str, insecure: bool) -> String {
    if endpoint.is_empty() || endpoint.contains("://") {
        return endpoint.to_owned();
    }
    let scheme = if insecure { "http" } else { "https" };
    format!("{scheme}://{endpoint}")
}

/// The server's name in an endpoint, without scheme and port.
fn host(endpoint: &str) -> &str {
    let address = endpoint.split_once("://").map_or(endpoint, |(_, address)| address);
    let address = address.split('/').next().unwrap_or(address);
    if let Some(bracketed) = address.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    address.split(':').next().unwrap_or(address)
}

/// The region in a name of one of Amazon's servers: `s3.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let name = host.strip_suffix(AMAZON)?;
    name.strip_prefix("s3.dualstack.").or_else(|| name.strip_prefix("s3.")).filter(|region| !region.is_empty())
}
