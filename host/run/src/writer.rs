//! What a task writes: one file, files in folders named by values, or a file for each row.
//!
//! All are under temporary names, which begin with what the task's output is called, until the driver publishes them.

mod named;
mod partitioned;

use std::path::PathBuf;

use datafusion::arrow::{array::RecordBatch, datatypes::SchemaRef};
use dflow_io::{Encoder, Prepared, StagedFile, push_splits};
use dflow_operators::{Failed, StepError};
use dflow_pipeline::{Codec, Format, Name};
use serde::{Deserialize, Serialize};

use self::{named::Named, partitioned::Partitioned};
pub(crate) use self::{named::two_rows, partitioned::text};

/// What a task writes, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutput {
    /// The folder.
    pub folder: PathBuf,
    /// Of a folder in a bucket: the folder here in which files are staged, to be uploaded when they are whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<PathBuf>,
    /// The name of the file, with the task's id; of several files the name under which they are staged.
    pub name: String,
    /// The format.
    pub format: Format,
    /// How the files are compressed.
    pub codec: Codec,
    /// One file or several.
    pub files: Files,
    /// With `mode = "merge"`: the files that are there, and the columns by which rows are the same.
    #[serde(default)]
    pub merge: Option<Merge>,
}

impl TaskOutput {
    /// Begins its one file.
    pub(crate) fn begin(&self) -> Result<StagedFile, StepError> {
        Ok(match &self.staging {
            None => StagedFile::create(&self.folder, &self.name)?,
            Some(staging) => StagedFile::of_object(staging, self.folder.join(&self.name))?,
        })
    }

    /// The name under which files are staged that hold what stays of older ones.
    pub(crate) fn kept(&self) -> Option<String> {
        self.merge.as_ref()?;
        let ending = self.name.find('.').unwrap_or(self.name.len());
        let (stem, ending) = self.name.split_at(ending);
        Some(format!("{stem}-kept{ending}"))
    }
}

/// Into which files the rows of a task go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Files {
    /// One.
    One,
    /// At least one for each combination of values in these columns, in a folder of that name.
    Partitioned(Vec<String>),
    /// One for each row, named by this template.
    Named(String),
}

/// What rows are merged with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The columns by which rows are the same.
    pub key: Vec<String>,
    /// The files whose rows stay, but for those whose key a new row has.
    pub files: Vec<PathBuf>,
    /// The folder whose folders are named by values; of a single file its own.
    pub root: PathBuf,
}

/// Writes one file.
pub(crate) struct One {
    encoder: Encoder<StagedFile>,
    splits: Vec<(u32, u64)>,
}

/// Writes the rows of a task.
pub(crate) enum SinkWriter {
    One(Box<One>),
    Partitioned(Box<Partitioned>),
    Named(Box<Named>),
}

impl SinkWriter {
    /// Begins a sink's files for rows of a schema.
    pub(crate) fn create(sink: &Name, output: &TaskOutput, schema: SchemaRef) -> Result<Self, StepError> {
        Ok(match &output.files {
            Files::One => {
                let encoder = Encoder::packed(output.format, output.codec, schema, output.begin()?)?;
                Self::One(Box::new(One { encoder, splits: Vec::new() }))
            }
            Files::Partitioned(columns) => Self::Partitioned(Box::new(Partitioned::create(output, columns, &schema)?)),
            Files::Named(template) => Self::Named(Box::new(Named::create(sink, output, template)?)),
        })
    }

    /// Writes rows; `splits` says which of the task's each comes from, where that is known. Gives those that can't be written: of a
    /// table there are none.
    pub(crate) fn write(&mut self, batch: &RecordBatch, splits: Option<&[u32]>) -> Result<Failed, StepError> {
        match self {
            Self::One(one) => {
                one.encoder.write(batch)?;
                push_splits(&mut one.splits, splits.unwrap_or_default());
            }
            Self::Partitioned(writer) => writer.write(batch, splits)?,
            Self::Named(writer) => return writer.write(batch, splits),
        }
        Ok(Failed { of: batch.num_rows(), ..Failed::default() })
    }

    /// About how many bytes of rows wait in memory to be written.
    pub(crate) fn buffered_bytes(&self) -> usize {
        match self {
            Self::One(one) => one.encoder.buffered_bytes(),
            Self::Partitioned(writer) => writer.buffered_bytes(),
            Self::Named(_) => 0,
        }
    }

    /// Writes out what waits.
    pub(crate) fn spill(&mut self) -> Result<(), StepError> {
        match self {
            Self::One(one) => Ok(one.encoder.relieve()?),
            Self::Partitioned(writer) => writer.spill(),
            Self::Named(_) => Ok(()),
        }
    }

    /// Ends the files and syncs them.
    pub(crate) fn finish(self) -> Result<Vec<Prepared>, StepError> {
        match self {
            Self::One(one) => {
                let One { encoder, splits } = *one;
                let rows = encoder.rows();
                Ok(vec![Prepared { splits, ..encoder.finish()?.finish()?.with_rows(rows) }])
            }
            Self::Partitioned(writer) => writer.finish(),
            Self::Named(writer) => writer.finish(),
        }
    }
}
