//! Templates worked out for each row: Jinja (minijinja) over columns.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float32Type, Float64Type, Int64Type},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

/// What a template puts into a text for a value, in place of the value's own text.
pub type Escape = fn(&str) -> String;

/// A template over the columns of a batch. Null is undefined: to put it in is an error, and `default` takes its place.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    escape: Escape,
}

impl Template {
    /// A template whose values are put in by way of `escape`.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn new(text: &str, escape: Escape) -> Result<Self, String> {
        let template = Self { text: text.to_owned(), escape };
        template.environment()?;
        Ok(template)
    }

    fn environment(&self) -> Result<Environment<'_>, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let escape = self.escape;
        environment.set_formatter(move |out, _, value| {
            let text = value.to_string();
            out.write_str(&escape(&text)).map_err(Error::from)
        });
        environment.add_template(NAME, &self.text).map_err(|e| said(&e))?;
        Ok(environment)
    }

    /// What it reads: names, or names with a dot and a member (`article.title`), sorted.
    pub fn names(&self) -> Vec<String> {
        let Ok(mut environment) = self.environment() else { return Vec::new() };
        // What is sliced (`text[:100]`) isn't among the names that minijinja finds (2.12: `compiler/meta.rs`); what is indexed is.
        let indexed = without_slices(&self.text);
        let indexed = environment.add_template_owned(INDEXED, indexed).is_ok();
        let given: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        let templates = [NAME, INDEXED].into_iter().filter(|name| indexed || *name == NAME);
        let templates = templates.filter_map(|name| environment.get_template(name).ok());
        let names = templates.flat_map(|template| template.undeclared_variables(true));
        let mut names: Vec<String> =
            names.filter(|name| !given.contains(&name.split('.').next().unwrap_or_default())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is wrong with it whatever the row: filters, tests and functions that aren't there.
    pub fn unknown(&self) -> Option<String> {
        const UNKNOWN: [ErrorKind; 4] =
            [ErrorKind::UnknownFilter, ErrorKind::UnknownTest, ErrorKind::UnknownFunction, ErrorKind::UnknownMethod];
        let environment = self.environment().ok()?;
        let mut context = Context::default();
        for name in self.names() {
            context.set(&name, Value::from("x"));
        }
        let error = environment.get_template(NAME).ok()?.render(context.value()).err()?;
        UNKNOWN.contains(&error.kind()).then(|| said(&error))
    }

    /// The text of each row. The batch's columns are named as the template [names](Self::names) them, or by the first part alone.
    ///
    /// # Errors
    /// The columns can't be read. What is wrong with one row is in its place.
    pub fn render(&self, batch: &RecordBatch) -> Result<Vec<Result<String, String>>, ArrowError> {
        let environment = self.environment().map_err(ArrowError::ComputeError)?;
        let template = environment.get_template(NAME).map_err(|e| ArrowError::ComputeError(said(&e)))?;
        let fields = batch.schema_ref().fields();
        let columns: Vec<_> = fields
            .iter()
            .zip(batch.columns())
            .map(|(f, c)| Ok((f.name(), values(c)?)))
            .collect::<Result<_, ArrowError>>()?;
        let row = |row: usize| {
            let mut context = Context::default();
            for (name, values) in &columns {
                context.set(name, values[row].clone());
            }
            template.render(context.value()).map_err(|e| match e.kind() {
                ErrorKind::UndefinedError => {
                    let null = columns.iter().find(|(_, values)| values[row].is_undefined());
                    let what = null.map_or_else(|| "a value".to_owned(), |(name, _)| format!("`{name}`"));
                    format!("{what} is null; `{{{{ … | default(\"none\") }}}}` puts something in its place")
                }
                _ => said(&e),
            })
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }
}

/// The template's name in its own environment.
const NAME: &str = "name";
/// That of the same with indices in the place of slices.
const INDEXED: &str = "indexed";

/// A template's text with `[0]` in the place of each slice. It is for its names alone.
fn without_slices(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        match from[1..].find(['[', ']', '"', '\'', '\n']).map(|end| end + 1) {
            Some(end) if from[end..].starts_with(']') && from[..end].contains(':') => {
                out.push_str("[0]");
                rest = &from[end + 1..];
            }
            _ => {
                out.push('[');
                rest = &from[1..];
            }
        }
    }
    out + rest
}

/// What minijinja says, as one phrase.
fn said(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// The names that a template sees, with those of stages one level down.
#[derive(Default)]
struct Context {
    plain: BTreeMap<String, Value>,
    stages: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Context {
    fn set(&mut self, name: &str, value: Value) {
        match name.split_once('.') {
            Some((stage, column)) => {
                self.stages.entry(stage.to_owned()).or_default().insert(column.to_owned(), value);
            }
            None => {
                self.plain.insert(name.to_owned(), value);
            }
        }
    }

    fn value(self) -> Value {
        let stages = self.stages.into_iter().map(|(stage, columns)| (stage, columns.into_iter().collect::<Value>()));
        stages.chain(self.plain).collect()
    }
}

/// A column as values of templates: numbers, truths, texts, members of structs, items of lists; all else as it is displayed.
fn values(column: &ArrayRef) -> Result<Vec<Value>, ArrowError> {
    let valid = |row: usize, value: Value| if column.is_null(row) { Value::UNDEFINED } else { value };
    let rows = 0..column.len();
    Ok(match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = cast(column, &DataType::Utf8View)?;
            texts.as_string_view().iter().map(|text| text.map_or(Value::UNDEFINED, Value::from)).collect()
        }
        DataType::Boolean => rows.map(|row| valid(row, Value::from(column.as_boolean().value(row)))).collect(),
        t if t.is_integer() && *t != DataType::UInt64 => {
            let numbers = cast(column, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            rows.map(|row| valid(row, Value::from(numbers.value(row)))).collect()
        }
        DataType::Float32 => {
            let numbers = column.as_primitive::<Float32Type>();
            rows.map(|row| valid(row, Value::from(numbers.value(row)))).collect()
        }
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>();
            rows.map(|row| valid(row, Value::from(numbers.value(row)))).collect()
        }
        DataType::Struct(fields) => {
            let members = column.as_struct().columns().iter().map(values).collect::<Result<Vec<_>, _>>()?;
            let of = |row: usize| -> Value {
                fields.iter().zip(&members).map(|(f, m)| (f.name().clone(), m[row].clone())).collect()
            };
            rows.map(|row| valid(row, of(row))).collect()
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            rows.map(|row| Ok(valid(row, values(&lists.value(row))?.into_iter().collect())))
                .collect::<Result<_, ArrowError>>()?
        }
        _ => {
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
            rows.map(|row| valid(row, Value::from(shown.value(row).to_string()))).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Date32Array, Float64Array, Int32Array, StringArray, StructArray};

    use super::*;

    #[test]
    fn rows_become_texts() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a/b"), None]));
        let number: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        let place: ArrayRef =
            Arc::new(StructArray::try_from(vec![("city", text.clone()), ("n", number.clone())]).expect("members"));
        let batch = RecordBatch::try_from_iter([
            ("article.title", text),
            ("n", number),
            ("x", Arc::new(Float64Array::from(vec![1.5, 2.0])) as ArrayRef),
            ("day", Arc::new(Date32Array::from(vec![0, 1]))),
            ("place", place),
        ])
        .expect("columns");
        let template = Template::new(
            "{{ article.title | default('none') }}-{{ n + 1 }}-{{ x }}-{{ day }}-{{ place.n }}{% for i in range(2) %}.{% endfor %}",
            |text| text.replace('/', "_"),
        )
        .expect("a template");
        assert_eq!(template.names(), ["article.title", "day", "n", "place.n", "x"]);
        assert_eq!(template.unknown(), None);
        let texts = template.render(&batch).expect("texts");
        assert_eq!(texts, [Ok("a_b-8-1.5-1970-01-01-7..".to_owned()), Ok("none-9-2.0-1970-01-02-8..".to_owned())]);
        let template = Template::new("{{ article.title }}", str::to_owned).expect("a template");
        let texts = template.render(&batch).expect("texts");
        assert_eq!(texts[0], Ok("a/b".to_owned()));
        assert!(texts[1].as_ref().is_err_and(|e| e.starts_with("`article.title` is null")), "{texts:?}");
    }

    #[test]
    fn what_is_sliced_is_read() {
        let template = |text: &str| Template::new(text, str::to_owned).expect("a template").names();
        assert_eq!(template("{{ article.body[:6000] }}{{ text[n:] }}"), ["article.body", "n", "text"]);
        assert_eq!(template("{{ a[0] }}{{ ['x:y'][0] }}{{ {'a': [1]}[b] }}"), ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(Template::new("{{ a b }}", str::to_owned).is_err());
        let template = Template::new("{{ a | lowr }}", str::to_owned).expect("filters aren't looked up yet");
        assert!(template.unknown().is_some_and(|e| e.contains("lowr")));
    }
}
