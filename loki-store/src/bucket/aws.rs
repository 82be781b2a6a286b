//! S3.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};

use super::http::{self, RustlsConnector};
use super::storage_class::Classed;
use super::{Connection, S3Addressing, S3Bucket, S3Encryption};
use crate::error::Error;

pub(super) fn open(bucket: &S3Bucket, connection: &Connection) -> Result<Arc<dyn ObjectStore>, Error> {
    let objects = build(bucket, connection)?;
    Ok(match bucket.storage_class.as_str() {
        "" => Arc::new(objects),
        class => Arc::new(Classed::new(objects, class)),
    })
}

fn build(bucket: &S3Bucket, connection: &Connection) -> Result<AmazonS3, Error> {
    let builder = match &bucket.keys {
        // The environment must not mix into static credentials: its session token belongs to others.
        Some(keys) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(&keys.access_key_id)
                .with_secret_access_key(keys.secret_access_key.reveal());
            match &keys.session_token {
                Some(token) => builder.with_token(token.reveal()),
                None => builder,
            }
        }
        None => AmazonS3Builder::from_env(),
    };
    let builder = encrypted(addressed(builder, bucket), &bucket.encryption)
        .with_bucket_name(&bucket.name)
        .with_retry(http::retries(connection))
        .with_http_connector(RustlsConnector::new(connection)?);
    builder.build().map_err(|source| http::unusable(&bucket.name, source))
}

fn addressed(builder: AmazonS3Builder, bucket: &S3Bucket) -> AmazonS3Builder {
    let is_virtual = bucket.addressing == S3Addressing::VirtualHost;
    let mut builder = builder.with_virtual_hosted_style_request(is_virtual);
    if !bucket.region.is_empty() {
        builder = builder.with_region(&bucket.region);
    }
    if bucket.endpoint.is_empty() {
        return builder;
    }
    builder = builder.with_allow_http(bucket.endpoint.starts_with("http://"));
    match bucket.endpoint.split_once("://") {
        Some((scheme, host)) if is_virtual => builder.with_endpoint(format!("{scheme}://{}.{host}", bucket.name)),
        _ => builder.with_endpoint(&bucket.endpoint),
    }
}

fn encrypted(builder: AmazonS3Builder, encryption: &S3Encryption) -> AmazonS3Builder {
    match encryption {
        S3Encryption::BucketDefault => builder,
        S3Encryption::S3 => {
            let key = "aws_server_side_encryption".parse().expect("a key of the builder");
            builder.with_config(key, "AES256")
        }
        S3Encryption::Kms { key_id } => builder.with_sse_kms_encryption(key_id),
    }
}
