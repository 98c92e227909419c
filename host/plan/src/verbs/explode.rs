//! `explode`: one row for each item of a list.
//!
//! The list and a list of its positions are unnested side by side, so that each item comes with its index.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, ListArray, UInt32Array},
        buffer::OffsetBuffer,
        compute::{cast, kernels::length::length},
        datatypes::{DataType, Field, Int64Type},
    },
    common::{Column as PlanColumn, NullHandling, Result, UnnestOptions, utils::take_function_args},
    logical_expr::{
        ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        cast as cast_expr,
    },
};
use dflow_pipeline::{At, Explode, Mistake, Name};
use indexmap::IndexMap;

use super::{last, made};
use crate::{
    columns::{Column, SYSTEM, flat},
    hashes::id_of_child,
    inline::top,
    steps::{Planned, Step, planning},
    types::type_text,
};

impl Step {
    /// `explode = "list"`
    pub(crate) fn explode(&self, name: &Name, written: &Explode) -> Planned {
        let at = At::stage(name).key("explode");
        let place = if written.name.is_none() && !written.keep_empty { at.clone() } else { at.key("column") };
        let list = self.column(place.clone(), &written.column).map_err(|m| vec![m])?;
        if !matches!(
            list.data_type(),
            DataType::List(_)
                | DataType::LargeList(_)
                | DataType::FixedSizeList(..)
                | DataType::ListView(_)
                | DataType::LargeListView(_)
        ) {
            let what = format!("`explode` needs a list, `{}` is {}", written.column, type_text(list.data_type()));
            let hint = match list.data_type() {
                DataType::Struct(_) => format!("a member is read as `{}['member']`", written.column),
                DataType::Utf8View | DataType::Utf8 => {
                    format!(
                        "a stage before can split text: `set = {{ parts = \"string_to_array({}, ',')\" }}`",
                        written.column
                    )
                }
                _ => "the items of lists become rows; other values are rows' already".to_owned(),
            };
            return Err(vec![Mistake::new(place, what).hint(hint)]);
        }
        let shown = written.name.as_deref().unwrap_or_else(|| last(&written.column));
        let replaced = self.columns.visible.contains_key(&written.column).then_some(written.column.as_str());
        if SYSTEM.contains(&shown) || (replaced != Some(shown) && self.columns.visible.contains_key(shown)) {
            let what = format!("the items' column `{shown}` is there already");
            let hint = format!("give it another name: `{{ column = \"{}\", as = \"…\" }}`", written.column);
            let place = if written.name.is_some() { at.key("as") } else { place };
            return Err(vec![Mistake::new(place, what).hint(hint)]);
        }

        let mut columns = self.columns.child(name);
        // What comes out of the unnest has names of its own, as rules of DataFusion's mistake a name used again for the same column.
        let (item, index) = (columns.flat_name("#item"), columns.flat_name("#index"));
        let failed = planning(at);
        let carried = || self.plan.schema().fields().iter().map(|field| flat(field.name()));
        let plan = (|| {
            let lists = [list.expr().alias(&item), positions(list.expr(), written.keep_empty).alias(&index)];
            let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
            let unnested = [&item, &index].map(PlanColumn::new_unqualified).to_vec();
            LogicalPlanBuilder::from(self.plan.clone())
                .project(carried().chain(lists).collect::<Vec<_>>())?
                .unnest_columns_with_options(unnested, options)?
                .build()
        })();
        let plan = plan.map_err(&failed)?;

        let mut new = Vec::new();
        let mut add = |flat_name: String, expr: Expr| {
            let (column, expr) = made(plan.schema(), &flat_name, expr).map_err(&failed)?;
            new.push(expr);
            Ok::<_, Vec<Mistake>>(column)
        };
        let found = plan.schema().field_with_unqualified_name(&item).map_err(&failed)?.data_type();
        let wanted = top(found);
        let value = if wanted == *found { flat(&item) } else { cast_expr(flat(&item), wanted) };
        let item_column = add(columns.flat_name(shown), value)?;
        columns.system.clear();
        if let Some(parent) = self.columns.id() {
            let id = id_of_child(name.as_str(), parent.expr(), flat(&index));
            for (system, expr) in [("__id__", id), ("__index__", flat(&index))] {
                let column = add(columns.flat_name(system), expr)?;
                columns.system.insert(system.to_owned(), column);
            }
            columns.system.insert("__parent_id__".to_owned(), parent.clone());
        }
        columns.order = columns.order.of_children(columns.system.get("__index__"));
        columns.visible = match replaced {
            None => {
                let mut visible = columns.visible.clone();
                visible.insert(shown.to_owned(), item_column);
                visible
            }
            Some(list) => {
                let place = |(key, column): (&String, &Column)| match key == list {
                    true => (shown.to_owned(), item_column.clone()),
                    false => (key.clone(), column.clone()),
                };
                columns.visible.iter().map(place).collect::<IndexMap<_, _>>()
            }
        };
        let plan = LogicalPlanBuilder::from(plan)
            .project(carried().chain(new).collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(&failed)?;
        Ok(Self { plan, columns })
    }
}

/// The positions of a list's items, from 0: a list as long as the list. With `keep_empty` one position for a list without items.
fn positions(list: Expr, keep_empty: bool) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(Positions { keep_empty, signature }).call(vec![list])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Positions {
    keep_empty: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Positions {
    fn name(&self) -> &str {
        "positions"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::UInt32, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list] = take_function_args(self.name(), &args.args)?;
        let lengths = cast(&length(&list.to_array(args.number_rows)?)?, &DataType::Int64)?;
        let least = usize::from(self.keep_empty);
        let lengths: Vec<usize> =
            lengths.as_primitive::<Int64Type>().iter().map(|n| (n.unwrap_or_default() as usize).max(least)).collect();
        let positions = lengths.iter().flat_map(|n| 0..*n as u32);
        let values: ArrayRef = Arc::new(UInt32Array::from_iter_values(positions));
        let field = Arc::new(Field::new_list_field(DataType::UInt32, true));
        let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::array::{Array, FixedSizeListArray, LargeListArray},
        arrow::datatypes::{UInt8Type, UInt32Type},
        config::ConfigOptions,
    };

    use super::*;

    #[test]
    fn positions_are_as_many_as_items() {
        let lists = [Some(vec![Some(7u8), None]), None, Some(vec![]), Some(vec![Some(1)])];
        let pairs = [Some(vec![Some(1u8), Some(2)]), None, Some(vec![None, None])];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<UInt8Type, _, _>(lists.clone()));
        let large: ArrayRef = Arc::new(LargeListArray::from_iter_primitive::<UInt8Type, _, _>(lists));
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<UInt8Type, _, _>(pairs, 2));
        for (list, keep_empty, expected) in [
            (list.clone(), false, vec![vec![0u32, 1], vec![], vec![], vec![0]]),
            (list.slice(1, 3), true, vec![vec![0], vec![0], vec![0]]),
            (large, true, vec![vec![0, 1], vec![0], vec![0], vec![0]]),
            (fixed, false, vec![vec![0, 1], vec![], vec![0, 1]]),
        ] {
            let number_rows = list.len();
            let field = |data_type: &DataType| Arc::new(Field::new("f", data_type.clone(), true));
            let function = Positions { keep_empty, signature: Signature::any(1, Volatility::Immutable) };
            let args = ScalarFunctionArgs {
                arg_fields: vec![field(list.data_type())],
                return_field: field(&function.return_type(&[]).expect("a type")),
                args: vec![ColumnarValue::Array(list)],
                number_rows,
                config_options: Arc::new(ConfigOptions::default()),
            };
            let positions = function.invoke_with_args(args).and_then(|p| p.into_array(number_rows)).expect("positions");
            let positions: Vec<Vec<u32>> = positions
                .as_list::<i32>()
                .iter()
                .map(|list| list.map(|l| l.as_primitive::<UInt32Type>().values().to_vec()))
                .map(Option::unwrap_or_default)
                .collect();
            assert_eq!(positions, expected);
        }
    }
}
