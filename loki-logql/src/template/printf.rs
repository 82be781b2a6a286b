//! Go's `fmt`: how values print, and `printf`.

mod verbs;

use super::context::Sink;
use super::value::Value;
use verbs::Formatter;

pub(super) use verbs::char_count;

/// Largest width and precision, as in Go; larger ones are refused in the output.
const MAX_WIDTH: usize = 1_000_000;

/// Writes `value` as `%v` does.
pub(super) fn print_default(sink: &mut Sink<'_>, value: Value<'_>) {
    Formatter::new(sink).print_argument(value, 'v');
}

/// `value` as `%v` writes it.
pub(super) fn default_text(value: Value<'_>) -> String {
    let mut text = Vec::new();
    print_default(&mut Sink::new(&mut text), value);
    String::from_utf8_lossy(&text).into_owned()
}

/// `value` as `%s` writes it.
pub(super) fn string_text(value: Value<'_>) -> String {
    let mut text = Vec::new();
    Formatter::new(&mut Sink::new(&mut text)).print_argument(value, 's');
    String::from_utf8_lossy(&text).into_owned()
}

/// `print`: blanks between operands when neither is a string.
pub(super) fn sprint(sink: &mut Sink<'_>, values: &[Value<'_>]) {
    let mut after_string = true;
    for (index, value) in values.iter().enumerate() {
        let is_string = matches!(value.unboxed(), Value::String(_));
        if index > 0 && !is_string && !after_string {
            sink.push(b' ');
        }
        print_default(sink, value.unboxed());
        after_string = is_string;
    }
}

/// `println`: blanks between all operands, a newline at the end.
pub(super) fn sprintln(sink: &mut Sink<'_>, values: &[Value<'_>]) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            sink.push(b' ');
        }
        print_default(sink, value.unboxed());
    }
    sink.push(b'\n');
}

/// `printf`.
pub(super) fn sprintf(sink: &mut Sink<'_>, format: &[u8], values: &[Value<'_>]) {
    let mut printer = Printer { format, at: 0, values, next: 0, reordered: false, good_index: true };
    while printer.directive(sink) {}
    printer.report_extra(sink);
}

/// Walks through a format.
struct Printer<'p> {
    format: &'p [u8],
    at: usize,
    values: &'p [Value<'p>],
    /// The argument that comes next.
    next: usize,
    /// Whether an explicit index was used anywhere.
    reordered: bool,
    /// Whether the explicit indexes of this directive are valid.
    good_index: bool,
}

impl Printer<'_> {
    /// Writes text up to the next directive, and that; false at the end of the format.
    fn directive(&mut self, sink: &mut Sink<'_>) -> bool {
        let rest = &self.format[self.at..];
        let text_len = memchr::memchr(b'%', rest).unwrap_or(rest.len());
        sink.extend(&rest[..text_len]);
        self.at += text_len;
        if self.at == self.format.len() || sink.check().is_err() {
            return false;
        }
        self.at += 1;
        self.good_index = true;
        let mut formatter = Formatter::new(sink);
        self.read_flags(&mut formatter);
        let after_index = self.read_width_and_precision(&mut formatter);
        if !after_index {
            self.read_index();
        }
        let Some(verb) = self.read_verb() else {
            sink.extend(b"%!(NOVERB)");
            return false;
        };
        if verb == '%' {
            formatter.sink.push(b'%');
        } else if !self.good_index {
            formatter.complain(verb, b"(BADINDEX)");
        } else if self.next >= self.values.len() {
            formatter.complain(verb, b"(MISSING)");
        } else {
            if verb == 'v' {
                formatter.prepare_default();
            }
            formatter.print_argument(self.values[self.next].unboxed(), verb);
            self.next += 1;
        }
        true
    }

    fn read_flags(&mut self, formatter: &mut Formatter<'_, '_>) {
        while let Some(&flag) = self.format.get(self.at) {
            match flag {
                b'#' => formatter.sharp = true,
                b'0' => formatter.zero = true,
                b'+' => formatter.plus = true,
                b'-' => formatter.minus = true,
                b' ' => formatter.space = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    /// Reads `[index]`, width, `.` and precision; true if an index came last, so that the verb follows at once.
    fn read_width_and_precision(&mut self, formatter: &mut Formatter<'_, '_>) -> bool {
        let mut after_index = self.read_index();
        if self.format.get(self.at) == Some(&b'*') {
            self.at += 1;
            match self.int_argument() {
                Some(width) => {
                    formatter.minus |= width < 0;
                    formatter.zero &= width >= 0;
                    formatter.width = Some(width.unsigned_abs() as usize);
                }
                None => formatter.sink.extend(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            formatter.width = self.read_number();
            // "%[3]2d"
            self.good_index &= !(after_index && formatter.width.is_some());
        }
        if self.at + 1 >= self.format.len() || self.format[self.at] != b'.' {
            return after_index;
        }
        self.at += 1;
        // "%[3].2d"
        self.good_index &= !after_index;
        after_index = self.read_index();
        if self.format.get(self.at) == Some(&b'*') {
            self.at += 1;
            let precision = self.int_argument().and_then(|precision| usize::try_from(precision).ok());
            if precision.is_none() {
                formatter.sink.extend(b"%!(BADPREC)");
            }
            formatter.precision = precision;
            return false;
        }
        formatter.precision = Some(self.read_number().unwrap_or(0));
        after_index
    }

    /// Reads decimal digits. A number that is too large swallows the rest of the format, as in Go.
    fn read_number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.format.get(self.at).filter(|b| b.is_ascii_digit()) {
            if number.is_some_and(|n| n > MAX_WIDTH) {
                self.at = self.format.len();
                return None;
            }
            number = Some(number.unwrap_or(0) * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    /// Takes the next argument as a width or precision.
    fn int_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value.unboxed() {
            Value::Int(int, _) => Some(int).filter(|int| int.unsigned_abs() <= MAX_WIDTH as u64),
            _ => None,
        }
    }

    /// Reads `[n]`; true if there was a valid one.
    fn read_index(&mut self) -> bool {
        let rest = &self.format[self.at..];
        if rest.first() != Some(&b'[') {
            return false;
        }
        self.reordered = true;
        let end = if rest.len() < 3 { None } else { memchr::memchr(b']', rest) };
        let Some(end) = end else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        let index = std::str::from_utf8(&rest[1..end]).ok().filter(|s| s.bytes().all(|b| b.is_ascii_digit()));
        let index = index.and_then(|s| s.parse::<usize>().ok()).filter(|&n| n <= 10 * MAX_WIDTH);
        self.at += end + 1;
        match index {
            Some(index @ 1..) if index <= self.values.len() => {
                self.next = index - 1;
                true
            }
            index => {
                self.good_index = false;
                index.is_some()
            }
        }
    }

    fn read_verb(&mut self) -> Option<char> {
        let rest = &self.format[self.at..];
        let chunk = rest[..rest.len().min(4)].utf8_chunks().next()?;
        if let Some(verb) = chunk.valid().chars().next() {
            self.at += verb.len_utf8();
            return Some(verb);
        }
        self.at += 1;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn report_extra(&self, sink: &mut Sink<'_>) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        sink.extend(b"%!(EXTRA ");
        for (index, value) in self.values[self.next..].iter().enumerate() {
            if index > 0 {
                sink.extend(b", ");
            }
            let value = value.unboxed();
            sink.extend(value.type_name().as_bytes());
            if !value.is_absent() {
                sink.push(b'=');
                print_default(sink, value);
            }
        }
        sink.push(b')');
    }
}
