//! `| json a="path", b`: extracts a few values by their paths.
//!
//! The text is scanned as a flat run of quotes and brackets, as Loki's scanner does it, so that a broken text gives
//! what was found up to there, often without an error.

use super::path::Step;
use super::{JsonFault, JsonType, JsonValue, label_value, read_value, set_fault};
use crate::pipeline::labels::Span;
use crate::pipeline::names::NameId;
use crate::pipeline::scan::{block_end, next_token, string_end};
use crate::pipeline::sink::{Sink, Value};

use super::unescape;

/// A label and the path of its value.
#[derive(Clone, Debug)]
pub(crate) struct PathExtraction {
    pub(crate) label: NameId,
    pub(crate) steps: Vec<Step>,
}

/// How far the search for one path got.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many leading steps the keys that are open now match.
    matched: usize,
    found: bool,
}

/// Reused between lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathScratch {
    progress: Vec<Progress>,
    key: Vec<u8>,
}

/// Sets the label of every path: to its value, or to nothing when the line has no such value.
pub(crate) fn parse(paths: &[PathExtraction], sink: &mut Sink<'_, '_>, scratch: &mut PathScratch) {
    let line = sink.source.line;
    match line.first() {
        None => return,
        Some(b'{' | b'[' | b'"') => {}
        Some(_) => return set_fault(sink, None),
    }
    scratch.progress.clear();
    scratch.progress.resize(paths.len(), Progress::default());
    let max_steps = paths.iter().map(|path| path.steps.len()).max().unwrap_or(0);
    let mut search = Search { line, paths, sink, scratch, max_steps, missing: paths.len() };
    // Where the text ends early nothing more can be found.
    let _ = search.run();
    for path in paths {
        let name = path.label;
        if !sink.labels.collides(name) && sink.labels.is_unset(name) {
            sink.labels.set_parsed(name, Span::EMPTY);
        }
    }
}

struct Search<'k, 'w, 'l> {
    line: &'l [u8],
    paths: &'k [PathExtraction],
    sink: &'k mut Sink<'w, 'l>,
    scratch: &'k mut PathScratch,
    max_steps: usize,
    missing: usize,
}

impl Search<'_, '_, '_> {
    /// Runs over the line; none when it ends inside something, or when all is found.
    fn run(&mut self) -> Option<()> {
        let line = self.line;
        let mut level = 0_i64;
        let mut at = 0;
        while at < line.len() {
            match line[at] {
                b'"' => at = self.string(at, level)?,
                b'[' => at = self.array(at, level)?,
                b'{' => {
                    level += 1;
                    at += 1;
                }
                b'}' | b']' => {
                    level -= 1;
                    at += 1;
                }
                _ => at += 1,
            }
        }
        Some(())
    }

    /// A string, which is a key if a colon follows; returns where to go on.
    fn string(&mut self, at: usize, level: i64) -> Option<usize> {
        let line = self.line;
        let end = string_end(line, at + 1)?;
        let after = next_token(line, end.quote + 1)?;
        if line[after] != b':' {
            return Some(end.quote + 1);
        }
        let Ok(level @ 1..) = usize::try_from(level) else {
            set_fault(self.sink, Some(JsonFault::Json));
            return None;
        };
        if level > self.max_steps {
            return Some(after + 1);
        }
        let raw = &line[at + 1..end.quote];
        self.scratch.key.clear();
        let key = if end.escaped {
            if !unescape(raw, &mut self.scratch.key) {
                self.scratch.key.clear();
            }
            std::mem::take(&mut self.scratch.key)
        } else {
            Vec::new()
        };
        let text = if end.escaped { key.as_slice() } else { raw };
        self.key(text, level, after + 1);
        self.scratch.key = key;
        (self.missing > 0).then_some(after + 1)
    }

    /// Matches a key of an object at `level`, whose value begins behind the colon at `value`.
    fn key(&mut self, key: &[u8], level: usize, value: usize) {
        for i in 0..self.paths.len() {
            let steps = &self.paths[i].steps;
            let progress = &mut self.scratch.progress[i];
            if steps.len() < level || progress.matched < level - 1 {
                continue;
            }
            let same = matches!(&steps[level - 1], Step::Key(name) if name.as_bytes() == key);
            progress.matched = if same { level } else { level - 1 };
            if same && steps.len() == level && !progress.found {
                progress.found = true;
                self.missing -= 1;
                let read = next_token(self.line, value).ok_or(JsonFault::Json).and_then(|at| read_value(self.line, at));
                self.take(i, read);
            }
        }
    }

    /// An array: looked into where a path has an index here, else skipped.
    fn array(&mut self, at: usize, level: i64) -> Option<usize> {
        let Ok(level) = usize::try_from(level) else {
            set_fault(self.sink, Some(JsonFault::Json));
            return None;
        };
        let end = block_end(self.line, at, b'[', b']');
        let mut wanted = Vec::new();
        for (i, path) in self.paths.iter().enumerate() {
            let progress = self.scratch.progress[i];
            if let Some(Step::Index(index)) = path.steps.get(level)
                && !progress.found
                && progress.matched >= level
            {
                wanted.push((i, *index));
            }
        }
        if !wanted.is_empty() {
            self.elements(at, level, &wanted);
            if self.missing == 0 {
                return None;
            }
        }
        end
    }

    fn elements(&mut self, open: usize, level: usize, wanted: &[(usize, usize)]) {
        for_each_element(self.line, open, |search_index, element| {
            for &(i, _) in wanted.iter().filter(|(_, index)| *index == search_index) {
                self.scratch.progress[i].found = true;
                self.missing -= 1;
                if let Some(value) = descend(self.line, element, &self.paths[i].steps[level + 1..]) {
                    self.take(i, Ok(value));
                }
            }
        });
    }

    /// Sets the label of path `i`, or the error.
    fn take(&mut self, i: usize, read: Result<JsonValue, JsonFault>) {
        let value = match read {
            Ok(JsonValue { kind: JsonType::Null, .. }) => Value::Stored(Span::EMPTY),
            Ok(value) => label_value(self.sink, value),
            Err(fault) => return set_fault(self.sink, Some(fault)),
        };
        let name = self.sink.labels.parsed_name(self.paths[i].label);
        let span = self.sink.span(value);
        self.sink.labels.set_parsed(name, span);
    }
}

/// Calls `f` with the elements of the array that opens at `open`, as far as they can be read.
fn for_each_element(line: &[u8], open: usize, mut f: impl FnMut(usize, JsonValue)) {
    let mut at = open + 1;
    for index in 0.. {
        let Some(start) = next_token(line, at) else { return };
        if line[start] == b']' {
            return;
        }
        let Ok(element) = read_value(line, start) else { return };
        f(index, element);
        match next_token(line, element.next) {
            Some(comma) if line[comma] == b',' => at = comma + 1,
            _ => return,
        }
    }
}

/// The value that `steps` lead to inside `value`.
fn descend(line: &[u8], mut value: JsonValue, steps: &[Step]) -> Option<JsonValue> {
    for step in steps {
        value = match (step, value.kind) {
            (Step::Key(name), JsonType::Object) => member(line, value, name)?,
            (Step::Index(wanted), JsonType::Array) => {
                let mut found = None;
                for_each_element(line, value.start, |index, element| {
                    if index == *wanted {
                        found = Some(element);
                    }
                });
                found?
            }
            _ => return None,
        };
    }
    Some(value)
}

/// The first member `name` of an object.
fn member(line: &[u8], object: JsonValue, name: &str) -> Option<JsonValue> {
    let mut at = object.start + 1;
    loop {
        at = next_token(line, at)?;
        if line[at] != b'"' {
            return None;
        }
        let end = string_end(line, at + 1)?;
        let raw = &line[at + 1..end.quote];
        let mut unescaped = Vec::new();
        let same = if end.escaped {
            unescape(raw, &mut unescaped) && unescaped == name.as_bytes()
        } else {
            raw == name.as_bytes()
        };
        let colon = next_token(line, end.quote + 1).filter(|&at| line[at] == b':')?;
        let value = read_value(line, next_token(line, colon + 1)?).ok()?;
        if same {
            return Some(value);
        }
        at = next_token(line, value.next).filter(|&at| line[at] == b',')? + 1;
    }
}
