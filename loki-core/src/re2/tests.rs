use super::*;

fn outcome(pattern: &str) -> String {
    match compile(pattern, RegexOptions::default()) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string().replace("error parsing regexp: ", ""),
    }
}

/// What Go's `regexp.Compile` answers.
#[test]
fn patterns_are_refused_in_the_words_of_go() {
    for (pattern, expected) in [
        ("[", "missing closing ]: `[`"),
        ("x[]", "missing closing ]: `[]`"),
        ("(?P<a>[)", "missing closing ]: `[)`"),
        ("[[:alpha:]", "missing closing ]: `[[:alpha:]`"),
        ("(", "missing closing ): `(`"),
        (r"(?P<named>\d{2,}", r"missing closing ): `(?P<named>\d{2,}`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("(a|*?)", "missing argument to repetition operator: `*?`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        (r"\Q\E*", "missing argument to repetition operator: `*`"),
        ("{2}", "missing argument to repetition operator: `{2}`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*?*?", "invalid nested repetition operator: `*?*?`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{1001,}?", "invalid repeat count: `{1001,}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("(a{100,}){11}?", "invalid repeat count: `{11}?`"),
        ("((a{2,3}){10}){34}", "invalid repeat count: `{34}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?--i)", "invalid or unsupported Perl syntax: `(?--`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<>x)", "invalid named capture: `(?P<>`"),
        ("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`"),
        ("(?P<é>x)", "invalid named capture: `(?P<é>`"),
        ("(?<=a)", "invalid named capture: `(?<=a)`"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"[a\", "trailing backslash at end of expression: ``"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"\x{g}", r"invalid escape sequence: `\x{g`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{White_Space}", r"invalid character class range: `\p{White_Space}`"),
        (r"\p{sc=Greek}", r"invalid character class range: `\p{sc=Greek}`"),
        (r"\p{Greek", r"invalid character class range: `\p{Greek`"),
    ] {
        assert_eq!(outcome(pattern), expected, "{pattern}");
    }
}

#[test]
fn patterns_that_go_accepts_compile() {
    for pattern in [
        "",
        "{",
        "a{",
        "a{2",
        "a{,2}",
        "a{02}",
        "a(?i)*",
        "a*(?i)*",
        r"a\Q\E*",
        r"\Qa*(",
        "^*",
        "()*",
        "(|a)",
        "[]a]",
        "[^]a]",
        "[a-z-9]",
        "[--a]",
        "[a&&b]",
        "[[.a.]]",
        r"[\d-z]",
        r"[\x{D800}]",
        r"\x{D800}",
        r"[^\x00-\x{10FFFF}]",
        r"\12",
        r"\08",
        r"\_",
        r"\pN*",
        r"\p{^Greek}",
        r"\p{Letter}",
        "(?P<n>a)(?<n>b)",
        "(?P<1a>x)",
        "(?ii)a",
        "(?s-s:a)",
        "(a{100}){10}",
        "(a{0}){1000}",
        "a{1000}",
    ] {
        assert_eq!(outcome(pattern), "ok", "{pattern}");
    }
}

#[test]
fn matching_follows_go_where_the_regex_crate_differs() {
    for (pattern, text, expected) in [
        (r"^\d+$", "٣", false),
        (r"^\w$", "é", false),
        (r"\bé", "é", false),
        (r"^\s$", "\x0b", false),
        (r"^[[:space:]]$", "\x0b", true),
        (r"(?i)^\w$", "\u{212a}", true),
        (r"(?i)straße", "STRAßE", true),
        (r"^\Qa.b*\E$", "a.b*", true),
        (r"a{,2}", "a{,2}", true),
        (r"^\x41\102\x{43}$", "ABC", true),
        ("a.b", "a\nb", false),
        ("(?s)a.b", "a\nb", true),
        ("^b$", "a\nb", false),
        ("(?m)^b$", "a\nb", true),
        (r"[\x{D800}]", "\u{d7ff}", false),
        (r"^[\x{D700}-\x{E000}]$", "\u{e000}", true),
        ("a b#c", "a b#c", true),
        ("[a&&b]", "&", true),
        ("[a--b]", "b", false),
    ] {
        let regex = compile(pattern, RegexOptions::default());
        // The last pattern is a reversed range, not a difference of sets.
        assert_eq!(regex.is_ok_and(|regex| regex.is_match(text.as_bytes())), expected, "{pattern} {text:?}");
    }
}

#[test]
fn greed_belongs_to_the_operator() {
    let found = |pattern: &str| compile(pattern, RegexOptions::default()).unwrap().find(b"aaa").unwrap().end();
    assert_eq!(found("a+"), 3);
    assert_eq!(found("(?U)a+"), 1);
    assert_eq!(found("(?U)a+?"), 3);
    assert_eq!(found("a(?U)+"), 1);
}

#[test]
fn options_anchor_and_let_the_dot_match_newlines() {
    let options = RegexOptions { anchored: true, dot_matches_newline: true };
    let regex = compile("a|b.c", options).unwrap();
    assert!(regex.is_match(b"b\nc"));
    assert!(!regex.is_match(b"ab"));
    assert!(!compile("(?-s)b.c", options).unwrap().is_match(b"b\nc"));
}

#[test]
fn capture_names_are_those_of_go() {
    let pattern = Pattern::parse("(a)(?P<n>b)(?<1x>c)(?P<n>d)", RegexOptions::default()).unwrap();
    let names: Vec<_> = pattern.capture_names().iter().map(|name| name.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["", "", "n", "1x", "n"]);
    assert_eq!(pattern.compile().unwrap().captures_len(), names.len());
}

#[test]
fn nesting_is_limited_before_anything_recurses() {
    let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
    let deepest = MAX_NESTING as usize - 1;
    assert_eq!(outcome(&nested(deepest)), "ok");
    let error = compile(&nested(deepest + 1), RegexOptions::default()).unwrap_err();
    assert_eq!(error.kind(), RegexErrorKind::NestsTooDeeply);
    let open_only = "(".repeat(100_000);
    assert_eq!(compile(&open_only, RegexOptions::default()).unwrap_err().kind(), RegexErrorKind::MissingParen);
}

#[test]
fn compiled_size_is_limited() {
    let pattern = r"\pL{1000}\pL{1000}\pL{1000}\pL{1000}\pL{1000}";
    assert_eq!(compile(pattern, RegexOptions::default()).unwrap_err().kind(), RegexErrorKind::TooLarge);
    assert_eq!(outcome(r"\w{1000}"), "ok");
}

proptest::proptest! {
    #[test]
    fn whatever_is_accepted_compiles(pattern in r"([a-c.|()*+?\[\]\\^$é]|\{2\}|\(\?i\)|\\[dWpLxbQE]|\[\^?a-b|\(\?P<n>){0,12}") {
        if let Ok(pattern) = Pattern::parse(&pattern, RegexOptions::default()) {
            proptest::prop_assert!(pattern.compile().is_ok(), "{}", pattern.as_str());
        }
    }
}
