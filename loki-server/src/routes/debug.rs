//! `/debug/pprof`: what the process does with its time and memory, as text for people. Served only where the
//! configuration asks for it.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use tokio::runtime::Handle;

use crate::app::App;
use crate::process;
use crate::routes::status::plain;
use crate::routes::{Routes, only_get};

const INFALLIBLE: &str = "writing to a string cannot fail";

/// The route of this module, where it is switched on.
pub(crate) fn routes(app: &App) -> Routes {
    let routes = Routes::new();
    if !app.config().http.debug {
        return routes;
    }
    routes.route("/debug/pprof", only_get(overview)).route("/debug/pprof/", only_get(overview))
}

async fn overview(State(app): State<App>) -> Response {
    let mut text = String::with_capacity(4096);
    memory(&app, &mut text);
    runtime(&mut text);
    threads(&mut text);
    plain(text)
}

fn memory(app: &App, text: &mut String) {
    writeln!(text, "memory").expect(INFALLIBLE);
    let own = [
        ("entries awaiting flush", app.store().head_bytes()),
        ("merging segments", app.store().merge_bytes()),
        ("running queries", app.queries().memory().used_bytes()),
    ];
    for (what, bytes) in own {
        writeln!(text, "  {what:<28}{bytes:>16} bytes").expect(INFALLIBLE);
    }
    for (what, kibibytes) in process::memory() {
        writeln!(text, "  {what:<28}{:>16} bytes", kibibytes * 1024).expect(INFALLIBLE);
    }
}

fn runtime(text: &mut String) {
    let metrics = Handle::current().metrics();
    writeln!(text, "runtime").expect(INFALLIBLE);
    let counts = [
        ("worker threads", metrics.num_workers()),
        ("tasks", metrics.num_alive_tasks()),
        ("tasks that wait for a worker", metrics.global_queue_depth()),
    ];
    for (what, count) in counts {
        writeln!(text, "  {what:<28}{count:>16}").expect(INFALLIBLE);
    }
}

/// Threads by the CPU time that they used, the busiest first. Two looks show who is busy now.
fn threads(text: &mut String) {
    let mut threads = process::threads();
    threads.sort_by(|a, b| b.cpu_seconds.total_cmp(&a.cpu_seconds));
    writeln!(text, "threads                        cpu seconds  state").expect(INFALLIBLE);
    for thread in threads {
        writeln!(text, "  {:<28}{:>12.2}  {}", thread.name, thread.cpu_seconds, thread.state).expect(INFALLIBLE);
    }
}
