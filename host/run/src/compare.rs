//! Whether rows are equal, and where they are different first. Rows count, in order where they have one; not how they are shared out
//! among files.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, RecordBatch, StructArray},
        datatypes::{DataType, Fields, SchemaRef},
        row::{RowConverter, SortField},
    },
    execution::SendableRecordBatchStream,
    physical_plan::execute_stream,
};
use dflow_operators::{StepError, TaskScope, step_error, usage_type};
use dflow_pipeline::{Codec, Draft, Fault, Format, Name, Pipeline, written};
use dflow_plan::EndPlan;
use xxhash_rust::xxh3::xxh3_128;

use crate::{engine::Engine, task::next};

/// How rows are read.
pub(crate) struct Rows<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) format: Format,
    pub(crate) codec: Option<Codec>,
}

/// Where rows are different first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// There are other columns.
    Columns { then: String, now: String },
    /// In a row, counted from 1, and a column.
    Cell { row: u64, column: String },
    /// The rows are the same.
    Order,
    /// One has more rows.
    Rows { then: u64, now: u64 },
    /// In a file named by a row.
    File { name: String, what: &'static str },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns { then, now } => write!(f, "its columns were {then}, are {now}"),
            Self::Cell { row, column } => write!(f, "first in row {row}, column `{column}`"),
            Self::Order => write!(f, "in another order"),
            Self::Rows { then, now } if now > then => write!(f, "there is a row {now}, which wasn't there then"),
            Self::Rows { then, .. } => write!(f, "row {then} isn't there any more"),
            Self::File { name, what } => write!(f, "file `{name}` {what}"),
        }
    }
}

/// Files that are named by rows.
pub(crate) fn files(
    then: &BTreeMap<String, PathBuf>,
    now: &BTreeMap<String, PathBuf>,
) -> Result<Option<Difference>, StepError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|e| StepError::new(Fault::Outside, format!("can't read `{}`: {e}", path.display())))
    };
    for (name, path) in then {
        let other = now.get(name);
        let what = match other {
            None => "isn't there any more",
            Some(other) if read(path)? != read(other)? => "has another content",
            Some(_) => continue,
        };
        return Ok(Some(Difference::File { name: name.clone(), what }));
    }
    let new = now.keys().find(|name| !then.contains_key(*name));
    Ok(new.map(|name| Difference::File { name: name.clone(), what: "wasn't there then" }))
}

impl Engine {
    /// Where the rows of files are different first; the files of each side follow each other.
    pub(crate) fn first_difference(
        &self,
        rows: &Rows<'_>,
        then: &[PathBuf],
        now: &[PathBuf],
    ) -> Result<Option<Difference>, StepError> {
        let (mut then, mut now) = (self.side(rows, then)?, self.side(rows, now)?);
        let work = async {
            let mut row = 1;
            loop {
                let (a, b) = (then.batch(self).await?, now.batch(self).await?);
                let (a, b) = match (a, b) {
                    (None, None) => return Ok(None),
                    (Some(_), None) => return Ok(Some(Difference::Rows { then: row, now: row - 1 })),
                    (None, Some(_)) => return Ok(Some(Difference::Rows { then: row - 1, now: row })),
                    (Some(a), Some(b)) => (a, b),
                };
                if names(&a.schema()) != names(&b.schema()) {
                    return Ok(Some(Difference::Columns { then: names(&a.schema()), now: names(&b.schema()) }));
                }
                let rows = a.num_rows().min(b.num_rows());
                let (left, right) = (a.slice(0, rows), b.slice(0, rows));
                if !same(&left, &right) {
                    let at = (0..rows).find(|i| !same(&left.slice(*i, 1), &right.slice(*i, 1))).unwrap_or_default();
                    let (left, right) = (left.slice(at, 1), right.slice(at, 1));
                    let column =
                        (0..left.num_columns()).find(|i| !equal(left.column(*i), right.column(*i))).unwrap_or_default();
                    let column = left.schema().field(column).name().clone();
                    return Ok(Some(Difference::Cell { row: row + at as u64, column }));
                }
                row += rows as u64;
                then.left = (a.num_rows() > rows).then(|| a.slice(rows, a.num_rows() - rows));
                now.left = (b.num_rows() > rows).then(|| b.slice(rows, b.num_rows() - rows));
            }
        };
        let _compute = self.compute().enter();
        self.io().block_on(work)
    }

    /// Whether files that have as many rows have the same ones, in whatever order, in each folder.
    pub(crate) fn same_rows(
        &self,
        rows: &Rows<'_>,
        then: &BTreeMap<String, Vec<PathBuf>>,
        now: &BTreeMap<String, Vec<PathBuf>>,
    ) -> Result<bool, StepError> {
        for (folder, files) in then {
            let other = now.get(folder).map(Vec::as_slice).unwrap_or_default();
            let (a, b) = (self.sum(rows, files)?, self.sum(rows, other)?);
            if a.is_none() || a != b {
                return Ok(false);
            }
        }
        Ok(now.keys().all(|folder| then.contains_key(folder)))
    }

    /// What rows add up to, each by its hash, and their columns; `None` where there are none, or of a type that can't be hashed.
    fn sum(&self, rows: &Rows<'_>, files: &[PathBuf]) -> Result<Option<(String, u128)>, StepError> {
        let mut side = self.side(rows, files)?;
        let work = async {
            let mut sum: Option<(String, u128)> = None;
            while let Some(batch) = side.batch(self).await? {
                let columns: Vec<ArrayRef> = batch.columns().iter().map(told).collect();
                let fields: Vec<SortField> =
                    columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
                if !RowConverter::supports_fields(&fields) {
                    return Ok(None);
                }
                let hashed = RowConverter::new(fields).and_then(|rows| rows.convert_columns(&columns));
                let hashes = hashed.map_err(StepError::internal)?;
                let (_, all) = sum.get_or_insert_with(|| (names(&batch.schema()), 0));
                *all = hashes.iter().fold(*all, |all, row| all.wrapping_add(xxh3_128(row.as_ref())));
            }
            Ok(sum)
        };
        let _compute = self.compute().enter();
        self.io().block_on(work)
    }

    /// The rows of files, as they come.
    fn side(&self, rows: &Rows<'_>, files: &[PathBuf]) -> Result<Side, StepError> {
        if files.is_empty() {
            return Ok(Side { stream: None, left: None });
        }
        let failed = |what: String| StepError::new(Fault::Outside, format!("an output can't be read: {what}"));
        let quoted =
            |path: &PathBuf| serde_json::Value::String(path.display().to_string().replace("${", "$${")).to_string();
        let list: Vec<String> = files.iter().map(quoted).collect();
        let mut text = format!("[stage.rows]\nread = [{}]\nformat = \"{}\"\n", list.join(","), rows.format.as_str());
        if matches!(rows.format, Format::Parquet | Format::Csv | Format::Json | Format::Jsonl | Format::Arrow) {
            // Values in folders' names aren't columns of the files.
            text.push_str("partitions = false\n");
        }
        if let Some(codec) = rows.codec
            && !matches!(rows.format, Format::Parquet | Format::Arrow)
        {
            text.push_str(&format!("codec = {}\n", serde_json::to_value(codec).unwrap_or_default()));
        }
        let mut pipeline =
            written::read("rerun.toml", &text, &[], &|_| None).whole().map_err(|e| failed(format!("{e:?}")))?;
        pipeline.volume = rows.pipeline.volume.clone();
        let target: Name = "rows".parse().map_err(|_| failed("`rows` is no name".to_owned()))?;
        let plan = self.plan(&Draft::from(pipeline), Some(&target), None).map_err(|mistakes| {
            failed(mistakes.list.first().map(|mistake| mistake.message.clone()).unwrap_or_default())
        })?;
        let [segment] = plan.segments.as_slice() else { return Err(failed("it isn't one segment".to_owned())) };
        let splits = segment.sources.iter().map(|s| (s.stage.clone(), s.to_read(None).clone())).collect();
        let scope = Arc::new(TaskScope::new(splits, 1, 1, None, plan.pipeline.batch, self.cancel.clone()));
        let _compute = self.compute().enter();
        let planned = self.io().block_on(segment.physical(scope)).map_err(|e| step_error(&e))?;
        let Some(EndPlan { plan, context, .. }) = planned.into_iter().next() else {
            return Err(failed("it has no plan".to_owned()));
        };
        Ok(Side { stream: Some(execute_stream(plan, context).map_err(|e| step_error(&e))?), left: None })
    }
}

/// One of the two that are compared.
struct Side {
    stream: Option<SendableRecordBatchStream>,
    /// What is left of a batch.
    left: Option<RecordBatch>,
}

impl Side {
    async fn batch(&mut self, engine: &Engine) -> Result<Option<RecordBatch>, StepError> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match next(stream, &engine.cancel).await? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => return Ok(other),
            }
        }
    }
}

fn same(a: &RecordBatch, b: &RecordBatch) -> bool {
    a.columns().iter().zip(b.columns()).all(|(a, b)| equal(a, b))
}

fn equal(a: &ArrayRef, b: &ArrayRef) -> bool {
    told(a).to_data() == told(b).to_data()
}

/// A column; what answers took without where they are from, which in a repetition is the run that is repeated.
fn told(column: &ArrayRef) -> ArrayRef {
    const FROM: &str = "from";
    let (Some(members), DataType::Struct(usage)) = (column.as_struct_opt(), usage_type()) else {
        return column.clone();
    };
    // Members that are null everywhere may be missing from a file.
    let is_usage = [FROM, "finish", "attempts"].iter().all(|name| members.column_by_name(name).is_some())
        && members.fields().iter().all(|field| usage.find(field.name()).is_some());
    if !is_usage {
        return column.clone();
    }
    let kept = members.fields().iter().zip(members.columns()).filter(|(field, _)| field.name() != FROM);
    let (fields, columns): (Vec<_>, Vec<_>) = kept.map(|(field, column)| (field.clone(), column.clone())).unzip();
    match StructArray::try_new(Fields::from(fields), columns, members.nulls().cloned()) {
        Ok(members) => Arc::new(members),
        Err(_) => column.clone(),
    }
}

/// The columns and their types.
fn names(schema: &SchemaRef) -> String {
    let names =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), dflow_plan::type_text(field.data_type())));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::{
        array::{Int64Array, StringArray},
        datatypes::Field,
    };

    use super::*;

    #[test]
    fn where_answers_are_from_makes_no_difference() {
        let usage = |from: &str, attempts: i64, other: &str| -> ArrayRef {
            let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
            let number: ArrayRef = Arc::new(Int64Array::from(vec![attempts]));
            let members = [("from", text(from)), ("finish", text("stop")), ("attempts", number), (other, text("m"))];
            let members =
                members.map(|(name, column)| (Arc::new(Field::new(name, column.data_type().clone(), true)), column));
            Arc::new(StructArray::from(members.to_vec()))
        };
        assert!(equal(&usage("asked", 1, "model"), &usage("row", 1, "model")));
        assert!(!equal(&usage("asked", 1, "model"), &usage("row", 2, "model")));
        assert!(!equal(&usage("asked", 1, "to"), &usage("row", 1, "to")), "it is something else");
    }
}
