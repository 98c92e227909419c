//! SQL expressions over a stage's columns.
//!
//! The names in an expression are looked up before DataFusion sees it: a bare name is a column of the stage, `stage.name` one
//! of an ancestor's. Each is replaced by its flat name in the plan, so that what DataFusion plans can't be ambiguous, and a
//! name that doesn't exist is reported in our words and at its characters.

use std::ops::ControlFlow;

use datafusion::{
    common::DFSchema,
    execution::session_state::SessionState,
    logical_expr::{Expr, ExprSchemable},
    sql::sqlparser::ast::{AccessExpr, Expr as SqlExpr, Ident, VisitMut, VisitorMut},
};
use dflow_pipeline::{At, Mistake};

use crate::{
    columns::{Columns, ambiguous},
    problems::of_sql,
};

/// An expression over the columns of a stage's input. `schema` is that of the plan.
pub(crate) fn expression(
    state: &SessionState,
    columns: &Columns,
    schema: &DFSchema,
    at: &At,
    text: &str,
) -> Result<Expr, Mistake> {
    let dialect = state.config().options().sql_parser.dialect;
    let mut parsed = state.sql_to_expr_with_alias(text, &dialect).map_err(|e| of_sql(at.clone(), &e))?;
    if let Some(alias) = &parsed.alias {
        return Err(Mistake::new(at.clone(), format!("the expression names itself `{alias}`; its name is the key")));
    }
    if let ControlFlow::Break(mistake) = VisitMut::visit(&mut parsed.expr, &mut Renaming { columns, at }) {
        return Err(mistake);
    }
    let expr = state.create_logical_expr_from_sql_expr(parsed, schema).map_err(|e| of_sql(at.clone(), &e))?;
    // Types are checked now, so that the mistake is at its stage.
    expr.get_type(schema).map_err(|e| of_sql(at.clone(), &e))?;
    Ok(expr)
}

/// Replaces names on the way down: what stands in front of a member access is only part of a name.
struct Renaming<'a> {
    columns: &'a Columns,
    at: &'a At,
}

impl VisitorMut for Renaming<'_> {
    type Break = Mistake;

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<Mistake> {
        match rename(expr, self.columns, self.at) {
            Ok(()) => ControlFlow::Continue(()),
            Err(mistake) => ControlFlow::Break(mistake),
        }
    }
}

/// Replaces the names of columns by their flat names (which name the same columns, so that twice does no harm).
fn rename(expr: &mut SqlExpr, columns: &Columns, at: &At) -> Result<(), Mistake> {
    match expr {
        SqlExpr::Identifier(ident) => {
            let column = columns.get(&ident.value).ok_or_else(|| unknown(columns, at, &ident.value))?;
            *ident = quoted(&column.flat);
        }
        SqlExpr::CompoundIdentifier(idents) => {
            let (first, second) = (idents[0].value.clone(), idents[1].value.clone());
            if let Some(column) = columns.of_stage(&first, &second) {
                idents.splice(..2, [quoted(&column.flat)]);
            } else if let Some(column) = columns.visible.get(&first) {
                idents.splice(..1, [quoted(&column.flat)]);
            } else if columns.has_stage(&first) {
                let known: Vec<_> = columns
                    .ancestor(&first)
                    .map(|c| c.keys().map(String::as_str).collect())
                    .unwrap_or_else(|| columns.known());
                return Err(Mistake::unknown(at.clone(), &format!("column of `{first}`"), &second, &known));
            } else if columns.is_ambiguous(&first) {
                return Err(ambiguous(at.clone(), &first));
            } else {
                let own = columns.stage.as_str();
                let own = own.rsplit_once('.').map_or(own, |(_, own)| own);
                let known: Vec<_> = columns.known_ancestors().into_iter().chain([own]).collect();
                return Err(Mistake::unknown(at.clone(), "stage or column", &first, &known));
            }
            if let [one] = idents.as_slice() {
                *expr = SqlExpr::Identifier(one.clone());
            }
        }
        // `stage.column['member']`: the column is the first link of the chain.
        SqlExpr::CompoundFieldAccess { root, access_chain } => {
            if let (SqlExpr::Identifier(stage), Some(AccessExpr::Dot(SqlExpr::Identifier(name)))) =
                (root.as_ref(), access_chain.first())
                && columns.get(&stage.value).is_none()
                && let Some(column) = columns.of_stage(&stage.value, &name.value)
            {
                **root = SqlExpr::Identifier(quoted(&column.flat));
                access_chain.remove(0);
            }
        }
        SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
            return Err(Mistake::new(at.clone(), "an expression can't hold a query").hint("use a stage with `sql`"));
        }
        _ => {}
    }
    Ok(())
}

fn unknown(columns: &Columns, at: &At, name: &str) -> Mistake {
    Mistake::unknown(at.clone(), "column", name, &columns.known())
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
