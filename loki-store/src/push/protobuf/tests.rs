use loki_core::{Entry, Labels};
use proptest::prelude::*;

use super::*;
use crate::push::{PushStream, encode};

/// What a body holds, copied out.
type Content = Vec<(Vec<u8>, Vec<(Timestamp, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)>)>;

fn decode(body: &[u8]) -> Result<Content, ProtobufError> {
    let mut raw = RawStreams::default();
    raw.decode(body)?;
    let bytes = |span: Span| body[span.range()].to_vec();
    let entry = |entry: &RawEntry| {
        let pairs = raw.pairs[entry.pairs.range()].iter().map(|(name, value)| (bytes(*name), bytes(*value)));
        (entry.timestamp, bytes(entry.line), pairs.collect())
    };
    let streams = raw.streams.iter().map(|stream| {
        let entries = raw.entries[stream.entries.range()].iter().map(entry);
        (bytes(stream.labels), entries.collect())
    });
    Ok(streams.collect())
}

fn text(body: &[u8]) -> String {
    decode(body).expect_err("must be refused").to_string()
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    loki_core::encoding::put_prefixed(&mut bytes, content);
    bytes
}

fn streams() -> impl Strategy<Value = Vec<PushStream>> {
    let pairs = || prop::collection::btree_map("[a-z]{1,4}", "[a-zé\"\\\\]{1,6}", 0..3);
    let entry = (any::<i64>(), any::<Vec<u8>>(), pairs()).prop_map(|(nanos, line, metadata)| Entry {
        timestamp: Timestamp(nanos.min(i64::MAX - 1)),
        line: line.into(),
        metadata: Labels::from_sorted(metadata),
    });
    let stream = (pairs(), prop::collection::vec(entry, 0..5))
        .prop_map(|(labels, entries)| PushStream { labels: Labels::from_sorted(labels), entries });
    prop::collection::vec(stream, 0..4)
}

#[test]
fn a_hand_made_body_is_read() {
    let time = field(1, &[0x08, 0xa0, 0xf0, 0xba, 0xbe, 0x06, 0x10, 0x07]);
    let pair = field(3, &[field(1, b"n.x"), field(2, b"2")].concat());
    let entry = field(2, &[time, field(2, b"hello"), pair].concat());
    let stream = field(1, &[field(1, b"{a=\"b\"}"), entry, vec![3 << 3, 1]].concat());
    let body = [stream, field(2, b"ignored")].concat();
    let content = decode(&body).unwrap();
    let pairs = vec![(b"n.x".to_vec(), b"2".to_vec())];
    let entry = (Timestamp(1_741_600_800_000_000_007), b"hello".to_vec(), pairs);
    assert_eq!(content, [(b"{a=\"b\"}".to_vec(), vec![entry])]);
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_skipped() {
    let unknown = [
        vec![9 << 3, 0x80, 0x01],
        [vec![10 << 3 | 1], vec![0; 8]].concat(),
        field(11, b"what"),
        vec![12 << 3 | 3, 1 << 3, 5, 2 << 3 | 3, 2 << 3 | 4, 12 << 3 | 4],
        [vec![13 << 3 | 5], vec![0; 4]].concat(),
    ]
    .concat();
    let entry = field(2, &[field(2, b"x"), unknown.clone()].concat());
    let body = field(1, &[unknown.clone(), entry, field(1, b"{}"), unknown].concat());
    let content = decode(&body).unwrap();
    assert_eq!(content, [(b"{}".to_vec(), vec![(MISSING_TIMESTAMP, b"x".to_vec(), vec![])])]);
}

#[test]
fn an_empty_time_is_the_epoch() {
    let entry = |time: &[u8]| field(1, &field(2, &field(1, time)));
    let at = |time: &[u8]| decode(&entry(time)).map(|content| content[0].1[0].0);
    assert_eq!(at(&[]), Ok(Timestamp(0)));
    let before = [vec![0x08], vec![0xff; 9], vec![0x01, 0x10, 1]].concat();
    assert_eq!(at(&before), Ok(Timestamp(-999_999_999)));
}

#[test]
fn times_no_clock_shows_are_refused_and_distant_ones_saturate() {
    let mut far = vec![0x08];
    loki_core::encoding::put_varint(&mut far, (END_SECONDS - 1) as u64);
    let entry = |time: &[u8]| field(1, &field(2, &field(1, time)));
    assert_eq!(decode(&entry(&far)).unwrap()[0].1[0].0, Timestamp(i64::MAX - 1));
    let mut beyond = vec![0x08];
    loki_core::encoding::put_varint(&mut beyond, END_SECONDS as u64);
    assert_eq!(text(&entry(&beyond)), "timestamp: seconds:253402300800 nanos:0 is not a valid time");
    let mut nanos = vec![0x10];
    loki_core::encoding::put_varint(&mut nanos, 1_000_000_000);
    assert_eq!(text(&entry(&nanos)), "timestamp: seconds:0 nanos:1000000000 is not a valid time");
}

#[test]
fn malformed_bodies_are_refused_in_lokis_words() {
    assert_eq!(text(&[0xff; 4]), "unexpected EOF");
    assert_eq!(text(&[0xff; 11]), "proto: integer overflow");
    assert_eq!(text(&[0x0a, 0x05, 0x00]), "unexpected EOF");
    let huge = [&[0x0a][..], &[0xff; 9], &[0x01]].concat();
    assert_eq!(text(&huge), "proto: negative length found during unmarshaling");
    assert_eq!(text(&[0x08, 0x01]), "proto: wrong wireType = 0 for field Streams");
    assert_eq!(text(&field(1, &[0x12, 0x01, 0x12])), "unexpected EOF");
    assert_eq!(text(&field(1, &[0x10, 0x01])), "proto: wrong wireType = 0 for field Entries");
    assert_eq!(text(&[0x0c]), "proto: PushRequest: wiretype end group for non-group");
    assert_eq!(text(&[0x0f]), "proto: illegal wireType 7");
    assert_eq!(text(&[0x02, 0x00]), "proto: PushRequest: illegal tag 0 (wire type 2)");
    assert_eq!(text(&field(1, &field(2, &[0x03 << 3, 1]))), "proto: wrong wireType = 0 for field StructuredMetadata");
}

#[test]
fn groups_are_skipped_to_a_bounded_depth() {
    let nested = |depth: usize| [vec![9 << 3 | 3; depth], vec![9 << 3 | 4; depth]].concat();
    assert_eq!(decode(&nested(MAX_GROUP_DEPTH as usize)), Ok(vec![]));
    assert_eq!(decode(&nested(MAX_GROUP_DEPTH as usize + 1)), Err(ProtobufError::Depth));
    assert_eq!(decode(&vec![9 << 3 | 3; 1_000_000]), Err(ProtobufError::Depth));
}

#[test]
fn a_request_holds_a_bounded_number_of_entries() {
    let body = |entries: usize| field(1, &[0x12, 0x00].repeat(entries));
    let mut raw = RawStreams::default();
    assert_eq!(raw.decode(&body(MAX_ENTRIES)), Ok(()));
    assert_eq!(raw.decode(&body(MAX_ENTRIES + 1)), Err(ProtobufError::TooMany));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(streams in streams()) {
        let content = decode(&encode::streams(&streams)).unwrap();
        let expected: Content = streams.iter().map(|stream| {
            let entries = stream.entries.iter().map(|entry| {
                let pairs = entry.metadata.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
                (entry.timestamp, entry.line.to_vec(), pairs.collect())
            });
            (stream.labels.to_string().into_bytes(), entries.collect())
        }).collect();
        prop_assert_eq!(content, expected);
    }

    #[test]
    fn damaged_bodies_never_panic(
        streams in streams(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut body = encode::streams(&streams);
        if body.is_empty() {
            return Ok(());
        }
        for (at, bits) in flips {
            let at = at.index(body.len());
            body[at] ^= bits;
        }
        let _ = decode(&body);
        let _ = decode(&body[..cut.index(body.len())]);
    }

    #[test]
    fn any_bytes_never_panic(body: Vec<u8>) {
        let _ = decode(&body);
    }
}
