//! Filters that fail for some values: a division by nothing, a text that is no number.
//!
//! A stage before such a filter may keep the rows away for which it fails, so it is asked where it stands, about what comes there. Neither
//! DataFusion's rules nor the readers move what is volatile: what stays is marked so.

use datafusion::{
    arrow::datatypes::{DataType, TimeUnit},
    common::{DFSchema, Result, ScalarValue, tree_node::TreeNode},
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility,
    },
};

/// Functions that have a result for all values of their arguments' types.
const TOTAL: [&str; 57] = [
    "array_has",
    "array_length",
    "ascii",
    "btrim",
    "cardinality",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "cos",
    "date_part",
    "date_trunc",
    "empty",
    "ends_with",
    "exp",
    "floor",
    "get_field",
    "greatest",
    "id_of_child",
    "id_of_values",
    "initcap",
    "isnan",
    "iszero",
    "key_of",
    "least",
    "left",
    "length",
    "levenshtein",
    "ln",
    "log10",
    "log2",
    "lot_of",
    "lower",
    "ltrim",
    "md5",
    "nullif",
    "nvl",
    "octet_length",
    "replace",
    "reverse",
    "right",
    "round",
    "rtrim",
    "sha256",
    "signum",
    "sin",
    "sqrt",
    "starts_with",
    "strpos",
    "token_count",
    "translate",
    "trim",
    "trunc",
    "upper",
];
/// Those that have one for all values of their first argument, when the others are given.
const TOTAL_OF_FIRST: [&str; 6] = ["lpad", "regexp_like", "regexp_replace", "rpad", "split_part", "substr"];

/// The filter, marked as one that stays where it is.
pub(crate) fn steady(filter: Expr) -> Expr {
    match filter.is_volatile() {
        true => filter,
        false => ScalarUDF::from(Steady::default()).call(vec![filter]),
    }
}

/// Whether an expression fails for some values of its columns.
pub(crate) fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let found = expr.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. }) => match right.as_ref()
            {
                Expr::Literal(value, _) => is_zero(value),
                other => !other.get_type(schema).is_ok_and(|of| of.is_floating()),
            },
            Expr::Cast(cast) => {
                !cast.expr.get_type(schema).is_ok_and(|from| always_fits(&from, cast.field.data_type()))
            }
            Expr::ScalarFunction(call) => {
                let given = || call.args.iter().skip(1).all(|argument| matches!(argument, Expr::Literal(..)));
                !(TOTAL.contains(&call.name()) || TOTAL_OF_FIRST.contains(&call.name()) && given())
            }
            _ => false,
        })
    });
    found.unwrap_or(true)
}

/// Whether it does for values that are common in files: zero, and a text that is no number. What no stage keeps away from a filter may be
/// met by the reader, which leaves out what can't pass.
pub(crate) fn fails_often(expr: &Expr, schema: &DFSchema) -> bool {
    let found = expr.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, .. }) => can_fail(part, schema),
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(schema);
                !cast.field.data_type().is_string() && !from.is_ok_and(|from| !from.is_string())
            }
            _ => false,
        })
    });
    found.unwrap_or(true)
}

fn is_zero(value: &ScalarValue) -> bool {
    !value.data_type().is_floating() && ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
}

/// Whether a cast has a result for every value.
fn always_fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Dictionary, Null, Timestamp};
    let width = |of: &DataType| of.primitive_width().unwrap_or(0);
    match (from, to) {
        _ if from == to => true,
        (Dictionary(_, value), to) => always_fits(value, to),
        (Null, _) => true,
        (from, to) if to.is_string() => !from.is_nested() && !from.is_binary(),
        (from, to) if from.is_integer() && to.is_floating() => true,
        (from, to) if from.is_floating() && to.is_floating() => width(from) <= width(to),
        (from, to) if from.is_unsigned_integer() && to.is_integer() => {
            width(from) < width(to) || (width(from) == width(to) && to.is_unsigned_integer())
        }
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => width(from) <= width(to),
        (from, to) if from.is_decimal() && to.is_floating() => true,
        (from, to) if to.is_decimal() => {
            digits(from).zip(digits(to)).is_some_and(|(from, to)| from.0 <= to.0 && from.1 <= to.1)
        }
        (Date32, Date64) | (Timestamp(..), Date32 | Date64) => true,
        (Timestamp(from, _), Timestamp(to, _)) => fineness(from) >= fineness(to),
        _ => false,
    }
}

/// The digits before and behind the point.
fn digits(of: &DataType) -> Option<(i16, i16)> {
    Some(match of {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (i16::from(*precision) - i16::from(*scale), i16::from(*scale)),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 | DataType::UInt64 => (20, 0),
        _ => return None,
    })
}

fn fineness(unit: &TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// What it is given.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Steady(Signature);

impl Default for Steady {
    fn default() -> Self {
        Self(Signature::any(1, Volatility::Volatile))
    }
}

impl ScalarUDFImpl for Steady {
    fn name(&self) -> &str {
        "steady"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut args = args.args;
        args.pop().ok_or_else(|| datafusion::common::internal_datafusion_err!("it is given a filter"))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{Field, Schema},
        logical_expr::{cast, col, lit},
    };

    use super::*;

    #[test]
    fn what_can_fail() {
        let fields = vec![
            Field::new("i", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("t", DataType::Utf8View, true),
        ];
        let schema = DFSchema::try_from(Schema::new(fields)).expect("columns");
        let fails = |expr: Expr| can_fail(&expr.gt(lit(3i64)), &schema);
        assert!(fails(lit(10i64) / col("i")));
        assert!(fails(col("i") % lit(0i64)));
        assert!(fails(cast(col("t"), DataType::Int64)));
        assert!(fails(cast(col("f"), DataType::Int64)));
        assert!(fails(cast(col("i"), DataType::Int32)));
        assert!(!fails(col("i") % lit(2i64)));
        assert!(!fails(lit(10.0) / col("f")));
        assert!(!fails(cast(col("i"), DataType::Utf8View)));
        assert!(!fails(cast(col("i"), DataType::Decimal128(20, 0))));
        assert!(fails(cast(col("i"), DataType::Decimal128(20, 2))));
    }
}
