//! A plugin: operators under one name, as the host sees them.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use serde_json::{Value, json};

use crate::{Description, Emitter, Failure, Opened, Operator, boundary};

/// The version of the WIT package that this crate was written for.
pub const INTERFACE: &str = "0.1.1";

/// A plugin: what [`export!`](crate::export) makes of its arguments.
pub struct Plugin {
    /// The plugin's name.
    pub name: &'static str,
    /// Its version, semver.
    pub version: &'static str,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// Its operators.
    pub operators: &'static [OperatorEntry],
}

/// An operator of a plugin, its type erased.
pub struct OperatorEntry {
    describe: fn() -> (Description, Value),
    open: fn(&str, &Schema) -> Result<OpenOperator, Failure>,
}

/// An operator that is open, and what `open` said.
pub type OpenOperator = (Box<dyn Running>, Opened);

/// An operator that is open: what is left of [`Operator`] without its type.
pub trait Running {
    /// See [`Operator::process`].
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure>;
}

impl<O: Operator> Running for O {
    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        Operator::process(self, input, emit)
    }
}

impl OperatorEntry {
    /// The entry of operator `O`.
    pub const fn of<O: Operator>() -> Self {
        Self { describe: || (O::describe(), schemars::schema_for!(O::Settings).to_value()), open: open::<O> }
    }

    /// What the operator says about itself.
    pub fn describe(&self) -> Description {
        (self.describe)().0
    }

    /// The JSON Schema of the operator's settings.
    pub fn settings(&self) -> Value {
        (self.describe)().1
    }

    /// Opens the operator with settings given as the text of a JSON object.
    ///
    /// # Errors
    ///
    /// As [`Operator::open`]; a setting that isn't what its type says is named by its path; an answer of `open` that breaks the
    /// contract is [`Failure::Other`].
    pub fn open(&self, settings: &str, input: &Schema) -> Result<OpenOperator, Failure> {
        (self.open)(settings, input)
    }
}

impl Plugin {
    /// The document that the contract's `describe` returns.
    pub fn describe(&self) -> Value {
        let operators: Vec<_> = self
            .operators
            .iter()
            .map(|entry| {
                let (description, settings) = (entry.describe)();
                let mut document =
                    serde_json::to_value(description).expect("a description is strings, lists and flags");
                document["settings"] = settings;
                document
            })
            .collect();
        json!({
            "describe": 1,
            "interface": INTERFACE,
            "plugin": self.name,
            "version": self.version,
            "summary": self.summary,
            "operators": operators,
        })
    }

    /// The operator of this name.
    ///
    /// # Errors
    ///
    /// [`Failure::Unsupported`] when there is none; it names those that there are.
    pub fn operator(&self, name: &str) -> Result<&OperatorEntry, Failure> {
        self.operators.iter().find(|entry| entry.describe().name == name).ok_or_else(|| {
            let known: Vec<_> = self.operators.iter().map(|entry| format!("`{}`", entry.describe().name)).collect();
            Failure::Unsupported(format!(
                "plugin `{}` has no operator `{name}`\nhint: it has {}",
                self.name,
                known.join(", ")
            ))
        })
    }
}

fn open<O: Operator>(settings: &str, input: &Schema) -> Result<OpenOperator, Failure> {
    let settings = read_settings(settings)?;
    let (operator, opened) = O::open(settings, input)?;
    check(&O::describe(), &opened, input)?;
    Ok((Box::new(operator), opened))
}

/// Settings from the text of a JSON object; no text is an empty object.
fn read_settings<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    // By way of a value: an error with a line and a column of a text that nobody wrote would help nobody.
    let value: Value =
        serde_json::from_str(text).map_err(|e| Failure::Settings(format!("settings are not JSON: {e}")))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        // Serde names the key itself when it is unknown or missing at the top.
        Failure::Settings(if path == "." { inner } else { format!("setting `{path}`: {inner}") })
    })
}

/// Whether an answer of `open` keeps the contract.
fn check(description: &Description, opened: &Opened, input: &Schema) -> Result<(), Failure> {
    boundary::fields_of(&opened.schema())?;
    for (index, field) in opened.output.iter().enumerate() {
        if opened.output[..index].iter().any(|earlier| earlier.name() == field.name()) {
            return Err(Failure::other(format!("two output columns are named `{}`", field.name())));
        }
    }
    if opened.shape as u8 > description.shape as u8 {
        let (got, widest) = (opened.shape.as_str(), description.shape.as_str());
        return Err(Failure::other(format!("the shape {got} is wider than {widest}, which the description says")));
    }
    for (index, slice) in opened.slices.iter().enumerate() {
        if opened.slices[..index].iter().any(|earlier| earlier.column == slice.column) {
            return Err(Failure::other(format!("output column {} is announced twice as a slice", slice.column)));
        }
        let column = opened.output.get(slice.column as usize);
        let port = input.fields().get(slice.port as usize);
        let (Some(column), Some(port)) = (column, port) else {
            return Err(Failure::other(format!(
                "output column {} is a slice of column {}: one is missing",
                slice.column, slice.port
            )));
        };
        let sliceable = matches!(port.data_type(), arrow_schema::DataType::Utf8 | arrow_schema::DataType::Binary);
        if !sliceable || column.data_type() != port.data_type() {
            return Err(Failure::other(format!(
                "output column `{}` of type {} can't be a slice of `{}` of type {}",
                column.name(),
                column.data_type(),
                port.name(),
                port.data_type()
            )));
        }
    }
    Ok(())
}

/// Makes a plugin of operators: a `static PLUGIN`, and on wasm the exports that the host calls. Once in a crate, at its root.
///
/// ```ignore
/// dflow_plugin::export!(
///     plugin = "text",
///     version = env!("CARGO_PKG_VERSION"),
///     summary = "cuts and cleans text",
///     operators = [Chunk, Normalize]
/// );
/// ```
#[macro_export]
macro_rules! export {
    (plugin = $name:expr, version = $version:expr, summary = $summary:expr, operators = [$($operator:ty),+ $(,)?] $(,)?) => {
        /// This plugin.
        pub static PLUGIN: $crate::Plugin = $crate::Plugin {
            name: $name,
            version: $version,
            summary: $summary,
            operators: &[$($crate::OperatorEntry::of::<$operator>()),+],
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl $crate::guest::Exported for Component {
                fn plugin() -> &'static $crate::Plugin {
                    &PLUGIN
                }
            }

            $crate::guest::bindings::export_component!(Component with_types_in $crate::guest::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Settings {
        size: u32,
        nested: Nested,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Nested {
        unit: String,
    }

    #[test]
    fn settings_errors_name_the_key() {
        let message = |text| read_settings::<Settings>(text).unwrap_err().to_string();
        assert_eq!(message(r#"{"siz": 1}"#), "setting `siz`: unknown field `siz`, expected `size` or `nested`");
        assert_eq!(message(r#"{"size": "x"}"#), "setting `size`: invalid type: string \"x\", expected u32");
        assert_eq!(
            message(r#"{"nested": {"unit": 4}}"#),
            "setting `nested.unit`: invalid type: integer `4`, expected a string"
        );
        assert!(message("{").starts_with("settings are not JSON"));
        let settings = read_settings::<Settings>("").unwrap();
        assert_eq!((settings.size, settings.nested.unit.as_str()), (0, ""));
    }
}
