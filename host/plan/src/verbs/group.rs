//! `group`: one row for each group.

use datafusion::{
    common::{
        Result as PlanResult,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::session_state::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, expr::AggregateFunction},
};
use dflow_pipeline::{At, Group, Mistake, Name};
use indexmap::IndexMap;

use super::made;
use crate::{
    columns::{Column, Columns, SYSTEM, flat},
    expression::expression,
    hashes::id_of_values,
    open::BY_ORDER,
    order::{Order, upwards},
    steps::{Planned, Step, planning},
    types::{is_void, type_text},
};

impl Step {
    /// `group = { by = ["site"], set = { pages = "count(*)" } }`
    pub(crate) fn group(&self, state: &SessionState, name: &Name, written: &Group) -> Planned {
        let at = At::stage(name).key("group");
        let mut columns = Columns::new(name);
        let mut mistakes = Vec::new();
        let failed = planning(at.clone());
        let named = |column: &str, place: &At| match SYSTEM.contains(&column) {
            true => Err(Mistake::new(place.clone(), format!("`{column}` is made by dflow and can't be set"))),
            false => Ok(()),
        };

        let mut keys: IndexMap<String, Expr> = IndexMap::new();
        for (i, (key, text)) in written.by.iter().enumerate() {
            let place = at.key("by");
            let place = if super::last(text) == key { place.key(i) } else { place.key(key) };
            let expr = named(key, &place).and_then(|()| match self.columns.get(text.trim()) {
                Some(column) => Ok(column.expr()),
                None => expression(state, &self.columns, self.plan.schema(), &place, text),
            });
            match expr {
                Ok(expr) => _ = keys.insert(columns.flat_name(key), expr),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let mut set = Vec::new();
        for (column, text) in &written.set {
            let place = at.key("set").key(column);
            let expr =
                named(column, &place).and_then(|()| expression(state, &self.columns, self.plan.schema(), &place, text));
            match expr {
                Ok(expr) => set.push((column, place, expr)),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }

        let mut aggregates = Aggregates { keys: &keys, stage: name, found: IndexMap::new() };
        let mut shown = Vec::new();
        for (column, place, expr) in set {
            let expr = aggregates.take_out(expr).map_err(&failed)?;
            // What is left reads keys and aggregates, or it reads single rows.
            let keys = &keys;
            let single = expr
                .column_refs()
                .into_iter()
                .find(|c| !keys.contains_key(&c.name) && !c.name.starts_with(&format!("{name}.#aggregate")));
            match single {
                None => shown.push((column, expr)),
                Some(single) => {
                    let known = self.columns.visible.iter().find(|(_, c)| c.flat == single.name);
                    let read = known.map_or(single.name.as_str(), |(shown, _)| shown);
                    let what = format!("`{read}` has several values in a group");
                    let hint = format!("gather them, as in `min({read})`, or add it to `by`");
                    mistakes.push(Mistake::new(place, what).hint(hint));
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let found = aggregates.found;
        let (rows, order) = match found.keys().any(depends_on_order) {
            true => self.in_order(name).map_err(&failed)?.unwrap_or_else(|| (self.plan.clone(), Vec::new())),
            false => (self.plan.clone(), Vec::new()),
        };
        let gathered = found.into_iter().map(|(aggregate, flat)| in_order(aggregate, &order).alias(flat));
        let plan = LogicalPlanBuilder::from(rows)
            .aggregate(keys.iter().map(|(flat, expr)| expr.clone().alias(flat)), gathered.collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(&failed)?;

        if let Some(what) = grouped_by_nothing(&plan).map_err(&failed)? {
            return Err(vec![Mistake::new(at.key("by"), what).hint("leave it out")]);
        }
        let mut all = Vec::new();
        let mut add = |columns: &mut Columns, shown: &str, expr: Expr| -> PlanResult<Column> {
            let (column, expr) = made(plan.schema(), &columns.flat_name(shown), expr)?;
            all.push(expr);
            Ok(column)
        };
        for key in written.by.keys() {
            let column = add(&mut columns, key, flat(&format!("{name}.{key}"))).map_err(&failed)?;
            columns.visible.insert(key.clone(), column);
        }
        for (shown, expr) in shown {
            let column = add(&mut columns, shown, expr).map_err(&failed)?;
            columns.visible.insert(shown.clone(), column);
        }
        let id = id_of_values(name.as_str(), keys.keys().map(|key| flat(key)).collect());
        let id = add(&mut columns, "__id__", id).map_err(&failed)?;
        columns.system.insert("__id__".to_owned(), id);
        columns.order = Order::made(&columns);
        let plan = LogicalPlanBuilder::from(plan).project(all).and_then(LogicalPlanBuilder::build).map_err(failed)?;
        Ok(Self { plan, columns })
    }
}

/// What a plan groups by though there is nothing in its values, as a phrase.
pub(crate) fn grouped_by_nothing(plan: &LogicalPlan) -> PlanResult<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = node else { return Ok(TreeNodeRecursion::Continue) };
        let mut keys = aggregate.schema.fields().iter().take(aggregate.group_expr_len()?);
        let void = keys.find(|key| is_void(key.data_type()));
        found = void
            .map(|key| format!("rows can't be grouped by {}, in which there is nothing", type_text(key.data_type())));
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The aggregate functions of a stage's expressions, each once, by the names of their results in the plan.
struct Aggregates<'a> {
    keys: &'a IndexMap<String, Expr>,
    stage: &'a Name,
    found: IndexMap<Expr, String>,
}

impl Aggregates<'_> {
    /// The expression with its keys and its aggregate functions replaced by columns.
    fn take_out(&mut self, expr: Expr) -> PlanResult<Expr> {
        let expr = expr.transform_down(|part| {
            if let Some((key, _)) = self.keys.iter().find(|(_, key)| **key == part) {
                return Ok(Transformed::new(flat(key), true, TreeNodeRecursion::Jump));
            }
            if !matches!(part, Expr::AggregateFunction(_)) {
                return Ok(Transformed::no(part));
            }
            let next = format!("{}.#aggregate{}", self.stage, self.found.len());
            let name = self.found.entry(part).or_insert(next);
            Ok(Transformed::new(flat(name), true, TreeNodeRecursion::Jump))
        })?;
        Ok(expr.data)
    }
}

fn depends_on_order(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(AggregateFunction { func, params })
        if BY_ORDER.contains(&func.name()) && params.order_by.is_empty())
}

/// A function whose result depends on the order of rows sees them in theirs; of distinct values, in the values'.
fn in_order(mut expr: Expr, order: &[Column]) -> Expr {
    if depends_on_order(&expr)
        && let Expr::AggregateFunction(AggregateFunction { params, .. }) = &mut expr
    {
        params.order_by = match params.distinct {
            true => params.args.iter().take(1).map(|value| value.clone().sort(true, false)).collect(),
            false => upwards(order).collect(),
        };
    }
    expr
}
