//! The text of `/metrics`: what the server, its store and its process count.

use loki_store::TenantId;

use crate::app::App;
use crate::metrics::{Exposition, TextFormat};
use crate::version;

const NANOS_PER_SECOND: f64 = 1e9;
const SECONDS_PER_HOUR: u64 = 3600;
/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Everything there is to count.
pub(crate) fn metrics(app: &App, format: TextFormat) -> String {
    let mut out = Exposition::new(&app.config().metrics_namespace, format);
    build_info(&mut out);
    let retention_hours = |tenant: &TenantId| app.store().limits(tenant).retention_period.as_secs() / SECONDS_PER_HOUR;
    app.metrics().expose(&mut out, &retention_hours);
    app.queries().expose(&mut out);
    log_lines(app, &mut out);
    app.metrics().expose_store(app, &mut out);
    uptime(app, &mut out);
    process(&mut out);
    out.finish()
}

fn build_info(out: &mut Exposition) {
    out.family("build_info", "gauge", "The release, as labels.");
    let labels = [("version", version::LOKI.to_owned()), ("revision", version::OWN.to_owned())];
    out.sample("build_info", &labels, 1.0);
}

fn log_lines(app: &App, out: &mut Exposition) {
    out.family("internal_log_messages_total", "counter", "Lines written to the log.");
    for (level, count) in app.log().counts() {
        out.sample("internal_log_messages_total", &[("level", level.to_owned())], count as f64);
    }
}

fn uptime(app: &App, out: &mut Exposition) {
    let uptime = app.clock().monotonic_nanos() as f64 / NANOS_PER_SECOND;
    out.gauge("uptime_seconds", "Time since the clock of this process began.", uptime);
}

/// Numbers of the operating system, where it gives them.
fn process(out: &mut Exposition) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // The second field is the program's name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let cpu_seconds = (field(14) + field(15)) / TICKS_PER_SECOND;
    out.bare("process_cpu_seconds_total", "counter", "CPU time used.", cpu_seconds);
    out.bare("process_virtual_memory_bytes", "gauge", "Virtual memory.", field(23));
    out.bare("process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes().unwrap_or_default() as f64);
    out.bare("process_threads", "gauge", "Threads.", field(20));
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.bare("process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
    if let Some(started) = boot_seconds() {
        let start = started + field(22) / TICKS_PER_SECOND;
        out.bare("process_start_time_seconds", "gauge", "When the process started.", start);
    }
}

/// A thread of this process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thread {
    /// Its name, cut by the system.
    pub(crate) name: String,
    /// CPU time that it used.
    pub(crate) cpu_seconds: f64,
    /// One letter of the system: R for running, S for sleeping, D for waiting for a disk.
    pub(crate) state: char,
}

/// The threads of this process, where the system tells them.
pub(crate) fn threads() -> Vec<Thread> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    // A thread may end while it is looked at.
    tasks.filter_map(|task| thread(&std::fs::read_to_string(task.path().join("stat")).ok()?)).collect()
}

/// A thread by its line in `/proc`.
fn thread(stat: &str) -> Option<Thread> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Thread {
        name: name.to_owned(),
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        state: fields.first()?.chars().next()?,
    })
}

/// Memory of this process by kind, in KiB, where the system tells it.
pub(crate) fn memory() -> Vec<(&'static str, u64)> {
    const KINDS: [(&str, &str); 5] = [
        ("VmRSS:", "resident"),
        ("VmHWM:", "resident at most"),
        ("RssAnon:", "resident, allocated"),
        ("RssFile:", "resident, of files"),
        ("VmSwap:", "swapped out"),
    ];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    KINDS.into_iter().filter_map(|(key, what)| Some((what, kibibytes(&status, key)?))).collect()
}

/// The memory of this process that is not swapped out, where the system tells it.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:")?.checked_mul(1024)
}

/// The number behind a key in a file of `/proc` that gives sizes in KiB.
pub(crate) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// When the machine started, in seconds since the epoch.
fn boot_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads_may_hold_anything() {
        let stat = "42 (a) (b) R 1 1 1 0 -1 4194304 10 0 0 0 150 50 0 0 20 0 8 0 100 1000 200";
        let found = thread(stat).expect("a line");
        assert_eq!(found, Thread { name: "a) (b".to_owned(), cpu_seconds: 2.0, state: 'R' });
        assert_eq!(thread("42 (cut"), None);
        assert_eq!(thread("42 (cut) R 1"), None);
    }
}
