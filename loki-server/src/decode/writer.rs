//! Writes Loki's `PushRequest`.
//!
//! Messages are written in place: room is left for a length, and when the guess of its width was wrong the content
//! moves by a byte or two. Guesses come from the input or from the message before, so that this is rare.

use bytes::Bytes;
use loki_core::Timestamp;
use loki_core::encoding::{put_varint, varint_len};
use loki_core::labels::write_quoted;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The tags of length-delimited fields 1, 2 and 3.
const FIELD_1: u8 = 1 << 3 | 2;
const FIELD_2: u8 = 2 << 3 | 2;
const FIELD_3: u8 = 3 << 3 | 2;
/// The tags of varint fields 1 and 2.
const INTEGER_1: u8 = 1 << 3;
const INTEGER_2: u8 = 2 << 3;

/// What an entry takes besides its line and its metadata, at most.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// A request being written: streams, each with its labels and its entries.
#[derive(Debug, Default)]
pub(crate) struct PushWriter {
    out: Vec<u8>,
    stream_bytes: usize,
}

/// A message whose length is not written yet.
#[derive(Debug)]
#[must_use = "a message that is not closed leaves the request malformed"]
pub(crate) struct Open {
    /// Where the content begins.
    start: usize,
    /// The width of the room left for the length.
    width: usize,
}

impl PushWriter {
    /// A writer for about so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), stream_bytes: 0 }
    }

    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    /// The request.
    pub(crate) fn finish(self) -> Bytes {
        self.out.into()
    }

    /// Begins a stream.
    pub(crate) fn open_stream(&mut self) -> Open {
        let expected = self.stream_bytes;
        self.open(FIELD_1, expected)
    }

    /// Ends a stream.
    pub(crate) fn close_stream(&mut self, stream: &Open) {
        self.stream_bytes = self.close(stream);
    }

    /// Names the open stream: sorted pairs, in the notation of selectors.
    pub(crate) fn labels<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) {
        let bytes = pairs.clone().map(|(name, value)| name.len() + value.len() + 5).sum();
        let labels = self.open(FIELD_1, bytes);
        self.out.push(b'{');
        for (i, (name, value)) in pairs.enumerate() {
            if i > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.out.extend_from_slice(name);
            self.out.push(b'=');
            self.quoted(value);
        }
        self.out.push(b'}');
        self.close(&labels);
    }

    /// Names the open stream by a text that somebody else wrote.
    pub(crate) fn labels_text(&mut self, text: &[u8]) {
        self.bytes(FIELD_1, text);
    }

    /// Begins an entry of the open stream with about so many bytes. `None` is what a missing time means.
    pub(crate) fn open_entry(&mut self, timestamp: Option<Timestamp>, expected_bytes: usize) -> Open {
        let entry = self.open(FIELD_2, expected_bytes + ENTRY_OVERHEAD_BYTES);
        if let Some(Timestamp(nanos)) = timestamp {
            let seconds = nanos.div_euclid(NANOS_PER_SECOND) as u64;
            let nanos = nanos.rem_euclid(NANOS_PER_SECOND) as u64;
            let time = self.open(FIELD_1, 0);
            self.integer(INTEGER_1, seconds);
            self.integer(INTEGER_2, nanos);
            self.close(&time);
        }
        entry
    }

    /// Ends an entry.
    pub(crate) fn close_entry(&mut self, entry: &Open) {
        self.close(entry);
    }

    /// The line of the open entry.
    pub(crate) fn line(&mut self, line: &[u8]) {
        self.bytes(FIELD_2, line);
    }

    /// The line of the open entry, of about so many bytes, appended by `write`.
    pub(crate) fn line_with<E>(
        &mut self,
        expected_bytes: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = self.open(FIELD_2, expected_bytes);
        write(&mut self.out)?;
        self.close(&line);
        Ok(())
    }

    /// A pair of the open entry's structured metadata.
    pub(crate) fn metadata(&mut self, name: &[u8], value: &[u8]) {
        let pair = self.open(FIELD_3, name.len() + value.len() + 4);
        self.bytes(FIELD_1, name);
        self.bytes(FIELD_2, value);
        self.close(&pair);
    }

    fn open(&mut self, tag: u8, expected_bytes: usize) -> Open {
        self.out.push(tag);
        let width = varint_len(expected_bytes as u64);
        self.out.resize(self.out.len() + width, 0);
        Open { start: self.out.len(), width }
    }

    /// Writes the length of a message into the room before it; gives the length.
    fn close(&mut self, message: &Open) -> usize {
        let Open { start, width } = *message;
        let len = self.out.len() - start;
        let needed = varint_len(len as u64);
        if needed > width {
            let more = needed - width;
            self.out.resize(self.out.len() + more, 0);
            self.out.copy_within(start..start + len, start + more);
        } else if needed < width {
            self.out.copy_within(start..start + len, start - (width - needed));
            self.out.truncate(self.out.len() - (width - needed));
        }
        let mut rest = len as u64;
        let at = start - width;
        for byte in &mut self.out[at..at + needed] {
            *byte = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
            rest >>= 7;
        }
        len
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        put_varint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Zero is what a missing integer means, so it is left out.
    fn integer(&mut self, tag: u8, value: u64) {
        if value > 0 {
            self.out.push(tag);
            put_varint(&mut self.out, value);
        }
    }

    /// A label value in quotes, as Go writes it.
    fn quoted(&mut self, value: &[u8]) {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if value.iter().all(is_plain) {
            self.out.push(b'"');
            self.out.extend_from_slice(value);
            self.out.push(b'"');
        } else {
            let mut text = String::with_capacity(value.len() + 8);
            write_quoted(&mut text, &String::from_utf8_lossy(value)).expect("writing to a string cannot fail");
            self.out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to memory does not fail");
            text
        })
    }

    #[test]
    fn a_request_has_loki_s_fields() {
        let mut writer = PushWriter::default();
        let stream = writer.open_stream();
        writer.labels([(&b"a"[..], &b"x"[..])].into_iter());
        let entry = writer.open_entry(Some(Timestamp(3_000_000_001)), 2);
        writer.line(b"hi");
        writer.metadata(b"k", b"v");
        writer.close_entry(&entry);
        writer.close_stream(&stream);
        let labels = "0a077b613d2278227d";
        let time = "0a0408031001";
        let (line, pair) = ("12026869", "1a060a016b120176");
        let entry = format!("1212{time}{line}{pair}");
        assert_eq!(hex(&writer.finish()), format!("0a1d{labels}{entry}"));
    }

    #[test]
    fn lengths_are_right_however_wrong_the_guess() {
        for line_bytes in [0, 1, 90, 130, 16_300, 16_500, 2_100_000] {
            for expected_bytes in [0, 100, 20_000, 3_000_000] {
                let mut writer = PushWriter::default();
                for _ in 0..2 {
                    let stream = writer.open_stream();
                    let entry = writer.open_entry(None, expected_bytes);
                    let line = vec![b'x'; line_bytes];
                    let written: Result<(), ()> = writer.line_with(expected_bytes, |out| {
                        out.extend_from_slice(&line);
                        Ok(())
                    });
                    written.expect("it cannot fail");
                    writer.close_entry(&entry);
                    writer.close_stream(&stream);
                }
                let len = |content: usize| 1 + varint_len(content as u64) + content;
                assert_eq!(writer.finish().len(), 2 * len(len(len(line_bytes))), "{line_bytes} {expected_bytes}");
            }
        }
    }

    #[test]
    fn label_values_are_quoted_as_go_does() {
        let mut writer = PushWriter::default();
        writer.labels([(&b"a"[..], "\"é\n".as_bytes()), (b"b", b"\xff")].into_iter());
        let out = writer.finish();
        assert_eq!(&out[2..], "{a=\"\\\"é\\n\", b=\"\u{fffd}\"}".as_bytes());
    }
}
