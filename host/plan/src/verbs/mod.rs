//! The verbs that multiply, order, pick, merge and gather rows: one a file, each a method of a planned stage that gives the next.
//!
//! DataFusion does the work. What is ours is names, ids, and an order that doesn't depend on how rows were dealt.

pub(crate) mod ask;
pub(crate) mod command;
mod distinct;
mod explode;
mod flow;
mod group;
mod identify;
mod join;
mod open;
mod sample;
pub(crate) mod script;
mod sort;
mod union;

use datafusion::{
    common::{DFSchema, Result},
    logical_expr::{Expr, ExprSchemable},
};
use dflow_pipeline::{At, Mistake};

use crate::{
    columns::{Column, Columns},
    steps::Step,
};

pub(crate) use group::grouped_by_nothing;
pub(crate) use join::join;
pub(crate) use union::union;

/// A column that is new in the plan, and the expression that makes it.
fn made(schema: &DFSchema, flat: &str, expr: Expr) -> Result<(Column, Expr)> {
    let field = expr.to_field(schema)?.1;
    let column = Column::of(&Columns::field(flat, field.data_type().clone(), field.is_nullable()));
    Ok((column, expr.alias(flat)))
}

/// The name under which a column is shown that was asked for by `name` or `stage.name`.
fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

impl Step {
    /// A column that a verb names.
    fn column(&self, at: At, name: &str) -> std::result::Result<&Column, Mistake> {
        self.columns.get(name).ok_or_else(|| self.unknown_column(at, name))
    }

    /// The mistake that a verb needs ids of rows that have none.
    fn lacks_ids(&self, at: At, what: &str) -> Mistake {
        let stage = &self.columns.stage;
        Mistake::new(at, format!("{what}, and the rows of `{stage}` have none"))
            .hint(format!("`id = \"…\"` in stage `{stage}` names the column that tells its rows apart"))
    }
}
