//! Ids and hashes of rows as functions of the plan.
//!
//! They are columns like any other: what nobody reads isn't computed. Ids that are made here are written into files, so what goes
//! into them may never change; hashes that only tell rows apart during a run may.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, StringViewArray, UInt64Array},
        compute::cast,
        datatypes::{DataType, Float32Type, Float64Type, UInt32Type},
        error::ArrowError,
        row::{RowConverter, SortField},
        util::display::{ArrayFormatter, FormatOptions},
    },
    common::{Result, utils::take_function_args},
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};
use dflow_operators::{ID_FIELD_TYPE, Ids, child_id};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128};

/// The id of a child: of its parent's id, the stage and its index, as operators that expand make it.
pub(crate) fn id_of_child(stage: &str, parent: Expr, index: Expr) -> Expr {
    call(ChildId { stage: stage.to_owned(), signature: Signature::any(2, Volatility::Immutable) }, vec![parent, index])
}

/// The id of a row that is made of others or of values: of a word that says what it is, and the values, nulls among them.
pub(crate) fn id_of_values(word: &str, values: Vec<Expr>) -> Expr {
    let signature = if values.is_empty() {
        Signature::nullary(Volatility::Immutable)
    } else {
        Signature::variadic_any(Volatility::Immutable)
    };
    call(IdOfValues { word: word.to_owned(), signature }, values)
}

/// 16 bytes that are equal where all values are equal. Only for use within a run.
pub(crate) fn key_of(values: Vec<Expr>) -> Expr {
    call(KeyOf { signature: Signature::variadic_any(Volatility::Immutable) }, values)
}

/// 64 bits by which rows are sampled: of the id and a seed.
pub(crate) fn lot_of(id: Expr, seed: u64) -> Expr {
    call(LotOf { seed, signature: Signature::any(1, Volatility::Immutable) }, vec![id])
}

fn call(function: impl ScalarUDFImpl + 'static, arguments: Vec<Expr>) -> Expr {
    ScalarUDF::from(function).call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ChildId {
    stage: String,
    signature: Signature,
}

impl ScalarUDFImpl for ChildId {
    fn name(&self) -> &str {
        "id_of_child"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(ID_FIELD_TYPE)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [parents, index] = take_function_args(self.name(), arrays(&args)?)?;
        let (parents, index) = (cast(&parents, &ID_FIELD_TYPE)?, cast(&index, &DataType::UInt32)?);
        let mut ids = Ids::with_capacity(args.number_rows);
        for (parent, index) in parents.as_string_view().iter().zip(index.as_primitive::<UInt32Type>().iter()) {
            ids.push(&child_id(parent.unwrap_or_default(), &self.stage, u64::from(index.unwrap_or_default())));
        }
        Ok(ColumnarValue::Array(Arc::new(ids.finish())))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IdOfValues {
    word: String,
    signature: Signature,
}

impl ScalarUDFImpl for IdOfValues {
    fn name(&self) -> &str {
        "id_of_values"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(ID_FIELD_TYPE)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = arrays(&args)?;
        Ok(ColumnarValue::Array(Arc::new(ids_of_values(&self.word, &values, args.number_rows)?)))
    }
}

/// Each value goes in as its length and its bytes: text and bytes as they are, all else as it is displayed.
fn ids_of_values(word: &str, values: &[ArrayRef], rows: usize) -> Result<StringViewArray> {
    let options = FormatOptions::default();
    let mut columns = Vec::with_capacity(values.len());
    for value in values {
        let bytes = match value.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cast(value, &DataType::BinaryView)?,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => cast(value, &DataType::BinaryView)?,
            _ => {
                let shown = ArrayFormatter::try_new(value.as_ref(), &options)?;
                let text: StringViewArray =
                    (0..value.len()).map(|i| value.is_valid(i).then(|| shown.value(i).to_string())).collect();
                cast(&text, &DataType::BinaryView)?
            }
        };
        columns.push(bytes);
    }
    let mut ids = Ids::with_capacity(rows);
    for row in 0..rows {
        let mut hasher = Xxh3::new();
        hasher.update(word.as_bytes());
        for column in &columns {
            let column = column.as_binary_view();
            if column.is_null(row) {
                hasher.update(&[0]);
            } else {
                let value = column.value(row);
                hasher.update(&[1]);
                hasher.update(&(value.len() as u64).to_le_bytes());
                hasher.update(value);
            }
        }
        let digits = format!("{:032x}", hasher.digest128());
        if let Ok(digits) = digits.as_bytes().try_into() {
            ids.push(digits);
        }
    }
    Ok(ids.finish())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KeyOf {
    signature: Signature,
}

impl ScalarUDFImpl for KeyOf {
    fn name(&self) -> &str {
        "key_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = arrays(&args)?.iter().map(floats_alike).collect::<Result<Vec<_>, _>>()?;
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        let keys = rows.iter().map(|row| xxh3_128(row.as_ref()).to_be_bytes());
        let keys: Vec<u8> = keys.flatten().collect();
        Ok(ColumnarValue::Array(Arc::new(FixedSizeBinaryArray::try_new(16, keys.into(), None)?)))
    }
}

/// A column whose floats are the same bytes where they are equal, as those of groups and joins are: zeros of either sign, and all that
/// are no numbers.
pub fn floats_alike(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Float64 => {
            let alike = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(alike))
        }
        DataType::Float32 => {
            let alike = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(alike))
        }
        DataType::Float16 => cast(&floats_alike(&cast(column, &DataType::Float32)?)?, &DataType::Float16)?,
        _ => Arc::clone(column),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LotOf {
    seed: u64,
    signature: Signature,
}

impl ScalarUDFImpl for LotOf {
    fn name(&self) -> &str {
        "lot_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ids] = take_function_args(self.name(), arrays(&args)?)?;
        let ids = cast(&ids, &ID_FIELD_TYPE)?;
        let lots =
            ids.as_string_view().iter().map(|id| xxh3_64_with_seed(id.unwrap_or_default().as_bytes(), self.seed));
        Ok(ColumnarValue::Array(Arc::new(UInt64Array::from_iter_values(lots))))
    }
}

fn arrays(args: &ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, Int64Array};

    use super::*;

    #[test]
    fn ids_of_values_never_change() {
        // A golden: what was written under these ids must be found again by later versions.
        let columns: [ArrayRef; 2] = [
            Arc::new(StringViewArray::from(vec![Some("a"), Some("a"), None])),
            Arc::new(Float64Array::from(vec![Some(1.5), None, Some(1.5)])),
        ];
        let ids = ids_of_values("sites", &columns, 3).expect("ids");
        let ids: Vec<_> = ids.iter().flatten().collect();
        let expected = [
            "b8f741ad32b081d35b6e0facd2813bce",
            "09bc6e2f5a8a1755ab8192d31c033a9f",
            "6c265407708919df382136318155e1cb",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn floats_that_are_equal_are_the_same_bytes() {
        let odd = f64::from_bits(f64::NAN.to_bits() | 7);
        let values: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(0.0), Some(odd), Some(f64::NAN), None]));
        for data_type in [DataType::Float64, DataType::Float32, DataType::Float16] {
            let column = cast(&values, &data_type).expect("a float");
            let alike = floats_alike(&column).expect("a float");
            assert_eq!(alike.data_type(), &data_type);
            let alike = cast(&alike, &DataType::Float64).expect("a float");
            let bits: Vec<_> = alike.as_primitive::<Float64Type>().iter().map(|v| v.map(f64::to_bits)).collect();
            assert!(bits[0] == Some(0) && bits[0] == bits[1] && bits[2] == bits[3] && bits[4].is_none(), "{data_type}");
        }
    }

    #[test]
    fn ids_of_values_are_of_values_and_not_of_types() {
        let one = |column: ArrayRef| ids_of_values("w", &[column], 1).expect("an id").value(0).to_owned();
        assert_eq!(one(Arc::new(Int32Array::from(vec![7]))), one(Arc::new(Int64Array::from(vec![7]))));
        // What is put together from parts doesn't depend on where one part ends only.
        let two = |a: &str, b: &str| {
            let columns: [ArrayRef; 2] =
                [Arc::new(StringViewArray::from(vec![a])), Arc::new(StringViewArray::from(vec![b]))];
            ids_of_values("w", &columns, 1).expect("an id").value(0).to_owned()
        };
        assert_ne!(two("ab", "c"), two("a", "bc"));
    }
}
