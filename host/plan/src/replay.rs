//! Rows that failed go through their stage once more, and on from there.
//!
//! The plan is the pipeline's own, but what the stage reads is replaced by files of such rows: they hold the columns under their flat
//! names that the stage and all behind it read when the rows failed.

use std::{fs::File, path::Path, sync::Arc};

use datafusion::{
    arrow::{
        array::RecordBatch,
        datatypes::{DataType, FieldRef, Schema, SchemaRef},
    },
    logical_expr::LogicalPlan,
};
use dflow_io::{IoError, Run, SourceBatch, SourceReader, Split};
use dflow_operators::{Reader, SPLIT_COLUMN, SourceSpec};
use dflow_pipeline::{BatchLimits, Bytes, Fault, Name, OnError};
use futures::{StreamExt, stream, stream::BoxStream};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use crate::{
    columns::{Column, Columns},
    inline::fit,
    steps::{Planned, Step},
};

/// The volume of files of rows that failed; their paths are those of the file system.
pub const DEAD: &str = "dead";
/// How often a row was tried before.
const ATTEMPTS: &str = "error_attempts";

/// Rows that failed at a stage and are tried again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The stage.
    pub stage: Name,
    /// The sinks that they go to; others are left out of the plan.
    pub ends: Vec<Name>,
}

impl Replay {
    /// The name under which the rows are a source.
    pub fn source(&self) -> Name {
        self.stage.part(DEAD)
    }
}

impl Step {
    /// The rows that failed in the place of these.
    pub(crate) fn replayed(&self, replay: &Replay, batch: BatchLimits) -> Planned {
        let stage = replay.source();
        let attempts: FieldRef = Columns::field(ATTEMPTS, DataType::UInt32, true);
        let schema = Arc::new(fields(&self.plan, &attempts));
        let reader = Reader::Whole(Arc::new(DeadReader { stage: replay.stage.clone(), schema }));
        // The row's own id is one of its columns, and so is the place of the split that it came from at first.
        let own = ["__id__", SPLIT_COLUMN];
        let name =
            |column: &str| if own.contains(&column) { stage.part(column).to_string() } else { column.to_owned() };
        let schema = dflow_operators::source_schema(&reader, name);
        // They are held against the limit where they failed, and there fail as they did.
        let batch = BatchLimits { max_row: Bytes(u64::MAX), ..batch };
        let step = Self::source(SourceSpec { stage, reader, schema, id: None, on_error: OnError::Fail, batch })?;
        let columns = Columns { tried: Some(Column::of(&attempts)), ..self.columns.clone() };
        Ok(Self { plan: step.plan, columns })
    }
}

fn fields(plan: &LogicalPlan, attempts: &FieldRef) -> Schema {
    let fields: Vec<FieldRef> = plan.schema().fields().iter().chain([attempts]).cloned().collect();
    Schema::new(fields)
}

/// Reads files of rows that failed.
#[derive(Debug)]
struct DeadReader {
    /// The stage at which they did.
    stage: Name,
    schema: SchemaRef,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, IoError>> + Send>;

impl DeadReader {
    fn batches(&self, split: &Split, projection: &[usize], rows: usize) -> Result<Batches, IoError> {
        let path = Path::new(&split.path);
        let name = path.display().to_string();
        let unreadable = move |why: String| {
            IoError::new(Fault::Outside, format!("the rows that failed can't be read from `{name}`: {why}"))
                .hint("`dflow-host run --fresh` does everything again")
        };
        let file = File::open(path)
            .map_err(|e| IoError::os("read", path, e).hint("`dflow-host run --fresh` does everything again"))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(e.to_string()))?;
        let wanted = Arc::new(self.schema.project(projection).map_err(|e| unreadable(e.to_string()))?);
        let columns = wanted.fields().iter().map(|field| {
            builder.schema().index_of(field.name()).map_err(|_| {
                let what = format!(
                    "the rows that failed at stage `{}` lack the column `{}`, which nothing read when they failed",
                    self.stage,
                    field.name()
                );
                IoError::new(Fault::Pipeline, what)
                    .hint("`dflow-host run` reads them anew, since the pipeline has changed")
            })
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let reader = builder.with_projection(mask).with_batch_size(rows).build();
        let reader = reader.map_err(|e| unreadable(e.to_string()))?;
        Ok(Box::new(reader.map(move |batch| {
            batch.map_err(|e| e.to_string()).and_then(|batch| fit(&batch, &wanted)).map_err(&unreadable)
        })))
    }
}

impl SourceReader for DeadReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let rows = (limits.rows as usize).max(1);
        let files: Vec<_> = splits.iter().map(|split| self.batches(split, &projection, rows)).collect();
        let batches = files.into_iter().enumerate().flat_map(|(i, batches)| {
            let mut position = 0;
            let batches: Batches = batches.unwrap_or_else(|e| Box::new(std::iter::once(Err(e))));
            batches.map(move |batch| {
                let rows = batch?;
                let run = Run { split: i as u32, position, rows: rows.num_rows() as u32 };
                position += u64::from(run.rows);
                Ok(SourceBatch { rows, runs: vec![run], failed: Vec::new() })
            })
        });
        stream::iter(batches).boxed()
    }
}
