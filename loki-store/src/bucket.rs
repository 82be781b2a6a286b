//! Buckets of S3, Google Cloud Storage and Azure, and whatever speaks like them.
//!
//! A [`Bucket`] says which bucket it is and who asks, a [`Connection`] how requests are made. [`Bucket::open`] gives an
//! object store for [`crate::StoreConfig::objects`]:
//!
//! ```no_run
//! # async fn open() -> Result<(), loki_store::Error> {
//! use loki_store::bucket::{Bucket, Connection, S3Bucket};
//! use loki_store::{Store, StoreConfig};
//!
//! // Credentials come from the environment, a web identity or the machine's role.
//! let bucket = Bucket::S3(S3Bucket { region: "eu-central-1".into(), ..S3Bucket::named("logs") });
//! let objects = bucket.open(&Connection::default())?;
//! let store = Store::open(StoreConfig::objects(objects, "production", "./wal")).await?;
//! # Ok(()) }
//! ```
//!
//! Each kind needs its cargo feature: `aws`, `gcp` or `azure`. Without it, opening such a bucket is an error.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(feature = "cloud")]
mod http;
#[cfg(feature = "aws")]
mod storage_class;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use crate::error::Error;

/// Default of [`Connection::first_pause`].
pub const DEFAULT_FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Default of [`Connection::max_pause`].
pub const DEFAULT_MAX_PAUSE: Duration = Duration::from_secs(3);
/// Default of [`Connection::max_retries`].
pub const DEFAULT_MAX_RETRIES: usize = 5;
/// Default of [`Connection::retry_deadline`].
pub const DEFAULT_RETRY_DEADLINE: Duration = Duration::from_mins(1);
/// Default of [`Connection::request_timeout`]: a segment of the usual size passes at 5 Mbit/s.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

#[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure")))]
const UNSUPPORTED: Error =
    Error::Config { setting: "bucket", problem: "is of a kind that this build does not support" };

/// A bucket, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bucket {
    /// S3, or a server that speaks its protocol.
    S3(S3Bucket),
    /// Google Cloud Storage.
    Gcs(GcsBucket),
    /// Azure Blob Storage.
    Azure(AzureContainer),
}

/// A bucket of S3, or of a server that speaks its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Bucket {
    /// The bucket's name.
    pub name: String,
    /// The region; empty means what the environment says, else `us-east-1`.
    pub region: String,
    /// The server, such as `http://minio:9000`; empty means Amazon's of the region.
    pub endpoint: String,
    /// How requests name the bucket.
    pub addressing: S3Addressing,
    /// Whose requests they are; `None` means what the environment, a web identity or the machine's role say.
    pub keys: Option<S3Keys>,
    /// How objects are encrypted where they lie.
    pub encryption: S3Encryption,
    /// The storage class of new objects, such as `STANDARD_IA`; empty means the bucket's default. One from which objects
    /// must be restored before they can be read is of no use.
    pub storage_class: String,
}

/// How requests to S3 name the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum S3Addressing {
    /// `https://endpoint/bucket/object`, which every server understands.
    #[default]
    Path,
    /// `https://bucket.endpoint/object`.
    VirtualHost,
}

/// Static credentials for S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Keys {
    /// The public part.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: Secret,
    /// Comes with temporary credentials.
    pub session_token: Option<Secret>,
}

/// How S3 encrypts objects where they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum S3Encryption {
    /// As the bucket is set up.
    #[default]
    BucketDefault,
    /// With keys of S3's own.
    S3,
    /// With a key of the key management service.
    Kms {
        /// The key's id or resource name.
        key_id: String,
    },
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsBucket {
    /// The bucket's name.
    pub name: String,
    /// The server; empty means Google's.
    pub endpoint: String,
    /// A service account's key file as JSON; `None` means application default credentials or the machine's account.
    pub service_account: Option<Secret>,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureContainer {
    /// The storage account.
    pub account: String,
    /// The container's name.
    pub name: String,
    /// The server, such as `https://account.blob.core.windows.net`; empty means Azure's.
    pub endpoint: String,
    /// Whose requests they are.
    pub credentials: AzureCredentials,
}

/// Credentials for Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AzureCredentials {
    /// What the environment says, else the machine's identity.
    Environment,
    /// The storage account's key.
    AccountKey(Secret),
    /// The machine's identity; of several, the one with this client id.
    ManagedIdentity {
        /// `None` where the machine has one.
        client_id: Option<String>,
    },
    /// An application's.
    ServicePrincipal {
        /// The application.
        client_id: String,
        /// Its password.
        client_secret: Secret,
        /// Its directory.
        tenant_id: String,
    },
}

/// How requests to a bucket are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The pause before the first retry. Later ones are random, up to twice the one before.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
    /// How often a request that may succeed later is repeated.
    pub max_retries: usize,
    /// How long after the first attempt there are no more retries.
    pub retry_deadline: Duration,
    /// How long one attempt may take, from connecting to the last byte of the answer.
    pub request_timeout: Duration,
    /// A PEM file of certificate authorities to trust besides the machine's.
    pub ca_file: Option<PathBuf>,
    /// Whether to trust any certificate. Anybody on the way can then read and change everything.
    pub trusts_any_certificate: bool,
}

/// A text that does not appear in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Bucket {
    /// The name of the bucket or container.
    pub fn name(&self) -> &str {
        match self {
            Self::S3(bucket) => &bucket.name,
            Self::Gcs(bucket) => &bucket.name,
            Self::Azure(container) => &container.name,
        }
    }

    /// Prepares an object store; makes no request yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the cargo feature is missing, [`Error::Io`] if the file of certificate authorities cannot
    /// be read, [`Error::Object`] for settings or credentials that cannot work.
    #[cfg_attr(not(feature = "cloud"), expect(unused_variables, reason = "no kind of bucket can be opened"))]
    pub fn open(&self, connection: &Connection) -> Result<Arc<dyn ObjectStore>, Error> {
        match self {
            #[cfg(feature = "aws")]
            Self::S3(bucket) => aws::open(bucket, connection),
            #[cfg(feature = "gcp")]
            Self::Gcs(bucket) => Ok(Arc::new(gcp::open(bucket, connection)?)),
            #[cfg(feature = "azure")]
            Self::Azure(container) => Ok(Arc::new(azure::open(container, connection)?)),
            #[cfg(not(feature = "aws"))]
            Self::S3(_) => Err(UNSUPPORTED),
            #[cfg(not(feature = "gcp"))]
            Self::Gcs(_) => Err(UNSUPPORTED),
            #[cfg(not(feature = "azure"))]
            Self::Azure(_) => Err(UNSUPPORTED),
        }
    }

    /// Whether this build can open buckets of this kind.
    pub fn is_supported(&self) -> bool {
        match self {
            Self::S3(_) => cfg!(feature = "aws"),
            Self::Gcs(_) => cfg!(feature = "gcp"),
            Self::Azure(_) => cfg!(feature = "azure"),
        }
    }
}

impl fmt::Display for Bucket {
    /// An address without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(bucket) => write!(f, "s3://{}", bucket.name),
            Self::Gcs(bucket) => write!(f, "gs://{}", bucket.name),
            Self::Azure(container) => write!(f, "az://{}/{}", container.account, container.name),
        }
    }
}

impl S3Bucket {
    /// A bucket of Amazon's, with the environment's region and credentials.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            region: String::new(),
            endpoint: String::new(),
            addressing: S3Addressing::Path,
            keys: None,
            encryption: S3Encryption::BucketDefault,
            storage_class: String::new(),
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            first_pause: DEFAULT_FIRST_PAUSE,
            max_pause: DEFAULT_MAX_PAUSE,
            max_retries: DEFAULT_MAX_RETRIES,
            retry_deadline: DEFAULT_RETRY_DEADLINE,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            ca_file: None,
            trusts_any_certificate: false,
        }
    }
}

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let keys = S3Keys {
            access_key_id: "me".into(),
            secret_access_key: Secret::new("hush"),
            session_token: Some(Secret::new("hush")),
        };
        let bucket = Bucket::S3(S3Bucket { keys: Some(keys), ..S3Bucket::named("logs") });
        assert!(!format!("{bucket:?}").contains("hush"), "{bucket:?}");
        assert_eq!(bucket.to_string(), "s3://logs");
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_bucket_without_its_feature_is_refused() {
        let bucket = Bucket::S3(S3Bucket::named("logs"));
        assert!(!bucket.is_supported());
        let refused = bucket.open(&Connection::default());
        assert!(matches!(refused, Err(Error::Config { setting: "bucket", .. })), "{refused:?}");
    }

    #[cfg(all(feature = "aws", feature = "gcp", feature = "azure"))]
    mod opened {
        use super::*;

        fn s3() -> Bucket {
            let keys =
                S3Keys { access_key_id: "id".into(), secret_access_key: Secret::new("secret"), session_token: None };
            Bucket::S3(S3Bucket { keys: Some(keys), ..S3Bucket::named("logs") })
        }

        fn azure(credentials: AzureCredentials) -> Bucket {
            Bucket::Azure(AzureContainer {
                account: "account".into(),
                name: "container".into(),
                endpoint: "https://account.blob.core.example".into(),
                credentials,
            })
        }

        #[test]
        fn every_kind_opens_without_a_request() {
            let key = Secret::new("a2V5");
            let gcs = Bucket::Gcs(GcsBucket {
                name: "logs".into(),
                endpoint: String::new(),
                service_account: Some(Secret::new(
                    r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#,
                )),
            });
            let principal = AzureCredentials::ServicePrincipal {
                client_id: "app".into(),
                client_secret: key.clone(),
                tenant_id: "directory".into(),
            };
            let buckets = [
                s3(),
                gcs,
                azure(AzureCredentials::AccountKey(key)),
                azure(AzureCredentials::ManagedIdentity { client_id: Some("id".into()) }),
                azure(principal),
            ];
            for bucket in buckets {
                assert!(bucket.is_supported());
                bucket.open(&Connection::default()).unwrap();
            }
        }

        #[test]
        fn what_cannot_work_is_refused_with_its_reason() {
            let bucket = azure(AzureCredentials::AccountKey(Secret::new("not base64!")));
            let refused = bucket.open(&Connection::default());
            assert!(matches!(refused, Err(Error::Object { action: "set up", .. })), "{refused:?}");

            let missing = Connection { ca_file: Some("/nowhere/ca.pem".into()), ..Connection::default() };
            let refused = s3().open(&missing);
            assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
        }
    }
}
