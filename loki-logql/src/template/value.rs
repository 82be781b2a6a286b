//! The values that expressions have, typed as Go types them.

use super::Fields;
use super::time::{Time, Zone};

/// A value; cheap to copy, because everything large is borrowed for the time of the execution.
#[derive(Clone, Copy)]
pub(super) enum Value<'e> {
    /// No value at all: Go's zero `reflect.Value`.
    Absent,
    Bool(bool),
    Int(i64, IntType),
    Float(f64),
    Complex(f64, f64),
    String(&'e [u8]),
    /// `[]uint8`.
    Bytes(&'e [u8]),
    Time(&'e Time<'e>),
    Location(Zone<'e>),
    /// The labels: `map[string]string`.
    Labels(&'e dyn Fields),
    /// `[]interface {}`.
    List(&'e [Self]),
    /// `map[string]interface {}`, sorted by name.
    Object(&'e [(&'e [u8], Self)]),
    /// A value whose static type is `interface {}`, as elements of lists and objects are. Never two deep.
    Boxed(&'e Self),
}

/// A nil of type `interface {}`.
pub(super) const NIL: Value<'static> = Value::Boxed(&Value::Absent);

/// The integer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntType {
    Int,
    Int64,
    Uint8,
    Duration,
    Month,
    Weekday,
}

impl IntType {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Duration => "time.Duration",
            Self::Month => "time.Month",
            Self::Weekday => "time.Weekday",
        }
    }
}

impl<'e> Value<'e> {
    pub(super) const fn int(value: i64) -> Self {
        Self::Int(value, IntType::Int)
    }

    pub(super) const fn int64(value: i64) -> Self {
        Self::Int(value, IntType::Int64)
    }

    /// The value without its box.
    pub(super) fn unboxed(self) -> Self {
        match self {
            Self::Boxed(value) => *value,
            value => value,
        }
    }

    pub(super) fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The name of the type in Go.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Absent => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_, int_type) => int_type.name(),
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::String(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::Time(_) => "time.Time",
            Self::Location(_) => "*time.Location",
            Self::Labels(_) => "map[string]string",
            Self::List(_) => "[]interface {}",
            Self::Object(_) => "map[string]interface {}",
            Self::Boxed(_) => "interface {}",
        }
    }

    /// Whether `if` takes its first branch.
    pub(super) fn is_true(self) -> bool {
        match self.unboxed() {
            Self::Absent | Self::Boxed(_) => false,
            Self::Bool(value) => value,
            Self::Int(value, _) => value != 0,
            Self::Float(value) => value != 0.0,
            Self::Complex(real, imaginary) => real != 0.0 || imaginary != 0.0,
            Self::String(text) | Self::Bytes(text) => !text.is_empty(),
            Self::Time(_) | Self::Location(_) => true,
            Self::Labels(labels) => count_labels(labels) > 0,
            Self::List(items) => !items.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }

    /// The member `name` of an object, boxed; nil if missing.
    pub(super) fn member(members: &'e [(&'e [u8], Self)], name: &[u8]) -> Self {
        match members.binary_search_by(|(n, _)| (*n).cmp(name)) {
            Ok(index) => Self::Boxed(&members[index].1),
            Err(_) => NIL,
        }
    }
}

/// How many labels there are.
pub(super) fn count_labels(labels: &dyn Fields) -> usize {
    let mut count = 0;
    labels.for_each(&mut |_, _| count += 1);
    count
}
