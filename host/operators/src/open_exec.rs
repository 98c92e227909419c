//! Opens the files that rows name: several at once, in the rows' order, within bounds of bytes.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray,
            TimestampMillisecondArray, UInt64Array, make_view,
        },
        buffer::{Buffer, NullBuffer},
        compute::cast,
        datatypes::{FieldRef, Schema},
    },
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
        filter_pushdown::{
            ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
            FilterPushdownPropagation,
        },
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_io::{BYTE_ORDER_MARK, Opened, Opening, Unopened, not_utf8};
use dflow_pipeline::{Fault, OnError};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use crate::{
    alone::wait,
    carried::Carried,
    error::StepError,
    open_node::{FilePart, OpenSpec, names},
    reads::{Reads, texts},
    scope::{Failed, RowFailure, StageCounters, StageCounts, TaskScope},
};

/// The physical node.
#[derive(Debug)]
pub struct OpenExec {
    spec: Arc<OpenSpec>,
    parts: Vec<(FilePart, FieldRef)>,
    reads: Reads<Arc<dyn PhysicalExpr>>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl OpenExec {
    /// Opens the files that the rows of `input` name.
    pub fn new(
        spec: Arc<OpenSpec>,
        parts: Vec<(FilePart, FieldRef)>,
        reads: Reads<Arc<dyn PhysicalExpr>>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let new = parts.iter().map(|(_, field)| field.clone());
        let fields: Vec<FieldRef> = input.schema().fields().iter().cloned().chain(new).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { spec, parts, reads, input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for OpenExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let uris: Vec<_> = self.reads.ports.iter().map(ToString::to_string).collect();
        write!(f, "OpenExec: {} out=[{}]", uris.join(", "), names(&self.parts))
    }
}

impl ExecutionPlan for OpenExec {
    fn name(&self) -> &str {
        "OpenExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Partitions are made of splits, so that rows stay in their order; batches aren't dealt round.
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for expr in self.reads.iter() {
            recursion = f(expr)?;
        }
        Ok(recursion)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(self.spec.clone(), self.parts.clone(), self.reads.clone(), input))),
            None => internal_err!("files are opened without rows that name them"),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let carried = (0..self.input.schema().fields().len()).collect();
        let child = ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, carried, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
            return internal_err!("files are opened outside of a task");
        };
        let wants = |part: FilePart| self.parts.iter().any(|(wanted, _)| *wanted == part);
        let work = Arc::new(Work {
            counters: scope.counters(&self.spec.stage),
            scope,
            spec: self.spec.clone(),
            parts: self.parts.clone(),
            reads: self.reads.clone(),
            text: wants(FilePart::Text),
            content: wants(FilePart::Text) || wants(FilePart::Bytes),
            schema: self.schema(),
        });
        let input = self.input.execute(partition, context)?;
        let batches = input.map_ok(move |batch| work.clone().opened(batch)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// One partition's work.
struct Work {
    scope: Arc<TaskScope>,
    counters: Arc<StageCounters>,
    spec: Arc<OpenSpec>,
    parts: Vec<(FilePart, FieldRef)>,
    reads: Reads<Arc<dyn PhysicalExpr>>,
    /// Whether content is wanted as text.
    text: bool,
    /// Whether content is wanted at all.
    content: bool,
    schema: Arc<Schema>,
}

/// Rows that wait for their batch to be full: their places in the input's batch, and their files (`None` where it stays null).
#[derive(Default)]
struct Waiting {
    rows: Vec<u32>,
    files: Vec<Option<Opened>>,
    bytes: u64,
}

impl Work {
    /// The batches of one batch of the input.
    fn opened(self: Arc<Self>, batch: RecordBatch) -> BoxStream<'static, Result<RecordBatch>> {
        match self.uris(&batch) {
            Ok(uris) => {
                let openings = self.spec.opener.open(uris.iter().map(|u| u.map(str::to_owned)).collect(), self.content);
                let state = (self, batch, uris, openings, 0u32, Waiting::default());
                stream::try_unfold(state, |(work, batch, uris, mut openings, mut row, mut waiting)| async move {
                    let limits = work.spec.batch;
                    loop {
                        if work.scope.cancel.is_raised() {
                            return Err(StepError::new(Fault::Outside, "interrupted").into());
                        }
                        let Some(opening) = openings.next().await else {
                            if waiting.rows.is_empty() {
                                return Ok(None);
                            }
                            let made = work.made(&batch, &std::mem::take(&mut waiting))?;
                            return Ok(Some((made, (work, batch, uris, openings, row, waiting))));
                        };
                        let opening = opening.map_err(StepError::from)?;
                        let uri = uris.is_valid(row as usize).then(|| uris.value(row as usize));
                        let (opening, attempts) = work.again(uri, opening).await?;
                        let file = work.met(&batch, row, uri, opening, attempts)?;
                        row += 1;
                        let Some(file) = file else { continue };
                        let bytes = file.as_ref().map_or(0, |file| file.content.len() as u64);
                        let full = !waiting.rows.is_empty()
                            && (waiting.rows.len() >= limits.rows.max(1) as usize
                                || waiting.bytes + bytes > limits.bytes.0);
                        let before = full.then(|| std::mem::take(&mut waiting));
                        waiting.rows.push(row - 1);
                        waiting.files.push(file);
                        waiting.bytes += bytes;
                        if let Some(before) = before {
                            let made = work.made(&batch, &before)?;
                            return Ok(Some((made, (work, batch, uris, openings, row, waiting))));
                        }
                    }
                })
                .boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn uris(&self, batch: &RecordBatch) -> Result<StringViewArray> {
        let Some(uri) = self.reads.ports.first() else { return internal_err!("no column of URIs") };
        Ok(texts(uri, batch)?.as_string_view().clone())
    }

    /// Fetches a file again that could not be, for what may pass; and how often it was tried.
    async fn again(&self, uri: Option<&str>, mut opening: Opening) -> Result<(Opening, u32)> {
        let mut attempts = 1;
        while let (Some(Err(Unopened { fault: Fault::Outside, .. })), Some(uri)) = (&opening, uri)
            && attempts <= self.spec.retries
            && !self.scope.cancel.is_raised()
        {
            tokio::time::sleep(wait(attempts)).await;
            attempts += 1;
            match self.spec.opener.open(vec![Some(uri.to_owned())], self.content).next().await {
                Some(again) => opening = again.map_err(StepError::from)?,
                None => break,
            }
        }
        Ok((opening, attempts))
    }

    /// What becomes of a row: its file, `Some(None)` when its columns stay null, `None` when it is dropped.
    fn met(
        &self,
        batch: &RecordBatch,
        row: u32,
        uri: Option<&str>,
        opening: Opening,
        attempts: u32,
    ) -> Result<Option<Option<Opened>>> {
        let opened = match opening {
            Some(Ok(opened)) => match self.text.then(|| not_utf8(&opened.content)).flatten() {
                Some(why) => Err(Unopened {
                    kind: "encoding",
                    fault: Fault::Data,
                    message: format!("`{}` is not UTF-8 ({why})", uri.unwrap_or_default()),
                }),
                None => Ok(Some(opened)),
            },
            Some(Err(unopened)) => Err(unopened),
            None => Ok(None),
        };
        let counted = |counts| self.counters.add(&StageCounts { rows_in: 1, ..counts });
        let unopened = match opened {
            Ok(file) => {
                let bytes = file.as_ref().map_or(0, |file| file.content.len() as u64);
                counted(StageCounts { rows_made: 1, bytes, ..StageCounts::default() });
                let through = Failed { of: 1, ..Failed::default() };
                self.scope.met(&self.spec.stage, self.spec.on_error, None, &through)?;
                return Ok(Some(file));
            }
            Err(unopened) => unopened,
        };
        if self.spec.on_error == OnError::Fail {
            let message = format!("stage `{}`: {}", self.spec.stage, unopened.message);
            return Err(StepError::new(unopened.fault, message)
                .hint("`on_error = \"dead_letter\"` goes on without such rows, `null` with nothing in their columns")
                .into());
        }
        let id = self.reads.id.as_ref().map(|id| texts(id, &batch.slice(row as usize, 1))).transpose()?;
        let before = self.reads.tried(&batch.slice(row as usize, 1))?;
        let failure = RowFailure {
            stage: self.spec.stage.clone(),
            id: id.filter(|id| id.is_valid(0)).map(|id| id.as_string_view().value(0).to_owned()),
            uri: None,
            split: None,
            fault: unopened.fault,
            kind: unopened.kind.to_owned(),
            message: unopened.message,
            attempts: attempts + before.map_or(0, |before| before.value(0)),
        };
        let rows = Some(batch.slice(row as usize, 1));
        let failed = Failed { failures: vec![failure], rows, leading: 1, of: 1 };
        self.scope.met(&self.spec.stage, self.spec.on_error, None, &failed)?;
        match self.spec.on_error {
            OnError::Null => {
                counted(StageCounts { rows_made: 1, ..StageCounts::default() });
                Ok(Some(None))
            }
            OnError::Skip => {
                counted(StageCounts { skipped: 1, ..StageCounts::default() });
                Ok(None)
            }
            OnError::DeadLetter | OnError::Fail => {
                counted(StageCounts { failed: 1, ..StageCounts::default() });
                Ok(None)
            }
        }
    }

    /// The rows that waited, with what is wanted of their files.
    fn made(&self, batch: &RecordBatch, waiting: &Waiting) -> Result<RecordBatch> {
        let rows = waiting.rows.len();
        let carried = Carried::of(&waiting.rows);
        let mut columns = batch.columns().iter().map(|column| carried.column(column)).collect::<Result<Vec<_>>>()?;
        let files = || waiting.files.iter().map(Option::as_ref);
        let mut buffer = Vec::with_capacity(if self.content { waiting.bytes as usize } else { 0 });
        files().flatten().for_each(|file| buffer.extend_from_slice(&file.content));
        let buffer = Buffer::from_vec(buffer);
        for (part, field) in &self.parts {
            columns.push(match part {
                FilePart::Text => Arc::new(contents(files(), &buffer, true)?.to_string_view()?),
                FilePart::Bytes => Arc::new(contents(files(), &buffer, false)?),
                FilePart::Size => Arc::new(UInt64Array::from_iter(files().map(|file| file?.size))),
                FilePart::Modified => {
                    let modified = TimestampMillisecondArray::from_iter(files().map(|file| file?.modified));
                    cast(&(Arc::new(modified.with_timezone("UTC")) as ArrayRef), field.data_type())?
                }
                FilePart::Etag => Arc::new(StringViewArray::from_iter(files().map(|file| file?.etag.as_deref()))),
                FilePart::MediaType => {
                    Arc::new(StringViewArray::from_iter(files().map(|file| file?.media_type.as_deref())))
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Contents that lie one after the other in a buffer; as `text` without byte order marks.
fn contents<'a>(
    files: impl Iterator<Item = Option<&'a Opened>>,
    buffer: &Buffer,
    text: bool,
) -> Result<BinaryViewArray> {
    let (mut views, mut valid, mut end) = (Vec::<u128>::new(), Vec::new(), 0);
    for file in files {
        let start = end;
        end += file.map_or(0, |file| file.content.len());
        let mark = if text && buffer[start..end].starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let Ok(offset) = u32::try_from(start + mark) else { return internal_err!("a batch of more than 4 GiB") };
        views.push(make_view(&buffer[start + mark..end], 0, offset));
        valid.push(file.is_some());
    }
    let nulls = NullBuffer::from(valid);
    Ok(BinaryViewArray::try_new(views.into(), vec![buffer.clone()], Some(nulls).filter(|n| n.null_count() > 0))?)
}
