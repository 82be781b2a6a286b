//! Tests of tokens.

use super::*;

/// The names and texts of all tokens, or the message of the first error.
fn tokens(query: &str) -> Result<Vec<(String, &str)>, String> {
    let mut lexer = Lexer::new(query);
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next_token().map_err(|(error, _)| error.to_string())?;
        if token.kind == TokenKind::End {
            return Ok(tokens);
        }
        tokens.push((token.kind.name().into_owned(), token.text));
    }
}

fn names(query: &str) -> String {
    let names = tokens(query).map(|tokens| tokens.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    names.map_or_else(|error| error, |names| names.join(" "))
}

fn only_kind(query: &str) -> TokenKind {
    Lexer::new(query).next_token().expect("a token").kind
}

#[test]
fn functions_are_words_only_when_called() {
    assert_eq!(names("rate ("), "RATE (");
    assert_eq!(names("rate rate)"), "IDENTIFIER IDENTIFIER )");
    assert_eq!(names("sum by (sum)"), "SUM by ( IDENTIFIER )");
    assert_eq!(names("sum Without /* all */\n(sum)"), "SUM without ( IDENTIFIER )");
    assert_eq!(names("sum by sum"), "IDENTIFIER by IDENTIFIER");
    assert_eq!(names("ip ip(bytes(duration_seconds("), "IDENTIFIER ip ( BYTES_CONV ( DURATION_SECONDS_CONV (");
}

#[test]
fn words_have_no_case_and_names_keep_theirs() {
    assert_eq!(names("JSON Rate( lOgFmT"), "json RATE ( logfmt");
    assert_eq!(tokens("aB_é٣"), Ok(vec![("IDENTIFIER".to_owned(), "aB_é٣")]));
}

#[test]
fn blanks_and_comments_separate() {
    assert_eq!(names("\u{feff}a #b\n\tc // d\r\n/* e\n */ f"), "IDENTIFIER IDENTIFIER IDENTIFIER");
    assert_eq!(names("/* open"), "comment not terminated");
    assert_eq!(names("a\u{a0}b\u{c}"), "IDENTIFIER IDENTIFIER IDENTIFIER IDENTIFIER");
}

#[test]
fn characters_without_meaning_are_names() {
    assert_eq!(names("@ ; $ ! ~ 'x' '\\n'"), ["IDENTIFIER"; 7].join(" "));
    assert_eq!(names("'xy'"), "invalid char literal");
    assert_eq!(names("''"), "invalid char literal");
}

#[test]
fn nul_is_refused_everywhere() {
    for query in ["\0", "a\0", "a \0", "\"\0\"", "`\0`", "'\0'"] {
        assert_eq!(names(query), "invalid character NUL", "{query:?}");
    }
}

#[test]
fn strings_have_the_escapes_of_go() {
    let value = |query| match only_kind(query) {
        TokenKind::String(value) => value,
        other => panic!("{query} is {other:?}"),
    };
    assert_eq!(value(r#""\a\b\f\n\r\t\v\\\"""#), b"\x07\x08\x0c\n\r\t\x0b\\\"");
    assert_eq!(value(r#""\101\x41\u0041\U00000041""#), b"AAAA");
    assert_eq!(value(r#""\xff\377""#), [0xff, 0xff]);
    assert_eq!(value(r#""\ud800""#), "\u{fffd}".as_bytes());
    assert_eq!(value("`a\n\\d\"`"), b"a\n\\d\"");
    for query in [r#""\d""#, r#""\'""#, r#""\x4""#, r#""\18""#, r#""\u12""#, r#""\""#] {
        assert!(matches!(names(query).as_str(), "invalid char escape" | "literal not terminated"), "{query}");
    }
    assert_eq!(names(r#""\400""#), "invalid syntax");
    assert_eq!(names(r#""\U00110000""#), "invalid syntax");
    assert_eq!(names("\"a\nb\""), "literal not terminated");
    assert_eq!(names("`a"), "literal not terminated");
}

#[test]
fn numbers_are_scanned_like_go_does() {
    for number in ["1", "1.", ".5", "1e3", "1E-3", "017", "1_000", "0x1p-2", "0x_1F", "0.8", "08.5", "0b1", "0o7"] {
        assert_eq!(only_kind(number), TokenKind::Number, "{number}");
    }
    let refused = [
        ("08", "invalid digit '8' in octal literal"),
        ("1__0", "'_' must separate successive digits"),
        ("1_", "'_' must separate successive digits"),
        ("0x", "hexadecimal literal has no digits"),
        ("0b", "binary literal has no digits"),
        ("0o", "octal literal has no digits"),
        ("0B", "decimal literal has no digits"),
        ("0b2", "invalid digit '2' in binary literal"),
        ("0b1.0", "invalid radix point in binary literal"),
        ("0o1e3", "'e' exponent requires decimal mantissa"),
        ("0x1.8", "hexadecimal mantissa requires a 'p' exponent"),
        ("1EB", "exponent has no digits"),
        ("1PB", "'P' exponent requires hexadecimal mantissa"),
    ];
    for (number, error) in refused {
        assert_eq!(names(number), error, "{number}");
    }
}

#[test]
fn floats_are_read_like_go_does() {
    assert_eq!(parse_float("017"), Ok(17.0));
    assert_eq!(parse_float("1_000.5"), Ok(1000.5));
    assert_eq!(parse_float("0x1p-2"), Ok(0.25));
    assert_eq!(parse_float("0x.8p1"), Ok(1.0));
    assert_eq!(parse_float("0x1.fffffffffffffffffp0"), Ok(2.0));
    assert_eq!(parse_float("0x1p-99999999999999999999"), Ok(0.0));
    let error = |text| parse_float(text).unwrap_err().to_string();
    assert_eq!(error("0x10"), "strconv.ParseFloat: parsing \"0x10\": invalid syntax");
    assert_eq!(error("0b1"), "strconv.ParseFloat: parsing \"0b1\": invalid syntax");
    assert_eq!(error("1e400"), "strconv.ParseFloat: parsing \"1e400\": value out of range");
    assert_eq!(parse_float("1e400").map_err(|error| error.value()), Err(f64::INFINITY));
}

#[test]
fn numbers_grow_into_durations_and_sizes_if_all_of_it_fits() {
    assert_eq!(only_kind("1.5h"), TokenKind::Duration(5_400_000_000_000));
    assert_eq!(only_kind("1d"), TokenKind::Duration(86_400_000_000_000));
    assert_eq!(only_kind("5µs"), TokenKind::Duration(5_000));
    assert_eq!(only_kind("-5m"), TokenKind::Duration(-300_000_000_000));
    assert_eq!(only_kind("-0"), TokenKind::Duration(0));
    assert_eq!(only_kind("1.5KiB"), TokenKind::Bytes(1_536));
    assert_eq!(
        names("1m30 1.5d -1d - 5m 5x 5μs"),
        "NUMBER IDENTIFIER NUMBER IDENTIFIER - DURATION - DURATION NUMBER IDENTIFIER NUMBER IDENTIFIER"
    );
}

#[test]
fn ranges_reach_to_their_bracket() {
    assert_eq!(only_kind("[1h30m]"), TokenKind::Range(5_400_000_000_000));
    assert_eq!(only_kind("[0]"), TokenKind::Range(0));
    assert_eq!(names("["), "missing closing ']' in duration");
    assert_eq!(names("[]"), "empty duration string");
    assert_eq!(names("[5m"), "missing closing ']' in duration");
    assert_eq!(names("]"), "]");
}

#[test]
fn flags_touch_and_end() {
    assert_eq!(names("--strict --keep-empty"), "FUNCTION_FLAG FUNCTION_FLAG");
    assert_eq!(names("--stricter -- strict --Strict"), "- - IDENTIFIER - - IDENTIFIER - - IDENTIFIER");
}

#[test]
fn the_longest_symbol_wins() {
    assert_eq!(names("!= =~ !~ !> |= |~ |> == >= <= === || |=|"), "!= =~ !~ !> |= |~ |> == >= <= == = | | |= |");
}
