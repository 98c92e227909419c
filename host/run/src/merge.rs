//! `mode = "merge"`: what a sink's place holds stays, but for the rows whose key a new row has.
//!
//! A file none of whose rows is replaced stays as it is. Any other is written anew without those rows, and goes when its
//! successor is published. One task sees all new rows; their keys are remembered as hashes, 16 bytes each.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, StringArray},
    compute::{CastOptions, cast, cast_with_options, filter_record_batch, is_not_null, kernels::zip::zip},
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
    row::{RowConverter, SortField},
};
use dflow_io::{Encoder, Prepared, StagedFolder, partition_of};
use dflow_operators::StepError;
use dflow_pipeline::{Fault, Format, Name};
use dflow_plan::{floats_alike, stored_rows};
use xxhash_rust::xxh3::xxh3_128;

use crate::writer::{Files, Merge, TaskOutput, text};

/// The keys of the new rows.
pub(crate) struct Keys {
    sink: Name,
    names: Vec<String>,
    /// What parts that are null are taken for, of those that have something like it: in csv a text that is empty is none.
    empty: Vec<Option<ArrayRef>>,
    converter: RowConverter,
    seen: HashSet<u128>,
}

/// What becomes of the files that were there.
#[derive(Default)]
pub(crate) struct Merged {
    /// Files with the rows that stay of those that are replaced.
    pub(crate) files: Vec<Prepared>,
    /// The files that are replaced.
    pub(crate) replaced: Vec<PathBuf>,
}

impl Keys {
    pub(crate) fn new(sink: &Name, names: &[String], schema: &Schema, format: Format) -> Result<Self, StepError> {
        let types = names.iter().map(|name| Ok(schema.field_with_name(name)?.data_type()));
        let types = types.collect::<Result<Vec<_>, ArrowError>>().map_err(StepError::internal)?;
        let empty = types.iter().map(|data_type| empty(format, data_type)).collect::<Result<Vec<_>, ArrowError>>();
        let fields = types.into_iter().map(|data_type| SortField::new(data_type.clone())).collect();
        let (empty, converter) =
            (empty.map_err(StepError::internal)?, RowConverter::new(fields).map_err(StepError::internal)?);
        Ok(Self { sink: sink.clone(), names: names.to_vec(), empty, converter, seen: HashSet::new() })
    }

    /// Each row's key; `None` where a part of it is null.
    fn of(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Vec<Option<u128>>), StepError> {
        let columns = self.names.iter().map(|name| batch.column_by_name(name).cloned());
        let columns = columns.collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| StepError::new(Fault::Internal, "a key that isn't written"))?;
        let parts = columns.into_iter().zip(&self.empty).map(|(column, empty)| match empty {
            Some(empty) if column.null_count() > 0 => {
                zip(&is_not_null(&column)?, &column, &Scalar::new(Arc::clone(empty)))
            }
            _ => floats_alike(&column),
        });
        let columns = parts.collect::<Result<Vec<_>, ArrowError>>().map_err(StepError::internal)?;
        let rows = self.converter.convert_columns(&columns).map_err(StepError::internal)?;
        let nulls: Vec<_> = columns.iter().filter_map(|column| column.logical_nulls()).collect();
        let keys = rows.iter().enumerate().map(|(i, row)| {
            let whole = !nulls.iter().any(|nulls| nulls.is_null(i));
            whole.then(|| xxh3_128(row.as_ref()))
        });
        let keys = keys.collect();
        Ok((columns, keys))
    }

    /// Remembers the keys of new rows. Two of them with one key are an error: which of them should stay?
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        let (columns, keys) = self.of(batch)?;
        for (row, key) in keys.into_iter().enumerate() {
            if key.is_some_and(|key| !self.seen.insert(key)) {
                let parts = self.names.iter().zip(&columns).map(|(name, column)| {
                    let value = text(column, row).map_err(StepError::internal)?.unwrap_or_default();
                    Ok(format!("`{name}` = {value}"))
                });
                let parts = parts.collect::<Result<Vec<_>, StepError>>()?.join(", ");
                let what = format!("stage `{}`: two rows have one key, {parts}", self.sink);
                return Err(StepError::new(Fault::Data, what)
                    .hint("add what tells them apart to `key`, or keep one of them with `distinct`"));
            }
        }
        Ok(())
    }

    /// Which rows no new row replaces.
    fn keep(&self, batch: &RecordBatch) -> Result<BooleanArray, StepError> {
        let (_, keys) = self.of(batch)?;
        Ok(keys.into_iter().map(|key| Some(key.is_none_or(|key| !self.seen.contains(&key)))).collect())
    }

    /// Writes the files anew of which a row is replaced. `schema` is that of the new rows.
    pub(crate) fn merge(&self, output: &TaskOutput, merge: &Merge, schema: &SchemaRef) -> Result<Merged, StepError> {
        let mut merged = Merged::default();
        let Some(name) = output.kept() else { return Ok(merged) };
        let single = output.folder != merge.root;
        let staged = StagedFolder::create(&output.folder, &name)?;
        let partitions: &[String] = if let Files::Partitioned(columns) = &output.files { columns } else { &[] };
        let stored: Vec<usize> =
            (0..schema.fields().len()).filter(|i| !partitions.contains(schema.field(*i).name())).collect();
        let written = Arc::new(schema.project(&stored).map_err(StepError::internal)?);
        for (number, path) in merge.files.iter().enumerate() {
            let below = path.strip_prefix(&merge.root).unwrap_or(path);
            let folders = below.parent().filter(|_| !single).unwrap_or(Path::new(""));
            let values = values(below, partitions, schema)?;
            let codec = dflow_io::Codec::of_name(&path.to_string_lossy());
            let ending = name.find('.').unwrap_or(name.len());
            let (stem, ending) = name.split_at(ending);
            let successor = folders.join(format!("{stem}-{number:03}{ending}"));
            let file = staged.begin(&successor.to_string_lossy())?;
            // What stays of a single file becomes a part, and parts aren't compressed.
            let mut encoder = Encoder::packed(output.format, output.codec, Arc::clone(&written), file)?;
            let mut dropped = false;
            for batch in stored_rows(path, output.format, codec, &written)? {
                let batch = batch?;
                let keep = self.keep(&whole(&batch, &values, schema)?)?;
                dropped |= keep.has_false();
                encoder.write(&filter_record_batch(&batch, &keep).map_err(StepError::internal)?)?;
            }
            let rows = encoder.rows();
            if single || (dropped && rows > 0) {
                merged.files.push(encoder.finish()?.close()?.with_rows(rows));
            }
            if dropped && !single {
                merged.replaced.push(path.clone());
            }
        }
        if !merged.files.is_empty() {
            staged.finish(&merged.files)?;
        }
        Ok(merged)
    }
}

/// What a text that isn't there is taken for: csv doesn't tell it from an empty one.
fn empty(format: Format, data_type: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
    let text = data_type.is_string() || matches!(data_type, DataType::Dictionary(_, value) if value.is_string());
    let none: &dyn Array = &StringArray::from(vec![""]);
    (text && format == Format::Csv).then(|| cast(none, data_type)).transpose()
}

/// The values that the folders of a file say, of the partitions' columns, one row each.
fn values(below: &Path, partitions: &[String], schema: &Schema) -> Result<Vec<(String, ArrayRef)>, StepError> {
    let said: Vec<_> = below.iter().filter_map(|part| partition_of(part.to_str()?)).collect();
    let value = |name: &String| {
        let wrong = |why: String| {
            StepError::new(Fault::Data, format!("`{}` can't be merged with: {why}", below.display()))
                .hint("`mode = \"replace\"` writes everything anew")
        };
        let Some((_, value)) = said.iter().find(|(column, _)| column == name) else {
            return Err(wrong(format!("it is in no folder `{name}=…`")));
        };
        let text: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
        let data_type = schema.field_with_name(name).map_err(StepError::internal)?.data_type();
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let value = cast_with_options(&text, data_type, &options).map_err(|e| wrong(e.to_string()))?;
        Ok((name.clone(), value))
    };
    partitions.iter().map(value).collect()
}

/// A stored batch with the columns that its folders say.
fn whole(batch: &RecordBatch, values: &[(String, ArrayRef)], schema: &SchemaRef) -> Result<RecordBatch, StepError> {
    if values.is_empty() {
        return Ok(batch.clone());
    }
    let rows = datafusion::arrow::array::UInt32Array::from(vec![0; batch.num_rows()]);
    let columns = schema.fields().iter().map(|field| match values.iter().find(|(name, _)| name == field.name()) {
        Some((_, value)) => datafusion::arrow::compute::take(value, &rows, None),
        None => Ok(Arc::clone(&batch[field.name().as_str()])),
    });
    // Folders may say null where the new rows never are.
    let fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(StepError::internal)?;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(StepError::internal)
}
