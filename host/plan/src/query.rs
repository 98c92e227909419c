//! `sql`: a query over the stages it names.
//!
//! Each stage that a query names is a table of its visible columns. A query that only projects, filters, sorts or limits one
//! stage keeps its rows' ids and ancestors: what is hidden is put back into each of its projections, all the way up. Other
//! queries make rows of their own, which have none.

use std::{collections::BTreeSet, iter, ops::ControlFlow, sync::Arc};

use datafusion::{
    catalog::view::ViewTable,
    common::{
        Column as PlanColumn, TableReference, internal_err,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    execution::session_state::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery},
    prelude::SessionContext,
    sql::{
        parser::Statement,
        sqlparser::ast::{
            ExceptSelectItem, Expr as SqlExpr, Ident, Select, SelectItem, SetExpr, Statement as SqlStatement,
            TableFactor, visit_expressions,
        },
    },
};
use dflow_pipeline::{At, DEAD, Mistake, Name};
use indexmap::IndexMap;

use crate::{
    columns::{Column, Columns, SYSTEM, flat},
    order::Order,
    problems::of_sql,
    selection::spell_out,
    steps::Step,
    verbs::grouped_by_nothing,
};

/// A parsed query: the stages it names, and the system columns that it asks for.
#[derive(Debug)]
pub(crate) struct Query {
    statement: Statement,
    pub(crate) tables: Vec<String>,
    system: BTreeSet<&'static str>,
}

/// Parses a query.
pub(crate) fn parse(state: &SessionState, name: &Name, text: &str) -> Result<Query, Mistake> {
    let at = At::stage(name).key("sql");
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, &dialect).map_err(|e| of_sql(at.clone(), &e))?;
    let Statement::Statement(inner) = &statement else {
        return Err(Mistake::new(at, "only queries can be stages").hint("write a SELECT"));
    };
    if !matches!(inner.as_ref(), SqlStatement::Query(_)) {
        return Err(Mistake::new(at, "only queries can be stages").hint("write a SELECT"));
    }
    let mut system = BTreeSet::new();
    let _: ControlFlow<()> = visit_expressions(inner.as_ref(), |expr| {
        let last = match expr {
            SqlExpr::Identifier(ident) => Some(ident),
            SqlExpr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        system.extend(SYSTEM.iter().filter(|s| last.is_some_and(|ident| ident.value == **s)).copied());
        ControlFlow::Continue(())
    });
    let references = state.resolve_table_references(&statement).map_err(|e| of_sql(at.clone(), &e))?;
    if let Some(table) = references.iter().find(|table| table.schema().is_some()) {
        let named = table.to_string();
        let mistake = Mistake::new(at, format!("a query reads stages by name, and `{named}` isn't one"));
        return Err(match table.table() == DEAD {
            true => mistake
                .hint(format!("give these rows a name: a stage with `from = \"{named}\"` and `filter = \"true\"`")),
            false => mistake,
        });
    }
    let mut tables: Vec<String> = references.iter().map(|r| r.table().to_owned()).collect();
    tables.sort();
    tables.dedup();
    Ok(Query { statement, tables, system })
}

/// Plans a query over stages that are planned.
pub(crate) async fn plan(
    state: &SessionState,
    name: &Name,
    mut query: Query,
    inputs: &[(&Name, Step)],
) -> Result<Step, Vec<Mistake>> {
    let at = At::stage(name).key("sql");
    let failed = |e: datafusion::error::DataFusionError| vec![of_sql(at.clone(), &e)];
    // Views are registered in a session of the query's own, since what they show depends on it.
    let context = SessionContext::new_with_state(state.clone());
    let mut bases = Vec::new();
    for (stage, step) in inputs {
        let base = visible(step, &query.system).map_err(failed)?;
        context.deregister_table(TableReference::bare(stage.as_str())).map_err(failed)?;
        context
            .register_table(TableReference::bare(stage.as_str()), Arc::new(ViewTable::new(base.clone(), None)))
            .map_err(failed)?;
        bases.push(base);
    }
    hide_from_wildcards(&mut query, inputs);
    if let Statement::Statement(statement) = &mut query.statement {
        spell_out(statement, inputs, &at).map_err(|mistake| vec![mistake])?;
    }
    let planned = context.state().statement_to_plan(query.statement).await;
    for (stage, _) in inputs {
        context.deregister_table(TableReference::bare(stage.as_str())).map_err(failed)?;
    }
    let planned = planned.map_err(failed)?;
    // What can be made a join isn't one before it is optimised.
    if is_correlated(&planned).map_err(failed)?
        && is_correlated(&state.optimize(&planned).map_err(failed)?).map_err(failed)?
    {
        let what = "a subquery depends on the rows of the query around it in a way that can't be run";
        return Err(vec![Mistake::new(at.clone(), what).hint("write it as a join")]);
    }
    if let Some(what) = grouped_by_nothing(&planned).map_err(failed)? {
        return Err(vec![Mistake::new(at.clone(), what).hint("leave it out")]);
    }
    let planned = unique_names(planned).map_err(|what| vec![Mistake::new(at.clone(), what).hint("name it with AS")])?;
    match (inputs, bases.as_slice()) {
        ([(_, step)], [base]) if keeps_rows(&planned, base) => carried(name, step, base, planned).map_err(failed),
        _ => made(name, planned).map_err(failed),
    }
}

/// Whether a subquery reads the rows of the query around it.
fn is_correlated(plan: &LogicalPlan) -> datafusion::error::Result<bool> {
    let reads = |subquery: &Subquery| !subquery.outer_ref_columns.is_empty();
    let expression = |expr: &Expr| {
        expr.exists(|expr| {
            Ok(match expr {
                Expr::ScalarSubquery(subquery) => reads(subquery),
                Expr::Exists(exists) => reads(&exists.subquery),
                Expr::InSubquery(within) => reads(&within.subquery),
                Expr::SetComparison(compared) => reads(&compared.subquery),
                _ => false,
            })
        })
    };
    plan.exists(|node| {
        let mut found = matches!(node, LogicalPlan::Subquery(subquery) if reads(subquery));
        node.apply_expressions(|expr| {
            found |= expression(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

/// The table that a query sees: a stage's visible columns, and the system columns that it asks for.
fn visible(step: &Step, system: &BTreeSet<&str>) -> datafusion::error::Result<LogicalPlan> {
    let hidden = step.columns.system.iter().filter(|(name, _)| system.contains(name.as_str()));
    let columns = step.columns.visible.iter().chain(hidden).map(|(name, column)| column.expr().alias(name));
    LogicalPlanBuilder::from(step.plan.clone()).project(columns.collect::<Vec<_>>())?.build()
}

/// System columns that a query asks for by name aren't also part of its `*`.
fn hide_from_wildcards(query: &mut Query, inputs: &[(&Name, Step)]) {
    let system = query.system.clone();
    let Statement::Statement(statement) = &mut query.statement else { return };
    if let SqlStatement::Query(body) = statement.as_mut() {
        except(body.body.as_mut(), &system, inputs);
    }
}

/// Leaves system columns out of the wildcards of each branch.
fn except(branch: &mut SetExpr, system: &BTreeSet<&'static str>, inputs: &[(&Name, Step)]) {
    let select = match branch {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return except(query.body.as_mut(), system, inputs),
        SetExpr::SetOperation { left, right, .. } => {
            except(left, system, inputs);
            return except(right, system, inputs);
        }
        _ => return,
    };
    let read = read_by(select, inputs);
    let there = |name: &str| {
        let of = |stage: &Name| read.as_ref().is_none_or(|read| read.contains(&stage.as_str()));
        inputs.iter().any(|(stage, step)| of(stage) && step.columns.system.contains_key(name))
    };
    let names: Vec<Ident> = system.iter().filter(|name| there(name)).map(|n| Ident::with_quote('"', *n)).collect();
    let Some((first, rest)) = names.split_first() else { return };
    for item in &mut select.projection {
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
            match &mut options.opt_except {
                Some(except) => except.additional_elements.extend(names.iter().cloned()),
                None => {
                    options.opt_except =
                        Some(ExceptSelectItem { first_element: first.clone(), additional_elements: rest.to_vec() })
                }
            }
        }
    }
}

/// The stages that a branch reads; `None` when it reads something else, too.
fn read_by<'a>(select: &Select, inputs: &[(&'a Name, Step)]) -> Option<Vec<&'a str>> {
    let tables = select
        .from
        .iter()
        .flat_map(|from| iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let stage = |table: &TableFactor| {
        let TableFactor::Table { name, .. } = table else { return None };
        let name = &name.0.last()?.as_ident()?.value;
        inputs.iter().map(|(stage, _)| stage.as_str()).find(|stage| stage == name)
    };
    tables.map(stage).collect()
}

/// Columns whose names DataFusion made up, or that clash, get names that can be read.
fn unique_names(plan: LogicalPlan) -> Result<LogicalPlan, String> {
    let mut seen: IndexMap<String, usize> = IndexMap::new();
    for field in plan.schema().fields() {
        *seen.entry(field.name().clone()).or_default() += 1;
    }
    match seen.iter().find(|(_, count)| **count > 1) {
        Some((name, _)) => Err(format!("two columns of this query are named `{name}`")),
        None => Ok(plan),
    }
}

/// Whether the rows of a query are rows of its one table, each at most once.
fn keeps_rows(plan: &LogicalPlan, base: &LogicalPlan) -> bool {
    if plan == base {
        return true;
    }
    let alone = match plan {
        LogicalPlan::Projection(p) => p.expr.iter().all(row_wise),
        LogicalPlan::Filter(f) => row_wise(&f.predicate),
        LogicalPlan::Sort(s) => s.expr.iter().all(|e| row_wise(&e.expr)),
        LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) => true,
        _ => false,
    };
    let inputs = plan.inputs();
    alone && inputs.len() == 1 && keeps_rows(inputs[0], base)
}

fn row_wise(expr: &Expr) -> bool {
    let mut simple = true;
    // The closure can't fail.
    let _ = expr.apply(|e| {
        simple &= !matches!(
            e,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::Unnest(_)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    simple
}

/// A query that keeps rows: hidden columns are put back into each projection.
fn carried(name: &Name, step: &Step, base: &LogicalPlan, planned: LogicalPlan) -> datafusion::error::Result<Step> {
    let readable = step.columns.readable();
    let hidden: BTreeSet<&str> = readable.keys().copied().collect();
    let shown: Vec<String> = planned.schema().fields().iter().map(|f| f.name().clone()).collect();
    let full = with_hidden(&planned, base, step, &hidden)?;
    let mut columns = step.columns.child(name);
    if planned.exists(|node| Ok(matches!(node, LogicalPlan::Sort(_))))? {
        columns.order = Order::Stream;
    }
    columns.visible.clear();
    let mut projection = Vec::new();
    for (table, field) in full.schema().iter() {
        let expr = Expr::Column(PlanColumn::new(table.cloned(), field.name()));
        if hidden.contains(field.name().as_str()) {
            projection.push(expr.alias(field.name()));
        } else if shown.contains(field.name()) && !SYSTEM.contains(&field.name().as_str()) {
            let flat_name = columns.flat_name(field.name());
            let field_in_plan = Columns::field(&flat_name, field.data_type().clone(), field.is_nullable());
            columns.visible.insert(
                field.name().clone(),
                Column { flat: flat_name.clone(), field: field_in_plan, bytes: None, file: None },
            );
            projection.push(expr.alias(flat_name));
        } else if shown.contains(field.name()) {
            // A system column that was asked for is a visible column under its own name.
            let flat_name = columns.flat_name(&format!("{}shown", field.name()));
            let field_in_plan = Columns::field(&flat_name, field.data_type().clone(), field.is_nullable());
            columns.visible.insert(
                field.name().clone(),
                Column { flat: flat_name.clone(), field: field_in_plan, bytes: None, file: None },
            );
            projection.push(expr.alias(flat_name));
        }
    }
    let plan = LogicalPlanBuilder::from(full).project(projection)?.build()?;
    Ok(Step { plan, columns })
}

/// A chain of nodes over a query's one table, hidden columns put back into each of its projections.
fn with_hidden(
    plan: &LogicalPlan,
    base: &LogicalPlan,
    step: &Step,
    hidden: &BTreeSet<&str>,
) -> datafusion::error::Result<LogicalPlan> {
    if plan == base {
        let columns = base.expressions().into_iter().chain(hidden.iter().map(|h| flat(h)));
        return LogicalPlanBuilder::from(step.plan.clone()).project(columns)?.build();
    }
    let input = match plan.inputs().as_slice() {
        [input] => with_hidden(input, base, step, hidden)?,
        inputs => return internal_err!("a query that keeps rows has {} inputs", inputs.len()),
    };
    let LogicalPlan::Projection(projection) = plan else {
        return plan.with_new_exprs(plan.expressions(), vec![input]);
    };
    let fields = input.schema().iter().filter(|(_, f)| hidden.contains(f.name().as_str()));
    let more = fields.map(|(table, f)| Expr::Column(PlanColumn::new(table.cloned(), f.name())));
    let columns = projection.expr.iter().cloned().chain(more).collect::<Vec<_>>();
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

/// A query that makes rows of its own.
fn made(name: &Name, planned: LogicalPlan) -> datafusion::error::Result<Step> {
    let mut columns = Columns::new(name);
    let mut projection = Vec::new();
    for (table, field) in planned.schema().iter() {
        let flat_name = columns.flat_name(field.name());
        projection.push(Expr::Column(PlanColumn::new(table.cloned(), field.name())).alias(&flat_name));
        let field_in_plan = Columns::field(&flat_name, field.data_type().clone(), field.is_nullable());
        columns
            .visible
            .insert(field.name().clone(), Column { flat: flat_name, field: field_in_plan, bytes: None, file: None });
    }
    let plan = LogicalPlanBuilder::from(planned).project(projection)?.build()?;
    Ok(Step { plan, columns })
}
