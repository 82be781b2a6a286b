use super::*;
use proptest::prelude::*;

fn parsed(text: &str) -> String {
    match Labels::parse(text) {
        Ok(labels) => labels.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn label_text_is_sorted_and_unescaped() {
    for (text, expected) in [
        (r#"{z="1",pushcase="x",a="2"}"#, r#"{a="2", pushcase="x", z="1"}"#),
        (r#" { a = "b" , c='d' , } "#, r#"{a="b", c="d"}"#),
        (r#"{a="x\"y\n\u00e9\x41\101"}"#, r#"{a="x\"y\néAA"}"#),
        ("{a=`b\\n`}", r#"{a="b\\n"}"#),
        (r#"{a="",b="1"}"#, r#"{b="1"}"#),
        (r#"{"a"="1"}"#, r#"{a="1"}"#),
        (r#"up{a="1"}"#, r#"{__name__="up", a="1"}"#),
        ("{}", "{}"),
        ("", "{}"),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn errors_are_worded_as_loki_answers() {
    for (text, expected) in [
        (r#"{bad-name="v"}"#, "1:5: parse error: unexpected character inside braces: '-'"),
        (r#"{1bad="v"}"#, "1:2: parse error: unexpected character inside braces: '1'"),
        (r#"{bad name="v"}"#, r#"1:6: parse error: unexpected identifier "name" in label set, expected "=""#),
        (r#"{pushcase="lname", é="v"}"#, "1:20: parse error: unexpected character inside braces: 'é'"),
        (r#"{="v"}"#, r#"1:2: parse error: unexpected "=" in label set, expected identifier or "}""#),
        ("{a\0b=\"v\"}", r"1:3: parse error: unexpected character inside braces: '\x00'"),
        ("{pushcase=protobad}", r#"1:11: parse error: unexpected identifier "protobad" in label set, expected string"#),
        (r#"{pushcase!="x"}"#, r#"1:10: parse error: unexpected <op:!=> in label set, expected "=""#),
        (r#"{pushcase="prototrail"} junk"#, r#"1:25: parse error: unexpected identifier "junk""#),
        ("{bad", "1:5: parse error: unexpected end of input inside braces"),
        ("{a=\"b", "1:4: parse error: unterminated quoted string"),
        ("{a=\"b\"\n c}", r#"2:2: parse error: unexpected identifier "c" in label set, expected "," or "}""#),
        (r#"{a="\q"}"#, "1:4: parse error: unknown escape sequence U+0071 'q'"),
        (
            r#"{pushcase="protodup",a="1",a="2"}"#,
            r#"stream '{a="1", a="2", pushcase="protodup"}' has duplicate label name: 'a'"#,
        ),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn quoting_follows_go() {
    for (text, quoted) in [
        ("plain é 日本 😀", r#""plain é 日本 😀""#),
        ("a\"b\\c", r#""a\"b\\c""#),
        ("\x07\x08\x0c\n\r\t\x0b\0\x1f\x7f", r#""\a\b\f\n\r\t\v\x00\x1f\x7f""#),
        ("\u{a0}\u{ad}\u{200b}\u{feff}\u{e000}\u{10ffff}", r#""\u00a0\u00ad\u200b\ufeff\ue000\U0010ffff""#),
        ("e\u{301}", "\"e\u{301}\""),
        ("\u{301}", "\"\u{301}\""),
    ] {
        assert_eq!(quote(text), quoted);
        assert_eq!(unquote(quoted).unwrap(), text);
    }
}

#[test]
fn unquoting_refuses_what_go_refuses() {
    for bad in [
        "",
        "\"",
        "`",
        "abc",
        "\"a\nb\"",
        r#""a"b""#,
        r#""\'""#,
        r#""\400""#,
        r#""\ud800""#,
        r#""\x4""#,
        "`a`b`",
        r#""\""#,
    ] {
        assert_eq!(unquote(bad), Err(UnquoteError), "{bad}");
    }
    assert_eq!(unquote_bytes(r#""\xff\377""#).unwrap(), [0xff, 0xff]);
    assert_eq!(unquote("`a\r\nb`").unwrap(), "a\nb");
}

#[test]
fn the_hash_is_fixed() {
    assert_eq!(Labels::EMPTY.hash64(), 0xef46_db37_51d8_e999);
    let labels = Labels::from_sorted([("app", "api"), ("env", "prod")]);
    assert_eq!(labels.as_bytes(), b"\x03app\x03api\x03env\x04prod");
    assert_eq!(labels.hash64(), XxHash64::oneshot(0, b"app\xffapi\xffenv\xffprod\xff"));
    let long = "x".repeat(HASHED_BYTES);
    let hashed = [b"a\xff", long.as_bytes(), b"\xff"].concat();
    assert_eq!(Labels::from_sorted([("a", long.as_str())]).hash64(), XxHash64::oneshot(0, &hashed));
}

#[test]
fn order_compares_names_and_values_in_turn() {
    let ab = Labels::from_sorted([("a", "b")]);
    let abc = Labels::from_sorted([("a", "b"), ("c", "d")]);
    let az = Labels::from_sorted([("a", "z")]);
    let long = Labels::from_sorted([("a", "bbbbbb")]);
    assert!(Labels::EMPTY < ab && ab < abc && abc < long && long < az);
}

#[test]
fn empty_values_stay_only_when_asked() {
    assert!(Labels::from_pairs([("a", "")]).unwrap().is_empty());
    assert_eq!(Labels::from_sorted([("a", "")]).get("a"), Some(""));
}

#[test]
fn damaged_encodings_are_refused() {
    for bad in
        [&b"\x01a"[..], b"\x01b\x01x\x01a\x01x", b"\x01a\x01x\x01a\x01x", b"\x01\xff\x01x", b"\x81\x00a\x01x", b"\x7fa"]
    {
        assert!(Labels::from_bytes(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn every_set_survives_its_bytes_and_its_text(map in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,8}", ".{1,300}", 0..8)) {
        let labels = Labels::from_pairs(&map).unwrap();
        prop_assert_eq!(labels.len(), map.len());
        prop_assert_eq!(&Labels::from_bytes(labels.to_bytes()).unwrap(), &labels);
        prop_assert_eq!(&Labels::parse(&labels.to_string()).unwrap(), &labels);
        for (name, value) in &map {
            prop_assert_eq!(labels.get(name), Some(value.as_str()));
        }
    }

    #[test]
    fn any_text_is_parsed_without_panic(text in r#"[{}=",'`!~a-z\\\n 0é]{0,40}"#) {
        let _ = Labels::parse(&text);
        let _ = unquote(&text);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        if let Ok(labels) = Labels::from_bytes(bytes.clone().into()) {
            let again = Labels::from_sorted(labels.iter());
            prop_assert_eq!(again.as_bytes(), bytes);
        }
    }

    #[test]
    fn quoting_round_trips(text: String) {
        prop_assert_eq!(unquote(&quote(&text)).unwrap(), text);
    }
}
