//! Pushes what `tests/tracing_loki.py` expects: `push-with-tracing-loki URL RUN events|too-long`.

use std::error::Error;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Longer than the server's default limit of 256 KB on lines.
const TOO_LONG_BYTES: usize = 300_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, run, what] = words.as_slice() else { return Err("usage: URL RUN events|too-long".into()) };
    let (layer, controller, task) = tracing_loki::builder()
        .label("client", "tracing-loki")?
        .label("run", run)?
        .label("odd", "a \"quoted\" \\ back\nslash")?
        .extra_field("pid", "7")?
        .build_controller_url(url.parse()?)?;
    tracing_subscriber::registry().with(layer).init();
    let background = tokio::spawn(task);
    match what.as_str() {
        "events" => events(),
        _ => tracing::error!(text = "x".repeat(TOO_LONG_BYTES), "too long"),
    }
    controller.shutdown().await;
    background.await?;
    Ok(())
}

fn events() {
    let span = tracing::info_span!("request", user = "ünï", attempt = 3);
    let _entered = span.enter();
    for number in 0..100 {
        tracing::info!(number, "numbered");
    }
    tracing::trace!("as trace");
    tracing::debug!("as debug");
    tracing::warn!(ratio = 0.5, good = true, "as warn \"quoted\" \n newline");
    tracing::error!("as error");
}
