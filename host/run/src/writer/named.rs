//! A file for each row, named by it.

use std::{collections::HashMap, io::Write};

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch, UInt32Array},
    compute::{cast, take_record_batch},
    datatypes::DataType,
};
use dflow_io::{Prepared, StagedFolder, name_part};
use dflow_operators::{Failed, RowFailure, StepError, Template};
use dflow_pipeline::{Fault, Name, refuse_name};
use dflow_plan::named;
use xxhash_rust::xxh3::xxh3_128;

use super::TaskOutput;

/// Writes each row's content into a file. Two rows with one name are an error; a row without a name or a content is a failure.
pub(crate) struct Named {
    sink: Name,
    folder: StagedFolder,
    template: Template,
    files: Vec<Prepared>,
    /// The files' places in the list, by the hashes of their names.
    names: HashMap<u128, usize>,
}

impl Named {
    pub(super) fn create(sink: &Name, output: &TaskOutput, template: &str) -> Result<Self, StepError> {
        Ok(Self {
            sink: sink.clone(),
            folder: StagedFolder::create(&output.folder, &output.name)?,
            template: Template::new(template, name_part).map_err(|e| StepError::new(Fault::Pipeline, e))?,
            files: Vec::new(),
            names: HashMap::new(),
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, splits: Option<&[u32]>) -> Result<Failed, StepError> {
        let text = |name: &str| {
            let column = batch.column_by_name(name);
            column.map(|column| cast(column, &DataType::Utf8View)).transpose().map_err(StepError::internal)
        };
        let (ids, uris) = (text(named::ID)?, text(named::URI)?);
        let of = |column: &Option<std::sync::Arc<dyn Array>>, row: usize| {
            let texts = column.as_ref()?.as_string_view_opt()?;
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        let content = batch.column_by_name(named::CONTENT);
        let content = content.ok_or_else(|| StepError::new(Fault::Internal, "a blob without content"))?;
        let content = cast(content, &DataType::BinaryView).map_err(StepError::internal)?;
        let content = content.as_binary_view();
        let read: Vec<usize> = batch
            .schema_ref()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| !field.name().starts_with('#'))
            .map(|(i, _)| i)
            .collect();
        let names =
            self.template.render(&batch.project(&read).map_err(StepError::internal)?).map_err(StepError::internal)?;
        let (mut failures, mut lost) = (Vec::new(), Vec::new());
        for (row, name) in names.into_iter().enumerate() {
            let id = of(&ids, row);
            let mut fail = |kind: &str, message: String| {
                lost.push(row as u32);
                failures.push(RowFailure {
                    stage: self.sink.clone(),
                    id: id.clone(),
                    uri: of(&uris, row),
                    split: splits.map(|splits| splits[row]),
                    fault: Fault::Data,
                    kind: kind.to_owned(),
                    message,
                    attempts: 1,
                });
            };
            let name = match name.map(|name| (refuse_name(&name), name)) {
                Ok((None, name)) => name,
                Ok((Some(why), name)) => {
                    fail("name", format!("the name `{name}` {why}"));
                    continue;
                }
                Err(why) => {
                    fail("name", format!("no name can be made: {why}"));
                    continue;
                }
            };
            if content.is_null(row) {
                fail("content", "its content is null".to_owned());
                continue;
            }
            if let Some(first) = self.names.insert(xxh3_128(name.as_bytes()), self.files.len()) {
                let first = self.files[first].row.as_deref();
                return Err(two_rows(&self.sink, &name, first, id.as_deref()));
            }
            let mut file = self.folder.begin(&name)?;
            let written = file.write_all(content.value(row));
            written.map_err(|e| match e.into_inner().map(|inner| inner.downcast::<dflow_io::IoError>()) {
                Some(Ok(named)) => StepError::from(*named),
                _ => StepError::new(Fault::Outside, format!("can't write `{name}`")),
            })?;
            let splits = splits.map_or_else(Vec::new, |splits| vec![(splits[row], 1)]);
            self.files.push(Prepared { row: id, splits, ..file.close()?.with_rows(1) });
        }
        let leading = lost.iter().enumerate().take_while(|(i, row)| *i == **row as usize).count();
        let of = batch.num_rows();
        let rows = (!lost.is_empty()).then(|| take_record_batch(batch, &UInt32Array::from(lost))).transpose();
        Ok(Failed { failures, rows: rows.map_err(StepError::internal)?, leading, of })
    }

    pub(super) fn finish(self) -> Result<Vec<Prepared>, StepError> {
        if self.files.is_empty() {
            // Dropped, the folder removes itself.
            return Ok(Vec::new());
        }
        self.folder.finish(&self.files)?;
        Ok(self.files)
    }
}

/// The error that two rows have one name.
pub(crate) fn two_rows(sink: &Name, name: &str, first: Option<&str>, second: Option<&str>) -> StepError {
    let rows = match (first, second) {
        (Some(first), Some(second)) => format!("two rows, {first} and {second},"),
        _ => "two rows".to_owned(),
    };
    StepError::new(Fault::Data, format!("stage `{sink}`: {rows} have one name, `{name}`"))
        .hint("put something into the name that tells them apart, such as `{{ __id__ }}`")
}
