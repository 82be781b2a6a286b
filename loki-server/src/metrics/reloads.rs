//! How reading changed files goes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Exposition;

/// Files that are read again when they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadedFiles {
    /// The runtime files, with limits of tenants.
    Limits,
    /// Users and tokens.
    Auth,
    /// Certificates and keys.
    Certificates,
}

impl ReloadedFiles {
    const ALL: [Self; 3] = [Self::Limits, Self::Auth, Self::Certificates];

    /// What stands in the log and in labels.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Auth => "auth",
            Self::Certificates => "certificates",
        }
    }
}

/// How reading changed files goes, by [`ReloadedFiles`].
#[derive(Debug, Default)]
pub(crate) struct ReloadMetrics {
    failures: [AtomicU64; ReloadedFiles::ALL.len()],
    last_failed: [AtomicBool; ReloadedFiles::ALL.len()],
}

impl ReloadMetrics {
    /// Counts that files were read again, and whether they were right.
    pub(crate) fn record(&self, files: ReloadedFiles, is_right: bool) {
        self.last_failed[files as usize].store(!is_right, Ordering::Relaxed);
        if !is_right {
            self.failures[files as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes all of it.
    pub(super) fn expose(&self, out: &mut Exposition) {
        let is_right = !self.last_failed[ReloadedFiles::Limits as usize].load(Ordering::Relaxed);
        let about = "Whether the runtime files were right when they were last read.";
        out.gauge("runtime_config_last_reload_successful", about, f64::from(u8::from(is_right)));
        out.family("store_reload_failures_total", "counter", "Times that changed files were wrong.");
        for files in ReloadedFiles::ALL {
            let failures = self.failures[files as usize].load(Ordering::Relaxed);
            out.sample("store_reload_failures_total", &[("files", files.name().to_owned())], failures as f64);
        }
    }
}
