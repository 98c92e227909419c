//! A saved stage: its rows are stored, and whoever reads it reads them from there.
//!
//! It is a barrier. What stores it is a segment of its own, which ends in the stage; to the others the stage is a source, whose
//! splits are the stored files. Stored are the stage's columns, its system columns, and those of its ancestors that any stage
//! below it reads, all under the plan's names.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::{Field, Schema},
    common::{Result, tree_node::TreeNodeRecursion},
    datasource::source_as_provider,
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
};
use dflow_io::Stores;
use dflow_operators::{
    ID_FIELD_TYPE, ParquetFiles, Partitions, Reader, SPLIT_COLUMN, SPLIT_TYPE, SourceSpec, is_split,
};
use dflow_pipeline::{At, BatchLimits, Name, OnError};

use crate::{
    columns::{Column, Columns, flat},
    segment::SegmentSource,
    source::SourceTable,
    steps::{Planned, Step, planning},
};

/// The column of a saved stage, under its name, by which results of the same content are known again.
pub(crate) const KEY_COLUMN: &str = "#key";

/// The columns that are stored whoever reads them: those that the stage shows, and the system's.
pub(crate) fn own(columns: &Columns) -> impl Iterator<Item = &str> {
    columns.visible.values().chain(columns.system.values()).map(|column| column.flat.as_str())
}

impl Step {
    /// The same rows, read from where they are stored, as a source; and that source, its files as yet unknown.
    pub(crate) fn stored(
        &self,
        stores: &Stores,
        batch: BatchLimits,
    ) -> Result<(Self, SegmentSource), Vec<dflow_pipeline::Mistake>> {
        let stage = &self.columns.stage;
        let (mut fields, mut seen) = (Vec::new(), BTreeSet::new());
        for column in self.columns.readable().values().filter(|column| !is_split(&column.flat)) {
            for name in std::iter::once(&column.flat).chain(&column.bytes).chain(&column.file) {
                if let Ok(field) = self.plan.schema().field_with_unqualified_name(name)
                    && seen.insert(name.clone())
                {
                    fields.push(Arc::clone(field));
                }
            }
        }
        let schema = Arc::new(Schema::new(fields.clone()));
        let reader = Reader::Parquet(ParquetFiles::new(stores, &schema, Partitions::default(), None));
        // Rows keep the ids that they were stored with.
        fields.push(Arc::new(Field::new(format!("{stage}.#place"), ID_FIELD_TYPE, false)));
        fields.push(Arc::new(Field::new(format!("{stage}.{SPLIT_COLUMN}"), SPLIT_TYPE, false)));
        let split = fields.last().map(Column::of);
        let spec = SourceSpec {
            stage: stage.clone(),
            reader,
            schema: Arc::new(Schema::new(fields)),
            id: None,
            on_error: OnError::Fail,
            batch,
        };
        let none = Arc::from([]);
        let saved = Some(stage.clone());
        let source = SegmentSource { stage: stage.clone(), splits: Arc::clone(&none), kept: none, cut: true, saved };
        let step = Self { plan: Self::scan(spec)?, columns: Columns { split, ..self.columns.clone() } };
        Ok((step.metered()?, source))
    }

    /// What is stored: the stage's own columns, and those of its ancestors that are `wanted`.
    pub(crate) fn store(&self, wanted: &BTreeSet<String>) -> Planned {
        let key = self.columns.flat_name(KEY_COLUMN);
        let own: BTreeSet<&str> = own(&self.columns).chain([key.as_str()]).collect();
        let names = self.plan.schema().fields().iter().map(|field| field.name());
        let stored = names.filter(|name| own.contains(name.as_str()) || wanted.contains(*name)).map(|name| flat(name));
        let failed = || planning(At::stage(&self.columns.stage).key("save"));
        let stored = stored.chain(self.split().map_err(failed())?);
        let plan = LogicalPlanBuilder::from(self.plan.clone()).project(stored.collect::<Vec<_>>());
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(failed())?;
        Ok(Self { plan, columns: self.columns.clone() })
    }
}

/// The names of the columns that optimised plans read of a saved stage.
pub(crate) fn wanted<'a>(plans: impl Iterator<Item = &'a LogicalPlan>, stage: &Name) -> Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for plan in plans {
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
            let Ok(table) = source_as_provider(&scan.source) else { return Ok(TreeNodeRecursion::Continue) };
            let Some(SourceTable(spec)) = table.downcast_ref::<SourceTable>().filter(|table| table.0.stage == *stage)
            else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let read = scan.projection.clone().unwrap_or_else(|| (0..spec.schema.fields().len()).collect());
            wanted.extend(read.iter().map(|i| spec.schema.field(*i).name().clone()));
            wanted
                .extend(scan.filters.iter().flat_map(|filter| filter.column_refs()).map(|column| column.name.clone()));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(wanted)
}
