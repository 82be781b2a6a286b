//! Patterns of typical logs, and what holds for the patterns of any.

use std::collections::BTreeMap;

use loki_core::{Labels, Timestamp};
use loki_logql::parse_log;
use loki_logql::pipeline::{NeededLabels, Pipeline, PipelineOptions};
use proptest::prelude::*;

use super::*;

/// Patterns and how many lines they have.
fn mined<'l>(lines: impl IntoIterator<Item = &'l str>) -> BTreeMap<String, u64> {
    let mut miner = PatternMiner::new(PatternOptions::default());
    for (seconds, line) in (0..).zip(lines) {
        miner.add(Timestamp::from_seconds(2 * seconds), line.as_bytes(), &Labels::EMPTY);
    }
    miner.take().into_iter().map(|series| (series.pattern.clone(), series.total())).collect()
}

#[track_caller]
fn assert_patterns(lines: &str, expected: &[(&str, u64)]) {
    let found = mined(lines.lines().map(str::trim_start).filter(|line| !line.is_empty()));
    let found: Vec<_> = found.iter().map(|(text, lines)| (text.as_str(), *lines)).collect();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Whether LogQL's `|>` lets a line pass.
fn matches(pattern: &str, line: &str) -> bool {
    let query = format!(r#"{{a="b"}} |> {}"#, loki_core::labels::quote(pattern));
    let stages = parse_log(&query).unwrap_or_else(|error| panic!("{query}: {error}")).stages;
    let options = PipelineOptions { needed: NeededLabels::All, now: Timestamp(0), needs_line: true, is_metric: false };
    let pipeline = Pipeline::compile(&stages, None, options).unwrap_or_else(|error| panic!("{query}: {error}"));
    pipeline.prefilter().matches(line.as_bytes())
}

#[test]
fn access_logs() {
    assert_patterns(
        r#"
        10.4.0.1 - - [14/Oct/2025:10:00:00 +0000] "GET /api/v1/items/17 HTTP/1.1" 200 512 "-" "curl/8.9.1"
        10.4.0.2 - - [14/Oct/2025:10:00:01 +0000] "GET /api/v1/cart HTTP/1.1" 404 12 "-" "curl/8.9.1"
        10.4.3.2 - bob [14/Oct/2025:10:00:02 +0000] "GET /index.html HTTP/1.1" 200 9912 "-" "curl/8.9.1"
        10.4.0.2 - - [14/Oct/2025:10:00:03 +0000] "POST /api/v1/cart HTTP/1.1" 201 12 "-" "Mozilla/5.0 (X11; Linux x86_64)"
        10.4.0.9 - - [14/Oct/2025:10:00:04 +0000] "POST /api/v1/cart/7 HTTP/1.1" 201 3 "-" "Mozilla/5.0 (X11; Linux x86_64)"
        "#,
        &[
            (r#"<_> - <_> [<_> +<_>] "GET <_> HTTP/1.1" <_> <_> "-" "<_>""#, 3),
            (r#"<_> - - [<_> +<_>] "POST <_> HTTP/1.1" <_> <_> "-" "Mozilla/5.0 (<_>; Linux <_>)""#, 2),
        ],
    );
}

#[test]
fn logfmt_keeps_keys_and_messages() {
    assert_patterns(
        r#"
        ts=2025-10-14T10:00:00.123Z level=info caller=http.go:194 msg="request served" method=GET path=/a status=200 took=1.2ms
        ts=2025-10-14T10:00:01.123Z level=info caller=http.go:194 msg="request served" method=PUT path=/b/7 status=500 took=71ms
        ts=2025-10-14T10:00:02.123Z level=info caller=http.go:201 msg="request refused" method=PUT path=/b/7 status=400 took=3us
        ts=2025-10-14T10:00:03.123Z level=info caller=http.go:201 msg="request refused" method=PUT path=/c status=400 took=3us
        ts=2025-10-14T10:00:04.123Z level=info msg=started version=v1
        ts=2025-10-14T10:00:05.123Z level=info msg=stopped version=v1
        "#,
        &[
            (r#"ts=<_> level=info caller=http.go:<_> msg="request served" method=<_> path=<_> status=<_> took=<_>"#, 2),
            (
                r#"ts=<_> level=info caller=http.go:<_> msg="request refused" method=PUT path=<_> status=<_> took=<_>"#,
                2,
            ),
            ("ts=<_> level=info msg=started version=v1", 1),
            ("ts=<_> level=info msg=stopped version=v1", 1),
        ],
    );
}

#[test]
fn json_keeps_keys_and_messages() {
    assert_patterns(
        r#"
        {"level":"info","msg":"order shipped","order":{"id":17,"state":"open"},"tags":["a","b"]}
        {"level":"info","msg":"order shipped","order":{"id":18,"state":"done"},"tags":["a","c"]}
        {"level":"info","msg":"cache flushed","order":{"id":18,"state":"done"},"tags":["a","c"]}
        {"time":1760400000,"message":"took 17 ms","user":"u-1234"}
        {"time":1760400001,"message":"took 3 ms","user":"u-9876"}
        "#,
        &[
            (r#"{"level":"info","msg":"order shipped","order":{"id":<_>,"state":"<_>"},"tags":["a","<_>"]}"#, 2),
            (r#"{"level":"info","msg":"cache flushed","order":{"id":<_>,"state":"done"},"tags":["a","c"]}"#, 1),
            (r#"{"time":<_>,"message":"took <_> ms","user":"<_>"}"#, 2),
        ],
    );
}

#[test]
fn syslog_and_kubernetes() {
    assert_patterns(
        "
        Oct 14 10:00:00 web-1 sshd[4123]: Failed password for root from 10.0.0.7 port 51234 ssh2
        Oct 14 10:00:03 web-1 sshd[4124]: Failed password for admin from 10.0.0.9 port 2211 ssh2
        Oct 14 10:00:04 web-1 sshd[4124]: Connection closed by 10.0.0.9 port 2211
        I1014 10:00:00.123456       1 controller.go:117] Syncing pod default/web-7c9f8d6b5-x2x9z
        I1014 10:00:01.654321       1 controller.go:117] Syncing pod kube-system/dns-5d78c9869d-abcde
        E1014 10:00:02.654321       1 reflector.go:148] watch of *v1.Pod ended with: too old resource version: 1234 (5678)
        ",
        &[
            ("Oct <_> <_> web-1 sshd[<_>]: Failed password for <_> from <_> port <_> ssh2", 2),
            ("Oct <_> <_> web-1 sshd[<_>]: Connection closed by <_> port <_>", 1),
            ("<_> <_>       <_> controller.go:<_>] Syncing pod <_>", 2),
            (
                "<_> <_>       <_> reflector.go:<_>] watch of *v1.Pod ended with: too old resource version: <_> (<_>)",
                1,
            ),
        ],
    );
}

#[test]
fn panics_of_several_lines() {
    let panic = |number: u32| {
        format!(
            "panic: runtime error: index out of range [{number}] with length 3\n\ngoroutine {number}7 [running]:\nmain.main()\n\t/src/main.go:1{number} +0x1d"
        )
    };
    let (one, two) = (panic(4), panic(5));
    let found = mined([one.as_str(), two.as_str()]);
    let expected = "panic: runtime error: index out of range [<_>] with length <_>\n\ngoroutine <_> [running]:\nmain.main()\n\t/src/main.go:<_> +<_>";
    assert_eq!(found, BTreeMap::from([(expected.to_owned(), 2)]));
    assert!(matches(expected, &one));
}

#[test]
fn levels_are_told_apart() {
    let mut miner = PatternMiner::new(PatternOptions::default());
    let level = |name: &str| Labels::from_pairs([("detected_level", name)]).expect("one label");
    for (at, metadata) in [(3, level("info")), (4, level("warn")), (25, level("info")), (26, Labels::EMPTY)] {
        miner.add(Timestamp::from_seconds(at), b"hello world", &metadata);
    }
    let mut found = miner.take();
    found.sort_by(|a, b| a.level.cmp(&b.level));
    let seen: Vec<_> = found.iter().map(|series| (series.level.as_str(), &*series.samples)).collect();
    let at = Timestamp::from_seconds;
    assert_eq!(
        seen,
        [("info", &[(at(0), 1), (at(20), 1)][..]), ("unknown", &[(at(20), 1)][..]), ("warn", &[(at(0), 1)][..]),]
    );
    assert_eq!(miner.take(), []);
}

#[test]
fn a_stream_has_so_many_levels_whatever_the_stream_before_had() {
    let mut miner = PatternMiner::new(PatternOptions::default());
    for stream in ["a", "b"] {
        let names: Vec<_> = (0..20).map(|number| format!("{stream}{number:02}")).collect();
        for name in &names {
            let metadata = Labels::from_pairs([("detected_level", name)]).expect("one label");
            miner.add(Timestamp(0), b"hello world", &metadata);
        }
        let found: Vec<_> = miner.take().into_iter().map(|series| (series.level.clone(), series.total())).collect();
        let own = names[..15].iter().map(|name| (name.clone(), 1));
        assert_eq!(found, own.chain([("unknown".to_owned(), 5)]).collect::<Vec<_>>());
    }
}

/// Mines lines of two kinds that take turns, so many in ten seconds, and returns how many there are of each kind.
fn mined_in_turns(miner: &mut PatternMiner, count: u64, in_slot: u64) -> Vec<u64> {
    for i in 0..count {
        let line: &[u8] = if i % 2 == 0 { b"even numbers" } else { b"odd ones here" };
        miner.add(Timestamp::from_seconds((i / in_slot * 10) as i64), line, &Labels::EMPTY);
    }
    let found = miner.take();
    assert_eq!(found.iter().map(PatternSeries::total).sum::<u64>(), count);
    found.iter().map(PatternSeries::total).collect()
}

#[test]
fn many_lines_at_once_are_sampled() {
    let mut miner = PatternMiner::new(PatternOptions::default());
    let exact = u64::from(EXACT_LINES);
    assert_eq!(mined_in_turns(&mut miner, exact, exact), [exact / 2, exact / 2]);
    let each = 20_000;
    for (count, in_slot) in [(2 * each, 1000), (2 * each, exact)] {
        let found = mined_in_turns(&mut miner, count, in_slot);
        assert!(found.iter().all(|found| *found != each && found.abs_diff(each) < each / 20), "{found:?}");
    }
}

#[test]
fn streams_with_few_lines_are_not_sampled() {
    let mut miner = PatternMiner::new(PatternOptions::default());
    let exact = u64::from(EXACT_STREAM_LINES);
    for _ in 0..u64::from(EXACT_FLUSH_LINES) / exact {
        assert_eq!(mined_in_turns(&mut miner, exact, u64::from(EXACT_LINES)), [exact / 2, exact / 2]);
    }
}

#[test]
fn when_there_were_many_lines_streams_with_few_are_sampled_too() {
    let mut miner = PatternMiner::new(PatternOptions::default());
    let mut even = 0;
    for stream in 0..u64::from(EXACT_FLUSH_LINES) / 8 + 2000 {
        let found = mined_in_turns(&mut miner, 8, 4);
        if stream >= u64::from(EXACT_FLUSH_LINES) / 8 {
            even += found[0];
        } else {
            assert_eq!(found, [4, 4]);
        }
    }
    assert!(even > 2000 * 4, "the first line is looked at, and sometimes the only one");
}

#[test]
fn lines_without_a_cluster_count_for_all() {
    let mut miner = PatternMiner::new(PatternOptions { max_clusters: 2, ..PatternOptions::default() });
    for (i, line) in ["a b", "a=b", "a:b", "a;b", "a b"].into_iter().enumerate() {
        miner.add(Timestamp::from_seconds(i as i64), line.as_bytes(), &Labels::EMPTY);
    }
    let found: Vec<_> = miner.take().into_iter().map(|series| (series.pattern.clone(), series.total())).collect();
    assert_eq!(found, [("<_>".to_owned(), 2), ("a b".to_owned(), 2), ("a=b".to_owned(), 1)]);
}

#[test]
fn of_too_many_patterns_the_rarest_become_one() {
    let of = |number: usize, lines: u64| PatternCounts {
        text: format!("p{number:04}"),
        level: "info".to_owned(),
        samples: vec![(1, lines)],
    };
    let mut counts: Vec<_> = (0..MAX_CLUSTERS).map(|number| of(number, 10)).collect();
    let mut patterns = StreamPatterns { counts: counts.clone() };
    patterns.join();
    assert_eq!(patterns.counts, counts);
    counts.extend([of(MAX_CLUSTERS, 3), of(MAX_CLUSTERS + 1, 4)]);
    patterns.counts = counts;
    patterns.join();
    assert_eq!(patterns.counts.len(), MAX_CLUSTERS + 1);
    assert_eq!((patterns.counts[0].text.as_str(), patterns.counts[0].samples[0].1), (WILD, 7));
}

#[test]
fn samples_are_taken_out_by_time() {
    let counts = |samples: &[(i64, u64)]| StreamPatterns {
        counts: vec![PatternCounts { text: "a".to_owned(), level: "info".to_owned(), samples: samples.to_vec() }],
    };
    let mut patterns = counts(&[(1, 1), (2, 2), (3, 3)]);
    let at = Timestamp::from_seconds;
    assert_eq!(patterns.take_between(at(20), at(29)), counts(&[(2, 2)]));
    assert_eq!(patterns.take_between(at(0), at(30)), counts(&[(1, 1), (3, 3)]));
    assert_eq!(patterns, StreamPatterns::default());
}

/// Lines like those that programs write: few words, numbers, pairs and quotes.
fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "user", "GET", "/a/b", "x=1", "\"q w\"", "12:30:00", "10.0.0.1", "k=v", "<b>", "v2", "é", "-", "a,b",
    ]);
    let number = (0..2000_u32).prop_map(|number| number.to_string());
    let part = prop_oneof![4 => word.prop_map(str::to_owned), 1 => number, 1 => "[a-c]{1,3}"];
    prop::collection::vec(part, 1..8).prop_map(|parts| parts.join(" "))
}

proptest! {
    #[test]
    fn every_line_counts_and_matches_a_pattern(lines in prop::collection::vec(line(), 1..60)) {
        let found = mined(lines.iter().map(String::as_str));
        prop_assert_eq!(found.values().sum::<u64>(), lines.len() as u64);
        for line in &lines {
            prop_assert!(found.keys().any(|pattern| matches(pattern, line)), "{line} has none of {found:?}");
        }
    }

    #[test]
    fn counts_add_up_in_any_order(lines in prop::collection::vec((line(), 0..100_i64), 1..60), limit in 1..40_usize) {
        let mut miner = PatternMiner::new(PatternOptions { max_line_bytes: limit, ..PatternOptions::default() });
        let mut expected = BTreeMap::<Timestamp, u64>::new();
        for (line, seconds) in &lines {
            let at = Timestamp::from_seconds(*seconds);
            miner.add(at, line.as_bytes(), &Labels::EMPTY);
            *expected.entry(slot_start(slot_of(at))).or_default() += 1;
        }
        let mut found = BTreeMap::<Timestamp, u64>::new();
        for series in miner.take() {
            prop_assert!(series.samples.is_sorted_by(|a, b| a.0 < b.0));
            for (at, lines) in &series.samples {
                *found.entry(*at).or_default() += lines;
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut miner = PatternMiner::new(PatternOptions::default());
        for line in &lines {
            miner.add(Timestamp(0), line, &Labels::EMPTY);
        }
        let total: u64 = miner.take().iter().map(PatternSeries::total).sum();
        prop_assert_eq!(total, lines.iter().filter(|line| !line.is_empty()).count() as u64);
    }
}
