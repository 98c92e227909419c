//! `flow` and `steps`, whose stages are planned like any others: what goes in, and what its caller sees of what comes out.

use std::collections::BTreeMap;

use datafusion::{
    arrow::datatypes::DataType,
    logical_expr::{cast, type_coercion::binary::type_union_coercion},
};
use dflow_pipeline::{At, Flow, Given, Mistake, Name, SourceSchema};
use indexmap::IndexMap;

use crate::{
    columns::{Column, Columns, SYSTEM},
    steps::{Planned, Step},
    types::{parse_type, type_names, type_text},
};

impl Step {
    /// The rows that a flow is given: the columns of its `input`, and nothing else of its caller's is seen. `file` is the flow's.
    pub(crate) fn given(&self, name: &Name, given: &Given, file: &str) -> Planned {
        let caller = At::stage(&given.flow);
        let (mut columns, mut new, mut mistakes) = (self.columns.child(name), Vec::new(), Vec::new());
        let known: Vec<&str> = given.columns.keys().map(String::as_str).collect();
        for column in given.input.keys().filter(|column| !given.columns.contains_key(*column)) {
            let what = format!("input column of `{file}`");
            mistakes.push(Mistake::unknown(caller.key("in").key(column), &what, column, &known));
        }
        columns.visible = IndexMap::new();
        for (shown, type_name) in &given.columns {
            let Some(wanted) = parse_type(type_name) else {
                let at = At::stage(name).key("input").key(shown);
                mistakes.push(Mistake::unknown(at, "type", type_name, &type_names()));
                continue;
            };
            let asked = given.input.get(shown);
            let place = if asked.is_some() { caller.key("in").key(shown) } else { caller.key("flow") };
            let Some(found) = self.columns.get(asked.unwrap_or(shown)) else {
                mistakes.push(match asked {
                    Some(asked) => self.unknown_column(place, asked),
                    None => Mistake::new(place, format!("`{file}` takes a column `{shown}`, and there is none")).hint(
                        format!(
                            "say which: `in = {{ {shown} = \"…\" }}`; there is: {}",
                            self.columns.known().join(", ")
                        ),
                    ),
                });
                continue;
            };
            match taken(found, &wanted) {
                Some(Taken::AsItIs(column)) => drop(columns.visible.insert(shown.clone(), column)),
                Some(Taken::Widened) => {
                    let flat_name = columns.flat_name(shown);
                    let field = Columns::field(&flat_name, wanted.clone(), found.field.is_nullable());
                    new.push(cast(found.expr(), wanted).alias(&flat_name));
                    columns.visible.insert(shown.clone(), Column::of(&field));
                }
                None => {
                    let (ours, wanted) = (asked.unwrap_or(shown), type_text(&wanted));
                    let what =
                        format!("`{file}` takes `{shown}` as {wanted}, `{ours}` is {}", type_text(found.data_type()));
                    let hint =
                        format!("`set = {{ {shown} = \"CAST({ours} AS …)\" }}` in a stage before changes its type");
                    mistakes.push(Mistake::new(place, what).hint(hint));
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.with_new(name, new, columns)
    }

    /// `flow = "clean.toml"`: what its last stage gives, beside the columns of the rows that went in, `before`. What comes out under
    /// the name under which it went in (`inputs`) takes its place.
    pub(crate) fn flow(&self, name: &Name, written: &Flow, before: &Columns, inputs: &SourceSchema) -> Planned {
        let at = At::stage(name);
        let mut columns = self.columns.child(name);
        columns.ancestors.retain(|stage, _| !is_part(name, stage));
        // Where rows are made anew in the flow, those that went in are no ancestors of them.
        let none = BTreeMap::new();
        let above = self.columns.ancestors.get(&written.rows).unwrap_or(&none);
        let carried = before.visible.keys().filter_map(|shown| Some((shown.clone(), above.get(shown)?.clone())));
        columns.visible = carried.collect();
        let carried: Vec<String> = columns.visible.values().map(|column| column.flat.clone()).collect();
        let mut mistakes = Vec::new();
        let given = &self.columns.visible;
        for column in written.output.keys().filter(|column| !given.contains_key(*column)) {
            let known: Vec<&str> = given.keys().map(String::as_str).collect();
            let what = format!("column of `{}`", written.path);
            mistakes.push(Mistake::unknown(at.key("out").key(column), &what, column, &known));
        }
        for (shown, column) in given {
            let named = written.output.get(shown);
            // What only passed through is there under the caller's name.
            if named.is_none() && carried.contains(&column.flat) {
                continue;
            }
            let ours = named.unwrap_or(shown);
            if inputs.contains_key(shown) && written.input.get(shown).unwrap_or(shown) == ours {
                columns.visible.insert(ours.clone(), column.clone());
                continue;
            }
            if columns.visible.contains_key(ours) || SYSTEM.contains(&ours.as_str()) {
                let place = if named.is_some() { at.key("out").key(shown) } else { at.key("flow") };
                let what = format!("the new column `{ours}` of `{}` is there already", written.path);
                let hint = format!("give it another name: `out = {{ {shown} = \"…\" }}`");
                mistakes.push(Mistake::new(place, what).hint(hint));
                continue;
            }
            columns.visible.insert(ours.clone(), column.clone());
        }
        if mistakes.is_empty() { Ok(Self { plan: self.plan.clone(), columns }) } else { Err(mistakes) }
    }

    /// `steps = […]`: what the last of them gives.
    pub(crate) fn last_step(&self, name: &Name) -> Self {
        let mut columns = self.columns.child(name);
        columns.ancestors.retain(|stage, _| !is_part(name, stage));
        Self { plan: self.plan.clone(), columns }
    }
}

/// Whether a stage is a part of another, or a part of one.
fn is_part(name: &Name, stage: &Name) -> bool {
    stage.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
}

/// How a column goes into a flow.
enum Taken {
    AsItIs(Column),
    Widened,
}

/// How a column goes in where another type is wanted; text as text however it is laid out, numbers where none can be lost.
fn taken(found: &Column, wanted: &DataType) -> Option<Taken> {
    let has = found.data_type();
    if type_text(has) == type_text(wanted) {
        return Some(Taken::AsItIs(found.clone()));
    }
    if let (Some(bytes), DataType::Binary | DataType::LargeBinary | DataType::BinaryView) = (&found.bytes, wanted) {
        let field = Columns::field(bytes, DataType::BinaryView, found.field.is_nullable());
        return Some(Taken::AsItIs(Column { flat: bytes.clone(), ..Column::of(&field) }));
    }
    let wider = has.is_null() || (has.is_numeric() && wanted.is_numeric());
    let fits = wider && type_union_coercion(has, wanted).as_ref() == Some(wanted);
    (fits || has.is_null()).then_some(Taken::Widened)
}
