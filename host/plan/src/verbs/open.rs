//! `open`: the files that a column of URIs names.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::DataType,
    logical_expr::{Extension, LogicalPlan},
};
use dflow_io::{Opener, Stores};
use dflow_operators::{FilePart, OpenNode, OpenSpec, Reads};
use dflow_pipeline::{At, BatchLimits, Mistake, Name, Open, Stage};

use crate::{
    columns::{Column, Columns, SYSTEM},
    steps::{Planned, Step, planning},
    types::type_text,
};

impl Step {
    /// `open = "url"`
    pub(crate) fn open(
        &self,
        name: &Name,
        stage: &Stage,
        written: &Open,
        stores: &Stores,
        batch: BatchLimits,
    ) -> Planned {
        let at = At::stage(name);
        let uri = self.column(at.key("open"), &written.column).map_err(|mistake| vec![mistake])?;
        let data_type = uri.data_type();
        if !matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) {
            let what = format!("`open` takes URIs as text, `{}` is {}", written.column, type_text(data_type));
            return Err(vec![Mistake::new(at.key("open"), what)]);
        }
        let mut columns = self.columns.child(name);
        let (mut parts, mut mistakes) = (Vec::new(), Vec::new());
        for (part, column) in FilePart::ALL {
            let ours = written.output.get(column).map_or(column, String::as_str);
            let bytes = part == FilePart::Bytes;
            let flat_name = columns.flat_name(ours) + if bytes { "#bytes" } else { "" };
            let field = Columns::field(&flat_name, part.data_type(), true);
            if bytes {
                if let Some(text) = columns.visible.get_mut(ours) {
                    text.bytes = Some(flat_name);
                }
            } else if columns.visible.contains_key(ours) || SYSTEM.contains(&ours) {
                let place =
                    if written.output.contains_key(column) { at.key("out").key(column) } else { at.key("open") };
                let mistake = Mistake::new(place, format!("the new column `{ours}` of `open` is there already"));
                mistakes.push(mistake.hint(format!("give it another name: `out = {{ {column} = \"…\" }}`")));
                continue;
            } else {
                columns.visible.insert(ours.to_owned(), Column::of(&field));
            }
            parts.push((part, field));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // From here on a row that fails is one of the file that it names.
        let (id, attempts) = (self.columns.id().map(Column::expr), self.columns.tried.as_ref().map(Column::expr));
        let reads = Reads { ports: vec![uri.expr()], id, uri: None, attempts, kept: Vec::new() };
        columns.uri = Some(uri.clone());
        let within = stage.within.as_ref().map(ToString::to_string);
        let opener = Opener::new(stores, written.volume.clone(), within, written.codec, batch.max_row);
        let (on_error, retries) = (stage.on_error, stage.retries);
        let spec = OpenSpec { stage: name.clone(), opener: Arc::new(opener), on_error, retries, batch };
        let node = OpenNode::try_new(Arc::new(spec), parts, reads, self.plan.clone()).map_err(planning(at))?;
        Ok(Self { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), columns })
    }
}
