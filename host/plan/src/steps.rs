//! One stage after another as fragments of one logical plan.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema},
    common::TableReference,
    datasource::provider_as_source,
    execution::session_state::SessionState,
    logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder},
};
use dflow_io::Stores;
use dflow_operators::{
    Health, MeterNode, OperatorNode, OperatorSpec, Parts, ReadBy, Reads, SourceSpec, StageModels, Worker,
};
use dflow_pipeline::{At, BatchLimits, Mistake, Name, OnError, Stage, Use};
use dflow_wasm::{Asks, OperatorDescription, Plugin, PortType, Profile, RowShape, Within, takes_files};
use indexmap::IndexMap;

use crate::{
    columns::{Column, Columns, SYSTEM, ambiguous, flat},
    expression::expression,
    hashes::id_of_values,
    order::{Order, upwards},
    problems::{of_sql, of_wasm},
    saved::KEY_COLUMN,
    source::SourceTable,
    types::type_text,
    verbs::script::own_words,
};

/// A stage that is planned: the plan that gives its rows, and what they look like.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) plan: LogicalPlan,
    pub(crate) columns: Columns,
}

pub(crate) type Planned = Result<Step, Vec<Mistake>>;

/// Named columns, and the expressions of those among them that are new in the plan.
type Expressions = (IndexMap<String, Column>, Vec<Expr>);

/// What DataFusion says about a key, as a mistake there.
pub(crate) fn planning(at: At) -> impl Fn(datafusion::error::DataFusionError) -> Vec<Mistake> {
    move |e| vec![of_sql(at.clone(), &e)]
}

/// What an operator is opened with, beside what the file says of its stage.
pub(crate) struct Opening<'a> {
    pub(crate) plugin: &'a Arc<Plugin>,
    pub(crate) batch: BatchLimits,
    /// Whether it may recall what it gave for a row before.
    pub(crate) recalls: bool,
    /// Where it reads parts of files.
    pub(crate) stores: &'a Stores,
    /// The models that its plugin is granted.
    pub(crate) models: Option<StageModels>,
    /// What people call it, where that isn't the plugin's operator.
    pub(crate) called: Option<String>,
    /// The stage's verb.
    pub(crate) keyword: &'static str,
}

impl<'a> Opening<'a> {
    /// As `use` opens it.
    pub(crate) fn new(plugin: &'a Arc<Plugin>, stores: &'a Stores) -> Self {
        let batch = BatchLimits::default();
        Self { plugin, batch, recalls: false, stores, models: None, called: None, keyword: "use" }
    }
}

impl Step {
    /// Counts what leaves this stage.
    pub(crate) fn metered(self) -> Planned {
        let failed = planning(At::stage(&self.columns.stage));
        let node = Arc::new(MeterNode::try_new(self.columns.stage.clone(), self.plan).map_err(failed)?);
        Ok(Self { plan: LogicalPlan::Extension(Extension { node }), columns: self.columns })
    }

    /// The same rows for the stage that reads them.
    pub(crate) fn read_by(&self, reader: &ReadBy) -> Self {
        let mut step = self.clone();
        if let LogicalPlan::Extension(extension) = &mut step.plan
            && let Some(meter) = extension.node.as_any().downcast_ref::<MeterNode>()
        {
            extension.node = Arc::new(meter.read_by(reader.clone()));
        }
        step
    }

    /// A source.
    pub(crate) fn source(spec: SourceSpec) -> Planned {
        let columns = Columns::of_source(&spec.stage, &spec.schema, spec.reader.uri_column());
        Ok(Self { plan: Self::scan(spec)?, columns })
    }

    /// The rows of a source under its flat names.
    pub(crate) fn scan(spec: SourceSpec) -> Result<LogicalPlan, Vec<Mistake>> {
        let at = At::stage(&spec.stage);
        let names: Vec<String> = spec.schema.fields().iter().map(|f| f.name().clone()).collect();
        let stage = spec.stage.clone();
        let table = provider_as_source(Arc::new(SourceTable(Arc::new(spec))));
        let scan = LogicalPlanBuilder::scan(TableReference::bare(stage.as_str()), table, None)
            .map_err(planning(at.clone()))?;
        // Flat names have no table, so that nothing above can take one for another.
        let scanned = scan.schema().columns();
        let flat = scanned.into_iter().zip(&names).map(|(column, name)| Expr::Column(column).alias(name));
        scan.project(flat.collect::<Vec<_>>()).and_then(LogicalPlanBuilder::build).map_err(planning(at))
    }

    /// `filter = "condition"`
    pub(crate) fn filter(&self, state: &SessionState, name: &Name, condition: &str) -> Planned {
        let at = At::stage(name).key("filter");
        let predicate = expression(state, &self.columns, self.plan.schema(), &at, condition).map_err(|m| vec![m])?;
        let data_type = predicate.get_type(self.plan.schema()).map_err(planning(at.clone()))?;
        if !matches!(data_type, DataType::Boolean | DataType::Null) {
            return Err(vec![Mistake::new(
                at,
                format!("the condition is of type {}, a filter needs bool", type_text(&data_type)),
            )]);
        }
        let plan = LogicalPlanBuilder::from(self.plan.clone())
            .filter(predicate)
            .and_then(LogicalPlanBuilder::build)
            .map_err(planning(at))?;
        Ok(Self { plan, columns: self.columns.child(name) })
    }

    /// `limit = n`
    pub(crate) fn limit(&self, name: &Name, rows: u64) -> Planned {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let mut columns = self.columns.child(name);
        let all = LogicalPlanBuilder::from(self.plan.clone());
        let plan = match &self.columns.order {
            Order::By(order) => {
                columns.order = Order::Stream;
                all.sort_with_limit(upwards(order).collect::<Vec<_>>(), Some(rows))
            }
            Order::Stream | Order::Open => all.limit(0, Some(rows)),
        };
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(planning(At::stage(name).key("limit")))?;
        Ok(Self { plan, columns })
    }

    /// `set = { name = "expression" }`: columns added or replaced, in the place of those they replace.
    pub(crate) fn set(&self, state: &SessionState, name: &Name, set: &IndexMap<String, String>) -> Planned {
        let mut columns = self.columns.child(name);
        let (made, new) = self.expressions(state, &At::stage(name).key("set"), set, &columns)?;
        columns.visible.extend(made);
        self.with_new(name, new, columns)
    }

    /// `select = { name = "expression" }`: these columns and no others are visible.
    pub(crate) fn select(&self, state: &SessionState, name: &Name, select: &IndexMap<String, String>) -> Planned {
        let mut columns = self.columns.child(name);
        let (made, new) = self.expressions(state, &At::stage(name).key("select"), select, &columns)?;
        columns.visible = made;
        self.with_new(name, new, columns)
    }

    /// Plans named expressions: a mere column keeps its place in the plan, everything else is a new one.
    fn expressions(
        &self,
        state: &SessionState,
        at: &At,
        written: &IndexMap<String, String>,
        columns: &Columns,
    ) -> Result<Expressions, Vec<Mistake>> {
        let (mut mistakes, mut made, mut new) = (Vec::new(), IndexMap::new(), Vec::new());
        for (column, text) in written {
            let place = at.key(column);
            if SYSTEM.contains(&column.as_str()) {
                mistakes.push(Mistake::new(place, format!("`{column}` is made by dflow and can't be set")));
                continue;
            }
            if let Some(existing) = self.columns.get(text.trim()) {
                made.insert(column.clone(), existing.clone());
                continue;
            }
            let planned = expression(state, &self.columns, self.plan.schema(), &place, text)
                .and_then(|expr| Ok((expr.to_field(self.plan.schema()).map_err(|e| of_sql(place, &e))?.1, expr)));
            match planned {
                Ok((field, expr)) => {
                    let flat_name = columns.flat_name(column);
                    let field = Columns::field(&flat_name, field.data_type().clone(), field.is_nullable());
                    new.push(expr.alias(&flat_name));
                    made.insert(column.clone(), Column { flat: flat_name, field, bytes: None, file: None });
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok((made, new)) } else { Err(mistakes) }
    }

    /// The plan with new columns beside all that it has.
    pub(crate) fn with_new(&self, name: &Name, new: Vec<Expr>, columns: Columns) -> Planned {
        if new.is_empty() {
            return Ok(Self { plan: self.plan.clone(), columns });
        }
        let all = self.plan.schema().fields().iter().map(|f| flat(f.name())).chain(new).collect::<Vec<_>>();
        let plan = LogicalPlanBuilder::from(self.plan.clone()).project(all).and_then(LogicalPlanBuilder::build);
        Ok(Self { plan: plan.map_err(planning(At::stage(name)))?, columns })
    }

    /// `use = "plugin/operator"`
    pub(crate) async fn operator(
        &self,
        name: &Name,
        stage: &Stage,
        written: &Use,
        opening: Opening<'_>,
    ) -> Result<(Self, RowShape), Vec<Mistake>> {
        let at = At::stage(name);
        let Opening { plugin, batch, recalls, stores, models, called, keyword } = opening;
        let label = called.as_ref().map(|called| format!("stage `{name}`: `{called}`"));
        let Some(described) = plugin.description().operator(&written.operator) else {
            let known: Vec<_> = plugin.description().operators.iter().map(|o| o.name.as_str()).collect();
            return Err(vec![Mistake::unknown(
                at.key("use"),
                &format!("operator of plugin `{}`", plugin.name()),
                &written.operator,
                &known,
            )]);
        };
        let mut mistakes = unknown_settings(&at, described, written);
        let ports = match self.ports(&at, described, written) {
            Ok(ports) => ports,
            Err(more) => {
                mistakes.extend(more);
                return Err(mistakes);
            }
        };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let input: Vec<Field> =
            ports.iter().map(|(port, _, data_type)| Field::new(port, data_type.clone(), true)).collect();
        let input = Schema::new(input);
        let models = models.filter(|_| described.wants("models"));
        let asks = models.clone().map(|models| Arc::new(models) as Arc<dyn Asks>);
        let within = Within { time: stage.timeout, blobs: Some(Arc::new(Parts(stores.clone()))), models: asks, label };
        let opened = plugin.open_within(name.as_str(), &written.operator, &written.with, &input, within).await;
        let operator = opened.map_err(|e| {
            vec![match keyword {
                "use" => of_wasm(settings_place(&at, written, &e.message), &e),
                keyword => own_words(at.key(keyword), &e),
            }]
        })?;
        let mut columns = self.columns.child(name);
        let mut fields = Vec::new();
        for output in written.output.keys() {
            if operator.output().field_with_name(output).is_err() {
                let known: Vec<_> = operator.output().fields().iter().map(|f| f.name().as_str()).collect();
                mistakes.push(Mistake::unknown(
                    at.key("out").key(output),
                    &format!("output of `{}/{}`", plugin.name(), described.name),
                    output,
                    &known,
                ));
            }
        }
        if stage.on_error == OnError::Null && operator.shape() != RowShape::Map {
            let what = format!(
                "`on_error = \"null\"` needs one row for each row, `{}/{}` is {} here",
                plugin.name(),
                described.name,
                operator.shape()
            );
            mistakes.push(Mistake::new(at.key("on_error"), what).hint("`skip` or `dead_letter` drop the row"));
        }
        for field in operator.output().fields() {
            let ours = written.output.get(field.name()).unwrap_or(field.name());
            let flat_name = columns.flat_name(ours);
            let nullable = field.is_nullable() || stage.on_error == OnError::Null;
            let planned = Columns::field(&flat_name, field.data_type().clone(), nullable);
            if columns.visible.contains_key(ours) || SYSTEM.contains(&ours.as_str()) {
                let maker = called.clone().unwrap_or_else(|| format!("{}/{}", plugin.name(), described.name));
                let what = format!("the new column `{ours}` of `{maker}` is there already");
                let place = if written.output.contains_key(field.name()) {
                    at.key("out").key(field.name())
                } else {
                    at.key(keyword)
                };
                mistakes.push(Mistake::new(place, what).hint(match keyword {
                    "use" => format!("give it another name: `out = {{ {} = \"…\" }}`", field.name()),
                    _ => "give it another name, or drop the other one with `select` before".to_owned(),
                }));
                continue;
            }
            columns.visible.insert(ours.clone(), Column::of(&planned));
            fields.push(planned);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let expands = operator.shape() == RowShape::Expand;
        let children = if expands { columns.children_of(&self.columns) } else { None };
        let operator = Worker::Operator(operator);
        let (on_error, retries) = (stage.on_error, stage.retries);
        if described.profile == Profile::Seeded && self.columns.id().is_none() {
            let what = format!(
                "`{}/{}` wants a seed for each row, made of its id, and these rows have none",
                plugin.name(),
                described.name
            );
            return Err(vec![
                Mistake::new(at.key("use"), what).hint("`id = \"…\"` in the stage above names a column as the id"),
            ]);
        }
        let ports: Vec<Expr> = ports.into_iter().map(|(_, column, _)| flat(&column)).collect();
        // Of one parent's children it must be known which are the first.
        let recalls = recalls
            && described.profile == Profile::Pure
            && !described.ports.iter().any(|port| takes_files(&port.types))
            && on_error != OnError::Null
            && (children.is_some() || !expands);
        let key = recalls.then(|| columns.flat_name(KEY_COLUMN));
        let keyed = key.iter().map(|key| id_of_values("key", ports.clone()).alias(key)).collect();
        let input = self.with_new(name, keyed, self.columns.clone())?.plan;
        let stage = name.clone();
        let health = Health::default();
        let spec =
            OperatorSpec { stage, operator, columns: fields, on_error, retries, batch, children, key, models, health };
        let reads = Reads {
            ports,
            id: self.columns.id().map(Column::expr),
            uri: self.columns.uri.as_ref().map(Column::expr),
            attempts: self.columns.tried.as_ref().map(Column::expr),
            kept: Vec::new(),
        };
        let node = OperatorNode::try_new(Arc::new(spec), reads, input).map_err(planning(at))?;
        let shape = node.spec.shape();
        Ok((Self { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), columns }, shape))
    }

    /// The columns that go into an operator's ports: port, flat name, type.
    fn ports(
        &self,
        at: &At,
        described: &OperatorDescription,
        written: &Use,
    ) -> Result<Vec<(String, String, DataType)>, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut ports = Vec::new();
        let operator = format!("{}/{}", written.plugin, described.name);
        for port in &described.ports {
            let asked = written.input.get(&port.name);
            let place = if asked.is_some() { at.key("in").key(&port.name) } else { at.key("use") };
            match self.columns.get(asked.unwrap_or(&port.name)) {
                Some(column) => match take(column, &port.types) {
                    Some((flat, data_type)) => ports.push((port.name.clone(), flat, data_type)),
                    None => {
                        let types: Vec<_> = port.types.iter().map(|t| t.0.as_str()).collect();
                        let what = format!(
                            "port `{}` of `{operator}` takes {}, `{}` is {}",
                            port.name,
                            types.join(" or "),
                            asked.unwrap_or(&port.name),
                            type_text(column.data_type())
                        );
                        mistakes.push(Mistake::new(place, what));
                    }
                },
                None if port.optional && asked.is_none() => {}
                None => mistakes.push(match asked {
                    Some(asked) => self.unknown_column(place, asked),
                    None => Mistake::new(
                        place,
                        format!("port `{}` of `{operator}` needs a column, and there is no column `{0}`", port.name),
                    )
                    .hint(format!(
                        "say which: `in = {{ {} = \"…\" }}`; there is: {}",
                        port.name,
                        self.columns.known().join(", ")
                    )),
                }),
            }
        }
        let declared = |name: &str| described.ports.iter().any(|p| p.name == name);
        let more: Vec<(&String, &String)> = written.input.iter().filter(|(port, _)| !declared(port)).collect();
        if !described.any_columns {
            let known: Vec<_> = described.ports.iter().map(|p| p.name.as_str()).collect();
            mistakes.extend(more.iter().map(|(port, _)| {
                Mistake::unknown(at.key("in").key(port), &format!("port of `{operator}`"), port, &known)
            }));
        } else {
            let any = [PortType("any".to_owned())];
            let all = self.columns.visible.keys().map(|name| (name, name));
            let more: Vec<_> = if written.input.is_empty() { all.collect() } else { more };
            for (port, column) in more {
                match self.columns.get(column).map(|c| take(c, &any)) {
                    Some(Some((flat, data_type))) => ports.push((port.clone(), flat, data_type)),
                    Some(None) => {
                        mistakes.push(Mistake::later(at.key("in").key(port), format!("`{column}`'s type at a port")))
                    }
                    None => mistakes.push(self.unknown_column(at.key("in").key(port), column)),
                }
            }
        }
        if mistakes.is_empty() { Ok(ports) } else { Err(mistakes) }
    }

    /// The mistake that a name isn't that of a column.
    pub(crate) fn unknown_column(&self, at: At, name: &str) -> Mistake {
        let Some((stage, column)) = name.split_once('.') else {
            return Mistake::unknown(at, "column", name, &self.columns.known());
        };
        if self.columns.is_ambiguous(stage) {
            return ambiguous(at, stage);
        }
        match self.columns.ancestor(stage) {
            Some(columns) => Mistake::unknown(
                at,
                &format!("column of `{stage}`"),
                column,
                &columns.keys().map(String::as_str).collect::<Vec<_>>(),
            ),
            None => Mistake::unknown(at, "stage above", stage, &self.columns.known_ancestors()),
        }
    }
}

/// The column's form that a port takes: content of files goes as the file itself where that is accepted, else as text, else as bytes.
pub(crate) fn take(column: &Column, types: &[PortType]) -> Option<(String, DataType)> {
    let (file, types): (Vec<_>, Vec<_>) = types.iter().cloned().partition(|t| takes_files(std::slice::from_ref(t)));
    let is_bytes = matches!(column.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let as_file = column.file.as_ref().or(column.bytes.as_ref()).or(is_bytes.then_some(&column.flat));
    if let (Some(flat), Some(data_type)) = (as_file, dflow_wasm::goes_in(&file, &DataType::Binary)) {
        return Some((flat.clone(), data_type));
    }
    let types = types.as_slice();
    if let Some(data_type) = dflow_wasm::goes_in(types, column.data_type()) {
        return Some((column.flat.clone(), data_type));
    }
    let bytes = column.bytes.as_ref()?;
    dflow_wasm::goes_in(types, &DataType::Binary).map(|data_type| (bytes.clone(), data_type))
}

/// Settings that the operator's schema doesn't have.
fn unknown_settings(at: &At, described: &OperatorDescription, written: &Use) -> Vec<Mistake> {
    let Some(properties) = described.settings.get("properties").and_then(serde_json::Value::as_object) else {
        return Vec::new();
    };
    if described.settings.get("additionalProperties") != Some(&serde_json::Value::Bool(false)) {
        return Vec::new();
    }
    let known: Vec<_> = properties.keys().map(String::as_str).collect();
    let unknown = written.with.keys().filter(|key| !properties.contains_key(*key));
    unknown
        .map(|key| {
            Mistake::unknown(
                at.key("with").key(key),
                &format!("setting of `{}/{}`", written.plugin, described.name),
                key,
                &known,
            )
        })
        .collect()
}

/// Where a refusal of `open` points: the setting that it names, if it names one.
fn settings_place(at: &At, written: &Use, message: &str) -> At {
    let named = |key: &&String| message.contains(&format!("`{key}`"));
    match written.with.keys().find(named) {
        Some(key) => at.key("with").key(key),
        None if !written.with.is_empty() && message.contains("settings") => at.key("with"),
        None => at.key("use"),
    }
}
