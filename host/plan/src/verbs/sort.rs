//! `sort`: rows in another order.

use datafusion::{
    execution::session_state::SessionState,
    logical_expr::{LogicalPlanBuilder, SortExpr},
};
use dflow_pipeline::{At, Mistake, Name, Nulls, Sort};

use crate::{
    expression::expression,
    order::{Order, upwards},
    steps::{Planned, Step, planning},
};

impl Step {
    /// `sort = ["-score", "title"]`: rows that compare equal keep their order.
    pub(crate) fn sort(&self, state: &SessionState, name: &Name, written: &Sort) -> Planned {
        let at = At::stage(name).key("sort");
        let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
        let by = if written.nulls == Nulls::default() { at.clone() } else { at.key("by") };
        for (i, text) in written.by.iter().enumerate() {
            match self.sort_key(state, by.key(i), text, written.nulls) {
                Ok(key) => keys.push(key),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let failed = planning(at);
        let (plan, order) = match self.in_order(name).map_err(&failed)? {
            Some((plan, order)) => (plan, order),
            None => (self.plan.clone(), Vec::new()),
        };
        keys.extend(upwards(&order));
        let plan = LogicalPlanBuilder::from(plan).sort(keys).and_then(LogicalPlanBuilder::build).map_err(failed)?;
        let mut columns = self.columns.child(name);
        columns.order = Order::Stream;
        Ok(Self { plan, columns })
    }

    fn sort_key(&self, state: &SessionState, at: At, text: &str, nulls: Nulls) -> Result<SortExpr, Mistake> {
        let text = text.trim();
        let rest = text.strip_prefix('-').map(str::trim);
        let downwards = rest.filter(|rest| self.columns.get(rest).is_some() || in_brackets(rest));
        let key = downwards.unwrap_or(text);
        let expr = match self.columns.get(key) {
            Some(column) => column.expr(),
            None => expression(state, &self.columns, self.plan.schema(), &at, key)?,
        };
        Ok(expr.sort(downwards.is_none(), nulls == Nulls::First))
    }
}

/// Whether a text is one pair of brackets with something in it.
fn in_brackets(text: &str) -> bool {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i > 0 && i + 1 == text.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_pair_of_brackets_around_all_sorts_downwards() {
        for (text, expected) in
            [("(a * b)", true), ("((a) * (b))", true), ("(a) * (b)", false), ("a", false), ("", false)]
        {
            assert_eq!(in_brackets(text), expected, "{text}");
        }
    }
}
