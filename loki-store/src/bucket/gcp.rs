//! Google Cloud Storage.

use object_store::ClientOptions;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};

use super::http::{self, RustlsConnector};
use super::{Connection, GcsBucket};
use crate::error::Error;

pub(super) fn open(bucket: &GcsBucket, connection: &Connection) -> Result<GoogleCloudStorage, Error> {
    let mut builder = match &bucket.service_account {
        Some(account) => GoogleCloudStorageBuilder::new().with_service_account_key(account.reveal()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if !bucket.endpoint.is_empty() {
        let allows_http = bucket.endpoint.starts_with("http://");
        builder = builder
            .with_base_url(bucket.endpoint.trim_end_matches('/'))
            .with_client_options(ClientOptions::new().with_allow_http(allows_http));
    }
    builder
        .with_bucket_name(&bucket.name)
        .with_retry(http::retries(connection))
        .with_http_connector(RustlsConnector::new(connection)?)
        .build()
        .map_err(|source| http::unusable(&bucket.name, source))
}
