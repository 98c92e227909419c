//! The document that a component's `describe` returns: what it holds.

use std::fmt;

use arrow::datatypes::{DataType, Field, Schema};
use dflow_boundary::type_name;
use dflow_pipeline::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    abi,
    error::WasmError,
    lower::goes_in,
    state::{controls, cut},
};

/// Bytes of a name or a version.
const LONGEST_NAME: usize = 256;

/// Capabilities whose answers nobody determines.
const OUTSIDE: [&str; 2] = ["http", "models"];

/// What is in a component. Keys that this host doesn't know are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The document's version.
    pub describe: u32,
    /// The version of `dflow:operator` it was built for.
    pub interface: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version (semver).
    pub version: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// Its operators.
    pub operators: Vec<OperatorDescription>,
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorDescription {
    /// Its name, unique in the component.
    pub name: String,
    /// Its version (semver), raised when an answer changes.
    pub version: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// Input ports in order.
    #[serde(default)]
    pub ports: Vec<PortDescription>,
    /// Whether columns beyond the ports are accepted under names of the pipeline's choice.
    #[serde(default)]
    pub any_columns: bool,
    /// The widest row shape.
    pub shape: RowShape,
    /// Whether it may emit row errors.
    #[serde(default)]
    pub rejects_rows: bool,
    /// JSON Schema of its settings.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Capabilities it can use.
    #[serde(default)]
    pub wants: Vec<String>,
    /// How determined it says its answers are.
    #[serde(default)]
    pub profile: Profile,
    /// Whether one row's results may flow on before the row is done.
    #[serde(default)]
    pub streaming: bool,
    /// Whether it is given text joined.
    #[serde(default)]
    pub joined_text: bool,
}

/// An input port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortDescription {
    /// Its name.
    pub name: String,
    /// The types it takes.
    pub types: Vec<PortType>,
    /// Whether it may be left out.
    #[serde(default)]
    pub optional: bool,
    /// One line.
    #[serde(default)]
    pub summary: String,
}

/// The name of a type that a port takes: one of the table in `wit/README.md`, or `any`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortType(pub String);

impl OperatorDescription {
    /// Whether it can use a capability.
    pub fn wants(&self, capability: &str) -> bool {
        self.wants.iter().any(|wanted| wanted == capability)
    }

    /// What the JSON Schema of its settings has against settings, if anything. An operator knows better what they mean, and says so first; but
    /// not all look at each.
    pub(crate) fn forbids(&self, settings: &serde_json::Value) -> Option<String> {
        // What isn't a schema forbids nothing.
        let schema = jsonschema::validator_for(&self.settings).ok()?;
        let wrong = schema.iter_errors(settings).next()?;
        let path = wrong.instance_path().to_string();
        let path = path.trim_start_matches('/').replace('/', ".");
        Some(if path.is_empty() { wrong.to_string() } else { format!("`{path}`: {wrong}") })
    }

    /// The schema in which columns of `input` go in. Errors name the column that its port doesn't take.
    pub(crate) fn goes_in(&self, input: &Schema) -> Result<Schema, String> {
        let any = [PortType("any".to_owned())];
        let fields = input.fields().iter().map(|field| {
            let port = self.ports.iter().find(|port| port.name == *field.name());
            let types = port.map_or(&any[..], |port| &port.types);
            match goes_in(types, field.data_type()) {
                Some(data_type) => Ok(Field::clone(field).with_data_type(data_type)),
                None => Err(format!(
                    "port `{}` takes {}, the column is of type {}",
                    field.name(),
                    types.iter().map(|t| t.0.as_str()).collect::<Vec<_>>().join(" or "),
                    type_name(field.data_type())
                )),
            }
        });
        let seed = (self.profile == Profile::Seeded).then(|| Ok(Field::new(SEED, DataType::UInt64, false)));
        Ok(Schema::new(fields.chain(seed).collect::<Result<Vec<_>, _>>()?))
    }
}

/// How determined an operator's answers are: what it is linked with, and how its code is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The answer depends on the row and the settings alone, to the last bit.
    Pure,
    /// It also depends on a seed that comes with the row.
    Seeded,
    /// It may differ from call to call. Who says nothing is of this kind.
    #[default]
    Open,
}

/// The column that holds the seed of each row, of a seeded operator the last one that goes in: uint64.
pub const SEED: &str = "__seed__";

/// How many rows come of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowShape {
    /// Exactly one (or an error).
    Map,
    /// At most one.
    Filter,
    /// Any number.
    Expand,
}

impl RowShape {
    /// The shape that `open` names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "map" => Self::Map,
            "filter" => Self::Filter,
            "expand" => Self::Expand,
            _ => return None,
        })
    }

    /// Whether an operator that says `self` at most may open as `other`.
    pub(crate) fn includes(self, other: Self) -> bool {
        self == other || self == Self::Expand || (self == Self::Filter && other == Self::Map)
    }
}

impl fmt::Display for RowShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Map => "map",
            Self::Filter => "filter",
            Self::Expand => "expand",
        })
    }
}

impl Description {
    /// Reads and checks the document.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, WasmError> {
        let wrong = |e: String| WasmError::plugin(format!("plugin `{name}`: its description {}", cut(&e, Bytes(1024))));
        let description: Self = serde_json::from_str(text).map_err(|e| wrong(format!("can't be read: {e}")))?;
        if description.describe != 1 {
            return Err(WasmError::plugin(format!(
                "plugin `{name}`: its description is of version {}, this host reads version 1",
                description.describe
            )));
        }
        if !abi::speaks(&description.interface) {
            return Err(abi::unspoken(name, &cut(&description.interface, Bytes(LONGEST_NAME as u64))));
        }
        description.check().map_err(wrong)?;
        for operator in description.operators.iter().filter(|operator| operator.profile != Profile::Open) {
            if let Some(wanted) = operator.wants.iter().find(|wanted| OUTSIDE.contains(&wanted.as_str())) {
                return Err(WasmError::plugin(format!(
                    "plugin `{name}`: its operator `{}` wants `{wanted}`, and says that its answers are determined",
                    operator.name
                ))
                .hint("what asks others is of the profile `open`"));
            }
        }
        Ok(description)
    }

    /// That its names can be shown, and told apart. Errors are phrases that follow `its description`.
    fn check(&self) -> Result<(), String> {
        let shown = |what: &str, name: &str| match name {
            "" => Err(format!("has an empty {what}")),
            name if name.len() > LONGEST_NAME || name.chars().any(controls) => {
                Err(format!("has the {what} {name:?}, which is none"))
            }
            _ => Ok(()),
        };
        shown("name", &self.plugin)?;
        shown("version", &self.version)?;
        for (i, operator) in self.operators.iter().enumerate() {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            shown("operator", &operator.name)?;
            shown("version", &operator.version)?;
            if !operator.name.chars().all(word) {
                return Err(format!("has the operator `{}`, which is no word", operator.name));
            }
            if self.operators[..i].iter().any(|earlier| earlier.name == operator.name) {
                return Err(format!("has two operators `{}`", operator.name));
            }
            operator.ports.iter().try_for_each(|port| shown("port", &port.name))?;
        }
        Ok(())
    }

    /// An operator by name.
    pub fn operator(&self, name: &str) -> Option<&OperatorDescription> {
        self.operators.iter().find(|o| o.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_by_both_numbers() {
        let text = r#"{"describe":1,"interface":"0.9.0","plugin":"x","version":"1.0.0","operators":[]}"#;
        let error = Description::parse("x", text).expect_err("0.9.0 isn't ours").to_string();
        assert!(error.contains("0.9.0") && error.contains("0.1.0"), "{error}");
    }
}
