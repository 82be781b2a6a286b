use proptest::prelude::*;

use super::*;
use crate::limits::Limits;

fn detector() -> LevelDetector {
    let limits = Limits::default();
    LevelDetector::new(&limits.log_level_fields, limits.log_level_json_depth)
}

fn level(line: &str) -> &'static str {
    detector().level_of_line(line.as_bytes()).as_str()
}

#[test]
fn json_lines_show_the_first_string_under_a_level_field() {
    assert_eq!(level(r#"{"level": "dbg", "m": "umber"}"#), "debug");
    assert_eq!(level(r#"{"log.level": "warn", "m": "olive"}"#), "warn");
    assert_eq!(level(r#"{"Level": "info", "m": "hazel"}"#), "info");
    assert_eq!(level(r#"{"level":"INFORMATION"}"#), "info");
    assert_eq!(level(r#"{"level":"info","severity":"error"}"#), "info");
    assert_eq!(level(r#"{"m":"a \"level\":\"warn\" b","n":[{"level":"trc"}],"lvl":"dbg"}"#), "debug");
    assert_eq!(level(" {\"x\":-1.5e3,\"y\":null,\"lvl\":\"Trace\"}\n"), "trace");
}

#[test]
fn json_objects_are_searched_to_the_configured_depth() {
    assert_eq!(level(r#"{"nested":{"level":"wrn"},"i":0}"#), "warn");
    assert_eq!(level(r#"{"a":{"b":{"level":"wrn"}},"i":0}"#), "unknown");
    assert_eq!(level(r#"{"a":{"b":{"level":"wrn"}},"lvl":"dbg"}"#), "debug");
    let shallow = LevelDetector::new(&["level".to_owned()], 1);
    assert_eq!(shallow.level_of_line(br#"{"a":{"level":"wrn"}}"#), Level::Unknown);
    let off = LevelDetector::new(&["level".to_owned()], 0);
    assert_eq!(off.level_of_line(br#"{"level":"wrn"}"#), Level::Unknown);
}

#[test]
fn unknown_json_values_give_way_to_keywords() {
    assert_eq!(level(r#"{"level": "crit", "m": "fjord iris"}"#), "unknown");
    assert_eq!(level(r#"{"level":50,"msg":"x"}"#), "unknown");
    assert_eq!(level(r#"{"level":null}"#), "unknown");
    assert_eq!(level(r#"{"lvl":"E","m":"an error"}"#), "error");
}

#[test]
fn logfmt_lines_prefer_fields_in_the_configured_order() {
    assert_eq!(level(r#"level=ERR msg="thyme amber maple" n=2"#), "error");
    assert_eq!(level("lvl=warn x=3"), "warn");
    assert_eq!(level("LEVEL=ERROR up 0"), "error");
    assert_eq!(level("level=info level=error"), "info");
    assert_eq!(level("severity=warn level=dbg"), "debug");
    assert_eq!(level(r#"msg="level=wrn inside \" level=trc" level=dbg"#), "debug");
    assert_eq!(level(r#"severity=high level="" i=3"#), "unknown");
}

#[test]
fn other_lines_show_the_first_bounded_keyword() {
    assert_eq!(level("explicit name line 0 ERROR something"), "error");
    assert_eq!(level("[ERROR] bracketed"), "error");
    assert_eq!(level("WARN: upper colon"), "warn");
    assert_eq!(level("critical section entered"), "critical");
    assert_eq!(level("FATAL boom"), "fatal");
    assert_eq!(level("TRACE on"), "trace");
    assert_eq!(level("warning, debug"), "warn");
    assert_eq!(level(r#""level":"info" not json 0"#), "info");
    assert_eq!(level("level = info spaced 0"), "info");
    assert_eq!(level(r#"msg="level=error inside" x=1"#), "error");
    assert_eq!(level("i=0 err=nil"), "error");
    assert_eq!(level("misc:error"), "unknown");
    assert_eq!(level("'error'"), "unknown");
    assert_eq!(level("tracer informed debugger"), "unknown");
    assert_eq!(level("failed with Exception"), "unknown");
    assert_eq!(level("panic: oh no"), "unknown");
    assert_eq!(level(""), "unknown");
}

#[test]
fn severity_numbers_map_to_levels() {
    let level = |n: &str| Level::from_severity_number(n).as_str();
    assert_eq!([level("0"), level("1"), level("8"), level("9")], ["unknown", "trace", "debug", "info"]);
    assert_eq!([level("13"), level("20"), level("24"), level("25")], ["warn", "error", "fatal", "unknown"]);
    assert_eq!([level("-1"), level("x"), level("")], ["unknown", "info", "info"]);
}

#[test]
fn stated_levels_keep_unknown_values() {
    assert_eq!(stated("WARNING"), "warn");
    assert_eq!(stated("notice"), "notice");
    assert_eq!(stated(""), "");
}

proptest! {
    /// The fast search and a byte-by-byte one agree on lines full of near misses.
    #[test]
    fn keyword_search_equals_the_naive_one(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "err", "Error", "errs", "warn", "WARNING", "warned", "inf", "info", "infos", "trace_id", "fatal", "cri",
                "critical", "debug", "x", "\u{e9}", "(", "=", ":", "\"", "]", " ", " ", " ", "\t", "tra",
            ]),
            0..40,
        ),
    ) {
        let line = words.concat();
        let naive = (0..line.len()).find_map(|at| keyword_at(line.as_bytes(), at));
        prop_assert_eq!(first_keyword(line.as_bytes()), naive);
    }

    #[test]
    fn any_line_has_a_level(line: Vec<u8>, braces: bool) {
        let line = if braces { [b"{\"", &*line, b"}"].concat() } else { line };
        detector().level_of_line(&line);
    }
}
