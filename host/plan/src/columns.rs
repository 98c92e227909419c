//! What a stage's rows look like: names that the user sees, and where each stands in the plan.
//!
//! In the plan every column has one flat name, given where it was made: `article.title`. A stage's rows carry all columns of
//! its ancestors; what is visible of them under bare names is a matter of this table alone. So `select` costs nothing, an
//! ancestor's column can be read later (`{{ article.title }}`), and what nobody reads the optimizer prunes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use datafusion::{
    arrow::datatypes::{DataType, Field, FieldRef, SchemaRef},
    common::Column as PlanColumn,
    logical_expr::Expr,
};
use dflow_operators::{ChildColumns, ID_FIELD_TYPE, is_split};
use dflow_pipeline::{At, Mistake, Name};
use indexmap::IndexMap;

use crate::order::Order;

/// The columns that are hidden unless asked for.
pub(crate) const SYSTEM: [&str; 3] = ["__id__", "__parent_id__", "__index__"];

/// What the names of a file's content as bytes, and as what stands for the file, end with.
pub(crate) const BYTES: &str = "#bytes";
pub(crate) const FILE: &str = "#file";

/// A column that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the plan.
    pub flat: String,
    /// Its type in the plan (`name` is the flat name).
    pub field: FieldRef,
    /// For the content of files: the flat name of the same content as bytes.
    pub bytes: Option<String>,
    /// For the content of files: the flat name of what stands for the file.
    pub file: Option<String>,
}

impl Column {
    /// A column named and typed by a field of the plan.
    pub(crate) fn of(field: &FieldRef) -> Self {
        Self { flat: field.name().clone(), field: field.clone(), bytes: None, file: None }
    }

    /// An expression that reads it.
    pub(crate) fn expr(&self) -> Expr {
        flat(&self.flat)
    }

    /// Its type.
    pub fn data_type(&self) -> &DataType {
        self.field.data_type()
    }
}

/// An expression that reads a column by its flat name (which holds a dot and is nevertheless one name).
pub(crate) fn flat(name: &str) -> Expr {
    Expr::Column(PlanColumn::new_unqualified(name))
}

/// The mistake that a stage is on both sides of a join.
pub(crate) fn ambiguous(at: At, stage: &str) -> Mistake {
    Mistake::new(at, format!("`{stage}` is on both sides of a join, so its columns aren't clear"))
        .hint("give those that are needed names of their own before the join, with `set`")
}

/// What a stage's rows look like.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The stage.
    pub stage: Name,
    /// The columns with bare names, in order.
    pub visible: IndexMap<String, Column>,
    /// `__id__`, `__parent_id__`, `__index__`, where rows have them.
    pub system: BTreeMap<String, Column>,
    /// The URI of the file that each row comes from, where rows come from files as a whole or as lines.
    pub(crate) uri: Option<Column>,
    /// The place among its task's splits of the one that each row comes from, where rows come one by one from one source.
    pub(crate) split: Option<Column>,
    /// How often each row was tried before, where they are rows that failed and are tried again.
    pub(crate) tried: Option<Column>,
    /// The columns of the stages that its rows come from, by stage.
    pub ancestors: BTreeMap<Name, BTreeMap<String, Column>>,
    /// Stages that its rows come from on both sides of a join, so that their names say nothing.
    pub(crate) ambiguous: BTreeSet<Name>,
    /// In which order rows come.
    pub(crate) order: Order,
    /// The flow whose names of stages are seen by who reads these rows.
    pub(crate) within: Option<Name>,
}

impl Columns {
    /// Those of rows that a stage makes anew: none yet.
    pub(crate) fn new(stage: &Name) -> Self {
        Self {
            stage: stage.clone(),
            visible: IndexMap::new(),
            system: BTreeMap::new(),
            uri: None,
            split: None,
            tried: None,
            ancestors: BTreeMap::new(),
            ambiguous: BTreeSet::new(),
            order: Order::Open,
            within: None,
        }
    }

    /// A source's: all fields of its schema, the last of which are the id and the place of the split. `uri` is the index of the one with the file's URI.
    pub(crate) fn of_source(stage: &Name, schema: &SchemaRef, uri: Option<usize>) -> Self {
        let mut visible = IndexMap::new();
        let (mut system, mut split) = (BTreeMap::new(), None);
        let prefix = format!("{stage}.");
        for field in schema.fields() {
            let name = field.name().strip_prefix(&prefix).unwrap_or(field.name());
            if SYSTEM.contains(&name) {
                system.insert(name.to_owned(), Column::of(field));
            } else if is_split(field.name()) {
                split = Some(Column::of(field));
            } else if let Some(of) = name.strip_suffix(BYTES) {
                // The readers give the bytes after the text, and what stands for the file after both.
                if let Some(column) = visible.get_mut(of) {
                    let column: &mut Column = column;
                    column.bytes = Some(field.name().clone());
                }
            } else if let Some(of) = name.strip_suffix(FILE) {
                if let Some(column) = visible.get_mut(of) {
                    let column: &mut Column = column;
                    column.file = Some(field.name().clone());
                }
            } else {
                visible.insert(name.to_owned(), Column::of(field));
            }
        }
        let uri = uri.and_then(|at| schema.fields().get(at)).map(Column::of);
        Self { visible, system, uri, split, order: Order::Stream, ..Self::new(stage) }
    }

    /// The rows of a stage that reads this one, as yet the same.
    pub(crate) fn child(&self, stage: &Name) -> Self {
        let mut ancestors = self.ancestors.clone();
        let own = self.visible.iter().chain(&self.system).map(|(name, column)| (name.clone(), column.clone()));
        ancestors.insert(self.stage.clone(), own.collect());
        Self { stage: stage.clone(), ancestors, tried: None, ..self.clone() }
    }

    /// Makes these rows children of others: they get ids of their own and an index, if their parents have ids.
    pub(crate) fn children_of(&mut self, parents: &Self) -> Option<ChildColumns> {
        self.system.clear();
        let children = parents.id().map(|parent| {
            let names = ChildColumns { id: self.flat_name("__id__"), index: self.flat_name("__index__") };
            let id = Column::of(&Self::field(&names.id, ID_FIELD_TYPE, false));
            let index = Column::of(&Self::field(&names.index, DataType::UInt32, false));
            let system = [("__id__", id), ("__index__", index), ("__parent_id__", parent.clone())];
            self.system.extend(system.map(|(name, column)| (name.to_owned(), column)));
            names
        });
        self.order = self.order.of_children(self.system.get("__index__"));
        children
    }

    /// The flat name of a column that this stage makes.
    pub(crate) fn flat_name(&self, name: &str) -> String {
        format!("{}.{name}", self.stage)
    }

    /// A column by bare name, or by `stage.name` of this stage or an ancestor.
    pub fn get(&self, name: &str) -> Option<&Column> {
        if let Some(column) = self.visible.get(name).or_else(|| self.system.get(name)) {
            return Some(column);
        }
        let (stage, column) = name.split_once('.')?;
        self.of_stage(stage, column)
    }

    /// A column of a stage by name.
    pub fn of_stage(&self, stage: &str, column: &str) -> Option<&Column> {
        if self.whole(stage) == self.stage.as_str() {
            return self.visible.get(column).or_else(|| self.system.get(column));
        }
        self.ancestor(stage).and_then(|columns| columns.get(column))
    }

    /// The columns of an ancestor.
    pub(crate) fn ancestor(&self, stage: &str) -> Option<&BTreeMap<String, Column>> {
        self.ancestors.get(self.whole(stage).as_ref())
    }

    /// The names of the ancestors that can be named.
    pub(crate) fn known_ancestors(&self) -> Vec<&str> {
        let own = |stage: &'_ Name| match &self.within {
            Some(within) => within.own(stage.as_str()).is_some(),
            None => !stage.as_str().contains('.'),
        };
        let names = self.ancestors.keys().filter(|stage| own(stage)).map(Name::as_str);
        names.map(|name| name.rsplit_once('.').map_or(name, |(_, own)| own)).collect()
    }

    /// The whole name of a stage that is named where these rows are read.
    fn whole<'a>(&self, stage: &'a str) -> Cow<'a, str> {
        self.within.as_ref().map_or(Cow::Borrowed(stage), |within| Cow::Owned(within.part(stage).to_string()))
    }

    /// Whether a name is that of a stage on both sides of a join.
    pub(crate) fn is_ambiguous(&self, stage: &str) -> bool {
        self.ambiguous.contains(self.whole(stage).as_ref())
    }

    /// Whether a name is that of this stage or of an ancestor.
    pub(crate) fn has_stage(&self, stage: &str) -> bool {
        self.whole(stage) == self.stage.as_str() || self.ancestor(stage).is_some()
    }

    /// The rows' id, where they have one.
    pub fn id(&self) -> Option<&Column> {
        self.system.get("__id__")
    }

    /// The names under which a mistaken one may have been meant.
    pub(crate) fn known(&self) -> Vec<&str> {
        self.visible.keys().map(String::as_str).collect()
    }

    /// Every column that can still be read, once, by flat name.
    pub(crate) fn readable(&self) -> IndexMap<&str, &Column> {
        let ancestors = self.ancestors.values().flat_map(BTreeMap::values);
        let order = match &self.order {
            Order::By(columns) => columns.as_slice(),
            Order::Stream | Order::Open => &[],
        };
        let known = self.visible.values().chain(self.system.values()).chain(ancestors);
        known.chain(&self.uri).chain(&self.split).chain(order).map(|c| (c.flat.as_str(), c)).collect()
    }

    /// The same columns, some of which the plan now has under another type.
    pub(crate) fn field(name: &str, data_type: DataType, nullable: bool) -> FieldRef {
        std::sync::Arc::new(Field::new(name, data_type, nullable))
    }
}
