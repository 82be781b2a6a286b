//! How far a tool has come, for people.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use loki_store::tools::{Progress, Stage};
use parking_lot::Mutex;

use super::SharedWriter;

/// Lines that are written while a part of the work of known size is done.
const LINES: u64 = 10;
/// Bytes between lines when nobody knows how much there is.
const LINE_BYTES: u64 = 256 << 20;
const KNOWN: &str = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const UNKNOWN: &str = "{spinner} {msg} {bytes} {bytes_per_sec}";

/// A bar on a terminal.
#[derive(Debug, Default)]
pub(super) struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for Bar {
    fn begin(&self, stage: Stage, total: Option<u64>) {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), KNOWN),
            None => (ProgressBar::no_length(), UNKNOWN),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        bar.set_message(stage.to_string());
        *self.bar.lock() = Some(bar);
    }

    fn advance(&self, amount: u64) {
        if let Some(bar) = &*self.bar.lock() {
            bar.inc(amount);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().take() {
            bar.finish_and_clear();
        }
    }
}

/// Plain lines.
pub(super) struct Lines {
    state: Mutex<State>,
}

struct State {
    out: SharedWriter,
    stage: Option<Stage>,
    total: Option<u64>,
    done: u64,
    lines: u64,
}

impl Lines {
    pub(super) fn new(out: SharedWriter) -> Self {
        Self { state: Mutex::new(State { out, stage: None, total: None, done: 0, lines: 0 }) }
    }
}

impl State {
    fn say(&mut self, text: &str) {
        if let Some(stage) = self.stage {
            // Progress that cannot be told is no reason to stop.
            let _ = writeln!(self.out.lock(), "{stage}: {text}");
        }
    }
}

impl Progress for Lines {
    fn begin(&self, stage: Stage, total: Option<u64>) {
        let mut state = self.state.lock();
        (state.stage, state.total, state.done, state.lines) = (Some(stage), total, 0, 0);
        if let Some(total) = total {
            state.say(&format!("{total} bytes"));
        }
    }

    fn advance(&self, amount: u64) {
        let mut state = self.state.lock();
        state.done = state.done.saturating_add(amount);
        let done = state.done;
        let lines = match state.total {
            Some(0) => 0,
            Some(total) => u64::try_from(u128::from(done) * u128::from(LINES) / u128::from(total)).unwrap_or(u64::MAX),
            None => done / LINE_BYTES,
        };
        if lines > state.lines {
            state.lines = lines;
            let text = match state.total {
                Some(_) => format!("{} %", lines.min(LINES) * 100 / LINES),
                None => format!("{done} bytes"),
            };
            state.say(&text);
        }
    }

    fn end(&self) {
        self.state.lock().stage = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_few() {
        let out = Shared::default();
        let lines = Lines::new(Arc::new(Mutex::new(Box::new(out.clone()))));
        lines.begin(Stage::Copying, Some(40));
        (0..40).for_each(|_| lines.advance(1));
        lines.end();
        lines.advance(1);
        let text = String::from_utf8(out.0.lock().clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 11);
        assert!(text.starts_with("copying: 40 bytes\ncopying: 10 %\n") && text.ends_with("copying: 100 %\n"), "{text}");
    }

    #[test]
    fn bars_take_what_they_are_told() {
        let bar = Bar::default();
        for total in [Some(10), None] {
            bar.begin(Stage::Checking, total);
            bar.advance(5);
            assert_eq!(bar.bar.lock().as_ref().map(ProgressBar::position), Some(5));
            bar.end();
            assert!(bar.bar.lock().is_none());
        }
    }
}
