//! `join`: each row with those of another stage that have the same keys.
//!
//! The right side's columns get names of their own in the plan, since both sides may come from one stage. The right side is the
//! one that DataFusion holds in memory; the left one streams.

use std::collections::BTreeMap;

use datafusion::{
    arrow::datatypes::DataType,
    common::JoinType,
    logical_expr::{Expr, LogicalPlanBuilder, cast, type_coercion::binary::comparison_coercion, utils::can_hash},
    prelude::coalesce,
};
use dflow_pipeline::{At, How, Join, Mistake, Name};

use super::made;
use crate::{
    columns::{Column, Columns, flat},
    hashes::id_of_values,
    order::Order,
    steps::{Planned, Step, planning},
    types::type_text,
};

/// A key: what each side calls it and has for it, and the type in which they are compared.
struct Key<'a> {
    names: (&'a str, &'a str),
    sides: (&'a Column, &'a Column),
    data_type: DataType,
}

impl Key<'_> {
    /// Whether it is one column under one name.
    fn is_shared(&self, left: &Columns, right: &Columns) -> bool {
        self.names.0 == self.names.1
            && left.visible.contains_key(self.names.0)
            && right.visible.contains_key(self.names.1)
    }
}

/// `join = { with = "right", on = ["id"] }`
pub(crate) fn join(name: &Name, written: &Join, left: &Step, right: &Step) -> Planned {
    let at = At::stage(name).key("join");
    let keys = keys(&at, written, left, right)?;
    let alone = matches!(written.how, How::Semi | How::Anti);
    let mut columns = left.columns.child(name);
    let renamed = |column: &Column| right_column(name, column);
    let mut shared = Vec::new();
    if !alone {
        let mut mistakes = Vec::new();
        for (shown, column) in &right.columns.visible {
            if let Some(key) = keys.iter().find(|k| k.names.1 == shown && k.is_shared(&left.columns, &right.columns)) {
                shared.push(key);
                continue;
            }
            let suffix = written.suffix.as_deref().filter(|_| left.columns.visible.contains_key(shown));
            let new = format!("{shown}{}", suffix.unwrap_or_default());
            if columns.visible.contains_key(&new) {
                let what = format!("both `{}` and `{}` have a column `{new}`", left.columns.stage, written.with);
                let hint = match &written.suffix {
                    None => {
                        format!("`suffix = \"_{}\"` renames those of `{0}`; or `select` columns before", written.with)
                    }
                    Some(_) => "another `suffix` avoids that".to_owned(),
                };
                mistakes.push(Mistake::new(at.key("with"), what).hint(hint));
                continue;
            }
            columns.visible.insert(new, renamed(column));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        columns.system.clear();
        for (stage, of) in right.columns.child(name).ancestors {
            if columns.ancestors.remove(&stage).is_some() || columns.ambiguous.contains(&stage) {
                columns.ambiguous.insert(stage);
                continue;
            }
            let of: BTreeMap<_, _> = of.iter().map(|(shown, column)| (shown.clone(), renamed(column))).collect();
            columns.ancestors.insert(stage, of);
        }
        for stage in &right.columns.ambiguous {
            columns.ancestors.remove(stage);
            columns.ambiguous.insert(stage.clone());
        }
        columns.order = Order::Open;
    }

    let failed = planning(at);
    let plan = (|| {
        let readable = right.columns.readable();
        let hidden = |column: &'_ Column| [column.bytes.clone(), column.file.clone()].into_iter().flatten();
        let hidden: Vec<String> = right.columns.visible.values().flat_map(hidden).collect();
        let mut names: Vec<&str> = readable.keys().copied().chain(hidden.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let right_plan = LogicalPlanBuilder::from(right.plan.clone())
            .project(names.into_iter().map(|f| flat(f).alias(right_flat(name, f))).collect::<Vec<_>>())?
            .build()?;
        let compared = |column: &Column, key: &Key<'_>| {
            if *column.data_type() == key.data_type {
                column.expr()
            } else {
                cast(column.expr(), key.data_type.clone())
            }
        };
        let on: (Vec<Expr>, Vec<Expr>) =
            keys.iter().map(|key| (compared(&renamed(key.sides.1), key), compared(key.sides.0, key))).unzip();
        // DataFusion holds its left side, which is our right one.
        let how = match written.how {
            How::Inner => JoinType::Inner,
            How::Left => JoinType::Right,
            How::Right => JoinType::Left,
            How::Full => JoinType::Full,
            How::Semi => JoinType::RightSemi,
            How::Anti => JoinType::RightAnti,
        };
        LogicalPlanBuilder::from(right_plan).join_with_expr_keys(left.plan.clone(), how, on, None)?.build()
    })();
    let plan = plan.map_err(&failed)?;
    if alone {
        columns.order = Order::made(&columns);
        return Ok(Step { plan, columns });
    }

    let mut new = Vec::new();
    // A side without its row is null, and a shared key is then the other side's.
    let nullable = |column: &mut Column| {
        column.field = Columns::field(&column.flat, column.data_type().clone(), true);
    };
    columns.visible.values_mut().for_each(nullable);
    columns.ancestors.values_mut().flat_map(BTreeMap::values_mut).for_each(nullable);
    for key in shared.iter().filter(|_| matches!(written.how, How::Right | How::Full)) {
        let side = |column: &Column| cast(column.expr(), key.data_type.clone());
        let both = coalesce(vec![side(key.sides.0), side(&renamed(key.sides.1))]);
        let (column, expr) = made(plan.schema(), &columns.flat_name(key.names.0), both).map_err(&failed)?;
        columns.visible.insert(key.names.0.to_owned(), column);
        new.push(expr);
    }
    if let (Some(left), Some(right)) = (left.columns.id(), right.columns.id()) {
        let id = id_of_values(name.as_str(), vec![left.expr(), renamed(right).expr()]);
        let (column, expr) = made(plan.schema(), &columns.flat_name("__id__"), id).map_err(&failed)?;
        columns.system.insert("__id__".to_owned(), column);
        new.push(expr);
    }
    columns.order = Order::made(&columns);
    Step { plan, columns: columns.clone() }.with_new(name, new, columns)
}

fn right_flat(name: &Name, flat: &str) -> String {
    format!("{name}>{flat}")
}

/// A column of the right side under its name in the joined plan.
fn right_column(name: &Name, column: &Column) -> Column {
    let flat = right_flat(name, &column.flat);
    let field = Columns::field(&flat, column.data_type().clone(), column.field.is_nullable());
    let hidden = |of: &Option<String>| of.as_ref().map(|flat| right_flat(name, flat));
    Column { field, bytes: hidden(&column.bytes), file: hidden(&column.file), flat }
}

/// The keys, which both sides have and can be compared.
fn keys<'a>(at: &At, written: &'a Join, left: &'a Step, right: &'a Step) -> Result<Vec<Key<'a>>, Vec<Mistake>> {
    let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
    for (i, (ours, theirs)) in written.on.iter().enumerate() {
        // A list's key is the same on both sides.
        let place = at.key("on");
        let place = if ours == theirs { place.key(i) } else { place.key(ours) };
        if let Some((l, r)) = ours.split_once('=').filter(|_| ours == theirs && left.columns.get(ours).is_none()) {
            let (l, r) = (l.trim(), r.trim_start_matches('=').trim());
            let mistake = Mistake::new(place, format!("a key of a join is a column, not the condition `{ours}`"));
            mistakes.push(mistake.hint(format!("`on = {{ {l} = \"{r}\" }}` takes columns of different names")));
            continue;
        }
        let side = |step: &'a Step, column: &str| {
            step.columns.get(column).ok_or_else(|| {
                let known = step.columns.known();
                Mistake::unknown(place.clone(), &format!("column of `{}`", step.columns.stage), column, &known)
            })
        };
        let (l, r) = match (side(left, ours), side(right, theirs)) {
            (Ok(l), Ok(r)) => (l, r),
            (l, r) => {
                mistakes.extend([l.err(), r.err()].into_iter().flatten());
                continue;
            }
        };
        match common_type(l.data_type(), r.data_type()) {
            Some(data_type) => keys.push(Key { names: (ours, theirs), sides: (l, r), data_type }),
            None => {
                let what = format!(
                    "the keys of a join must be of one type: `{ours}` of `{}` is {}, `{theirs}` of `{}` is {}",
                    left.columns.stage,
                    type_text(l.data_type()),
                    right.columns.stage,
                    type_text(r.data_type())
                );
                let hint =
                    format!("`set = {{ {0} = \"CAST({0} AS …)\" }}` in a stage before changes one", super::last(ours));
                mistakes.push(Mistake::new(place, what).hint(hint));
            }
        }
    }
    if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
}

/// The type in which two columns are compared: encodings and widths may differ, kinds may not.
fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let same = dflow_boundary::unviewed(left) == dflow_boundary::unviewed(right)
        || (left.is_integer() && right.is_integer())
        || (left.is_floating() && right.is_floating())
        || matches!((left, right), (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) if a.is_some() == b.is_some());
    let common = if left == right { Some(left.clone()) } else { comparison_coercion(left, right) };
    common.filter(|common| same && can_hash(common))
}
