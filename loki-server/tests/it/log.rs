//! What is logged on the thread of a test, which serves connections too unless the test says otherwise.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The log since it was begun, a line an event: the level and the fields.
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Log {
    /// Begins to watch; it ends when this is dropped.
    pub(crate) fn begin() -> Self {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Watching(Arc::clone(&lines)));
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of a level.
    pub(crate) fn of_level(&self, level: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("nobody panics with it");
        lines.iter().filter(|line| line.starts_with(level)).cloned().collect()
    }
}

struct Watching(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Watching {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("nobody panics with it").push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {}={value}", field.name()).expect("writing to a string cannot fail");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("writing to a string cannot fail");
    }
}
