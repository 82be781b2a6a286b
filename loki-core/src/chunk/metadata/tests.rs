#![expect(clippy::indexing_slicing, reason = "tests know what they built")]

use std::collections::BTreeMap;

use super::*;
use crate::chunk::METADATA_PAIR_OVERHEAD_BYTES;
use crate::labels::Labels;
use proptest::prelude::*;

type Row = BTreeMap<String, String>;

fn encode(rows: &[Row]) -> (Bytes, Bytes) {
    let mut builder = MetadataBuilder::default();
    for (row, pairs) in rows.iter().enumerate() {
        builder.append(row as u32, Labels::from_sorted(pairs).iter()).unwrap();
    }
    let (mut metadata, mut fixed) = (Vec::new(), Vec::new());
    builder.encode(rows.len() as u32, &mut metadata, &mut fixed);
    (metadata.into(), fixed.into())
}

fn round_trip(rows: &[Row]) -> MetadataColumns {
    let (metadata, fixed) = encode(rows);
    MetadataColumns::decode(&metadata, &fixed, rows.len() as u32).unwrap()
}

fn row(pairs: &[(&str, &str)]) -> Row {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn assert_holds(columns: &MetadataColumns, rows: &[Row]) {
    for (at, pairs) in rows.iter().enumerate() {
        let found: Vec<_> = columns.row(at as u32).collect();
        let expected: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "row {at}");
    }
    assert_eq!(columns.row(rows.len() as u32).count(), 0);
    for column in columns.columns() {
        let present = rows.iter().filter(|pairs| pairs.contains_key(column.name())).count();
        assert_eq!(column.present_rows() as usize, present);
        assert_eq!(column.ids().count(), present);
        for (id, value) in (0..).zip(column.dictionary()) {
            assert_eq!(column.id_of(value), Some(id));
            let with: Vec<u32> = column.rows_with(id).collect();
            let is_equal = |at: &u32| rows[*at as usize].get(column.name()).is_some_and(|found| found == value);
            assert_eq!(with, (0..rows.len() as u32).filter(is_equal).collect::<Vec<_>>());
        }
    }
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,2}", "[0-9a-f]{16}", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", ".{0,5}",]
}

proptest! {
    #[test]
    fn rows_come_back(
        rows in proptest::collection::vec(proptest::collection::btree_map("[a-c]?|long_name", values(), 0..4), 0..200),
    ) {
        assert_holds(&round_trip(&rows), &rows);
    }

    #[test]
    fn columns_of_one_form_come_back(
        rows in proptest::collection::vec(proptest::option::weighted(0.2, "[0-9a-f]{8}"), 1..200),
        form in 0..3,
    ) {
        let spell = |value: String| match form {
            0 => value,
            1 => format!("{value}-0000-4000-8000-{value}0000"),
            _ => format!("x{value}"),
        };
        let rows: Vec<Row> = rows.into_iter().map(|value| value.map(|value| ("id".to_owned(), spell(value))).into_iter().collect()).collect();
        assert_holds(&round_trip(&rows), &rows);
    }

    #[test]
    fn damaged_parts_are_refused_or_decoded_without_panic(
        rows in proptest::collection::vec(proptest::collection::btree_map("[ab]", values(), 0..3), 1..40),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..3),
        claimed in 1_u32..50,
    ) {
        let (metadata, fixed) = encode(&rows);
        let mut damaged = metadata.to_vec();
        for (at, flip) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
        }
        for (metadata, rows) in [(damaged.into(), rows.len() as u32), (metadata, claimed)] {
            if let Ok(columns) = MetadataColumns::decode(&metadata, &fixed, rows) {
                for column in columns.columns() {
                    prop_assert!(column.ids().all(|(row, id)| row < rows && id < column.dictionary_len()));
                    prop_assert!(column.id_of("a").is_none_or(|id| column.dictionary_value(id) == "a"));
                }
                prop_assert!((0..rows).map(|row| columns.row(row).count()).sum::<usize>() > 0 || columns.is_empty());
            }
        }
    }
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    let rows = [row(&[("a", "")]), row(&[]), row(&[("a", "x"), ("b", "")])];
    let columns = round_trip(&rows);
    assert_holds(&columns, &rows);
    let column = columns.column("a").unwrap();
    assert_eq!((column.value(0), column.value(1)), (Some(""), None));
    assert_eq!(column.id_of("y"), None);
    assert!(columns.column("c").is_none());
}

#[test]
fn random_ids_take_half_their_digits() {
    let rows: Vec<Row> = (0..1000_u64)
        .map(|i| match i % 5 {
            0 => row(&[("trace_id", &format!("{:016x}{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15), !i))]),
            _ => Row::new(),
        })
        .collect();
    let (metadata, fixed) = encode(&rows);
    assert_eq!(fixed.len(), 200 * 16);
    assert!(metadata.len() < 160, "{} bytes to say which rows have one", metadata.len());
    assert_holds(&round_trip(&rows), &rows);
}

#[test]
fn upper_case_and_misplaced_dashes_stay_text() {
    for value in ["0123456789ABCDEF", "012345678", "0123456-7aaaa-bbbb-cccc-dddddddddddd", "-0123456789abcdef-"] {
        let rows = [row(&[("id", value)])];
        let (_, fixed) = encode(&rows);
        assert!(fixed.is_empty(), "{value}");
        assert_holds(&round_trip(&rows), &rows);
    }
}

#[test]
fn sets_come_back_however_often_they_alternate() {
    let sets: Vec<Row> = (0..20).map(|i| row(&[("level", &format!("{}", i % 3)), ("id", &format!("{i}"))])).collect();
    let rows: Vec<Row> = (0..1000_usize).map(|i| sets[i * i % 19].clone()).collect();
    let columns = round_trip(&rows);
    assert_holds(&columns, &rows);
    assert_eq!(columns.column("level").unwrap().dictionary_len(), 3);
}

#[test]
fn bytes_are_limited_for_new_sets_and_known_ones() {
    let mut builder = MetadataBuilder::default();
    let overhead = u64::from(METADATA_PAIR_OVERHEAD_BYTES);
    let half = Labels::from_sorted([("a", "x".repeat(MAX_METADATA_BYTES as usize / 2 - overhead as usize - 1))]);
    builder.append(0, half.iter()).unwrap();
    builder.append(1, half.iter()).unwrap();
    assert_eq!(builder.bytes(), u64::from(MAX_METADATA_BYTES));
    let refused = |labels: &Labels, builder: &mut MetadataBuilder| {
        let error = builder.append(2, labels.iter()).unwrap_err();
        assert!(matches!(error, Error::Limit { limit, .. } if limit == u64::from(MAX_METADATA_BYTES)));
    };
    refused(&half, &mut builder);
    refused(&Labels::from_sorted([("a", "other")]), &mut builder);
    assert_eq!(builder.pairs().count(), 1, "a refused value is in no dictionary");
}
