//! Binary operators on two numbers.

use crate::ast::{BinaryOp, CompareOp};

/// What becomes of a pair of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A new value.
    Value(f64),
    /// A comparison that holds or does not.
    Holds(bool),
}

/// Applies an operator that is not a set operator; `None` for those.
pub(crate) fn apply(op: BinaryOp, left: f64, right: f64) -> Option<Outcome> {
    let value = match op {
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => return None,
        BinaryOp::Compare(op) => return Some(Outcome::Holds(compare(op, left, right))),
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        // Loki answers NaN where IEEE has an infinity.
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
    };
    Some(Outcome::Value(value))
}

fn compare(op: CompareOp, left: f64, right: f64) -> bool {
    match op {
        CompareOp::Equal => left == right,
        CompareOp::NotEqual => left != right,
        CompareOp::Greater => left > right,
        CompareOp::GreaterEqual => left >= right,
        CompareOp::Less => left < right,
        CompareOp::LessEqual => left <= right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(op: BinaryOp, left: f64, right: f64) -> f64 {
        match apply(op, left, right) {
            Some(Outcome::Value(value)) => value,
            other => panic!("{op:?} gave {other:?}"),
        }
    }

    #[test]
    fn dividing_by_zero_is_nan() {
        for left in [1.0, 0.0, -1.0] {
            assert!(value(BinaryOp::Div, left, 0.0).is_nan());
            assert!(value(BinaryOp::Mod, left, 0.0).is_nan());
        }
    }

    #[test]
    fn remainders_have_the_sign_of_the_left_side() {
        assert_eq!(value(BinaryOp::Mod, -7.5, 2.0), -1.5);
        assert_eq!(value(BinaryOp::Pow, 0.0, 0.0), 1.0);
    }

    #[test]
    fn nan_is_only_ever_unequal() {
        let holds = |op| apply(BinaryOp::Compare(op), f64::NAN, f64::NAN);
        assert_eq!(holds(CompareOp::NotEqual), Some(Outcome::Holds(true)));
        assert_eq!(holds(CompareOp::Equal), Some(Outcome::Holds(false)));
        assert_eq!(holds(CompareOp::GreaterEqual), Some(Outcome::Holds(false)));
    }
}
