//! TLS for the listener, with certificates of clients checked where that is configured.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, crypto};

use crate::config::{ClientAuth, Pem, TlsConfig};

/// Protocols offered to clients, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why the listener cannot use TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Text is not PEM, or holds nothing of the kind.
    #[error("no usable {what}")]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// The authorities for client certificates cannot be used.
    #[error("the authorities for client certificates cannot be used")]
    ClientCa(#[from] VerifierBuilderError),
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("the certificate or its key cannot be used")]
    Rustls(#[from] rustls::Error),
}

/// What accepts connections. New ones are made with what was read last.
#[derive(Clone)]
pub(crate) struct SharedAcceptor {
    config: Arc<TlsConfig>,
    acceptor: Arc<ArcSwap<TlsAcceptor>>,
}

impl SharedAcceptor {
    /// Reads certificates and keys.
    pub(crate) fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let acceptor = Arc::new(ArcSwap::from_pointee(read(&config)?));
        Ok(Self { config: Arc::new(config), acceptor })
    }

    /// Reads certificates and keys again. When they are wrong, those that were read before stay in place.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        self.acceptor.store(Arc::new(read(&self.config)?));
        Ok(())
    }

    /// What accepts the next connection.
    pub(crate) fn current(&self) -> Arc<TlsAcceptor> {
        self.acceptor.load_full()
    }
}

impl fmt::Debug for SharedAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedAcceptor").finish_non_exhaustive()
    }
}

fn read(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let versions: &[_] = if config.tls13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = match config.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        mode => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&config.client_ca, "certificate of an authority")? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if mode == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(&text(&config.key)?)
        .map_err(|source| TlsError::Pem { what: "private key", source })?;
    let mut server = builder.with_single_cert(certificates(&config.certificate, "certificate")?, key)?;
    server.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(pem: &Pem, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |source| TlsError::Pem { what, source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(pem)?).collect();
    let certificates = certificates.map_err(error)?;
    if certificates.is_empty() { Err(error(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}

fn text(pem: &Pem) -> Result<Vec<u8>, TlsError> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
    match pem {
        Pem::Absent => Ok(Vec::new()),
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => read(path),
    }
}

/// The common name of a certificate's subject; `None` when there is none or it is no text.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    /// 2.5.4.3
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    if tag == VERSION {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer and validity come before the subject.
    for _ in 0..4 {
        (_, _, fields) = element(fields)?;
    }
    let (tag, mut names, _) = element(fields)?;
    if tag != SEQUENCE {
        return None;
    }
    while let Some((_, set, rest)) = element(names) {
        let (_, pair, _) = element(set)?;
        let (_, kind, value) = element(pair)?;
        if kind == COMMON_NAME {
            let (_, text, _) = element(value)?;
            return String::from_utf8(text.to_vec()).ok();
        }
        names = rest;
    }
    None
}

/// The first DER element: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}
