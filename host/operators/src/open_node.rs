//! The files that rows name, as a node of the logical plan: a map that adds columns about each file.
//!
//! It makes only the columns that somebody reads ([`OpenNode::only`]), so that content nobody reads isn't fetched.

use std::{
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::datatypes::{DataType, FieldRef, TimeUnit},
    common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};
use dflow_io::Opener;
use dflow_pipeline::{BatchLimits, Name, OnError};

use crate::reads::Reads;

/// What there is to know about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilePart {
    /// Its content as text.
    Text,
    /// Its content as bytes.
    Bytes,
    /// Its stored size in bytes.
    Size,
    /// When it was last modified.
    Modified,
    /// The version of its content.
    Etag,
    /// What it holds, as `text/html`.
    MediaType,
}

impl FilePart {
    /// All of them, with the names of their columns; the bytes go by the text's name.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Text, "content"),
        (Self::Bytes, "content"),
        (Self::Size, "size"),
        (Self::Modified, "modified"),
        (Self::Etag, "etag"),
        (Self::MediaType, "media_type"),
    ];

    /// Its type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Etag | Self::MediaType => DataType::Utf8View,
            Self::Bytes => DataType::BinaryView,
            Self::Size => DataType::UInt64,
            Self::Modified => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }
}

/// What a stage does with the files that its rows name.
#[derive(Debug)]
pub struct OpenSpec {
    /// The stage.
    pub stage: Name,
    /// What opens them.
    pub opener: Arc<Opener>,
    /// What happens to rows whose file can't be opened.
    pub on_error: OnError,
    /// How often a file is fetched again that could not be, for what may pass.
    pub retries: u32,
    /// How batches are cut.
    pub batch: BatchLimits,
}

impl OpenSpec {
    /// Whether each row comes out, or ends the run.
    pub(crate) fn keeps_rows(&self) -> bool {
        matches!(self.on_error, OnError::Fail | OnError::Null)
    }
}

/// The logical node.
#[derive(Clone, Debug)]
pub struct OpenNode {
    /// What is done.
    pub spec: Arc<OpenSpec>,
    /// The new columns, each under its name in the plan.
    pub parts: Vec<(FilePart, FieldRef)>,
    /// What it reads: the column of URIs is its one port.
    pub reads: Reads<Expr>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl OpenNode {
    /// Opens the files that the rows of `input` name.
    pub fn try_new(
        spec: Arc<OpenSpec>,
        parts: Vec<(FilePart, FieldRef)>,
        reads: Reads<Expr>,
        input: LogicalPlan,
    ) -> Result<Self> {
        let carried = input.schema().iter().map(|(table, field)| (table.cloned(), field.clone()));
        let new = parts.iter().map(|(_, field)| (None::<TableReference>, field.clone()));
        let schema = DFSchema::new_with_metadata(carried.chain(new).collect(), input.schema().metadata().clone())?;
        Ok(Self { spec, parts, reads, input, schema: Arc::new(schema) })
    }

    /// The same without the columns that nobody reads; without any its input alone.
    pub fn only(&self, read: impl Fn(&str) -> bool) -> Result<Option<Self>> {
        let parts: Vec<_> = self.parts.iter().filter(|(_, field)| read(field.name())).cloned().collect();
        if parts.is_empty() {
            return Ok(None);
        }
        Self::try_new(self.spec.clone(), parts, self.reads.clone(), self.input.clone()).map(Some)
    }
}

impl PartialEq for OpenNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
            && self.parts == other.parts
            && self.reads == other.reads
            && self.input == other.input
    }
}

impl Eq for OpenNode {}

impl Hash for OpenNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.stage.hash(state);
        self.reads.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for OpenNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.spec.stage == other.spec.stage).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for OpenNode {
    fn name(&self) -> &str {
        "Open"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.reads.iter().cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.parts.iter().map(|(_, field)| field.name().clone()).collect()
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.spec.keeps_rows()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let uris: Vec<_> = self.reads.ports.iter().map(ToString::to_string).collect();
        write!(f, "Open: {} out=[{}]", uris.join(", "), names(&self.parts))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::try_new(self.spec.clone(), self.parts.clone(), self.reads.with(exprs)?, input),
            None => internal_err!("files are opened without rows that name them"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Carried columns keep their index; what it reads itself is added by the optimizer.
        let carried = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|i| *i < carried).collect()])
    }
}

/// The names of the new columns, as the plan shows them.
pub(crate) fn names(parts: &[(FilePart, FieldRef)]) -> String {
    parts.iter().map(|(_, field)| field.name().as_str()).collect::<Vec<_>>().join(", ")
}
