//! Splits that are left out before they are read: what a filter asks of a file's URI, size or age is known when it is listed.
//!
//! The filter stays in the plan. It is only told to the source's scan as well, where this finds it.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        datatypes::Schema,
    },
    common::{DFSchema, Result, tree_node::TreeNodeRecursion},
    datasource::source_as_provider,
    execution::session_state::SessionState,
    logical_expr::{Expr, LogicalPlan, utils::conjunction},
};
use dflow_io::Split;
use dflow_operators::{Reader, SourceSpec};
use dflow_pipeline::Name;

use crate::{source::SourceTable, tee::flattened};

/// What is known of splits before they are read, under the plan's names: a row for each.
fn known(spec: &SourceSpec, splits: &Arc<[Split]>) -> Option<RecordBatch> {
    let Reader::Whole(reader) = &spec.reader else { return None };
    let known = reader.known(splits)?;
    let fields = known
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone().with_name(spec.flat_name(f.name())))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), known.columns().to_vec()).ok()
}

/// Whether a filter can be told from what is known of a split before it is read.
pub(crate) fn decides(spec: &SourceSpec, filter: &Expr) -> bool {
    let Some(known) = known(spec, &Arc::from([])) else { return false };
    let columns = filter.column_refs();
    !columns.is_empty() && columns.iter().all(|column| known.schema().column_with_name(&column.name).is_some())
}

/// Of a source's splits those that some scan of it in these optimised plans may give rows of.
pub(crate) fn kept<'a>(
    state: &SessionState,
    plans: impl Iterator<Item = &'a LogicalPlan>,
    stage: &Name,
    splits: &Arc<[Split]>,
) -> Result<Arc<[Split]>> {
    let mut kept: Option<Vec<bool>> = None;
    for plan in plans {
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
            let Ok(table) = source_as_provider(&scan.source) else { return Ok(TreeNodeRecursion::Continue) };
            let Some(SourceTable(spec)) = table.downcast_ref::<SourceTable>().filter(|table| table.0.stage == *stage)
            else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let passes = passes(state, spec, &scan.filters, splits).unwrap_or_else(|| vec![true; splits.len()]);
            match &mut kept {
                Some(kept) => kept.iter_mut().zip(passes).for_each(|(kept, passes)| *kept |= passes),
                None => kept = Some(passes),
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let Some(kept) = kept.filter(|kept| kept.contains(&false)) else { return Ok(splits.clone()) };
    Ok(splits.iter().zip(kept).filter(|(_, kept)| *kept).map(|(split, _)| split.clone()).collect())
}

/// Which splits pass a scan's filters. `None` where that can't be told before they are read: an error in a filter is found then.
fn passes(state: &SessionState, spec: &SourceSpec, filters: &[Expr], splits: &Arc<[Split]>) -> Option<Vec<bool>> {
    let filter = flattened(conjunction(filters.iter().cloned())?).ok()?;
    let known = known(spec, splits)?;
    let schema = DFSchema::try_from(known.schema().as_ref().clone()).ok()?;
    let filter = state.create_physical_expr(filter, &schema).ok()?;
    let passes = filter.evaluate(&known).and_then(|passes| passes.into_array(splits.len())).ok()?;
    let passes = passes.as_boolean_opt()?;
    Some((0..passes.len()).map(|i| passes.is_valid(i) && passes.value(i)).collect())
}
