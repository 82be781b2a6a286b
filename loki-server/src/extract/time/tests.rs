use super::*;

const NOW: Timestamp = Timestamp::from_seconds(2_000_000_000);
const SECOND: i64 = NANOS_PER_SECOND;

fn params(text: &str) -> Params {
    Params::of(text)
}

#[test]
fn times_have_four_spellings() {
    let cases = [
        ("", NOW.0),
        ("1741078800", 1_741_078_800 * SECOND),
        ("-5", -5 * SECOND),
        ("4000000000", 4_000_000_000 * SECOND),
        ("1741078800000", 1_741_078_800_000),
        ("1741078800000000000", 1_741_078_800 * SECOND),
        ("1741078800.", 1_741_078_800 * SECOND),
        ("1741078800.123456789", 1_741_078_800_123_000_000),
        ("1.7410788e9", 1_741_078_800 * SECOND),
        ("2025-03-04T09:00:00Z", 1_741_078_800 * SECOND),
        ("2025-03-04T10:00:00+01:00", 1_741_078_800 * SECOND),
        ("2025-03-04T12:00:00.000000001Z", 1_741_089_600 * SECOND + 1),
        ("2025-03-04T09:00:00,5Z", 1_741_078_800 * SECOND + SECOND / 2),
        ("2024-01-01T00:00:00.000Z", 1_704_067_200 * SECOND),
    ];
    for (text, nanos) in cases {
        assert_eq!(parse_time(text, NOW), Ok(Timestamp(nanos)), "{text}");
    }
}

#[test]
fn other_times_are_reported_as_bad_integers() {
    let cases = [
        ("abc", "invalid syntax"),
        ("1e9", "invalid syntax"),
        ("NaN", "invalid syntax"),
        ("2025-03-04", "invalid syntax"),
        ("2025-03-04 09:00:00", "invalid syntax"),
        ("2025-03-04T09:00:00", "invalid syntax"),
        ("2025-03-04T09:00:00z", "invalid syntax"),
        ("2025-13-04T09:00:00Z", "invalid syntax"),
        ("2025-02-30T09:00:00Z", "invalid syntax"),
        ("1741078800s", "invalid syntax"),
        ("0x67C6C390", "invalid syntax"),
        ("17410788001741078800", "value out of range"),
    ];
    for (text, problem) in cases {
        let error = parse_time(text, NOW).expect_err(text);
        assert_eq!(error.to_string(), format!("strconv.ParseInt: parsing \"{text}\": {problem}"));
    }
}

#[test]
fn ranges_default_to_the_last_hour() {
    let range = |text: &str| parse_range(&params(text), NOW);
    assert_eq!(range(""), Ok((Timestamp(NOW.0 - 3600 * SECOND), NOW)));
    assert_eq!(range("since=30m"), Ok((Timestamp(NOW.0 - 1800 * SECOND), NOW)));
    let past = Timestamp::from_seconds(1000);
    assert_eq!(range("end=1000&since=10s"), Ok((Timestamp::from_seconds(990), past)));
    let future = Timestamp::from_seconds(3_000_000_000);
    assert_eq!(range("end=3000000000"), Ok((Timestamp(NOW.0 - 3600 * SECOND), future)));
}

#[test]
fn a_bad_range_names_its_parameter() {
    let problem = |text: &str| parse_range(&params(text), NOW).expect_err(text).to_string();
    assert_eq!(
        problem("start=y&end=x"),
        "could not parse 'end' parameter: strconv.ParseInt: parsing \"x\": invalid syntax"
    );
    assert_eq!(problem("since=1.5h"), "could not parse 'since' parameter: unknown unit \".\" in duration \"1.5h\"");
    assert_eq!(
        problem("since=1h+30m"),
        "could not parse 'since' parameter: unknown unit \"h \" in duration \"1h 30m\""
    );
    for text in ["-1h", "abc", "3600", "30m1h", "1m1m"] {
        assert_eq!(
            problem(&format!("since={text}")),
            format!("could not parse 'since' parameter: not a valid duration string: \"{text}\"")
        );
    }
}

#[test]
fn steps_are_seconds_or_durations() {
    let step = |text: &str| parse_step_nanos(&params(&format!("step={text}")), Timestamp(0), NOW);
    let cases = [("60", 60 * SECOND), ("1e3", 1000 * SECOND), ("0.5", SECOND / 2), ("1h30m", 5400 * SECOND)];
    for (text, nanos) in cases {
        assert_eq!(step(text), Ok(nanos), "{text}");
    }
    assert_eq!(step("5m0s"), Ok(300 * SECOND));
    assert_eq!(step("1ms"), Ok(1_000_000));
    for text in ["0", "-60", "NaN"] {
        assert_eq!(step(text), Err(ParamError::Step), "{text}");
    }
    for text in ["0.5h", "PT1M", "abc", "-1m", "m", "60+", "1h-30m", "5M"] {
        assert!(matches!(step(text), Err(ParamError::Duration { .. })), "{text}");
    }
    assert_eq!(
        step("9223372036854775807").expect_err("too long").to_string(),
        "cannot parse \"9223372036854775807\" to a valid duration. It overflows int64"
    );
}

#[test]
fn the_default_step_cuts_a_range_into_250() {
    let step = |seconds| default_step_nanos(Timestamp(0), Timestamp::from_seconds(seconds)) / SECOND;
    assert_eq!((step(0), step(499), step(500), step(3600)), (1, 1, 2, 14));
}

#[test]
fn limits_are_positive() {
    let limit = |text: &str| parse_limit(&params(&format!("limit={text}")));
    assert_eq!(limit(""), Ok(100));
    assert_eq!(limit("%2B3"), Ok(3));
    assert_eq!(limit("00005"), Ok(5));
    assert_eq!(limit("0"), Err(ParamError::Limit));
    assert_eq!(limit("-1"), Err(ParamError::Limit));
    let problem = |text: &str| limit(text).expect_err(text).to_string();
    assert_eq!(problem("1.5"), "strconv.Atoi: parsing \"1.5\": invalid syntax");
    assert_eq!(problem("+5"), "strconv.Atoi: parsing \" 5\": invalid syntax");
    assert_eq!(problem("99999999999999999999"), "strconv.Atoi: parsing \"99999999999999999999\": value out of range");
}

#[test]
fn directions_ignore_case() {
    let direction = |text: &str| parse_direction(&params(&format!("direction={text}")));
    assert_eq!(direction("fOrWaRd"), Ok(Direction::Forward));
    assert_eq!(direction("BACKWARD"), Ok(Direction::Backward));
    assert_eq!(direction(""), Ok(Direction::Backward));
    assert_eq!(direction("up").expect_err("neither").to_string(), "invalid direction 'up'");
}

#[test]
fn intervals_may_be_zero_but_not_negative() {
    let interval = |text: &str| parse_interval_nanos(&params(&format!("interval={text}")));
    assert_eq!(interval("0"), Ok(0));
    assert_eq!(interval("1.5"), Ok(3 * SECOND / 2));
    assert_eq!(interval("-5"), Err(ParamError::Interval));
    assert!(matches!(interval("-10m"), Err(ParamError::Duration { .. })));
}
