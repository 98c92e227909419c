//! A shared stage as a table: what a plan reads that was cut off from the stages below it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    arrow::datatypes::SchemaRef,
    catalog::{Session, TableProvider},
    common::{
        Column, DFSchema, Result, TableReference, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    datasource::{TableType, provider_as_source, source_as_provider},
    logical_expr::{
        Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown,
        utils::{conjunction, disjunction},
    },
    physical_plan::ExecutionPlan,
};
use dflow_operators::{ReadBy, TeeExec, Tees};
use dflow_pipeline::Name;

use crate::columns::flat;

/// A shared stage, for one of its readers.
#[derive(Debug)]
struct TeeTable {
    stage: Name,
    by: Option<ReadBy>,
    /// All columns of the stage.
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for TeeTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Each reader has its own; only what no reader wants goes further down.
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(tee) = state.config().get_extension::<Tees>().and_then(|tees| tees.get(&self.stage)) else {
            return internal_err!("the rows of `{}` are read before they are shared", self.stage);
        };
        // The shared plan gives fewer columns than the stage has: those that any reader needs.
        let schema = tee.schema();
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let projection = projection.iter().map(|i| Ok(schema.index_of(self.schema.field(*i).name())?));
        let projection = projection.collect::<Result<Vec<_>>>()?;
        let filter = conjunction(filters.iter().cloned());
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let filter = filter.map(|filter| state.create_physical_expr(filter, &columns)).transpose()?;
        Ok(Arc::new(TeeExec::new(&tee, self.by.clone(), projection, filter, limit)?))
    }
}

/// A plan that reads the rows of a shared stage, under the names that they have in the plan of the stage itself.
pub(crate) fn read(stage: &Name, by: Option<ReadBy>, schema: &DFSchema) -> Result<LogicalPlan> {
    let schema: SchemaRef = Arc::new(schema.as_arrow().clone());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let table = provider_as_source(Arc::new(TeeTable { stage: stage.clone(), by, schema }));
    let scan = LogicalPlanBuilder::scan(TableReference::partial("shared", stage.as_str()), table, None)?;
    let columns = scan.schema().columns().into_iter().zip(names);
    scan.project(columns.map(|(column, name)| Expr::Column(column).alias(name)).collect::<Vec<_>>())?.build()
}

/// What the readers of a shared stage want of it.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The names of the columns that any of them reads.
    columns: Vec<String>,
    /// What each of them asks of a row; all rows, where one asks nothing.
    filters: Vec<Option<Expr>>,
}

impl Wanted {
    /// Adds what an optimised plan wants of a stage. Tells whether it reads it.
    pub(crate) fn add(&mut self, plan: &LogicalPlan, stage: &Name) -> Result<bool> {
        let before = self.filters.len();
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
            let Ok(table) = source_as_provider(&scan.source) else { return Ok(TreeNodeRecursion::Continue) };
            let Some(tee) = table.downcast_ref::<TeeTable>().filter(|tee| tee.stage == *stage) else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let read = scan.projection.clone().unwrap_or_else(|| (0..tee.schema.fields().len()).collect());
            self.columns.extend(read.iter().map(|i| tee.schema.field(*i).name().clone()));
            let filter = conjunction(scan.filters.iter().cloned()).map(flattened).transpose()?;
            self.columns.extend(filter.iter().flat_map(|f| f.column_refs()).map(|column| column.name.clone()));
            self.filters.push(filter);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(self.filters.len() > before)
    }

    /// The rows and columns of a stage that any reader wants; `None` when there is no reader.
    pub(crate) fn of(self, plan: LogicalPlan) -> Result<Option<LogicalPlan>> {
        if self.filters.is_empty() {
            return Ok(None);
        }
        let columns: Vec<Expr> = plan
            .schema()
            .fields()
            .iter()
            .filter(|field| self.columns.contains(field.name()))
            .map(|f| flat(f.name()))
            .collect();
        let all: Option<Vec<Expr>> = self.filters.into_iter().collect();
        let plan = LogicalPlanBuilder::from(plan);
        let plan = match all.and_then(disjunction) {
            Some(any) => plan.filter(any)?,
            None => plan,
        };
        plan.project(columns)?.build().map(Some)
    }
}

/// The same expression over columns without a table.
pub(crate) fn flattened(expr: Expr) -> Result<Expr> {
    let flat = |expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    };
    expr.transform(flat).data()
}

/// Whether a scan reads a source, and not a shared stage.
pub(crate) fn is_source(plan: &LogicalPlan) -> bool {
    let LogicalPlan::TableScan(scan) = plan else { return false };
    !source_as_provider(&scan.source).is_ok_and(|table| table.is::<TeeTable>())
}
