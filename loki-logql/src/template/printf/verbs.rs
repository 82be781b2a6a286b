//! Formats one value under one verb with its flags.

use super::super::context::Sink;
use super::super::strconv::{FloatStyle, append_float, append_quoted, can_backquote, hex_digit};
use super::super::time;
use super::super::value::{IntType, Value};

/// A directive's flags, and where its output goes.
#[expect(clippy::struct_excessive_bools, reason = "each flag of a directive is independent of the others")]
pub(super) struct Formatter<'s, 'v> {
    pub(super) sink: &'s mut Sink<'v>,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%#v`: Go syntax.
    sharp_default: bool,
    /// Set while a complaint shows its value: no `String` methods then.
    complaining: bool,
}

impl<'s, 'v> Formatter<'s, 'v> {
    pub(super) fn new(sink: &'s mut Sink<'v>) -> Self {
        Self {
            sink,
            width: None,
            precision: None,
            plus: false,
            minus: false,
            sharp: false,
            space: false,
            zero: false,
            sharp_default: false,
            complaining: false,
        }
    }

    /// Gives `#` and `+` their meaning for `%v`.
    pub(super) fn prepare_default(&mut self) {
        self.sharp_default = std::mem::take(&mut self.sharp);
        self.plus = false;
    }

    /// Writes `%!verb` and `what`.
    pub(super) fn complain(&mut self, verb: char, what: &[u8]) {
        self.sink.extend(b"%!");
        self.sink.push_char(verb);
        self.sink.extend(what);
    }

    /// Writes an argument. An absent one is a nil.
    pub(super) fn print_argument(&mut self, value: Value<'_>, verb: char) {
        match (value, verb) {
            (Value::Absent, 'T' | 'v') => self.pad(b"<nil>"),
            (_, 'T') => self.string(value.type_name().as_bytes(), 's'),
            (_, 'p') => self.bad_verb(value, verb),
            _ => self.print(value, verb, 0),
        }
    }

    /// Writes a value, `depth` levels inside another.
    fn print(&mut self, value: Value<'_>, verb: char, depth: usize) {
        match value {
            Value::Absent if depth == 0 => self.bad_verb(value, verb),
            Value::Absent if self.sharp_default => self.sink.extend(b"interface {}(nil)"),
            Value::Absent => self.sink.extend(b"<nil>"),
            Value::Boxed(inner) => self.print(*inner, verb, depth),
            Value::Bool(flag) => match verb {
                't' | 'v' => self.pad(if flag { b"true" } else { b"false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(int, int_type) => self.typed_int(value, int, int_type, verb),
            Value::Float(float) => self.float(value, float, verb),
            Value::Complex(real, imaginary) => self.complex(value, real, imaginary, verb),
            Value::String(text) => match verb {
                'v' if self.sharp_default => self.quoted(text),
                'v' | 's' | 'x' | 'X' | 'q' => self.string(text, verb),
                _ => self.bad_verb(value, verb),
            },
            Value::Bytes(bytes) => self.bytes(bytes, verb),
            Value::Time(moment) => self.time(moment, verb),
            Value::Location(zone) => match verb {
                'v' | 's' | 'x' | 'X' | 'q' => {
                    let mut name = Vec::new();
                    zone.write_name(&mut name);
                    self.string(&name, verb);
                }
                _ => self.bad_verb(value, verb),
            },
            Value::List(items) => self.list(value, items, verb, depth),
            Value::Object(members) => {
                self.open_map(value);
                for (index, (name, member)) in members.iter().enumerate() {
                    self.member(index, name, *member, verb, depth);
                }
                self.close_map();
            }
            Value::Labels(labels) => {
                self.open_map(value);
                let mut index = 0;
                labels.for_each(&mut |name, value| {
                    self.member(index, name.as_bytes(), Value::String(value.as_bytes()), verb, depth);
                    index += 1;
                });
                self.close_map();
            }
        }
    }

    /// Writes a value that does not fit the verb, as `%!d(string=hi)`.
    fn bad_verb(&mut self, value: Value<'_>, verb: char) {
        self.complain(verb, b"(");
        self.sink.extend(value.type_name().as_bytes());
        if !value.is_absent() {
            self.sink.push(b'=');
            let outer = std::mem::replace(&mut self.complaining, true);
            self.print(value, 'v', 1);
            self.complaining = outer;
        }
        self.sink.push(b')');
    }

    fn list(&mut self, value: Value<'_>, items: &[Value<'_>], verb: char, depth: usize) {
        if self.sharp_default {
            self.sink.extend(value.type_name().as_bytes());
        }
        let (open, separator, close): (_, &[u8], _) =
            if self.sharp_default { (b'{', b", ", b'}') } else { (b'[', b" ", b']') };
        self.sink.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.sink.extend(separator);
            }
            self.print(*item, verb, depth + 1);
        }
        self.sink.push(close);
    }

    fn open_map(&mut self, value: Value<'_>) {
        if self.sharp_default {
            self.sink.extend(value.type_name().as_bytes());
            self.sink.push(b'{');
        } else {
            self.sink.extend(b"map[");
        }
    }

    fn member(&mut self, index: usize, name: &[u8], member: Value<'_>, verb: char, depth: usize) {
        if index > 0 {
            self.sink.extend(if self.sharp_default { b", " } else { b" " });
        }
        self.print(Value::String(name), verb, depth + 1);
        self.sink.push(b':');
        self.print(member, verb, depth + 1);
    }

    fn close_map(&mut self) {
        self.sink.push(if self.sharp_default { b'}' } else { b']' });
    }

    /// Writes `text`, padded to the width.
    fn pad(&mut self, text: &[u8]) {
        let start = self.sink.len();
        self.sink.extend(text);
        self.pad_from(start);
    }

    /// Pads what was written since `start` to the width.
    fn pad_from(&mut self, start: usize) {
        let Some(width) = self.width else { return };
        let written = char_count(&self.sink.raw()[start..]);
        let Some(missing @ 1..) = width.checked_sub(written) else { return };
        let end = self.sink.len();
        self.sink.fill(if self.zero && !self.minus { b'0' } else { b' ' }, missing);
        if !self.minus && self.sink.len() > end {
            self.sink.raw()[start..].rotate_right(missing);
        }
    }

    fn pad_with_blanks_from(&mut self, start: usize) {
        let zero = std::mem::take(&mut self.zero);
        self.pad_from(start);
        self.zero = zero;
    }

    fn string(&mut self, text: &[u8], verb: char) {
        match verb {
            'x' | 'X' => self.hex_string(text, verb == 'X'),
            'q' => self.quoted(text),
            _ => {
                let text = self.truncated(text);
                self.pad(text);
            }
        }
    }

    /// `text` cut to the precision, in characters.
    fn truncated<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.precision else { return text };
        let mut rest = precision;
        let mut length = 0;
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                if rest == 0 {
                    return &text[..length];
                }
                rest -= 1;
                length += c.len_utf8();
            }
            let invalid = chunk.invalid().len().min(rest);
            rest -= invalid;
            length += invalid;
        }
        &text[..length]
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        let start = self.sink.len();
        if self.sharp && can_backquote(text) {
            self.sink.push(b'`');
            self.sink.extend(text);
            self.sink.push(b'`');
        } else {
            append_quoted(self.sink.raw(), text, '"', self.plus);
        }
        self.pad_from(start);
    }

    fn hex_string(&mut self, text: &[u8], upper: bool) {
        let text = &text[..self.precision.unwrap_or(text.len()).min(text.len())];
        let prefix: &[u8] = if upper { b"0X" } else { b"0x" };
        let start = self.sink.len();
        if self.sharp && !text.is_empty() {
            self.sink.extend(prefix);
        }
        for (index, byte) in text.iter().enumerate() {
            if self.space && index > 0 {
                self.sink.push(b' ');
                if self.sharp {
                    self.sink.extend(prefix);
                }
            }
            self.sink.extend(&[hex_digit(byte >> 4, upper), hex_digit(*byte, upper)]);
        }
        self.pad_from(start);
    }

    fn bytes(&mut self, bytes: &[u8], verb: char) {
        if matches!(verb, 's' | 'q' | 'x' | 'X') {
            return self.string(bytes, verb);
        }
        let (open, separator, close): (&[u8], &[u8], _) =
            if self.sharp_default { (b"[]byte{", b", ", b'}') } else { (b"[", b" ", b']') };
        self.sink.extend(open);
        for (index, &byte) in bytes.iter().enumerate() {
            if index > 0 {
                self.sink.extend(separator);
            }
            self.typed_int(Value::Int(byte.into(), IntType::Uint8), byte.into(), IntType::Uint8, verb);
        }
        self.sink.push(close);
    }

    fn time(&mut self, moment: &time::Time<'_>, verb: char) {
        let start = self.sink.len();
        if self.complaining || !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return self.time_fields(moment, verb);
        }
        if self.sharp_default {
            return moment.write_go_syntax(self.sink);
        }
        moment.write_default(self.sink);
        let text = self.sink.raw().split_off(start);
        self.string(&text, verb);
    }

    /// The inner fields of a time, which verbs other than those for strings show.
    fn time_fields(&mut self, moment: &time::Time<'_>, verb: char) {
        const SECONDS_FROM_YEAR_1_TO_1970: i64 = 62_135_596_800;
        self.sink.push(b'{');
        let nanos = i64::from(moment.nanos);
        self.raw_int(nanos, verb, "uint64");
        self.sink.push(b' ');
        self.raw_int(moment.seconds.wrapping_add(SECONDS_FROM_YEAR_1_TO_1970), verb, "int64");
        self.sink.push(b' ');
        match verb {
            'v' => self.sink.extend(b"<nil>"),
            'd' | 'o' | 'b' | 'x' | 'X' => self.sink.push(b'0'),
            _ => self.complain(verb, b"(*time.Location=<nil>)"),
        }
        self.sink.push(b'}');
    }

    /// An integer of a type that values cannot have by themselves.
    fn raw_int(&mut self, int: i64, verb: char, type_name: &str) {
        if matches!(verb, 'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U') {
            return self.plain_int(int, verb);
        }
        self.complain(verb, b"(");
        self.sink.extend(type_name.as_bytes());
        self.sink.push(b'=');
        self.plain_int(int, 'v');
        self.sink.push(b')');
    }

    fn typed_int(&mut self, value: Value<'_>, int: i64, int_type: IntType, verb: char) {
        let is_named = matches!(int_type, IntType::Duration | IntType::Month | IntType::Weekday);
        if is_named && !self.complaining && !self.sharp_default && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            let mut text = Vec::new();
            time::append_named_int(&mut text, int, int_type);
            return self.string(&text, verb);
        }
        match verb {
            'v' if self.sharp_default && int_type == IntType::Uint8 => {
                self.sharp = true;
                self.integer(int, 16, 'v', false);
                self.sharp = false;
            }
            'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U' => self.plain_int(int, verb),
            _ => self.bad_verb(value, verb),
        }
    }

    fn plain_int(&mut self, int: i64, verb: char) {
        match verb {
            'b' => self.integer(int, 2, verb, false),
            'o' | 'O' => self.integer(int, 8, verb, false),
            'x' => self.integer(int, 16, verb, false),
            'X' => self.integer(int, 16, verb, true),
            'c' => {
                let start = self.sink.len();
                self.sink.push_char(character(int));
                self.pad_from(start);
            }
            'q' => {
                let start = self.sink.len();
                let text = character(int).to_string();
                append_quoted(self.sink.raw(), text.as_bytes(), '\'', self.plus);
                self.pad_from(start);
            }
            'U' => self.unicode(int),
            _ => self.integer(int, 10, verb, false),
        }
    }

    fn integer(&mut self, int: i64, radix: u64, verb: char, upper: bool) {
        let negative = int < 0;
        let mut rest = int.unsigned_abs();
        let minimum = match self.precision {
            // Precision 0 and value 0 mean: nothing but padding.
            Some(0) if int == 0 => return self.sink.fill(b' ', self.width.unwrap_or(0)),
            Some(precision) => precision,
            None if self.zero && !self.minus => {
                let sign = usize::from(negative || self.plus || self.space);
                self.width.unwrap_or(0).saturating_sub(sign)
            }
            None => 0,
        };
        // 64 binary digits, to be read backwards.
        let mut digits = [0_u8; 64];
        let mut count = 0;
        while count == 0 || rest > 0 {
            digits[count] = hex_digit((rest % radix) as u8, upper);
            rest /= radix;
            count += 1;
        }
        let start = self.sink.len();
        if negative {
            self.sink.push(b'-');
        } else if self.plus {
            self.sink.push(b'+');
        } else if self.space {
            self.sink.push(b' ');
        }
        if verb == 'O' {
            self.sink.extend(b"0o");
        }
        let zeros = minimum.saturating_sub(count);
        if self.sharp {
            match radix {
                2 => self.sink.extend(b"0b"),
                8 if zeros == 0 && digits[count - 1] != b'0' => self.sink.push(b'0'),
                16 => self.sink.extend(if upper { b"0X" } else { b"0x" }),
                _ => {}
            }
        }
        self.sink.fill(b'0', zeros);
        digits[..count].reverse();
        self.sink.extend(&digits[..count]);
        self.pad_with_blanks_from(start);
    }

    fn unicode(&mut self, int: i64) {
        let start = self.sink.len();
        let code = format!("{int:X}");
        self.sink.extend(b"U+");
        self.sink.fill(b'0', self.precision.unwrap_or(4).max(4).saturating_sub(code.len()));
        self.sink.extend(code.as_bytes());
        let c = u32::try_from(int).ok().and_then(char::from_u32);
        if let Some(c) = c.filter(|&c| self.sharp && super::super::strconv::is_printable(c)) {
            self.sink.extend(b" '");
            self.sink.push_char(c);
            self.sink.push(b'\'');
        }
        self.pad_with_blanks_from(start);
    }

    fn float(&mut self, value: Value<'_>, float: f64, verb: char) {
        match verb {
            'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E' => self.plain_float(float, verb),
            _ => self.bad_verb(value, verb),
        }
    }

    fn complex(&mut self, value: Value<'_>, real: f64, imaginary: f64, verb: char) {
        match verb {
            'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E' => {
                let plus = self.plus;
                self.sink.push(b'(');
                self.plain_float(real, verb);
                // The imaginary part always has a sign.
                self.plus = true;
                self.plain_float(imaginary, verb);
                self.sink.extend(b"i)");
                self.plus = plus;
            }
            _ => self.bad_verb(value, verb),
        }
    }

    fn plain_float(&mut self, float: f64, verb: char) {
        let (style, default) = match verb {
            'v' => (b'g', None),
            'b' => (b'b', None),
            'F' => (b'f', Some(6)),
            'f' | 'e' | 'E' => (verb as u8, Some(6)),
            _ => (verb as u8, None),
        };
        let precision = if verb == 'b' { None } else { self.precision.or(default) };
        let start = self.sink.len();
        // The longest float has a few hundred digits before the point and a million behind.
        let out = self.sink.raw();
        append_float(out, float, FloatStyle { verb: style, precision });
        let has_sign = matches!(out.get(start), Some(b'-' | b'+'));
        if !has_sign && (self.plus || self.space || float.is_infinite()) {
            out.insert(start, b'+');
        }
        if !float.is_finite() {
            if out[start] == b'+' && !self.plus {
                if self.space {
                    out[start] = b' ';
                } else if float.is_nan() {
                    out.remove(start);
                }
            }
            return self.pad_with_blanks_from(start);
        }
        if !self.plus && self.space && out[start] == b'+' {
            out[start] = b' ';
        }
        if self.sharp && verb != 'b' {
            self.keep_point(start, verb, precision);
        }
        self.pad_signed_from(start);
    }

    /// `%#g` and friends: always a point, and for `%g` all digits.
    fn keep_point(&mut self, start: usize, verb: char, precision: Option<usize>) {
        let out = self.sink.raw();
        let signed = usize::from(!out[start].is_ascii_digit());
        let number = &out[start + signed..];
        let is_hex = matches!(verb, 'x' | 'X');
        let tail_at = number.iter().position(|b| match b {
            b'p' | b'P' => true,
            b'e' | b'E' => !is_hex,
            _ => false,
        });
        let tail = out.split_off(start + signed + tail_at.unwrap_or(number.len()));
        let number = &out[start + signed..];
        let mut digits = match verb {
            'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
            _ => 0,
        };
        let significant = number.iter().filter(|b| **b != b'.').skip_while(|b| **b == b'0').count();
        let has_point = number.contains(&b'.');
        digits = digits.saturating_sub(significant);
        if !has_point {
            // A lone zero counts as a digit.
            if number == b"0" {
                digits = digits.saturating_sub(1);
            }
            out.push(b'.');
        }
        out.resize(out.len() + digits, b'0');
        out.extend_from_slice(&tail);
    }

    /// Pads a number; zeros go behind its sign.
    fn pad_signed_from(&mut self, start: usize) {
        let has_sign = matches!(self.sink.raw().get(start), Some(b'-' | b'+' | b' '));
        if !(has_sign && self.zero && !self.minus) {
            return self.pad_from(start);
        }
        let length = self.sink.len() - start;
        let Some(missing @ 1..) = self.width.unwrap_or(0).checked_sub(length) else { return };
        let end = self.sink.len();
        self.sink.fill(b'0', missing);
        if self.sink.len() > end {
            self.sink.raw()[start + 1..].rotate_right(missing);
        }
    }
}

/// The character with this code point, or the replacement character.
fn character(int: i64) -> char {
    u32::try_from(int).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Characters in `text`, each byte that is not UTF-8 counting as one.
pub(crate) fn char_count(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}
