//! `command`: a program that is given rows and answers with rows.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use datafusion::{
    arrow::{
        datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
        ipc::writer::StreamWriter,
    },
    logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder},
};
use dflow_operators::{CommandNode, CommandSpec, Health, OperatorNode, OperatorSpec, Program, Reads, Worker};
use dflow_pipeline::{At, BatchLimits, Command, CommandRows, Mistake, Name, OnError, Stage};
use dflow_wasm::{PortType, RowShape, goes_in};

use crate::{
    Environment,
    columns::{Column, Columns, SYSTEM, flat},
    order::{Order, upwards},
    source::schema,
    steps::{Step, planning},
    types::type_text,
};

/// The version of what host and program say to each other.
const PROTOCOL: &str = "1";

impl Step {
    /// `command = ["python3", "train.py"]`
    pub(crate) fn command(
        &self,
        name: &Name,
        stage: &Stage,
        written: &Command,
        environment: &Environment,
        batch: BatchLimits,
    ) -> Result<(Self, Option<RowShape>), Vec<Mistake>> {
        let at = At::stage(name);
        let mut mistakes = Vec::new();
        if !environment.allow_commands {
            let what = format!("stage `{name}` runs a program, which can do all that you can: nothing keeps it in");
            mistakes.push(Mistake::new(at.key("command"), what).hint("`--allow-commands` lets it"));
        }
        let whole = written.rows == CommandRows::Whole;
        if stage.on_error == OnError::Null && written.rows != CommandRows::Map {
            let what = "`on_error = \"null\"` needs one row for each row, which only `rows = \"map\"` gives";
            mistakes.push(Mistake::new(at.key("on_error"), what).hint("`skip` or `dead_letter` drop the row"));
        }
        let ports = self.command_ports(&at, written).map_err(|more| mistakes.extend(more)).unwrap_or_default();
        let returns = schema(&at.key("returns"), &written.returns).map_err(|more| mistakes.extend(more));
        let Ok(returns) = returns else { return Err(mistakes) };
        let mut columns = if whole { Columns::new(name) } else { self.columns.child(name) };
        let new = self.new_columns(&at, &returns, &mut columns, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let input = input(name, written, &ports, &returns).map_err(planning(at.key("command")))?;
        let named = (name.clone(), written.line.clone(), folder(environment, written));
        let program = Arc::new(Program::new(named, (input, returns), written.rows, stage.timeout, type_text));
        let reads: Vec<_> = ports.into_iter().map(|(_, column, _)| flat(&column)).collect();
        if whole {
            columns.order = Order::Stream;
            let input = self.in_their_order().map_err(planning(at.clone()))?;
            let spec = Arc::new(CommandSpec { program, columns: new, batch });
            let node = Arc::new(CommandNode::try_new(spec, reads, input).map_err(planning(at))?);
            return Ok((Self { plan: LogicalPlan::Extension(Extension { node }), columns }, None));
        }
        let expands = written.rows == CommandRows::Expand;
        let children = if expands { columns.children_of(&self.columns) } else { None };
        let operator = Worker::Program(program);
        let spec = OperatorSpec {
            stage: name.clone(),
            operator,
            columns: new,
            on_error: stage.on_error,
            retries: 0,
            batch,
            children,
            key: None,
            models: None,
            health: Health::default(),
        };
        let reads = Reads {
            ports: reads,
            id: self.columns.id().map(Column::expr),
            uri: self.columns.uri.as_ref().map(Column::expr),
            attempts: self.columns.tried.as_ref().map(Column::expr),
            kept: Vec::new(),
        };
        let node = OperatorNode::try_new(Arc::new(spec), reads, self.plan.clone()).map_err(planning(at))?;
        let shape = node.spec.shape();
        Ok((Self { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), columns }, Some(shape)))
    }

    /// What goes in: its name there, its flat name, its type.
    fn command_ports(&self, at: &At, written: &Command) -> Result<Vec<(String, String, DataType)>, Vec<Mistake>> {
        let any = [PortType("any".to_owned())];
        let all: Vec<(&String, &String)> = match written.input.is_empty() {
            true => self.columns.visible.keys().map(|name| (name, name)).collect(),
            false => written.input.iter().collect(),
        };
        let (mut ports, mut mistakes) = (Vec::new(), Vec::new());
        for (port, column) in all {
            let place = at.key("in").key(port);
            match self.columns.get(column) {
                None => mistakes.push(self.unknown_column(place, column)),
                Some(column) => {
                    let data_type = goes_in(&any, column.data_type()).unwrap_or_else(|| column.data_type().clone());
                    ports.push((port.clone(), column.flat.clone(), data_type));
                }
            }
        }
        if mistakes.is_empty() { Ok(ports) } else { Err(mistakes) }
    }

    /// The columns that a program adds, under the plan's names.
    fn new_columns(
        &self,
        at: &At,
        returns: &SchemaRef,
        columns: &mut Columns,
        mistakes: &mut Vec<Mistake>,
    ) -> Vec<FieldRef> {
        let mut new = Vec::new();
        for field in returns.fields() {
            let ours = field.name();
            if columns.visible.contains_key(ours) || SYSTEM.contains(&ours.as_str()) {
                let what = format!("the new column `{ours}` of this command is there already");
                let mistake = Mistake::new(at.key("returns").key(ours), what);
                mistakes.push(mistake.hint("give it another name, or drop the other one with `select` before"));
                continue;
            }
            let planned = Columns::field(&columns.flat_name(ours), field.data_type().clone(), true);
            columns.visible.insert(ours.clone(), Column::of(&planned));
            new.push(planned);
        }
        new
    }

    /// The same rows in an order that doesn't depend on how they were dealt, where they have one.
    fn in_their_order(&self) -> datafusion::common::Result<LogicalPlan> {
        let by = match (&self.columns.order, self.columns.id()) {
            (Order::Stream, _) | (Order::Open, None) => return Ok(self.plan.clone()),
            (Order::By(columns), _) => columns.clone(),
            (Order::Open, Some(id)) => vec![id.clone()],
        };
        LogicalPlanBuilder::from(self.plan.clone()).sort(upwards(&by).collect::<Vec<_>>())?.build()
    }
}

/// The columns that a program is given. In their metadata is what it has to know.
fn input(
    name: &Name,
    written: &Command,
    ports: &[(String, String, DataType)],
    returns: &Schema,
) -> datafusion::common::Result<SchemaRef> {
    let fields: Vec<Field> =
        ports.iter().map(|(port, _, data_type)| Field::new(port, data_type.clone(), true)).collect();
    let plain = |field: &FieldRef| {
        let any = [PortType("any".to_owned())];
        let data_type = goes_in(&any, field.data_type()).unwrap_or_else(|| field.data_type().clone());
        Field::new(field.name(), data_type, true)
    };
    let returns = Schema::new(returns.fields().iter().map(plain).collect::<Vec<_>>());
    // A stream begins with the message that says its columns.
    let returns = StreamWriter::try_new(Vec::new(), &returns)?;
    let returns: String = returns.get_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let rows =
        serde_json::to_value(written.rows).map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
    let settings = serde_json::Value::Object(written.with.clone());
    let metadata = [
        ("dflow.protocol", PROTOCOL.to_owned()),
        ("dflow.stage", name.to_string()),
        ("dflow.rows", rows.as_str().unwrap_or_default().to_owned()),
        ("dflow.settings", settings.to_string()),
        ("dflow.returns", returns),
    ];
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

/// Where a command runs.
pub(crate) fn folder(environment: &Environment, written: &Command) -> PathBuf {
    if written.folder.is_empty() { environment.folder.clone() } else { environment.folder.join(&written.folder) }
}

/// The files that a command line names, as they are written there: those in the folder in which it runs, or below.
pub(crate) fn files(environment: &Environment, written: &Command) -> Vec<(String, PathBuf)> {
    let folder = folder(environment, written);
    let Ok(real) = folder.canonicalize() else { return Vec::new() };
    let (program, arguments) =
        (written.line.iter().take(1).filter(|word| word.contains('/')), written.line.iter().skip(1));
    let below = |word: &String| {
        let path = folder.join(word).canonicalize().ok()?;
        (path.is_file() && path.starts_with(&real)).then(|| (word.clone(), path))
    };
    program.chain(arguments).filter_map(below).collect()
}
