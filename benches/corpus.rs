//! Logs made from a seed: the same in every run and on every machine, and nothing has to be downloaded.
//!
//! Streams are lopsided, as real ones are: of every shape one stream logs most. Lines repeat their words and differ in
//! their numbers, so that they compress about as well as what applications write.

use std::fmt::Write as _;

use bytes::Bytes;
use loki_core::{Entry, Labels, Timestamp};

pub mod wire;

/// The seed of every bench.
pub const SEED: u64 = 0x10c1;

/// The first moment of every corpus.
pub const START: Timestamp = Timestamp(1_760_400_000_000_000_000);

/// In one line of [`NEEDLE_EVERY`].
pub const NEEDLE: &str = "needle-Zq7Wv3Kp9Tm2";

/// How rare the [`NEEDLE`] is.
pub const NEEDLE_EVERY: usize = 1000;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const APPS_PER_SHAPE: usize = 8;

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The access log of a web server.
    Access,
    /// JSON with a nested object.
    Json,
    /// logfmt.
    Logfmt,
}

/// Log entries by stream.
#[derive(Debug)]
pub struct Corpus {
    /// Sorted by their labels.
    pub streams: Vec<Stream>,
}

/// The entries of one stream.
#[derive(Debug)]
pub struct Stream {
    /// What names it.
    pub labels: Labels,
    /// By ascending time.
    pub entries: Vec<Entry>,
}

impl Corpus {
    /// So many entries of all shapes.
    pub fn new(entries: usize) -> Self {
        Self::of(&[Shape::Access, Shape::Json, Shape::Logfmt], entries)
    }

    /// So many entries of some shapes.
    pub fn of(shapes: &[Shape], entries: usize) -> Self {
        let mut dice = Dice::new(SEED);
        let mut streams: Vec<Stream> =
            shapes.iter().flat_map(|shape| (0..APPS_PER_SHAPE).map(|app| Stream::empty(*shape, app))).collect();
        let mut at = START;
        for number in 0..entries {
            at = at.saturating_add_nanos(dice.below(20) as i64 * 1_000_000);
            let shape = dice.below(shapes.len());
            // The smaller of two numbers: the first stream of a shape gets the most.
            let app = dice.below(APPS_PER_SHAPE).min(dice.below(APPS_PER_SHAPE));
            let entry = dice.entry(shapes[shape], at, number);
            streams[shape * APPS_PER_SHAPE + app].entries.push(entry);
        }
        streams.retain(|stream| !stream.entries.is_empty());
        streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        streams.iter_mut().for_each(Stream::join);
        Self { streams }
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.streams.iter().map(|stream| stream.entries.len()).sum()
    }

    /// The bytes of all lines.
    pub fn line_bytes(&self) -> usize {
        self.streams.iter().flat_map(|stream| &stream.entries).map(|entry| entry.line.len()).sum()
    }

    /// The first full second behind the last entry, because steps of queries are aligned.
    pub fn end(&self) -> Timestamp {
        let last = self.streams.iter().filter_map(|stream| stream.entries.last()).map(|entry| entry.timestamp).max();
        let seconds = last.unwrap_or(START).as_nanos() / NANOS_PER_SECOND + 1;
        Timestamp::from_seconds(seconds)
    }

    /// The seconds of a window that ends with [`Corpus::end`] and holds every entry.
    pub fn seconds(&self) -> i64 {
        (self.end().as_nanos() - START.as_nanos()) / NANOS_PER_SECOND + 1
    }

    /// How many lines have the [`NEEDLE`].
    pub fn needles(&self) -> usize {
        self.entries().div_ceil(NEEDLE_EVERY)
    }

    /// How many lines have a text.
    pub fn lines_with(&self, text: &str) -> usize {
        let finder = memchr::memmem::Finder::new(text);
        let lines = self.streams.iter().flat_map(|stream| &stream.entries).map(|entry| &entry.line);
        lines.filter(|line| finder.find(line).is_some()).count()
    }
}

impl Stream {
    fn empty(shape: Shape, app: usize) -> Self {
        let (shape, app) = (format!("{shape:?}").to_lowercase(), format!("app-{app}"));
        let labels = [("app", app.as_str()), ("env", "prod"), ("shape", &shape)];
        Self { labels: Labels::from_sorted(labels), entries: Vec::new() }
    }

    /// Puts what belongs to the entries side by side in memory, as it is in a store; otherwise benches would measure how
    /// long it takes to find it.
    fn join(&mut self) {
        let lines = join(self.entries.iter().map(|entry| &*entry.line));
        let metadata = join(self.entries.iter().map(|entry| entry.metadata.as_bytes()));
        for (entry, (line, metadata)) in self.entries.iter_mut().zip(lines.into_iter().zip(metadata)) {
            entry.line = line;
            entry.metadata = Labels::from_bytes(metadata).expect("it was encoded before");
        }
    }
}

/// The same slices, in one buffer.
fn join<'s>(slices: impl Iterator<Item = &'s [u8]> + Clone) -> Vec<Bytes> {
    let mut all = Bytes::from(slices.clone().collect::<Vec<_>>().concat());
    slices.map(|slice| all.split_to(slice.len())).collect()
}

/// Pseudo-random numbers: splitmix64.
#[derive(Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The numbers of a seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number, below `end`.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn entry(&mut self, shape: Shape, timestamp: Timestamp, number: usize) -> Entry {
        let level = self.pick(&["info", "info", "info", "info", "debug", "warn", "error"]);
        let mut line = match shape {
            Shape::Access => self.access(),
            Shape::Json => self.json(level),
            Shape::Logfmt => self.logfmt(level),
        };
        if number.is_multiple_of(NEEDLE_EVERY) {
            // Within the last value, so that the line keeps its shape.
            let end = line.trim_end_matches(['"', '}']).len();
            line.insert_str(end, NEEDLE);
        }
        let trace = format!("{:016x}{:016x}", self.next(), self.next());
        let level = (shape != Shape::Access).then_some(("detected_level", level));
        let trace = (self.below(5) == 0).then_some(("trace_id", trace.as_str()));
        Entry { timestamp, line: line.into(), metadata: Labels::from_sorted(level.into_iter().chain(trace)) }
    }

    fn access(&mut self) -> String {
        let (ip, path) = (self.next() as u32 & 0xffff, self.path());
        let (method, status, bytes) = (self.pick(&["GET", "GET", "POST"]), self.status(), self.below(90_000));
        let agent = self.pick(&["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.9.1", "kube-probe/1.31"]);
        let [high, low] = [ip >> 8, ip & 0xff];
        format!(r#"10.4.{high}.{low} - - "{method} {path} HTTP/1.1" {status} {bytes} "-" "{agent}""#)
    }

    fn json(&mut self, level: &str) -> String {
        let (path, status, took) = (self.path(), self.status(), self.below(3_000));
        let (user, host) = (self.below(50_000), self.below(40));
        let message = self.message();
        format!(
            r#"{{"level":"{level}","host":"node-{host}","request":{{"path":"{path}","status":{status}}},"took_ms":{took},"user":"u{user}","msg":"{message}"}}"#
        )
    }

    fn logfmt(&mut self, level: &str) -> String {
        let (path, status, took, caller) = (self.path(), self.status(), self.below(3_000), self.below(30));
        let message = self.message();
        format!(
            r#"level={level} caller=handler{caller}.go:{caller}7 path={path} status={status} duration={took}ms msg="{message}""#
        )
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..1 + self.below(3) {
            path.push('/');
            path.push_str(self.pick(&["api", "v1", "cart", "items", "checkout", "users", "search", "static"]));
        }
        let _ = write!(path, "/{}", self.below(20_000));
        path
    }

    fn status(&mut self) -> u16 {
        [200, 200, 200, 200, 200, 204, 301, 404, 499, 500, 503][self.below(11)]
    }

    fn message(&mut self) -> &'static str {
        self.pick(&[
            "request completed",
            "cache miss, fetching from origin",
            "retrying after a transient failure of the upstream",
            "connection reset by peer",
            "published event to the queue",
        ])
    }
}
