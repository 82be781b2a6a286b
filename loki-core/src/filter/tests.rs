//! Tests of building, storing and asking filters.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::encoding;
use crate::error::{Corruption, Error};

fn filter_of(text: &str) -> Filter {
    let mut builder = FilterBuilder::new();
    builder.add_text(text.as_bytes());
    builder.finish()
}

fn set_of(filters: impl IntoIterator<Item = Filter>) -> Vec<u8> {
    let mut set = FilterSetBuilder::new();
    for filter in filters {
        set.push(filter).unwrap();
    }
    set.finish()
}

fn needle(literal: &str) -> Needle {
    Needle::new(literal.as_bytes()).expect("a literal with a sampled gram")
}

/// The bytes of the example in a format description: the two-digit numbers that its lines begin with.
pub(crate) fn hex_example(description: &str) -> Vec<u8> {
    let (_, example) = description.split_once("## Example").expect("a section with an example");
    let bytes_of =
        |line: &str| line.split(' ').map_while(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Vec<u8>>();
    example.split("```").nth(1).expect("a fenced block").lines().skip(1).flat_map(bytes_of).collect()
}

/// Text that repeats nothing: `words` numbers of 16 digits, so that the size of the filter can be chosen.
fn noise(words: u64) -> String {
    let lines: Vec<String> = (0..words).map(|i| format!("{:016x}\n", hash(i ^ 0x5555))).collect();
    lines.concat()
}

/// Lines of few different bytes, so that grams repeat, and of every size around a load.
fn lines() -> impl Strategy<Value = Vec<String>> {
    vec(prop_oneof!["[abkKsS =.]{0,20}", "[ -~]{0,40}", "[a-z\u{212a}\u{17f}äÖ]{0,12}", "\\PC{0,16}"], 0..12)
}

proptest! {
    // Every filter costs clearing and folding 128 KiB without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_piece_of_every_line_passes(chunks in vec(lines(), 1..5), chunk: prop::sample::Index, line: prop::sample::Index,
                                        cut in any::<[prop::sample::Index; 2]>()) {
        let chunk = chunk.index(chunks.len());
        let lines = &chunks[chunk];
        prop_assume!(!lines.is_empty());
        let line = lines[line.index(lines.len())].as_bytes();
        let mut cut = cut.map(|cut| cut.index(line.len() + 1));
        cut.sort_unstable();
        let piece = &line[cut[0]..cut[1]];

        let filters: Vec<Filter> = chunks.iter().map(|lines| filter_of(&lines.join("\n"))).collect();
        let set = FilterSet::open(set_of(filters.clone()).into()).unwrap();
        let literals = [piece.to_vec(), piece.to_ascii_uppercase(), piece.to_ascii_lowercase()];
        for needle in literals.iter().flat_map(|l| [Needle::new(l), Needle::new_case_insensitive(l)]).flatten() {
            prop_assert!(filters[chunk].may_contain(&needle));
            prop_assert!(set.probe(&needle).unwrap().contains(chunk as u32));
        }
    }

    #[test]
    fn a_set_answers_as_its_filters_do(words in vec(prop_oneof![9 => 0_u64..40, 1 => 0_u64..1_500], 0..150), needles in vec("[0-9a-f]{5,24}", 1..8)) {
        let filters: Vec<Filter> = words.iter().map(|words| filter_of(&noise(*words))).collect();
        let set = FilterSet::open(set_of(filters.clone()).into()).unwrap();
        prop_assert_eq!(set.len() as usize, filters.len());
        for needle in needles.iter().filter_map(|needle| Needle::new(needle.as_bytes())) {
            let expected = (0..).zip(&filters).filter(|(_, filter)| filter.may_contain(&needle)).map(|(i, _)| i).collect();
            prop_assert_eq!(set.probe(&needle).unwrap(), expected);
        }
    }

    #[test]
    fn damage_is_an_error_or_without_effect(words in vec(0_u64..300, 0..20), at: prop::sample::Index, bit in 0_u8..8, cut: bool) {
        let intact = set_of(words.iter().map(|words| filter_of(&noise(*words))));
        let at = at.index(intact.len());
        let mut damaged = intact.clone();
        if cut { damaged.truncate(at) } else { damaged[at] ^= 1 << bit }
        let needle = needle("0123456789abcdef");
        let expected = FilterSet::open(intact.into()).unwrap().probe(&needle).unwrap();
        if let Ok(found) = FilterSet::open(damaged.into()).and_then(|set| set.probe(&needle)) {
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_bytes_are_opened_without_panic(bytes: Vec<u8>, sizes in vec(35_u8..85, 0..40)) {
        drop(FilterSet::open(bytes.into()));
        // With a good head, so that what follows it is looked at.
        let mut head = Vec::from(*b"LKSF\x02\x02\0\0");
        head.extend((sizes.len() as u32).to_le_bytes());
        head.extend(&sizes);
        head.extend(encoding::crc32(&head).to_le_bytes());
        drop(FilterSet::open(head.into()));
    }
}

#[test]
fn chunks_without_the_literal_are_left_out() {
    let set =
        FilterSet::open(set_of([filter_of("GET /cart 200"), filter_of("trace 6e96f87cbe55"), filter_of("")]).into());
    let set = set.unwrap();
    assert_eq!(set.probe(&needle("96f87cbe5")).unwrap().iter().collect::<Vec<_>>(), [1]);
    assert!(set.probe(&needle("connection refused")).unwrap().is_empty());
}

#[test]
fn pairs_of_metadata_pass_as_a_whole() {
    let mut builder = FilterBuilder::new();
    builder.add_text(b"one line\n");
    let pairs = [("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("level", "info"), ("a", ""), ("", "")];
    for (name, value) in pairs {
        builder.add_pair(name, value);
    }
    let filter = builder.finish();
    assert!(pairs.iter().all(|(name, value)| filter.may_contain(&Needle::of_pair(name, value))));
    for (name, value) in [("trace_id", "4bf92f3577b34da6a3ce929d0e0e4737"), ("span_id", pairs[0].1), ("leveli", "nfo")]
    {
        assert!(!filter.may_contain(&Needle::of_pair(name, value)), "{name}={value}");
    }
    assert!(!filter.may_contain(&needle("4bf92f3577b34da6a3ce929d0e0e4736")), "values are not lines");
}

#[test]
fn a_finished_builder_starts_afresh() {
    let mut builder = FilterBuilder::new();
    builder.add_text(b"connection refused");
    builder.finish();
    builder.add_text(b"user logged in");
    assert_eq!(builder.finish(), filter_of("user logged in"));
}

#[test]
fn no_gram_crosses_the_end_of_a_line() {
    let apart = filter_of("conn\necti\non r\nefus\ned");
    assert_eq!(apart, filter_of(""));
    assert!(Needle::new(b"conn\necti\non r\nefus\ned").is_none());
    // The grams beside the line end are still asked for.
    assert!(filter_of("connection\nrefused").may_contain(&needle("connection\nrefused")));
}

#[test]
fn short_literals_make_no_needle() {
    assert!(Needle::new(b"").is_none());
    assert!(Needle::new(b"user").is_none());
    assert!(Needle::new(b"conne").is_some(), "five bytes, and the gram is sampled");
    assert!(Needle::new(b"nnect").is_none(), "five bytes, but the gram is not sampled");
}

#[test]
fn a_needle_asks_for_a_bounded_number_of_grams() {
    let word = noise(1);
    let long = noise(40).replace('\n', "");
    assert!(needle(&long).bits().len() <= NEEDLE_GRAMS_LIMIT);
    assert!(needle(&long).bits().len() > needle(word.trim()).bits().len());
    assert!(filter_of(&long).may_contain(&needle(&long)));
}

#[test]
fn letters_that_fold_beyond_ascii_are_not_asked_for() {
    // By Unicode's simple case folding, (?i)kelvin matches the Kelvin sign and (?i)sessions the long s.
    for (literal, line) in [
        ("kelvin thermometer", "\u{212a}ELVIN THERMOMETER"),
        ("sessions terminated", "\u{17f}ES\u{17f}ION\u{17f} TERMINATED"),
    ] {
        let needle = Needle::new_case_insensitive(literal.as_bytes()).unwrap();
        assert!(filter_of(line).may_contain(&needle), "{literal}");
        assert!(!filter_of(line).may_contain(&self::needle(literal)), "{literal}: the plain needle must not be used");
    }
    assert!(Needle::new_case_insensitive("tokens".as_bytes()).is_none());
    assert!(Needle::new_case_insensitive("ÄÖÜäöü".as_bytes()).is_none());
}

#[test]
fn filters_are_at_most_half_full_between_the_smallest_and_the_largest_size() {
    let smallest = FilterSize::all().next().expect("there are sizes");
    assert_eq!(filter_of("").size(), smallest);
    for words in [10, 100, 130, 160, 190, 1_000, 10_000] {
        let filter = filter_of(&noise(words));
        let ones: u32 = filter.bits().iter().map(|word| word.count_ones()).sum();
        let bits = filter.size().bits();
        assert_eq!(bits as usize, filter.bits().len() * 64);
        assert!(ones * 2 <= bits, "{words}");
        assert!(ones * 5 >= bits * 2 || filter.size() == smallest, "{words}: the next smaller size would do");
    }
    // Hexadecimal digits do not have enough different grams.
    let word = |i: u64| hash(hash(i) >> 24).to_be_bytes().map(|byte| char::from(b'0' + byte % 64));
    let words: String = (0..700_000).flat_map(|i| word(i).into_iter().chain(['\n'])).collect();
    let overfull = filter_of(&words);
    assert_eq!(overfull.size(), FilterSize::whole(MAX_LOG2_BITS));
    assert!(overfull.may_contain(&needle(&words[..80])));
}

#[test]
fn a_set_holds_as_many_filters_as_the_limit_says() {
    let smallest = filter_of("");
    let mut set = FilterSetBuilder::new();
    for position in 0..FILTERS_LIMIT {
        assert_eq!(set.push(smallest.clone()), Ok(position as u32));
    }
    assert!(matches!(set.push(smallest), Err(Error::Limit { requested: 65_537, limit: 65_536, .. })));
    let set = FilterSet::open(set.finish().into()).unwrap();
    assert_eq!(set.len() as usize, FILTERS_LIMIT);
    assert!(set.probe(&needle("connection")).unwrap().is_empty());

    let mut beyond = Vec::from(*b"LKSF\x02\x02\0\0");
    beyond.extend(65_537_u32.to_le_bytes());
    let error = FilterSet::open(beyond.into()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { source: Corruption::Value { found: 65_537, .. }, .. }));
}

#[test]
fn verifying_finds_damage_that_no_needle_met() {
    let mut set = set_of([filter_of(&noise(40_000))]);
    assert_eq!(FilterSet::open(set.clone().into()).expect("intact").verify(), Ok(()));
    *set.last_mut().expect("rows") ^= 1;
    let set = FilterSet::open(set.into()).expect("the head is intact");
    assert!(matches!(set.verify(), Err(Error::Corrupt { what: "filter rows", .. })));
}

#[test]
fn a_damaged_page_fails_only_the_needles_that_read_it() {
    // Two pages and a bit: one filter of the largest size.
    let intact = set_of([filter_of(&noise(200_000))]);
    let needles: Vec<Needle> =
        noise(300).split('\n').filter_map(|word| Needle::new(word.as_bytes().get(..7)?)).collect();
    let mut damaged = intact;
    *damaged.last_mut().unwrap() ^= 1;
    let set = FilterSet::open(damaged.into()).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = needles.iter().map(|needle| set.probe(needle)).partition(Result::is_ok);
    assert!(!good.is_empty());
    assert!(bad.iter().all(|e| matches!(e, Err(Error::Corrupt { source: Corruption::Checksum { .. }, .. }))));
    assert!(!bad.is_empty());
}

#[test]
fn other_versions_and_rules_are_refused() {
    let open = |at: usize, value: u8| {
        let mut bytes = set_of([filter_of("")]);
        bytes[at] = value;
        FilterSet::open(bytes.into()).unwrap_err()
    };
    assert!(matches!(open(0, b'X'), Error::Corrupt { source: Corruption::Magic { .. }, .. }));
    assert!(matches!(open(4, 1), Error::Corrupt { source: Corruption::Version { found: 1, supported: 2 }, .. }));
    assert!(matches!(open(5, 1), Error::Unsupported { what: "gram rule", found: 1 }));
}

#[test]
fn the_example_of_the_format_is_what_we_write_and_read() {
    let example = hex_example(include_str!("../format/filter.md"));
    let mut second = FilterBuilder::new();
    second.add_text(b"connection reset");
    second.add_pair("code", "104");
    assert_eq!(set_of([filter_of("connection refused"), second.finish()]), example);
    let set = FilterSet::open(example.into()).unwrap();
    assert_eq!(set.probe(&needle("CONNECTION")).unwrap().iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(set.probe(&needle(" refused")).unwrap().iter().collect::<Vec<_>>(), [0]);
    assert_eq!(set.probe(&Needle::of_pair("code", "104")).unwrap().iter().collect::<Vec<_>>(), [1]);
}
