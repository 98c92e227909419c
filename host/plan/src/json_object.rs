//! Several columns as one: a JSON object for each row.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, new_empty_array},
        buffer::Buffer,
        datatypes::{DataType, Field, FieldRef, Schema},
        error::ArrowError,
        json::{
            WriterBuilder,
            writer::{EncoderOptions, LineDelimited, make_encoder},
        },
        util::display::{ArrayFormatter, FormatOptions},
    },
    common::Result,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

/// The text of a JSON object of columns, under these names: as jsonl writes a row, and what jsonl can't hold as it is displayed.
pub(crate) fn json_object(names: Vec<String>, values: Vec<Expr>) -> Expr {
    let signature = if names.is_empty() {
        Signature::nullary(Volatility::Immutable)
    } else {
        Signature::variadic_any(Volatility::Immutable)
    };
    ScalarUDF::from(JsonObject { names, signature }).call(values)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonObject {
    names: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for JsonObject {
    fn name(&self) -> &str {
        "json_object"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(Arc::new(objects(&self.names, &columns, args.number_rows)?)))
    }
}

fn objects(names: &[String], columns: &[ArrayRef], rows: usize) -> Result<StringViewArray, ArrowError> {
    let columns = columns.iter().map(written).collect::<Result<Vec<_>, _>>()?;
    let fields = names.iter().zip(&columns).map(|(name, column)| Field::new(name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch =
        RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?;
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    // Line ends within texts are escaped, so each line is a row.
    let text = Buffer::from_vec(writer.into_inner());
    let mut array = arrow::array::StringViewBuilder::with_capacity(rows);
    let block = array.append_block(text.clone());
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        array.try_append_view(block, start, line.len() as u32 - 1)?;
        start += line.len() as u32;
    }
    Ok(array.finish())
}

/// A column that a JSON writer knows.
fn written(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field: FieldRef = Arc::new(Field::new("", column.data_type().clone(), true));
    if make_encoder(&field, &new_empty_array(column.data_type()), &EncoderOptions::default()).is_ok() {
        return Ok(column.clone());
    }
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let text = (0..column.len()).map(|row| column.is_valid(row).then(|| shown.value(row).to_string()));
    Ok(Arc::new(text.collect::<StringViewArray>()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, IntervalMonthDayNanoArray, StructArray};
    use datafusion::arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    #[test]
    fn rows_are_objects() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("line\nend, \"quoted\", of some length"), None]));
        let place: ArrayRef = Arc::new(StructArray::try_from(vec![("n", number.clone())]).expect("a member"));
        let span: ArrayRef =
            Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(1, 2, 0)), None]));
        let names = ["n", "t", "p", "i"].map(str::to_owned);
        let objects = objects(&names, &[number, text, place, span], 2).expect("objects");
        let rows: Vec<_> = objects.iter().flatten().collect();
        assert_eq!(rows[1], r#"{"n":null,"t":null,"p":{"n":null},"i":null}"#);
        let first = r#"{"n":1,"t":"line\nend, \"quoted\", of some length","p":{"n":1},"i":"#;
        assert!(rows[0].starts_with(first) && rows[0].contains("1 mons 2 days"), "{}", rows[0]);
    }

    #[test]
    fn no_columns_are_empty_objects() {
        let objects = objects(&[], &[], 3).expect("objects");
        assert_eq!(objects.iter().flatten().collect::<Vec<_>>(), ["{}"; 3]);
    }
}
