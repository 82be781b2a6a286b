//! What the process says about itself: one line an event on stderr, in logfmt or JSON.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loki_store::Clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::config::LogConfig;

/// The levels, most severe first, in Loki's words.
const LEVELS: [(Level, &str); 4] =
    [(Level::ERROR, "error"), (Level::WARN, "warn"), (Level::INFO, "info"), (Level::DEBUG, "debug")];

/// Hears of what happens in the process beside the log: [`crate::traces`].
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// The level of the log, which can change while it is written, and how much was written.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: Option<reload::Handle<LevelFilter, Registry>>,
    level: Arc<parking_lot::Mutex<&'static str>>,
    counts: Arc<[AtomicU64; LEVELS.len()]>,
}

impl LogControl {
    /// Control over nothing: for servers inside programs that log as they please.
    pub fn detached() -> Self {
        Self { filter: None, level: Arc::new(parking_lot::Mutex::new("info")), counts: Arc::default() }
    }

    /// The level's name.
    pub fn level(&self) -> &'static str {
        *self.level.lock()
    }

    /// Changes the level; false when there is no level of that name.
    pub fn set_level(&self, name: &str) -> bool {
        let Some((level, name)) = LEVELS.iter().find(|(_, candidate)| *candidate == name) else {
            return false;
        };
        *self.level.lock() = name;
        if let Some(filter) = &self.filter {
            // The filter is gone only when logging is, and then nothing is left to be filtered.
            let _ = filter.reload(LevelFilter::from_level(*level));
        }
        true
    }

    /// Lines written so far by level.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LEVELS.iter().zip(self.counts.iter()).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }
}

/// Makes this process log, and tells `listener`; the log's control is returned. A program can do this once.
pub fn init(config: &LogConfig, clock: Arc<dyn Clock>, listener: Option<Listener>) -> Result<LogControl, InitError> {
    let (subscriber, control) = subscriber(config, clock, listener);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError)?;
    Ok(control)
}

fn subscriber(
    config: &LogConfig,
    clock: Arc<dyn Clock>,
    listener: Option<Listener>,
) -> (impl Subscriber + Send + Sync + use<>, LogControl) {
    let level = LEVELS.iter().find(|(_, name)| *name == config.level).map_or(Level::INFO, |(level, _)| *level);
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let control = LogControl { filter: Some(handle), ..LogControl::detached() };
    control.set_level(&config.level);
    let lines = Lines { clock, is_json: config.format == "json", counts: Arc::clone(&control.counts) };
    // The log is about events alone. Saying so makes spans free when there is no listener.
    let events = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let mut layers = vec![lines.with_filter(filter.and(events)).boxed()];
    layers.extend(listener);
    (tracing_subscriber::registry().with(layers), control)
}

/// Something else in this process logs already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logging was set up before")]
pub struct InitError;

/// Writes events as lines.
struct Lines {
    clock: Arc<dyn Clock>,
    is_json: bool,
    counts: Arc<[AtomicU64; LEVELS.len()]>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = LEVELS.iter().position(|(level, _)| level == metadata.level()).unwrap_or(LEVELS.len() - 1);
        self.counts[level].fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = jiff::Timestamp::from_nanosecond(i128::from(self.clock.now().0)).unwrap_or_default();
        let line = render(self.is_json, &format!("{now:.6}"), LEVELS[level].1, metadata.target(), &fields);
        // There is nobody to tell that stderr is gone.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// The fields of an event as text.
#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"));
    }
}

impl Fields {
    fn push(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.pairs.push((field.name(), text));
        }
    }
}

fn render(is_json: bool, time: &str, level: &str, target: &str, fields: &Fields) -> String {
    let own = [("ts", time), ("level", level), ("caller", target), ("msg", fields.message.as_str())];
    let pairs = own.into_iter().chain(fields.pairs.iter().map(|(name, text)| (*name, text.as_str())));
    if is_json {
        let object: serde_json::Map<_, _> = pairs.map(|(name, text)| (name.to_owned(), text.into())).collect();
        return format!("{}\n", serde_json::Value::Object(object));
    }
    let mut line = String::with_capacity(128);
    for (i, (name, text)) in pairs.enumerate() {
        if i > 0 {
            line.push(' ');
        }
        write_logfmt(&mut line, name, text).expect("writing to a string cannot fail");
    }
    line.push('\n');
    line
}

fn write_logfmt(line: &mut String, name: &str, text: &str) -> fmt::Result {
    let is_plain =
        !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"=\\".contains(c));
    if is_plain { write!(line, "{name}={text}") } else { write!(line, "{name}={}", serde_json::Value::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            message: "hello \"you\"".to_owned(),
            pairs: vec![("tenant", "a".to_owned()), ("empty", String::new())],
        }
    }

    #[test]
    fn logfmt_quotes_what_would_be_misread() {
        assert_eq!(
            render(false, "2026-01-01T00:00:00Z", "warn", "loki_server", &fields()),
            "ts=2026-01-01T00:00:00Z level=warn caller=loki_server msg=\"hello \\\"you\\\"\" tenant=a empty=\"\"\n"
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        assert_eq!(
            render(true, "t", "info", "x", &fields()),
            "{\"ts\":\"t\",\"level\":\"info\",\"caller\":\"x\",\"msg\":\"hello \\\"you\\\"\",\"tenant\":\"a\",\"empty\":\"\"}\n"
        );
    }

    /// Keeps the names of spans.
    #[derive(Clone, Default)]
    struct Names(Arc<parking_lot::Mutex<Vec<&'static str>>>);

    impl Layer<Registry> for Names {
        fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, Registry>) {
            self.0.lock().push(attributes.metadata().name());
        }
    }

    #[test]
    fn spans_are_made_for_listeners_alone() {
        let clock: Arc<dyn Clock> = Arc::new(loki_store::SystemClock::new());
        let mut config = crate::Config::bare().log;
        config.level = "error".to_owned();
        let (alone, _) = subscriber(&config, Arc::clone(&clock), None);
        tracing::subscriber::with_default(alone, || {
            assert!(tracing::info_span!("unheard").is_disabled());
        });
        let names = Names::default();
        let (heard, control) = subscriber(&config, clock, Some(names.clone().boxed()));
        tracing::subscriber::with_default(heard, || {
            tracing::info_span!("heard").in_scope(|| tracing::info!("too low a level"));
            assert_eq!(control.counts().map(|(_, count)| count).sum::<u64>(), 0);
            assert!(control.set_level("info"));
            tracing::info!("high enough");
        });
        assert_eq!(*names.0.lock(), ["heard"]);
        assert_eq!(control.counts().collect::<Vec<_>>(), [("error", 0), ("warn", 0), ("info", 1), ("debug", 0)]);
    }

    #[test]
    fn levels_have_names() {
        let control = LogControl::detached();
        assert!(control.set_level("debug"));
        assert_eq!(control.level(), "debug");
        assert!(!control.set_level("loud"));
        assert_eq!(control.level(), "debug");
    }
}
