//! `from = "name.dead"`: the rows that failed at a stage, as a source of those who read them.
//!
//! Its splits are the files of dead letters of the tasks in which the stage ran. The stage is a saved one, so that it has a
//! segment of its own: which rows fail at it depends on nothing that is done with the others, and those who read either begin when it is
//! whole. The files hold the columns of what goes into the stage under their flat names: those that somebody reads.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::{DataType, Field, FieldRef, Schema},
    common::{
        Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{Expr, Extension, LogicalPlan},
};
use dflow_io::Stores;
use dflow_operators::{
    ID_FIELD_TYPE, OpenNode, OperatorNode, ParquetFiles, Partitions, Reader, Reads, SPLIT_COLUMN, SPLIT_TYPE,
    SourceSpec,
};
use dflow_pipeline::{At, BatchLimits, Bytes, Mistake, Name, OnError};

use crate::{
    columns::{Column, Columns, flat},
    order::Order,
    segment::SegmentSource,
    steps::{Planned, Step, planning},
};

/// What is told of each row, and its type.
const TOLD: [(&str, DataType); 3] =
    [("error_kind", DataType::Utf8View), ("error_message", DataType::Utf8View), ("error_attempts", DataType::UInt32)];

/// Of what a source could not read: the column of a dead letter, its name here, and its type.
const OF_SOURCE: [(&str, &str); 2] = [("uri", "uri"), ("row", "__id__")];

/// The rows that failed at the stage `of`, which reads `input`; a source reads nothing. And their files as a source, as yet unknown.
/// Where nothing is `kept` there are none.
pub(crate) fn dead(
    name: &Name,
    of: &Name,
    input: Option<&Step>,
    kept: bool,
    (stores, batch): (&Stores, BatchLimits),
) -> std::result::Result<(Step, SegmentSource), Vec<Mistake>> {
    let mut columns = match input {
        Some(input) => Columns { order: Order::Stream, ..input.columns.child(name) },
        None => Columns { order: Order::Stream, ..Columns::new(name) },
    };
    // What the files call a column, and what the plan does.
    let mut files: Vec<FieldRef> = input.map(|input| input.plan.schema().fields().to_vec()).unwrap_or_default();
    let mut planned = files.clone();
    let mut add = |file: &str, ours: &str, data_type: &DataType, nullable: bool| {
        files.push(Columns::field(file, data_type.clone(), nullable));
        let field = Columns::field(&columns.flat_name(ours), data_type.clone(), nullable);
        planned.push(field.clone());
        match ours {
            "__id__" => drop(columns.system.insert(ours.to_owned(), Column::of(&field))),
            _ => drop(columns.visible.insert(ours.to_owned(), Column::of(&field))),
        }
    };
    if input.is_none() {
        OF_SOURCE.iter().for_each(|(file, ours)| add(file, ours, &ID_FIELD_TYPE, true));
    }
    TOLD.iter().for_each(|(told, data_type)| add(told, told, data_type, false));
    // Rows keep the ids that they failed with.
    planned.push(Arc::new(Field::new(format!("{name}.#place"), ID_FIELD_TYPE, false)));
    let split = Columns::field(&columns.flat_name(SPLIT_COLUMN), SPLIT_TYPE, false);
    columns.split = Some(Column::of(&split));
    planned.push(split);
    let files = Arc::new(Schema::new(files));
    let reader = Reader::Parquet(ParquetFiles::new(stores, &files, Partitions::default(), None).pinned());
    let schema = Arc::new(Schema::new(planned));
    // With what is told of them rows are larger than they were, and some have failed for being too large.
    let batch = BatchLimits { max_row: Bytes(u64::MAX), ..batch };
    let spec = SourceSpec { stage: name.clone(), reader, schema, id: None, on_error: OnError::Fail, batch };
    let none = Arc::from([]);
    let saved = kept.then(|| of.clone());
    let source = SegmentSource { stage: name.clone(), splits: Arc::clone(&none), kept: none, cut: true, saved };
    Ok((Step { plan: Step::scan(spec)?, columns }, source))
}

impl Step {
    /// The same rows; those that fail at this stage are kept with these columns of what goes in, too.
    pub(crate) fn keeping(&self, names: &BTreeSet<String>) -> Planned {
        let stage = &self.columns.stage;
        let plan = keeping(&self.plan, stage, names).map_err(planning(At::stage(stage)))?;
        Ok(Self { plan, columns: self.columns.clone() })
    }
}

fn keeping(plan: &LogicalPlan, stage: &Name, names: &BTreeSet<String>) -> Result<LogicalPlan> {
    let kept = |reads: &Reads<Expr>, input: &LogicalPlan| {
        let there = input.schema().fields().iter().map(|field| field.name()).filter(|name| names.contains(*name));
        Reads { kept: there.map(|name| flat(name)).collect(), ..reads.clone() }
    };
    let changed = plan.clone().transform_down(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let input = || extension.node.inputs()[0].clone();
        let any = extension.node.as_any();
        let made: Arc<dyn datafusion::logical_expr::UserDefinedLogicalNode> =
            if let Some(operator) = any.downcast_ref::<OperatorNode>().filter(|node| node.spec.stage == *stage) {
                let reads = kept(&operator.reads, &input());
                Arc::new(OperatorNode::try_new(operator.spec.clone(), reads, input())?)
            } else if let Some(open) = any.downcast_ref::<OpenNode>().filter(|node| node.spec.stage == *stage) {
                let reads = kept(&open.reads, &input());
                Arc::new(OpenNode::try_new(open.spec.clone(), open.parts.clone(), reads, input())?)
            } else {
                return Ok(Transformed::no(node));
            };
        let node = LogicalPlan::Extension(Extension { node: made });
        Ok(Transformed::new(node, true, datafusion::common::tree_node::TreeNodeRecursion::Stop))
    })?;
    Ok(changed.data)
}
