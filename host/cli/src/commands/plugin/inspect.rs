//! `dflow-host plugin inspect`: all about one plugin.

use std::sync::Arc;

use dflow_pipeline::{Bytes, exit};
use dflow_run::{OperatorDescription, Plugin, Profile, SCHEMA_VERSION};
use serde_json::json;

use super::{component, workbench};
use crate::{
    args::InspectArgs,
    failure::Failure,
    outside::Outside,
    schema,
    table::{Align, Table},
    terminal::Terminal,
};

/// Shows a plugin that ships with this host, or a component at a path.
pub(crate) fn inspect(args: &InspectArgs, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let plugin = workbench(outside, terminal)?.load(&component(&args.plugin, outside)?)?;
    let text = if args.json { format!("{}\n", document(&plugin)) } else { shown(&plugin, terminal.stdout_width()) };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

fn document(plugin: &Plugin) -> serde_json::Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "name": plugin.name(),
        "digest": plugin.digest(),
        "size": plugin.size(),
        "imports": plugin.imports(),
        "description": plugin.description(),
    })
}

fn shown(plugin: &Plugin, width: Option<usize>) -> String {
    let description = plugin.description();
    let mut text = format!("{} {}", plugin.name(), description.version);
    if !description.summary.is_empty() {
        text.push_str(&format!(": {}", description.summary));
    }
    text.push_str(&format!("\n  component  {}, {}\n", Bytes(plugin.size()), plugin.digest()));
    text.push_str(&format!("  interface  dflow:operator {}\n", description.interface));
    let imports = match plugin.imports() {
        [] => "nothing".to_owned(),
        imports => imports.join(", "),
    };
    text.push_str(&format!("  imports    {imports}\n"));
    text.push_str(&format!("  reaches    {}\n", reaches(plugin.imports())));
    for operator in &description.operators {
        text.push('\n');
        text.push_str(&shown_operator(plugin.name(), operator, width));
    }
    text
}

/// What a component can do beyond its rows with what it imports.
fn reaches(imports: &[String]) -> String {
    let imports = |begin: &str| imports.iter().any(|import| import.starts_with(begin));
    let mut words = Vec::new();
    if imports("dflow:operator/http@") {
        words.push("servers, as far as `grant.http` of the pipeline names them");
    }
    if imports("dflow:operator/models@") {
        words.push("models, as far as `grant.models` of the pipeline names them");
    }
    if imports("dflow:operator/blobs@") {
        words.push("the files that go into its ports of type `file`, part by part");
    }
    if words.is_empty() {
        words.push("nothing: rows come in, results and words for the log go out");
    }
    if imports("wasi:") {
        words.push("WASI is there and inert: no files, no network, no environment, clocks that stand still, one fixed random stream");
    }
    words.join("; ")
}

fn shown_operator(plugin: &str, operator: &OperatorDescription, width: Option<usize>) -> String {
    let mut text = format!("{plugin}/{} {}", operator.name, operator.version);
    if !operator.summary.is_empty() {
        text.push_str(&format!(": {}", operator.summary));
    }
    let mut words = vec![match operator.shape {
        dflow_run::RowShape::Map => "map: a row for each row".to_owned(),
        dflow_run::RowShape::Filter => "filter: at most a row for each row".to_owned(),
        dflow_run::RowShape::Expand => "expand: any number of rows for each row".to_owned(),
    }];
    words.push(
        match operator.profile {
            Profile::Pure => "pure",
            Profile::Seeded => "seeded: its answer also depends on a seed that comes with the row",
            Profile::Open => "open: its answer may differ from call to call",
        }
        .to_owned(),
    );
    if operator.rejects_rows {
        words.push("may reject rows".to_owned());
    }
    if operator.streaming {
        words.push("streams".to_owned());
    }
    if !operator.wants.is_empty() {
        words.push(format!("wants {}", operator.wants.join(", ")));
    }
    text.push_str(&format!("\n  {}\n", words.join("; ")));

    let mut ports = Table::new(&[("  in", Align::Left), ("takes", Align::Left), ("", Align::Left)]);
    for port in &operator.ports {
        let types: Vec<_> = port.types.iter().map(|t| t.0.as_str()).collect();
        let optional = if port.optional { " (optional)" } else { "" };
        ports.row([format!("  {}", port.name), format!("{}{optional}", types.join(" or ")), port.summary.clone()]);
    }
    if operator.any_columns {
        ports.row([
            "  …".to_owned(),
            "any".to_owned(),
            "more columns, under names of the pipeline's choice".to_owned(),
        ]);
    }
    if !operator.ports.is_empty() || operator.any_columns {
        text.push_str(&ports.lines(width));
    }

    let settings = schema::settings(&operator.settings);
    if !settings.is_empty() {
        let mut table =
            Table::new(&[("  with", Align::Left), ("type", Align::Left), ("default", Align::Left), ("", Align::Left)]);
        for setting in settings {
            table.row([format!("  {}", setting.name), setting.what, setting.default, setting.description]);
        }
        text.push_str(&table.lines(width));
    }
    text
}
