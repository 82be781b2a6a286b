//! Work in the background: the store's maintenance, and looking at the runtime files.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::app::{App, Phase};
use crate::config::LimitsTable;
use crate::error::chain;

/// Time between two rounds of maintenance.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a runtime file must stay as it is before it is read again.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// States of files.
pub(super) type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Works until the server closes. The runtime files were read once when they had the stamps `seen`.
pub(super) async fn run(app: App, seen: Stamps) {
    let mut phase = app.watch_phase();
    let closing = async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
    };
    let maintenance = maintain(&app);
    let reloading = reload(&app, seen);
    tokio::pin!(closing, maintenance, reloading);
    tokio::select! {
        () = &mut closing => {}
        () = &mut maintenance => {}
        () = &mut reloading => {}
    }
}

async fn maintain(app: &App) {
    loop {
        tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        if let Err(error) = app.store().maintain().await {
            tracing::error!(error = chain(&error), "maintenance of the store failed");
        }
    }
}

/// Replaces the limits when a runtime file changed; a wrong file changes nothing but is reported once.
async fn reload(app: &App, mut seen: Stamps) {
    let runtime = &app.config().runtime;
    if runtime.files.is_empty() || runtime.period.is_zero() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(runtime.period).await;
        let mut current = stamps(&runtime.files);
        if current == seen {
            continue;
        }
        // A file that is being written in place must not be read half.
        loop {
            seen = current;
            tokio::time::sleep(SETTLE_TIME).await;
            current = stamps(&runtime.files);
            if current == seen {
                break;
            }
        }
        match LimitsTable::load(&app.config().limits, &runtime.files) {
            Ok(table) => {
                app.limits().replace(table);
                app.metrics().reloads.last_failed.store(0, Ordering::Relaxed);
                tracing::info!("limits of tenants were reloaded");
            }
            Err(error) => {
                app.metrics().reloads.failures.fetch_add(1, Ordering::Relaxed);
                app.metrics().reloads.last_failed.store(1, Ordering::Relaxed);
                tracing::error!(error = chain(&error), "runtime files are wrong, limits of tenants stay as they were");
            }
        }
    }
}

/// What tells one state of the files from another: time and size, links followed.
pub(super) fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
