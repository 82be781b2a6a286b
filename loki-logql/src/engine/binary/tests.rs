//! Vector matching, as Loki does it.

use super::*;

fn labels(text: &str) -> Labels {
    Labels::parse(text).expect("valid labels")
}

fn vector(rows: &[(&str, f64)]) -> Operand {
    let rows = rows.iter().map(|&(text, value)| Row::constant(labels(text), value, 1));
    Operand::Vector(Matrix { rows: rows.collect() })
}

fn operation(op: BinaryOp, matching: impl Into<Option<VectorMatching>>) -> BinaryOperation {
    BinaryOperation {
        op,
        left: crate::ast::MetricExpr::Literal(0.0),
        right: crate::ast::MetricExpr::Literal(0.0),
        return_bool: false,
        matching: matching.into(),
    }
}

fn matching(on: bool, names: &[&str], cardinality: MatchCardinality, include: &[&str]) -> VectorMatching {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    VectorMatching { on, labels: owned(names), cardinality, include: owned(include) }
}

fn run(operation: &BinaryOperation, left: Operand, right: Operand) -> Result<Vec<String>, MatchingError> {
    let Operand::Vector(matrix) = evaluate(operation, left, right, 1)? else {
        panic!("two vectors give a vector");
    };
    let show = |row: &Row| format!("{} {}", row.labels, row.at(0).expect("a sample"));
    Ok(matrix.rows.iter().map(show).collect())
}

fn left() -> Operand {
    vector(&[(r#"{a="1", b="x"}"#, 10.0), (r#"{a="2", b="x"}"#, 20.0)])
}

fn right() -> Operand {
    vector(&[(r#"{a="1", c="y"}"#, 3.0), (r#"{a="3", c="z"}"#, 4.0)])
}

const ONE: MatchCardinality = MatchCardinality::OneToOne;

#[test]
fn labels_of_one_to_one_results_follow_the_modifier() {
    let on = operation(BinaryOp::Add, matching(true, &["a"], ONE, &[]));
    assert_eq!(run(&on, left(), right()), Ok(vec![r#"{a="1"} 13"#.to_owned()]));
    let ignoring = operation(BinaryOp::Add, matching(false, &["b", "c"], ONE, &[]));
    assert_eq!(run(&ignoring, left(), right()), Ok(vec![r#"{a="1"} 13"#.to_owned()]));
    let plain = operation(BinaryOp::Mul, None);
    assert_eq!(run(&plain, left(), left()).map(|rows| rows.len()), Ok(2));
}

#[test]
fn group_modifiers_copy_labels_from_the_one_side() {
    let many = MatchCardinality::ManyToOne;
    let op = operation(BinaryOp::Sub, matching(true, &["a"], many, &["c", "b"]));
    assert_eq!(run(&op, left(), right()), Ok(vec![r#"{a="1", c="y"} 7"#.to_owned()]));
    let one = MatchCardinality::OneToMany;
    let op = operation(BinaryOp::Sub, matching(true, &["a"], one, &["b"]));
    assert_eq!(run(&op, left(), right()), Ok(vec![r#"{a="1", b="x", c="y"} 7"#.to_owned()]));
}

#[test]
fn ambiguous_matches_are_errors() {
    let on_b = |cardinality| operation(BinaryOp::Add, matching(true, &["b"], cardinality, &[]));
    let single = || vector(&[(r#"{b="x"}"#, 1.0)]);
    assert_eq!(run(&on_b(ONE), left(), single()), Err(MatchingError::ManyToOne));
    assert_eq!(run(&on_b(ONE), single(), left()), Err(MatchingError::DuplicateRight));
    let right_many = on_b(MatchCardinality::OneToMany);
    assert_eq!(run(&right_many, left(), single()), Err(MatchingError::DuplicateLeft));
    let copied = operation(BinaryOp::Add, matching(true, &["b"], MatchCardinality::ManyToOne, &["a"]));
    assert_eq!(run(&copied, left(), single()), Err(MatchingError::Grouping));
}

#[test]
fn series_that_never_meet_may_repeat() {
    let step = |first, value| Row { labels: labels(r#"{b="x"}"#), first, values: vec![value] };
    let twice = Operand::Vector(Matrix { rows: vec![step(0, 1.0), step(1, 2.0)] });
    let number = Operand::Vector(Matrix { rows: vec![Row::constant(labels(r#"{b="x"}"#), 1.0, 2)] });
    let sum = evaluate(&operation(BinaryOp::Add, None), number, twice, 2).expect("one partner at each step");
    let Operand::Vector(matrix) = sum else { panic!("a vector") };
    assert_eq!(matrix.rows.len(), 1);
    assert_eq!((matrix.rows[0].at(0), matrix.rows[0].at(1)), (Some(2.0), Some(3.0)));
}

#[test]
fn comparisons_keep_the_left_value_or_the_vectors() {
    let less = operation(BinaryOp::Compare(crate::ast::CompareOp::Less), None);
    let low = vector(&[("{}", 5.0)]);
    assert_eq!(run(&less, low.clone(), vector(&[("{}", 7.0)])), Ok(vec!["{} 5".to_owned()]));
    assert_eq!(run(&less, Operand::Scalar(3.0), low.clone()), Ok(vec!["{} 5".to_owned()]));
    assert_eq!(run(&less, low, Operand::Scalar(3.0)), Ok(vec![]));
}

#[test]
fn bool_turns_comparisons_into_numbers() {
    let mut less = operation(BinaryOp::Compare(crate::ast::CompareOp::Less), None);
    less.return_bool = true;
    assert_eq!(run(&less, vector(&[("{}", 5.0)]), Operand::Scalar(3.0)), Ok(vec!["{} 0".to_owned()]));
}

#[test]
fn set_operators_compare_signatures_and_keep_labels() {
    let on = |op| operation(op, matching(true, &["a"], ONE, &[]));
    let and = run(&on(BinaryOp::And), left(), right());
    assert_eq!(and, Ok(vec![r#"{a="1", b="x"} 10"#.to_owned()]));
    let unless = run(&on(BinaryOp::Unless), left(), right());
    assert_eq!(unless, Ok(vec![r#"{a="2", b="x"} 20"#.to_owned()]));
    let or = run(&on(BinaryOp::Or), left(), right()).expect("never fails");
    assert_eq!(or.len(), 3);
    assert!(or.contains(&r#"{a="3", c="z"} 4"#.to_owned()));
}
