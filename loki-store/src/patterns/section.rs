//! Patterns as a section of a segment; the bytes are specified in `format/patterns.md`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use bytes::Bytes;
use hashbrown::HashMap;
use loki_core::encoding::{Reader, crc32, put_prefixed, put_varint, unzigzag, zigzag};
use loki_core::{Codec, Error};

use super::{MAX_BODY_BYTES, PatternCounts, StreamPatterns};
use crate::segment::layout::check_crc;

const SECTION: &str = "patterns";
/// How the body is compressed.
const CODEC: Codec = Codec::Zstd { level: 1 };
/// Room that is left for the numbers of texts, levels and streams.
const COUNTS_BYTES: usize = 64;

/// Writes the patterns of one tenant.
#[derive(Debug, Default)]
pub(crate) struct PatternsBuilder {
    texts: Dictionary,
    levels: Dictionary,
    streams: Vec<u8>,
    count: u64,
    last_ordinal: u32,
    scratch: Vec<u8>,
}

/// Strings by number, in the order in which they came.
#[derive(Debug, Default)]
struct Dictionary {
    numbers: HashMap<String, u64, foldhash::fast::RandomState>,
    encoded: Vec<u8>,
}

impl Dictionary {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u64;
        put_prefixed(&mut self.encoded, text.as_bytes());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

impl PatternsBuilder {
    /// Adds what was found in a stream; ordinals ascend. False if there is no room, which leaves it out.
    pub(crate) fn add(&mut self, ordinal: u32, patterns: &StreamPatterns) -> bool {
        if patterns.counts.is_empty() {
            return true;
        }
        let new_texts: usize =
            patterns.counts.iter().map(|counts| counts.text.len().saturating_add(counts.level.len())).sum();
        let mut series = std::mem::take(&mut self.scratch);
        series.clear();
        let held = self.len();
        // What a stream adds at most, so that the dictionaries need not be undone: samples take 20 bytes, series 30.
        let samples: usize = patterns.counts.iter().map(|counts| counts.samples.len()).sum();
        let bound = new_texts
            .saturating_add(samples.saturating_mul(20))
            .saturating_add(patterns.counts.len().saturating_mul(30));
        let has_room = held.saturating_add(bound) <= MAX_BODY_BYTES.saturating_sub(COUNTS_BYTES);
        if has_room {
            put_varint(&mut series, patterns.counts.len() as u64);
            for counts in &patterns.counts {
                self.put_series(&mut series, counts);
            }
            put_varint(&mut self.streams, u64::from(ordinal.saturating_sub(self.last_ordinal)));
            put_prefixed(&mut self.streams, &series);
            self.last_ordinal = ordinal;
            self.count = self.count.saturating_add(1);
        }
        self.scratch = series;
        has_room
    }

    /// The section; `None` if there are no patterns.
    pub(crate) fn finish(self) -> Result<Option<Vec<u8>>, Error> {
        if self.count == 0 {
            return Ok(None);
        }
        let mut body = Vec::with_capacity(self.len().saturating_add(COUNTS_BYTES));
        for dictionary in [&self.texts, &self.levels] {
            put_varint(&mut body, dictionary.numbers.len() as u64);
            body.extend_from_slice(&dictionary.encoded);
        }
        put_varint(&mut body, self.count);
        body.extend_from_slice(&self.streams);
        let mut out = Vec::new();
        put_varint(&mut out, body.len() as u64);
        out.extend_from_slice(&CODEC.compress(&body)?);
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        Ok(Some(out))
    }

    fn put_series(&mut self, out: &mut Vec<u8>, counts: &PatternCounts) {
        put_varint(out, self.texts.number(&counts.text));
        put_varint(out, self.levels.number(&counts.level));
        put_varint(out, counts.samples.len() as u64);
        let mut before = None;
        for &(slot, lines) in &counts.samples {
            match before {
                None => put_varint(out, zigzag(slot)),
                Some(before) => put_varint(out, slot.wrapping_sub(before) as u64),
            }
            put_varint(out, lines);
            before = Some(slot);
        }
    }

    fn len(&self) -> usize {
        let dictionaries = self.texts.encoded.len().saturating_add(self.levels.encoded.len());
        dictionaries.saturating_add(self.streams.len())
    }
}

/// The patterns of one tenant in a segment. Streams are decoded as they are asked for.
#[derive(Debug, Default)]
pub(crate) struct PatternTable {
    body: Bytes,
    texts: Vec<Range<usize>>,
    levels: Vec<Range<usize>>,
    /// By ordinal: where a stream's series are.
    streams: Vec<(u32, Range<usize>)>,
}

impl PatternTable {
    /// Reads a section and looks at all of it but the samples.
    pub(crate) fn open(section: &Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new(SECTION, section);
        let sealed = reader.bytes(section.len().saturating_sub(4))?;
        check_crc(SECTION, sealed, reader.u32()?)?;
        let mut reader = Reader::new(SECTION, sealed);
        let len = reader.varint()?;
        if len > MAX_BODY_BYTES as u64 {
            return Err(reader.invalid("bytes of the body", len));
        }
        let stored = section.slice_ref(reader.rest());
        let body = Codec::decompress(CODEC.id(), &stored, len as usize)?;
        let mut reader = Reader::new(SECTION, &body);
        let (texts, levels) = (strings(&mut reader, body.len())?, strings(&mut reader, body.len())?);
        let mut streams = Vec::new();
        let mut ordinal = 0_u32;
        for _ in 0..count(&mut reader, body.len(), 2)? {
            ordinal = ordinal.saturating_add(reader.varint32()?);
            let series = reader.prefixed()?;
            streams.push((ordinal, behind(&reader, series)));
        }
        reader.finish()?;
        Ok(Self { body, texts, levels, streams })
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let texts = self.texts.len().saturating_add(self.levels.len()).saturating_mul(size_of::<Range<usize>>());
        let streams = self.streams.len().saturating_mul(size_of::<(u32, Range<usize>)>());
        self.body.len().saturating_add(texts).saturating_add(streams) as u64
    }

    /// Calls `f` with text, level and samples of every pattern of a stream.
    pub(crate) fn for_each(&self, ordinal: u32, mut f: impl FnMut(&str, &str, &[(i64, u64)])) -> Result<(), Error> {
        let Ok(place) = self.streams.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal) else {
            return Ok(());
        };
        let span = self.streams.get(place).map_or(0..0, |(_, span)| span.clone());
        let bytes = self.body.get(span).unwrap_or_default();
        let mut reader = Reader::new(SECTION, bytes);
        let mut samples = Vec::new();
        for _ in 0..count(&mut reader, bytes.len(), 3)? {
            let text = self.string(&mut reader, &self.texts)?;
            let level = self.string(&mut reader, &self.levels)?;
            samples.clear();
            let mut slot = None;
            for _ in 0..count(&mut reader, bytes.len(), 2)? {
                let number = reader.varint()?;
                let next = slot.map_or(unzigzag(number), |slot: i64| slot.saturating_add_unsigned(number));
                samples.push((next, reader.varint()?));
                slot = Some(next);
            }
            f(text, level, &samples);
        }
        reader.finish()
    }

    /// The patterns of a stream.
    pub(crate) fn of_stream(&self, ordinal: u32) -> Result<StreamPatterns, Error> {
        let mut counts = Vec::new();
        self.for_each(ordinal, |text, level, samples| {
            counts.push(PatternCounts { text: text.to_owned(), level: level.to_owned(), samples: samples.to_vec() });
        })?;
        Ok(StreamPatterns { counts })
    }

    fn string(&self, reader: &mut Reader<'_>, dictionary: &[Range<usize>]) -> Result<&str, Error> {
        let number = reader.varint()?;
        let span = usize::try_from(number).ok().and_then(|number| dictionary.get(number));
        let bytes = span.and_then(|span| self.body.get(span.clone()));
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.ok_or_else(|| reader.invalid("number of a text", number))
    }
}

/// A number of things that take so many bytes each, at least; checked against the bytes there are.
fn count(reader: &mut Reader<'_>, available: usize, each: usize) -> Result<u64, Error> {
    let count = reader.varint()?;
    if count > available.checked_div(each).unwrap_or(0) as u64 {
        return Err(reader.invalid("number of items", count));
    }
    Ok(count)
}

fn strings(reader: &mut Reader<'_>, available: usize) -> Result<Vec<Range<usize>>, Error> {
    let count = count(reader, available, 1)?;
    let strings = (0..count).map(|_| {
        let text = reader.prefixed_str()?;
        Ok(behind(reader, text.as_bytes()))
    });
    strings.collect()
}

/// Where the bytes are that were just read.
fn behind(reader: &Reader<'_>, bytes: &[u8]) -> Range<usize> {
    let end = reader.offset() as usize;
    end.saturating_sub(bytes.len())..end
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(text: &str, level: &str, samples: &[(i64, u64)]) -> PatternCounts {
        PatternCounts { text: text.to_owned(), level: level.to_owned(), samples: samples.to_vec() }
    }

    fn seal(body: &[u8]) -> Bytes {
        let mut out = Vec::new();
        put_varint(&mut out, body.len() as u64);
        out.extend_from_slice(&CODEC.compress(body).unwrap());
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.into()
    }

    /// Whether a word of the example begins the text behind the bytes.
    fn is_text(word: &str) -> bool {
        !word.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    #[test]
    fn the_example_of_the_format_is_understood() {
        let (_, example) = include_str!("../format/patterns.md").split_once("```text\n").unwrap();
        let lines = example.lines().take_while(|line| !line.starts_with("```"));
        let digits = lines.flat_map(|line| line.split_whitespace().take_while(|word| !is_text(word)));
        let digits: String = digits.collect();
        let body: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        let table = PatternTable::open(&seal(&body)).unwrap();
        assert_eq!(table.of_stream(1).unwrap().counts, [counts("a<_>", "info", &[(3, 7), (5, 1)])]);
        assert_eq!(table.of_stream(4).unwrap().counts, [counts("<_>", "info", &[(-1, 9)])]);
        assert_eq!(table.of_stream(2).unwrap().counts, []);
        let mut builder = PatternsBuilder::default();
        builder.add(1, &table.of_stream(1).unwrap());
        builder.add(4, &table.of_stream(4).unwrap());
        assert_eq!(builder.finish().unwrap().unwrap(), seal(&body));
    }

    #[test]
    fn no_patterns_make_no_section() {
        let mut builder = PatternsBuilder::default();
        assert!(builder.add(0, &StreamPatterns::default()));
        assert_eq!(builder.finish().unwrap(), None);
    }

    #[test]
    fn streams_that_do_not_fit_are_left_out() {
        let of_bytes = |bytes: usize| StreamPatterns { counts: vec![counts(&"x".repeat(bytes), "", &[(0, 1)])] };
        let mut builder = PatternsBuilder::default();
        let room = MAX_BODY_BYTES - COUNTS_BYTES - 50;
        assert!(!builder.add(0, &of_bytes(room + 1)));
        assert!(builder.add(1, &of_bytes(room)));
        assert!(!builder.add(2, &of_bytes(100)));
        let table = PatternTable::open(&builder.finish().unwrap().unwrap().into()).unwrap();
        assert_eq!(table.streams.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_body_that_is_too_long_is_refused() {
        let sealed = seal(&vec![0; MAX_BODY_BYTES + 1]);
        assert!(PatternTable::open(&sealed).is_err());
    }

    fn streams() -> impl Strategy<Value = Vec<StreamPatterns>> {
        let samples = prop::collection::btree_map(-1000..1000_i64, 1..u64::MAX, 1..5);
        let series = ("[ab<_>]{1,4}", "[x-z]?", samples);
        let series = series.prop_map(|(text, level, samples)| PatternCounts {
            text,
            level,
            samples: samples.into_iter().collect(),
        });
        let stream = prop::collection::vec(series, 0..4).prop_map(|counts| StreamPatterns { counts });
        prop::collection::vec(stream, 1..6)
    }

    proptest! {
        #[test]
        fn patterns_round_trip(streams in streams()) {
            let mut builder = PatternsBuilder::default();
            for (ordinal, stream) in (0..).zip(&streams) {
                prop_assert!(builder.add(ordinal, stream));
            }
            let table = match builder.finish().unwrap() {
                Some(section) => PatternTable::open(&section.into()).unwrap(),
                None => PatternTable::default(),
            };
            for (ordinal, stream) in (0..).zip(&streams) {
                prop_assert_eq!(&table.of_stream(ordinal).unwrap(), stream);
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed(streams in streams(), position: prop::sample::Index, bit in 0..8) {
            let mut builder = PatternsBuilder::default();
            builder.add(3, &streams[0]);
            if let Some(mut section) = builder.finish().unwrap() {
                let at = position.index(section.len());
                section[at] ^= 1_u8 << bit;
                prop_assert!(PatternTable::open(&section.into()).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, ordinal in 0..10_u32) {
            let _ = PatternTable::open(&Bytes::from(bytes.clone()));
            if let Ok(table) = PatternTable::open(&seal(&bytes)) {
                let _ = table.of_stream(ordinal);
            }
        }
    }
}
