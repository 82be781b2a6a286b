//! What goes on in the background: the store's maintenance, and looking at files that may change.

use std::time::Duration;

use loki_store::Maintained;

use crate::app::{App, Phase};
use crate::error::chain;
use crate::serve::outages::Outages;
use crate::serve::watched::Watched;

/// Time between two rounds of maintenance.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a file must stay as it is before it is read again.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// Works until the server closes.
pub(super) async fn run(app: App, watched: Vec<Watched>) {
    let mut phase = app.watch_phase();
    let closing = async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
    };
    let maintenance = maintain(&app);
    let reloading = reload(&app, watched);
    tokio::pin!(closing, maintenance, reloading);
    tokio::select! {
        () = &mut closing => {}
        () = &mut maintenance => {}
        () = &mut reloading => {}
    }
}

async fn maintain(app: &App) {
    let mut outages = Outages::default();
    loop {
        tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        let started = app.clock().monotonic_nanos();
        let outcome = app.store().maintain().await;
        let ended = app.clock().monotonic_nanos();
        app.metrics().maintenance.record(outcome.is_ok(), ended.saturating_sub(started), app.now());
        match outcome {
            Err(error) => {
                if let Some(failures) = outages.failed(ended) {
                    tracing::error!(error = chain(&error), failures, "maintenance of the store fails");
                }
            }
            Ok(done) => {
                if done != Maintained::default() {
                    app.queries().relieve().await;
                }
                if let Some(outage) = outages.succeeded() {
                    let (failures, seconds) = (outage.failures, outage.seconds(ended));
                    tracing::info!(failures, seconds, "maintenance of the store works again");
                }
            }
        }
    }
}

/// Reads files again when they changed; wrong ones change nothing but are reported once.
async fn reload(app: &App, mut watched: Vec<Watched>) {
    let period = app.config().runtime.period;
    if watched.is_empty() || period.is_zero() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(period).await;
        for files in &mut watched {
            if !files.have_changed() {
                continue;
            }
            // A file that is being written in place must not be read half.
            loop {
                tokio::time::sleep(SETTLE_TIME).await;
                if !files.have_changed() {
                    break;
                }
            }
            files.reload(app);
        }
    }
}
