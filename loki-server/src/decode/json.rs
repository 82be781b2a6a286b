//! Loki's JSON push format, transcoded into its protobuf in one pass.

use std::borrow::Cow;

use bytes::Bytes;
use loki_core::Timestamp;

use crate::decode::scan::{ContentFault, Fault, JsonError, RawStr, Scanner, StringStart, unescape};
use crate::decode::writer::{Open, PushWriter};

/// The names under which faults are reported.
pub(super) struct Names {
    /// Of the request.
    pub(super) request: &'static str,
    /// Of the list of streams.
    pub(super) streams: &'static str,
}

const NAMES: Names =
    Names { request: "loghttp.PushRequest.", streams: "loghttp.PushRequest.Streams: []loghttp.LogProtoStream: " };

const STREAMS: &[u8] = b"streams";

/// Reads `{"streams":[{"stream":{…},"values":[[ts, line, metadata?], …]}, …]}`.
pub(super) fn decode(body: &[u8]) -> Result<Bytes, JsonError> {
    let mut decoder = Decoder {
        scanner: Scanner::new(body),
        writer: PushWriter::with_capacity(body.len()),
        labels: Vec::new(),
        known_labels: &[],
        line_bytes: 0,
        scratch: Scratch::default(),
    };
    request(&mut decoder, &NAMES)?;
    Ok(decoder.writer.finish())
}

/// A format with a list of streams in an object.
pub(super) trait StreamsFormat<'a> {
    /// The cursor.
    fn scanner(&mut self) -> &mut Scanner<'a>;
    /// Forgets all streams.
    fn restart(&mut self);
    /// Reads one stream.
    fn stream(&mut self) -> Result<(), Fault>;
}

/// Reads the object around the streams. What follows it is not looked at.
pub(super) fn request<'a>(format: &mut impl StreamsFormat<'a>, names: &Names) -> Result<(), JsonError> {
    match format.scanner().token() {
        b'{' => {}
        b'n' => {
            let outcome = format.scanner().literal("ull");
            return outcome.map_err(|fault| format.scanner().error("", fault));
        }
        0 => return Err(JsonError::Eof),
        found => return Err(format.scanner().error("", Fault::RequestStart(found))),
    }
    let mut is_first = true;
    loop {
        let key = match format.scanner().key(is_first) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(()),
            Err(fault) => return Err(format.scanner().error(names.request, fault)),
        };
        is_first = false;
        if key.raw.eq_ignore_ascii_case(STREAMS) {
            streams(format, names)?;
        } else {
            let skipped = format.scanner().skip_value();
            skipped.map_err(|fault| format.scanner().error(names.request, fault))?;
        }
        match format.scanner().object_goes_on() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(fault) => return Err(format.scanner().error(names.request, fault)),
        }
    }
}

fn streams<'a>(format: &mut impl StreamsFormat<'a>, names: &Names) -> Result<(), JsonError> {
    // A list that occurs again replaces the one before.
    format.restart();
    match format.scanner().token() {
        b'[' => {}
        b'n' => {
            let outcome = format.scanner().literal("ull");
            return outcome.map_err(|fault| format.scanner().error(names.streams, fault));
        }
        found => return Err(format.scanner().error(names.streams, Fault::ListStart(found))),
    }
    if !format.scanner().list_has_items() {
        return Ok(());
    }
    loop {
        let start = format.scanner().position();
        if let Err(fault) = format.stream() {
            // Loki's decoder looks for the end of the stream first, so a fault there counts before one inside.
            let scanner = format.scanner();
            scanner.rewind(start);
            let fault = scanner.skip_value().err().unwrap_or(fault);
            return Err(scanner.error(names.streams, fault));
        }
        match format.scanner().list_goes_on() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(fault) => return Err(format.scanner().error(names.streams, fault)),
        }
    }
}

struct Decoder<'a> {
    scanner: Scanner<'a>,
    writer: PushWriter,
    labels: Vec<Label<'a>>,
    /// The text that `labels` were read from, after its first brace.
    known_labels: &'a [u8],
    /// Bytes of the last line with escapes; the next one is expected to have about as many.
    line_bytes: usize,
    scratch: Scratch,
}

/// A label's name and value.
type Label<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Room for pairs whose escapes are undone.
#[derive(Default)]
struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
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
        let first = self.scanner.token();
        if first != b'{' {
            return Err(self.wrong(first, ContentFault::Object));
        }
        let mut is_first = true;
        let mut has_labels = false;
        while let Some(key) = self.scanner.key(is_first)? {
            is_first = false;
            match key.raw {
                b"stream" => {
                    self.labels()?;
                    has_labels = true;
                }
                b"values" => self.values()?,
                _ => self.scanner.skip_value()?,
            }
            if !self.scanner.object_goes_on()? {
                break;
            }
        }
        if !has_labels {
            self.writer.labels_text(b"{}");
        }
        self.writer.close_stream(&stream);
        Ok(())
    }
}

impl<'a> Decoder<'a> {
    /// Skips the rest of a value that has the wrong content; a fault of its own counts first.
    fn wrong(&mut self, first: u8, fault: ContentFault) -> Fault {
        self.scanner.skip_rest(first).err().unwrap_or(fault.into())
    }

    /// Collectors that send one record a stream repeat the same labels, so those of the stream before are known.
    fn labels(&mut self) -> Result<(), Fault> {
        let first = self.scanner.token();
        if first != b'{' {
            return Err(self.wrong(first, ContentFault::Object));
        }
        if self.scanner.skip_known(self.known_labels) {
            self.write_labels();
            return Ok(());
        }
        let start = self.scanner.position();
        self.labels.clear();
        let mut is_first = true;
        while let Some(key) = self.scanner.key(is_first)? {
            is_first = false;
            let name = unescaped(key)?;
            let value = self.label_value()?;
            self.labels.push((name, value));
            if !self.scanner.object_goes_on()? {
                break;
            }
        }
        if !self.labels.is_sorted_by(|a, b| a.0 < b.0) {
            // The sort is stable, so of equal names the last in the request is the last here, and it wins.
            self.labels.sort_by(|a, b| a.0.cmp(&b.0));
            self.labels.reverse();
            self.labels.dedup_by(|a, b| a.0 == b.0);
            self.labels.reverse();
        }
        self.known_labels = self.scanner.since(start);
        self.write_labels();
        Ok(())
    }

    fn write_labels(&mut self) {
        self.writer.labels(self.labels.iter().map(|(name, value)| (&**name, &**value)));
    }

    /// A string's content, or the text of any other value.
    fn label_value(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        let first = self.scanner.token();
        if first == b'"' {
            return unescaped(self.scanner.string()?);
        }
        let start = self.scanner.position() - 1;
        self.scanner.skip_rest(first)?;
        Ok(Cow::Borrowed(self.scanner.since(start)))
    }

    fn values(&mut self) -> Result<(), Fault> {
        match self.scanner.token() {
            b'[' => {}
            b'n' => return self.scanner.literal("ull"),
            first => return Err(self.wrong(first, ContentFault::List)),
        }
        if !self.scanner.list_has_items() {
            return Ok(());
        }
        loop {
            match self.scanner.token() {
                b'[' => self.entry()?,
                b'n' => self.scanner.literal("ull")?,
                first @ b'{' => return Err(self.wrong(first, ContentFault::Number)),
                first => return Err(self.wrong(first, ContentFault::List)),
            }
            if !self.scanner.list_goes_on()? {
                return Ok(());
            }
        }
    }

    /// `[time, line, metadata, anything…]`; an empty list is an entry at no time.
    fn entry(&mut self) -> Result<(), Fault> {
        if !self.scanner.list_has_items() {
            let entry = self.writer.open_entry(None, 0);
            self.writer.close_entry(&entry);
            return Ok(());
        }
        let timestamp = self.timestamp()?;
        if !self.scanner.list_goes_on()? {
            // Loki accepts a time without a line and keeps nothing of it.
            return Ok(());
        }
        let first = self.scanner.token();
        if first != b'"' {
            return Err(self.wrong(first, ContentFault::String));
        }
        let entry = match self.scanner.string_start()? {
            StringStart::Whole(line) => {
                let entry = self.writer.open_entry(Some(timestamp), line.len());
                self.writer.line(line);
                entry
            }
            StringStart::Escaped(before) => self.escaped_line(timestamp, before)?,
        };
        if self.scanner.list_goes_on()? {
            self.metadata()?;
            while self.scanner.list_goes_on()? {
                self.scanner.skip_value()?;
            }
        }
        self.writer.close_entry(&entry);
        Ok(())
    }

    /// An entry with the rest of a line whose first backslash was just read.
    fn escaped_line(&mut self, timestamp: Timestamp, before: &[u8]) -> Result<Open, Fault> {
        let Self { scanner, writer, line_bytes, .. } = self;
        let entry = writer.open_entry(Some(timestamp), *line_bytes);
        writer.line_with(*line_bytes, |out| {
            let start = out.len();
            out.extend_from_slice(before);
            scanner.unescape_rest(out)?;
            *line_bytes = out.len() - start;
            Ok::<_, Fault>(())
        })?;
        Ok(entry)
    }

    fn timestamp(&mut self) -> Result<Timestamp, Fault> {
        let first = self.scanner.token();
        if first != b'"' {
            return Err(self.wrong(first, ContentFault::Number));
        }
        let text = self.scanner.string()?;
        let nanos = std::str::from_utf8(text.raw).ok().and_then(|text| text.parse().ok());
        Ok(Timestamp(nanos.ok_or(ContentFault::Number)?))
    }

    fn metadata(&mut self) -> Result<(), Fault> {
        let first = self.scanner.token();
        if first != b'{' {
            return Err(self.wrong(first, ContentFault::Object));
        }
        let mut is_first = true;
        while let Some(key) = self.scanner.key(is_first)? {
            is_first = false;
            let first = self.scanner.token();
            if first != b'"' {
                return Err(self.wrong(first, ContentFault::String));
            }
            let value = self.scanner.string()?;
            let name = plain(key, &mut self.scratch.name)?;
            let value = plain(value, &mut self.scratch.value)?;
            self.writer.metadata(name, value);
            if !self.scanner.object_goes_on()? {
                break;
            }
        }
        Ok(())
    }
}

fn unescaped(text: RawStr<'_>) -> Result<Cow<'_, [u8]>, Fault> {
    if !text.is_escaped {
        return Ok(Cow::Borrowed(text.raw));
    }
    let mut out = Vec::with_capacity(text.raw.len());
    unescape(text.raw, &mut out)?;
    Ok(Cow::Owned(out))
}

/// What a string stands for, in place or in `room`.
fn plain<'b>(text: RawStr<'b>, room: &'b mut Vec<u8>) -> Result<&'b [u8], Fault> {
    if !text.is_escaped {
        return Ok(text.raw);
    }
    room.clear();
    unescape(text.raw, room)?;
    Ok(room)
}
