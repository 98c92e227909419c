//! `union`: the rows of several stages, columns matched by name.

use std::collections::BTreeMap;

use datafusion::{
    arrow::datatypes::DataType,
    common::ScalarValue,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, type_coercion::binary::type_union_coercion},
};
use dflow_pipeline::{At, Missing, Mistake, Name, Union};
use indexmap::IndexMap;

use crate::{
    columns::{Column, Columns},
    hashes::id_of_values,
    order::Order,
    steps::{Planned, Step, planning},
    types::type_text,
};

/// A column of the union: its name in the plan, its type, and what each input gives for it.
struct Merged {
    flat: String,
    data_type: DataType,
    given: Vec<Option<Expr>>,
}

impl Merged {
    fn of(flat: String, data_type: DataType, given: Vec<Option<Expr>>) -> Self {
        Self { flat, data_type, given }
    }

    fn column(&self) -> Column {
        Column::of(&Columns::field(&self.flat, self.data_type.clone(), true))
    }

    fn expr(&self, input: usize) -> Expr {
        let expr = self.given[input].clone().unwrap_or_else(|| lit(ScalarValue::Null));
        cast(expr, self.data_type.clone()).alias(&self.flat)
    }
}

/// `union = true`
pub(crate) fn union(name: &Name, written: Union, inputs: &[(&Name, Step)]) -> Planned {
    let at = At::stage(name);
    let mut merged = Vec::new();
    let mut columns = Columns::new(name);
    let mut mistakes = Vec::new();

    let mut names: IndexMap<&str, ()> = IndexMap::new();
    inputs.iter().for_each(|(_, step)| names.extend(step.columns.visible.keys().map(|key| (key.as_str(), ()))));
    for &shown in names.keys() {
        let of: Vec<Option<&Column>> = inputs.iter().map(|(_, step)| step.columns.visible.get(shown)).collect();
        if written.missing == Missing::Error
            && let Some(i) = of.iter().position(Option::is_none)
        {
            let other = of.iter().position(Option::is_some).unwrap_or_default();
            let what = format!("`{}` has no column `{shown}`, which `{}` has", inputs[i].0, inputs[other].0);
            let hint = "`select` the same columns before, or fill up with `union = { missing = \"null\" }`";
            mistakes.push(Mistake::new(at.key("from").key(i), what).hint(hint));
            continue;
        }
        match common_type(shown, inputs, &of) {
            Ok(data_type) => {
                let given = of.iter().map(|column| column.map(Column::expr)).collect();
                let column = Merged::of(columns.flat_name(shown), data_type, given);
                let mut visible = column.column();
                merged.push(column);
                // The same content as bytes, if all have it.
                let bytes: Option<Vec<_>> = of.iter().map(|c| c.and_then(|c| c.bytes.as_deref())).collect();
                if let Some(bytes) = bytes {
                    let given = bytes.into_iter().map(|flat| Some(crate::columns::flat(flat))).collect();
                    let bytes = Merged::of(columns.flat_name(&format!("{shown}#bytes")), DataType::BinaryView, given);
                    visible.bytes = Some(bytes.flat.clone());
                    merged.push(bytes);
                }
                columns.visible.insert(shown.to_owned(), visible);
            }
            Err((i, what)) => {
                let hint =
                    format!("`set = {{ {shown} = \"CAST({shown} AS …)\" }}` in a stage before gives them one type");
                mistakes.push(Mistake::new(at.key("from").key(i), what).hint(hint));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }

    // Rows of two inputs may have the same id, as when both come from one stage.
    let ids: Option<Vec<&Column>> = inputs.iter().map(|(_, step)| step.columns.id()).collect();
    if let Some(ids) = ids {
        let made = inputs.iter().zip(&ids);
        let made = made.map(|((from, _), id)| Some(id_of_values(&format!("{name}\0{from}"), vec![id.expr()])));
        let parents = ids.iter().map(|id| Some(id.expr())).collect();
        for (system, given) in [("__id__", made.collect()), ("__parent_id__", parents)] {
            let column = Merged::of(columns.flat_name(system), dflow_operators::ID_FIELD_TYPE, given);
            columns.system.insert(system.to_owned(), column.column());
            merged.push(column);
        }
    }
    let uris: Option<Vec<&Column>> = inputs.iter().map(|(_, step)| step.columns.uri.as_ref()).collect();
    if let Some(uris) = uris {
        let given = uris.iter().map(|uri| Some(uri.expr())).collect();
        let column = Merged::of(columns.flat_name("#uri"), uris[0].data_type().clone(), given);
        columns.uri = Some(column.column());
        merged.push(column);
    }
    // A stage above is seen by all rows that come from it, and is null for the others.
    let above: Vec<_> = inputs.iter().map(|(_, step)| step.columns.child(name).ancestors).collect();
    let mut seen: BTreeMap<(&Name, &str), Merged> = BTreeMap::new();
    for (i, ancestors) in above.iter().enumerate() {
        for (stage, (shown, column)) in ancestors.iter().flat_map(|(stage, of)| of.iter().map(move |c| (stage, c))) {
            let flat = format!("{name}<{stage}.{shown}");
            let merged = seen
                .entry((stage, shown.as_str()))
                .or_insert_with(|| Merged::of(flat, column.data_type().clone(), vec![None; inputs.len()]));
            if merged.data_type == *column.data_type() {
                merged.given[i] = Some(column.expr());
            }
        }
    }
    for ((stage, shown), column) in seen {
        columns.ancestors.entry(stage.clone()).or_default().insert(shown.to_owned(), column.column());
        merged.push(column);
    }
    let failed = planning(at.key("union"));
    let mut plans: Vec<LogicalPlan> = inputs.iter().map(|(_, step)| step.plan.clone()).collect();
    columns.order = Order::made(&columns);
    if inputs.iter().all(|(_, step)| matches!(step.columns.order, Order::Stream)) {
        // The stages stream side by side: what comes first is known by the stage and the place in it.
        let mut places = Vec::new();
        for ((_, step), plan) in inputs.iter().zip(&mut plans) {
            if let Some((numbered, order)) = step.in_order(name).map_err(&failed)? {
                *plan = numbered;
                places.extend(order.first().map(|number| Some(number.expr())));
            }
        }
        let stages = (0..inputs.len() as u64).map(|i| Some(lit(i))).collect();
        let by = [("#stage", stages), ("#place", places)];
        let by = by.map(|(of, given)| Merged::of(columns.flat_name(of), DataType::UInt64, given));
        columns.order = Order::By(by.iter().map(Merged::column).collect());
        merged.extend(by);
    }
    let mut plan: Option<LogicalPlan> = None;
    for (i, rows) in plans.into_iter().enumerate() {
        let rows = LogicalPlanBuilder::from(rows).project(merged.iter().map(|column| column.expr(i)));
        let rows = rows.and_then(LogicalPlanBuilder::build).map_err(&failed)?;
        plan = Some(match plan.take() {
            None => rows,
            Some(before) => {
                LogicalPlanBuilder::from(before).union(rows).and_then(LogicalPlanBuilder::build).map_err(&failed)?
            }
        });
    }
    match plan {
        Some(plan) => Ok(Step { plan, columns }),
        None => Err(vec![Mistake::new(at.key("from"), "`union` reads nothing")]),
    }
}

/// The type that all inputs' values of a column fit into; numbers don't quietly become text.
fn common_type(shown: &str, inputs: &[(&Name, Step)], of: &[Option<&Column>]) -> Result<DataType, (usize, String)> {
    let mut common: Option<(usize, DataType)> = None;
    for (i, column) in of.iter().enumerate() {
        let Some(column) = column else { continue };
        let found = column.data_type();
        let Some((first, before)) = &common else {
            common = Some((i, found.clone()));
            continue;
        };
        let mixes = is_text(found) != is_text(before) && !found.is_null() && !before.is_null();
        match type_union_coercion(before, found).filter(|_| !mixes) {
            Some(both) => common = Some((*first, both)),
            None => {
                let what = format!(
                    "the column `{shown}` is {} in `{}` and {} in `{}`",
                    type_text(before),
                    inputs[*first].0,
                    type_text(found),
                    inputs[i].0
                );
                return Err((i, what));
            }
        }
    }
    Ok(common.map_or(DataType::Null, |(_, data_type)| data_type))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
