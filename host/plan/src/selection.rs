//! What the SELECT lists of a query name, spelled out before DataFusion sees them.
//!
//! `place.*` of a struct column becomes its members, and an expression without a name gets one that can be read: a member's own
//! (`place['city']` is `city`), else the expression as it is written (`count(*)`), with a number where that is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use datafusion::{
    arrow::datatypes::{DataType, Fields},
    sql::sqlparser::ast::{
        AccessExpr, ExcludeSelectItem, Expr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem,
        SelectItemQualifiedWildcardKind, SetExpr, Statement, Subscript, TableFactor, Value, VisitMut, VisitorMut,
        WildcardAdditionalOptions,
    },
};
use dflow_pipeline::{At, Mistake, Name};

use crate::{columns::Columns, steps::Step};

/// Spells out the SELECT lists of a query over stages, those of its subqueries too.
pub(crate) fn spell_out(statement: &mut Statement, inputs: &[(&Name, Step)], at: &At) -> Result<(), Mistake> {
    let stages = inputs.iter().map(|(name, step)| (name.as_str(), &step.columns)).collect();
    match VisitMut::visit(statement, &mut Spelling { stages, at }) {
        ControlFlow::Break(mistake) => Err(mistake),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Spelling<'a> {
    stages: BTreeMap<&'a str, &'a Columns>,
    at: &'a At,
}

impl VisitorMut for Spelling<'_> {
    type Break = Mistake;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Mistake> {
        let relations = self.relations(select);
        let mut projection = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match self.members(&item, &relations) {
                Ok(Some(members)) => projection.extend(members),
                Ok(None) => projection.push(item),
                Err(mistake) => return ControlFlow::Break(mistake),
            }
        }
        name_all(&mut projection, &relations);
        select.projection = projection;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Mistake> {
        // DISTINCT sorts by what is in its list: by the name that it has there.
        if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by)
            && let (true, OrderByKind::Expressions(keys)) = (select.distinct.is_some(), &mut order.kind)
        {
            for key in keys {
                let alias = select.projection.iter().find_map(|item| match item {
                    SelectItem::ExprWithAlias { expr, alias } if *expr == key.expr => Some(alias.clone()),
                    _ => None,
                });
                key.expr = alias.map_or_else(|| key.expr.clone(), Expr::Identifier);
            }
        }
        ControlFlow::Continue(())
    }
}

/// The tables of one SELECT by the names that it gives them, with their columns where they are stages.
type Relations<'a> = BTreeMap<String, Option<&'a Columns>>;

impl<'a> Spelling<'a> {
    fn relations(&self, select: &Select) -> Relations<'a> {
        let mut relations = Relations::new();
        let joined = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        for factor in joined {
            let (name, alias) = match factor {
                TableFactor::Table { name, alias, .. } => (last(name), alias),
                TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => (None, alias),
                _ => (None, &None),
            };
            let stage = name.and_then(|name| self.stages.get(name)).copied();
            if let Some(called) = alias.as_ref().map(|alias| alias.name.value.as_str()).or(name) {
                relations.insert(called.to_owned(), stage);
            }
        }
        relations
    }

    /// The members that `column.*` means; `None` for anything else, such as `stage.*`.
    fn members(&self, item: &SelectItem, relations: &Relations<'_>) -> Result<Option<Vec<SelectItem>>, Mistake> {
        let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) = item else {
            return Ok(None);
        };
        let Some(parts) = name.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<Vec<Ident>>>() else {
            return Ok(None);
        };
        let path: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let stages = || relations.values().filter_map(|columns| *columns);
        let (root, found, rest) = match path.as_slice() {
            [relation] if relations.contains_key(*relation) => return Ok(None),
            [relation, column, rest @ ..] if relations.contains_key(*relation) => {
                let found = relations[*relation].and_then(|columns| columns.get(column));
                (Expr::CompoundIdentifier(parts[..2].to_vec()), found, rest)
            }
            [column, rest @ ..] => {
                (Expr::Identifier(parts[0].clone()), stages().find_map(|columns| columns.visible.get(*column)), rest)
            }
            [] => return Ok(None),
        };
        let Some(found) = found else {
            // What a subquery or a CTE gives isn't known here; DataFusion says what it misses.
            if relations.values().any(Option::is_none) {
                return Ok(None);
            }
            let columns = stages().flat_map(|columns| columns.known());
            let known: Vec<&str> = relations.keys().map(String::as_str).chain(columns).collect();
            return Err(Mistake::unknown(
                self.at.clone(),
                "stage or column",
                path[path.len() - 1 - rest.len()],
                &known,
            ));
        };
        let mut data_type = found.data_type();
        for (depth, member) in rest.iter().enumerate() {
            let parent = path[..path.len() - rest.len() + depth].join(".");
            let fields = self.fields(data_type, &parent)?;
            let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            data_type = match fields.iter().find(|field| field.name() == member) {
                Some(field) => field.data_type(),
                None => {
                    return Err(Mistake::unknown(self.at.clone(), &format!("member of `{parent}`"), member, &known));
                }
            };
        }
        let fields = self.fields(data_type, &name.to_string())?;
        let left_out = self.left_out(options, &name.to_string(), fields)?;
        let members = fields.iter().filter(|field| !left_out.contains(field.name().as_str())).map(|field| {
            let access_chain = rest.iter().copied().chain([field.name().as_str()]).map(member).collect();
            SelectItem::ExprWithAlias {
                expr: Expr::CompoundFieldAccess { root: Box::new(root.clone()), access_chain },
                alias: Ident::with_quote('"', field.name()),
            }
        });
        Ok(Some(members.collect()))
    }

    fn fields<'t>(&self, data_type: &'t DataType, name: &str) -> Result<&'t Fields, Mistake> {
        match data_type {
            DataType::Struct(fields) => Ok(fields),
            other => {
                let what = format!("`{name}` is {}, and only a struct has members", crate::type_text(other));
                Err(Mistake::new(self.at.clone(), what))
            }
        }
    }

    /// The members that EXCEPT or EXCLUDE name.
    fn left_out(
        &self,
        options: &WildcardAdditionalOptions,
        of: &str,
        fields: &Fields,
    ) -> Result<BTreeSet<String>, Mistake> {
        if options.opt_replace.is_some() || options.opt_rename.is_some() || options.opt_ilike.is_some() {
            let what = format!("`{of}.*` takes EXCEPT and nothing else");
            return Err(Mistake::new(self.at.clone(), what).hint("name the members: `place['city'] AS city`"));
        }
        let mut names = BTreeSet::new();
        if let Some(except) = &options.opt_except {
            names.extend(
                std::iter::once(&except.first_element).chain(&except.additional_elements).map(|i| i.value.clone()),
            );
        }
        match &options.opt_exclude {
            Some(ExcludeSelectItem::Single(name)) => names.extend(last(name).map(str::to_owned)),
            Some(ExcludeSelectItem::Multiple(all)) => names.extend(all.iter().filter_map(last).map(str::to_owned)),
            None => {}
        }
        let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Mistake::unknown(self.at.clone(), &format!("member of `{of}`"), name, &known)),
            None => Ok(names),
        }
    }
}

/// Names what has no name of its own.
fn name_all(projection: &mut [SelectItem], relations: &Relations<'_>) {
    let mut taken: BTreeSet<String> = projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            SelectItem::UnnamedExpr(expr) if name(expr, relations).is_none() => match expr {
                Expr::Identifier(ident) => Some(ident.value.clone()),
                Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    for item in projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let Some(name) = name(expr, relations) else { continue };
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        let alias = Ident::with_quote('"', free.unwrap_or(name));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// The name of an expression that isn't merely a column.
fn name(expr: &Expr, relations: &Relations<'_>) -> Option<String> {
    match expr {
        Expr::Identifier(_) => None,
        Expr::Nested(inner) => name(inner, relations),
        Expr::CompoundIdentifier(idents) => match idents.as_slice() {
            [relation, _] if relations.contains_key(&relation.value) => None,
            idents => idents.last().map(|ident| ident.value.clone()),
        },
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident.value.clone()),
            Some(AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) })) => match &value.value {
                Value::SingleQuotedString(member) => Some(member.clone()),
                _ => Some(expr.to_string()),
            },
            _ => Some(expr.to_string()),
        },
        _ => Some(expr.to_string()),
    }
}

fn member(name: &str) -> AccessExpr {
    AccessExpr::Subscript(Subscript::Index { index: Expr::Value(Value::SingleQuotedString(name.to_owned()).into()) })
}

fn last(name: &ObjectName) -> Option<&str> {
    name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.as_str())
}
