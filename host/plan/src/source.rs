//! Stages that make rows: `read`, `values`, `input`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use datafusion::{
    arrow::datatypes::{Field, Schema, SchemaRef},
    catalog::{Session, TableProvider},
    common::{Result, internal_err},
    datasource::TableType,
    logical_expr::{Expr, TableProviderFilterPushDown},
    physical_plan::ExecutionPlan,
};
use dflow_io::{FileReader, IoError, LineReader, SourceReader, Split};
use dflow_operators::{PartitionedReader, Partitions, Reader, SourceExec, SourceSpec, TaskScope, is_split};
use dflow_pipeline::{
    At, BatchLimits, Bytes, Fault, Format, Mistake, Name, Pipeline, Read, ReadAs, SourceSchema, Stage, Verb,
};
use futures::future::join_all;

use crate::{
    Environment,
    columns::{BYTES, FILE, SYSTEM},
    inline::{InlineReader, fit},
    partitions::{partitions, refuse_both},
    problems::of_io,
    prune,
    tabular::{Sampling, TabularReader},
    types::{in_csv, parse_type, type_names, type_text},
};

/// Of how many files at most the metadata is looked at to plan a task.
const COUNTED: usize = 64;

/// A source's table: its schema is the plan's, its splits are the task's.
#[derive(Debug)]
pub(crate) struct SourceTable(pub(crate) Arc<SourceSpec>);

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The filter stays, too: which splits are read is decided elsewhere, and with `--first` it is all of them.
        let told = |filter: &&Expr| match prune::decides(&self.0, filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(told).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(scope) = state.config().get_extension::<TaskScope>() else {
            return internal_err!("a source is planned outside of a task");
        };
        let splits = scope.splits.get(&self.0.stage).cloned().unwrap_or_else(|| Arc::from([]));
        let projection = projection.cloned().unwrap_or_else(|| (0..self.0.schema.fields().len()).collect());
        let mut scan = SourceExec::new(self.0.clone(), projection, &splits, scope.partitions, limit)?;
        if scope.first.is_some() {
            scan = scan.unfiltered();
        }
        Ok(Arc::new(match &self.0.reader {
            Reader::Parquet(files) if splits.len() <= COUNTED => {
                scan.with_statistics(files.statistics(&splits, state.runtime_env()).await)
            }
            _ => scan,
        }))
    }
}

/// What reads a stage, and what there is to read.
pub(crate) struct Source {
    pub(crate) reader: Reader,
    pub(crate) splits: Vec<Split>,
}

/// What the `read` stages among some stages name, by stage.
pub(crate) type Listed = BTreeMap<Name, Result<Vec<Split>, Vec<Mistake>>>;

/// Lists what stages read, all at the same time. It is under way once this was polled.
pub(crate) async fn listed(environment: &Environment, pipeline: &Pipeline, stages: &[Name]) -> Listed {
    let listing = stages.iter().filter_map(|name| match &pipeline.stage.get(name)?.verb {
        Verb::Read(read) => Some(async move { (name.clone(), list(environment, name, read).await) }),
        _ => None,
    });
    join_all(listing).await.into_iter().collect()
}

/// The files that a `read` names.
async fn list(environment: &Environment, name: &Name, read: &Read) -> Result<Vec<Split>, Vec<Mistake>> {
    let at = At::stage(name);
    let mut splits = Vec::new();
    let mut mistakes = Vec::new();
    for (i, path) in read.path.iter().enumerate() {
        match environment.stores.list(path).await {
            Ok(found) => splits.extend(found),
            Err(e) => {
                let place = if read.path.len() == 1 { at.key("read") } else { at.key("read").key(i) };
                mistakes.push(of_io(place, &e));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    // Two globs may name the same file; it is read once.
    if read.path.len() > 1 {
        let mut seen = std::collections::HashSet::new();
        splits.retain(|s| seen.insert(s.identity()));
    }
    Ok(splits)
}

/// `read`: finds out the columns of the files that were listed.
pub(crate) async fn read(
    environment: &Environment,
    name: &Name,
    read: &Read,
    splits: Vec<Split>,
    max_row: Bytes,
) -> Result<Source, Vec<Mistake>> {
    let at = At::stage(name);
    let pinned = read.schema.as_ref().map(|s| schema(&at.key("schema"), s)).transpose()?;
    reading(environment, &at, read, splits, pinned, max_row).await
}

/// `read` of files that aren't here, when it is remembered which columns they had: nothing is read of it. `None` when some are here,
/// or nothing is remembered.
pub(crate) async fn absent(environment: &Environment, name: &Name, read: &Read) -> Option<Source> {
    let remembered = environment.remembered.get(name)?;
    for path in &read.path {
        if environment.stores.list(path).await.is_ok() {
            return None;
        }
    }
    let at = At::stage(name);
    let format = read.format.or_else(|| read.path.iter().find_map(|path| Format::of_name(path)))?;
    let read = Read { format: Some(format), ..read.clone() };
    let pinned = Some(schema(&at, remembered).ok()?);
    reading(environment, &at, &read, Vec::new(), pinned, BatchLimits::default().max_row).await.ok()
}

/// What reads these files.
async fn reading(
    environment: &Environment,
    at: &At,
    read: &Read,
    splits: Vec<Split>,
    mut pinned: Option<SchemaRef>,
    max_row: Bytes,
) -> Result<Source, Vec<Mistake>> {
    let format = format(at, read, &splits).map_err(|m| vec![m])?;
    let partitions = match format.is_table() {
        true => partitions(at, &splits, read.partitions, &mut pinned).map_err(|m| vec![m])?,
        false => Partitions::default(),
    };
    if let (Format::Csv, Some(schema)) = (format, &pinned) {
        let unread = schema.fields().iter().filter(|field| !in_csv(field.data_type()));
        let mistakes = unread.map(|field| {
            let what = format!("no {} can be read from csv", type_text(field.data_type()));
            Mistake::new(at.key("schema").key(field.name()), what)
                .hint("read it as `utf8`, and make of it what is meant with `set`")
        });
        let mistakes: Vec<Mistake> = mistakes.collect();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
    }
    let stores = &environment.stores;
    let reader: Arc<dyn SourceReader> = match (format, read.row.unwrap_or(ReadAs::File)) {
        (Format::Html, ReadAs::Line) => {
            return Err(vec![
                Mistake::new(at.key("as"), "html is read as files, not as lines")
                    .hint("`format = \"text\"` reads lines"),
            ]);
        }
        (Format::Text, ReadAs::Line) => Arc::new(LineReader::new(stores).codec(read.codec)),
        (Format::Html | Format::Text, ReadAs::File) => Arc::new(FileReader::new(stores).codec(read.codec)),
        (_, _) if read.row.is_some() => {
            return Err(vec![Mistake::new(
                at.key("as"),
                format!("`as` belongs to text and html, not to {}", format.as_str()),
            )]);
        }
        (Format::Blob, _) => Arc::new(FileReader::blob(stores).codec(read.codec)),
        (Format::Parquet, _) => {
            let files = crate::parquet::files(stores, &splits, pinned, at, partitions, &environment.runtime).await;
            let reader = Reader::Parquet(files.map_err(|m| vec![m])?);
            named(at, read, &splits, reader.schema())?;
            return Ok(Source { reader, splits });
        }
        (Format::Csv | Format::Jsonl | Format::Json | Format::Arrow, _) => {
            let (stores, csv, codec, files) = (stores.clone(), read.csv.clone(), read.codec, splits.clone());
            let sampling = Sampling { max_row: max_row.0 as usize, cancel: environment.sandbox.cancel().clone() };
            let reading = environment
                .stores
                .io()
                .spawn_blocking(move || TabularReader::new(stores, format, csv, codec, &files, pinned, &sampling));
            let reader = reading.await.unwrap_or_else(|e| Err(IoError::new(Fault::Internal, e.to_string())));
            let reader = Arc::new(reader.map_err(|e| vec![of_io(at.key("read"), &e)])?);
            named(at, read, &splits, reader.schema())?;
            if partitions.fields.is_empty() {
                reader
            } else {
                refuse_both(at, reader.schema(), &partitions).map_err(|m| vec![m])?;
                Arc::new(PartitionedReader::new(reader, partitions))
            }
        }
    };
    Ok(Source { reader: Reader::Whole(reader), splits })
}

/// Whether the columns of a table can have their names.
fn named(at: &At, read: &Read, splits: &[Split], schema: &SchemaRef) -> Result<(), Vec<Mistake>> {
    let Some(what) = refused(schema) else { return Ok(()) };
    let (place, of) = match (&read.schema, splits) {
        (Some(_), _) => (at.key("schema"), "schema".to_owned()),
        (None, [split]) => (at.key("read"), split.uri()),
        (None, _) => (at.key("read"), read.path.first().cloned().unwrap_or_default()),
    };
    let mistake = Mistake::new(place, format!("`{of}` has {what}"));
    Err(vec![mistake.hint("`schema = { … }` says which columns are read")])
}

/// What columns a source has that it can't have, as a phrase.
fn refused(schema: &SchemaRef) -> Option<String> {
    let mut seen = BTreeSet::new();
    schema.fields().iter().find_map(|field| {
        let name = field.name().as_str();
        let ours = SYSTEM.contains(&name) || is_split(name) || [BYTES, FILE].iter().any(|end| name.ends_with(end));
        if ours {
            return Some(format!("a column `{name}`, a name that dflow gives itself"));
        }
        (!seen.insert(name)).then(|| format!("two columns named `{name}`"))
    })
}

/// The format that is said, or that all names of files mean.
fn format(at: &At, read: &Read, splits: &[Split]) -> Result<Format, Mistake> {
    if let Some(format) = read.format {
        return Ok(format);
    }
    let mut found: Option<(Format, &Split)> = None;
    for split in splits {
        let hint = "say it with `format = \"…\"`, or name files of one format";
        match (Format::of_name(&split.path), found) {
            (None, _) => {
                return Err(Mistake::new(
                    at.key("read"),
                    format!("the format of `{}` isn't clear from its name", split.uri()),
                )
                .hint(hint));
            }
            (Some(format), None) => found = Some((format, split)),
            (Some(format), Some((first, other))) if format != first => {
                let what = format!("`{}` is {}, `{}` is {}", other.uri(), first.as_str(), split.uri(), format.as_str());
                return Err(Mistake::new(at.key("read"), what).hint(hint));
            }
            _ => {}
        }
    }
    found.map(|(format, _)| format).ok_or_else(|| Mistake::new(at.key("read"), "there is no file to read"))
}

/// `schema = { … }` and `input = { … }`: columns with the names of their types.
pub(crate) fn schema(at: &At, written: &SourceSchema) -> Result<SchemaRef, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut fields = Vec::new();
    for (name, type_name) in written {
        match parse_type(type_name) {
            Some(data_type) => fields.push(Field::new(name, data_type, true)),
            None => mistakes.push(Mistake::unknown(at.key(name), "type", type_name, &type_names())),
        }
    }
    if mistakes.is_empty() { Ok(Arc::new(Schema::new(fields))) } else { Err(mistakes) }
}

/// `values`: rows given inline.
pub(crate) fn values(name: &Name, rows: &[dflow_pipeline::Row]) -> Result<Source, Vec<Mistake>> {
    let reader = InlineReader::of_values(rows).map_err(|e| {
        vec![Mistake::new(At::stage(name).key("values"), format!("these rows have no common columns: {e}"))]
    })?;
    if let Some(what) = refused(reader.schema()) {
        let mistake = Mistake::new(At::stage(name).key("values"), format!("these rows have {what}"));
        return Err(vec![mistake.hint("choose another name")]);
    }
    let splits = vec![reader.split(name.as_str())];
    Ok(Source { reader: Reader::Whole(Arc::new(reader)), splits })
}

/// `input`: the caller's rows, or none when there is no caller.
pub(crate) fn input(environment: &Environment, name: &Name, written: &SourceSchema) -> Result<Source, Vec<Mistake>> {
    let at = At::stage(name).key("input");
    let schema = schema(&at, written)?;
    if let Some(what) = refused(&schema) {
        return Err(vec![Mistake::new(at, format!("`input` has {what}")).hint("choose another name")]);
    }
    let reader = match &environment.input {
        None => InlineReader::new(datafusion::arrow::array::RecordBatch::new_empty(schema)),
        Some(rows) => {
            let rows =
                fit(rows, &schema).map_err(|e| vec![Mistake::new(at, format!("the rows given don't fit: {e}"))])?;
            InlineReader::new(rows)
        }
    };
    let splits = vec![reader.split(name.as_str())];
    Ok(Source { reader: Reader::Whole(Arc::new(reader)), splits })
}

/// How a source stage reads, in the plan.
pub(crate) fn spec(
    name: &Name,
    stage: &Stage,
    batch: BatchLimits,
    source: &Source,
) -> Result<SourceSpec, Vec<Mistake>> {
    let id = match &stage.id {
        None => None,
        Some(id) => match source.reader.schema().index_of(id) {
            Ok(index) => Some(index),
            Err(_) => {
                let known: Vec<_> = source
                    .reader
                    .schema()
                    .fields()
                    .iter()
                    .map(|f| f.name().as_str())
                    .filter(|n| !n.contains('#'))
                    .collect();
                return Err(vec![Mistake::unknown(At::stage(name).key("id"), "column", id, &known)]);
            }
        },
    };
    let schema = dflow_operators::source_schema(&source.reader, |column| format!("{name}.{column}"));
    Ok(SourceSpec { stage: name.clone(), reader: source.reader.clone(), schema, id, on_error: stage.on_error, batch })
}
