//! Operators and functions by name.

use std::fmt;

use super::{BinaryOp, CompareOp, LineFilterOp, RangeOp, UnwrapConversion, VectorOp};

/// Gives an enum of names its texts.
macro_rules! names {
    ($name:ident { $($variant:ident = $text:literal,)* }) => {
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As written in a query.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    RangeOp {
        Rate = "rate",
        RateCounter = "rate_counter",
        CountOverTime = "count_over_time",
        BytesRate = "bytes_rate",
        BytesOverTime = "bytes_over_time",
        AvgOverTime = "avg_over_time",
        SumOverTime = "sum_over_time",
        MinOverTime = "min_over_time",
        MaxOverTime = "max_over_time",
        StdvarOverTime = "stdvar_over_time",
        StddevOverTime = "stddev_over_time",
        QuantileOverTime = "quantile_over_time",
        FirstOverTime = "first_over_time",
        LastOverTime = "last_over_time",
        AbsentOverTime = "absent_over_time",
    }
}

names! {
    VectorOp {
        Sum = "sum",
        Avg = "avg",
        Min = "min",
        Max = "max",
        Count = "count",
        Stddev = "stddev",
        Stdvar = "stdvar",
        Topk = "topk",
        Bottomk = "bottomk",
        ApproxTopk = "approx_topk",
        Sort = "sort",
        SortDesc = "sort_desc",
    }
}

names! {
    LineFilterOp {
        Contains = "|=",
        NotContains = "!=",
        Matches = "|~",
        NotMatches = "!~",
        Pattern = "|>",
        NotPattern = "!>",
    }
}

names! {
    CompareOp {
        Equal = "==",
        NotEqual = "!=",
        Greater = ">",
        GreaterEqual = ">=",
        Less = "<",
        LessEqual = "<=",
    }
}

names! {
    UnwrapConversion {
        Number = "",
        Bytes = "bytes",
        Duration = "duration",
        DurationSeconds = "duration_seconds",
    }
}

impl LineFilterOp {
    /// Whether it keeps the lines that do not match.
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::NotContains | Self::NotMatches | Self::NotPattern)
    }
}

impl RangeOp {
    /// Whether `by (…)` or `without (…)` may stand behind it.
    pub const fn takes_grouping(self) -> bool {
        matches!(
            self,
            Self::AvgOverTime
                | Self::StddevOverTime
                | Self::StdvarOverTime
                | Self::QuantileOverTime
                | Self::MinOverTime
                | Self::MaxOverTime
                | Self::FirstOverTime
                | Self::LastOverTime
        )
    }

    /// Whether it aggregates unwrapped values and nothing else.
    pub const fn needs_unwrap(self) -> bool {
        self.takes_grouping() || matches!(self, Self::SumOverTime | Self::RateCounter)
    }

    /// Whether it aggregates unwrapped values if there are any.
    pub const fn takes_unwrap(self) -> bool {
        self.needs_unwrap() || matches!(self, Self::Rate | Self::AbsentOverTime)
    }
}

impl VectorOp {
    /// Whether it takes the number of series to keep.
    pub const fn takes_parameter(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::ApproxTopk)
    }
}

impl BinaryOp {
    /// As written in a query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Compare(op) => op.as_str(),
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }

    /// Whether it combines sets of series instead of values.
    pub const fn is_set_operation(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
