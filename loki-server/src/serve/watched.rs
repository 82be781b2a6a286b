//! Files that are read again when they change.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::app::App;
use crate::config::{Pem, TlsConfig};
use crate::error::chain;
use crate::metrics::ReloadedFiles;
use crate::serve::StartError;
use crate::tls::{SharedAcceptor, TlsError};

/// Files that belong together, and how they were when they were last looked at.
#[derive(Debug)]
pub(super) struct Watched {
    what: What,
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

/// What is made of the files.
#[derive(Debug)]
enum What {
    Limits,
    Auth,
    Tls(SharedAcceptor),
}

/// What tells one state of a file from another: time and size, links followed.
type Stamp = (SystemTime, u64);

impl Watched {
    /// The runtime files. To be called before they are read, so that no change after that goes unnoticed.
    pub(super) fn limits(files: &[PathBuf]) -> Self {
        Self::new(What::Limits, files.to_vec())
    }

    /// The files of users and tokens; to be called before they are read, too.
    pub(super) fn auth(users: Option<&PathBuf>, tokens: Option<&PathBuf>) -> Self {
        Self::new(What::Auth, users.into_iter().chain(tokens).cloned().collect())
    }

    /// The files of certificates and keys, and what is read from them after the first look.
    pub(super) fn tls(config: TlsConfig) -> Result<(Self, SharedAcceptor), TlsError> {
        let files = [&config.certificate, &config.key, &config.client_ca].into_iter().filter_map(|pem| match pem {
            Pem::File(path) => Some(path.clone()),
            Pem::Absent | Pem::Inline(_) => None,
        });
        let files: Vec<PathBuf> = files.collect();
        let seen = stamps(&files);
        let acceptor = SharedAcceptor::new(config)?;
        Ok((Self { what: What::Tls(acceptor.clone()), files, seen }, acceptor))
    }

    fn new(what: What, files: Vec<PathBuf>) -> Self {
        let seen = stamps(&files);
        Self { what, files, seen }
    }

    /// Whether there are any files.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether the files changed since this was last asked.
    pub(super) fn have_changed(&mut self) -> bool {
        let current = stamps(&self.files);
        let have_changed = current != self.seen;
        self.seen = current;
        have_changed
    }

    /// Reads the files and puts what they say in place, unless they are wrong.
    pub(super) fn reload(&self, app: &App) {
        let (files, outcome) = match &self.what {
            What::Limits => (ReloadedFiles::Limits, app.reload_limits().map_err(StartError::from)),
            What::Auth => (ReloadedFiles::Auth, app.reload_auth().map_err(StartError::from)),
            What::Tls(acceptor) => (ReloadedFiles::Certificates, acceptor.reload().map_err(StartError::from)),
        };
        app.metrics().reloads.record(files, outcome.is_ok());
        let what = files.name();
        match outcome {
            Ok(()) => tracing::info!(what, "files were reloaded"),
            Err(error) => tracing::error!(what, error = chain(&error), "files are wrong, what they said before holds"),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
