//! The JSON push format of the first releases: label text and RFC 3339 times.

use bytes::Bytes;
use loki_core::Timestamp;

use crate::decode::json::{Names, StreamsFormat, request};
use crate::decode::scan::{ContentFault, Fault, JsonError, RawStr, Scanner, unescape};
use crate::decode::writer::PushWriter;
use crate::extract::parse_rfc3339;

const NAMES: Names = Names { request: "push.PushRequest.", streams: "push.PushRequest.Streams: []push.Stream: " };

/// Reads `{"streams":[{"labels":"{…}","entries":[{"ts":"…","line":"…"}, …]}, …]}`.
pub(super) fn decode(body: &[u8]) -> Result<Bytes, JsonError> {
    let mut decoder =
        Decoder { scanner: Scanner::new(body), writer: PushWriter::with_capacity(body.len()), room: Vec::new() };
    request(&mut decoder, &NAMES)?;
    Ok(decoder.writer.finish())
}

struct Decoder<'a> {
    scanner: Scanner<'a>,
    writer: PushWriter,
    room: Vec<u8>,
}

impl<'a> StreamsFormat<'a> for Decoder<'a> {
    fn scanner(&mut self) -> &mut Scanner<'a> {
        &mut self.scanner
    }

    fn restart(&mut self) {
        self.writer.clear();
    }

    fn stream(&mut self) -> Result<(), Fault> {
        let stream = self.writer.open_stream();
        if self.opens(b'{', ContentFault::Object)? {
            let mut is_first = true;
            while let Some(key) = self.scanner.key(is_first)? {
                is_first = false;
                if key.raw.eq_ignore_ascii_case(b"labels") {
                    self.labels()?;
                } else if key.raw.eq_ignore_ascii_case(b"entries") {
                    self.entries()?;
                } else {
                    self.scanner.skip_value()?;
                }
                if !self.scanner.object_goes_on()? {
                    break;
                }
            }
        }
        self.writer.close_stream(&stream);
        Ok(())
    }
}

impl<'a> Decoder<'a> {
    /// Reads the first byte of a value: true when it is `opening`, false for null; a fault otherwise.
    fn opens(&mut self, opening: u8, fault: ContentFault) -> Result<bool, Fault> {
        match self.scanner.token() {
            b'n' => self.scanner.literal("ull").map(|()| false),
            first if first == opening => Ok(true),
            first => Err(self.scanner.skip_rest(first).err().unwrap_or(fault.into())),
        }
    }

    /// A string, or nothing when there is null instead.
    fn text(&mut self) -> Result<Option<RawStr<'a>>, Fault> {
        if self.opens(b'"', ContentFault::String)? { self.scanner.string().map(Some) } else { Ok(None) }
    }

    fn labels(&mut self) -> Result<(), Fault> {
        if let Some(text) = self.text()? {
            self.room.clear();
            unescape(text.raw, &mut self.room)?;
            self.writer.labels_text(&self.room);
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<(), Fault> {
        if !self.opens(b'[', ContentFault::List)? || !self.scanner.list_has_items() {
            return Ok(());
        }
        loop {
            self.entry()?;
            if !self.scanner.list_goes_on()? {
                return Ok(());
            }
        }
    }

    fn entry(&mut self) -> Result<(), Fault> {
        let mut timestamp = None;
        let mut line = None;
        if self.opens(b'{', ContentFault::Object)? {
            let mut is_first = true;
            while let Some(key) = self.scanner.key(is_first)? {
                is_first = false;
                if key.raw.eq_ignore_ascii_case(b"ts") {
                    timestamp = self.timestamp()?;
                } else if key.raw.eq_ignore_ascii_case(b"line") {
                    line = self.text()?;
                } else {
                    self.scanner.skip_value()?;
                }
                if !self.scanner.object_goes_on()? {
                    break;
                }
            }
        }
        let raw = line.map_or(&[][..], |line| line.raw);
        let entry = self.writer.open_entry(timestamp, raw.len());
        self.writer.line_with(raw.len(), |out| unescape(raw, out))?;
        self.writer.close_entry(&entry);
        Ok(())
    }

    fn timestamp(&mut self) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(text.raw).ok();
        let timestamp = text.and_then(parse_rfc3339).ok_or(ContentFault::Number)?;
        Ok(Some(timestamp))
    }
}
