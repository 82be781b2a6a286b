//! The HTTP client under all buckets: rustls with ring, so that building needs no more than a C compiler.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::Connection;
use crate::error::Error;

/// How long connecting may take: two lost packets are made up for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How much longer a pause may be than the one before.
const PAUSE_GROWTH: f64 = 2.0;
/// Named in requests, so that a bucket's access log tells who asked.
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Makes HTTP clients for `object_store`.
///
/// The client that `object_store` makes by itself takes its cryptography from a process-wide setting, which a library
/// must neither need nor change.
#[derive(Debug)]
pub(super) struct RustlsConnector {
    tls: ClientConfig,
    request_timeout: Duration,
}

impl RustlsConnector {
    pub(super) fn new(connection: &Connection) -> Result<Self, Error> {
        let extra_roots = connection.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let tls = client_config(extra_roots, connection.trusts_any_certificate);
        Ok(Self { tls, request_timeout: connection.request_timeout })
    }
}

impl HttpConnector for RustlsConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(!allows_http)
            // Several connections carry large objects faster than one that they share.
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.request_timeout)
            .user_agent(USER_AGENT)
            // A program around us may have turned these on; sizes of objects would be wrong.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build();
        client.map(HttpClient::new).map_err(|source| unsuitable(source.into()))
    }
}

/// What is retried: answers that ask for it, and requests that did not get through.
pub(super) fn retries(connection: &Connection) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: connection.first_pause,
            max_backoff: connection.max_pause,
            base: PAUSE_GROWTH,
        },
        max_retries: connection.max_retries,
        retry_timeout: connection.retry_deadline,
    }
}

/// The error of a bucket that cannot be used as it is set up.
pub(super) fn unusable(bucket: &str, source: object_store::Error) -> Error {
    Error::Object { action: "set up", object: bucket.to_owned(), source }
}

fn unsuitable(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP client", source }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let invalid = |source| Error::Io { action: "read", path: path.to_owned(), source: std::io::Error::other(source) };
    let certificates = read().map_err(invalid)?;
    if certificates.is_empty() {
        return Err(invalid(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn client_config(extra_roots: Vec<CertificateDer<'static>>, trusts_any: bool) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3");
    if trusts_any {
        let verifier = Arc::new(AnyCertificate { provider });
        return builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    }
    match Verifier::new_with_extra_roots(extra_roots, provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        // A bucket without TLS works all the same, one with it will say that its issuer is unknown.
        Err(error) => {
            tracing::warn!(%error, "no certificate authority is known, so that no TLS connection can be trusted");
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    }
}

/// Trusts whoever answers, as an operator asked for.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
