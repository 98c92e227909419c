//! Templates worked out for each row: Jinja (minijinja) over columns.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type},
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

    /// What it reads: names, or names with a dot and a member (`article.title`), sorted. A name of minijinja's own (`range`) that is only called
    /// isn't among them.
    pub fn names(&self) -> Vec<String> {
        let Ok(mut environment) = self.environment() else { return Vec::new() };
        // What is sliced (`text[:100]`) isn't among the names that minijinja finds (2.12: `compiler/meta.rs`); what is indexed is.
        let indexed = without_slices(&self.text);
        let indexed = environment.add_template_owned(INDEXED, indexed).is_ok();
        let given: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        let templates = [NAME, INDEXED].into_iter().filter(|name| indexed || *name == NAME);
        let templates = templates.filter_map(|name| environment.get_template(name).ok());
        let names = templates.flat_map(|template| template.undeclared_variables(true));
        let own = |name: &str| given.contains(&name) && is_only_called(&self.text, name);
        let mut names: Vec<String> = names.filter(|name| !own(name.split('.').next().unwrap_or_default())).collect();
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
        // With text in the place of nulls, but for one.
        let render = |row: usize, replaced: Option<&dyn Fn(&str) -> bool>| {
            let mut context = Context::default();
            for (name, values) in &columns {
                let value = &values[row];
                let is_replaced = value.is_undefined() && replaced.is_some_and(|replaced| replaced(name));
                context.set(name, if is_replaced { Value::from("x") } else { value.clone() });
            }
            template.render(context.value())
        };
        let fails = |row: usize, replaced: &dyn Fn(&str) -> bool| {
            render(row, Some(replaced)).is_err_and(|e| e.kind() == ErrorKind::UndefinedError)
        };
        let row = |row: usize| {
            render(row, None).map_err(|e| match e.kind() {
                ErrorKind::UndefinedError => {
                    let mut nulls = columns.iter().filter(|(_, values)| values[row].is_undefined());
                    // The column that is to blame alone; none, when it is something within a value.
                    let null = nulls.find(|(null, _)| fails(row, &|name| name != null.as_str()));
                    let null = null.filter(|_| !fails(row, &|_| true));
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

/// Whether all that a template does with a name is to call it.
fn is_only_called(text: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = codes(text).flat_map(|code| code.match_indices(name).map(move |(at, _)| code.split_at(at)));
    places.all(|(before, at)| {
        let after = &at[name.len()..];
        before.ends_with(|c: char| in_word(c) || c == '.')
            || after.starts_with(in_word)
            || after.trim_start().starts_with('(')
    })
}

/// What stands between `{{` and `}}`, or `{%` and `%}`, in a template; what is in comments doesn't.
fn codes(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        loop {
            let (_, from) = text.split_once('{')?;
            let (is_code, end) = match from.as_bytes().first() {
                Some(b'{') => (true, "}}"),
                Some(b'%') => (true, "%}"),
                Some(b'#') => (false, "#}"),
                _ => {
                    text = from;
                    continue;
                }
            };
            let (inside, rest) = from[1..].split_once(end).unwrap_or((&from[1..], ""));
            text = rest;
            if is_code {
                return Some(inside);
            }
        }
    })
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
        DataType::UInt64 => {
            let numbers = column.as_primitive::<UInt64Type>();
            rows.map(|row| valid(row, Value::from(numbers.value(row)))).collect()
        }
        t if t.is_integer() => {
            let numbers = cast(column, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            rows.map(|row| valid(row, Value::from(numbers.value(row)))).collect()
        }
        DataType::Float16 | DataType::Float32 => {
            let numbers = cast(column, &DataType::Float32)?;
            let numbers = numbers.as_primitive::<Float32Type>();
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
        DataType::List(_) => lists(column, |row| column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => lists(column, |row| column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => lists(column, |row| column.as_fixed_size_list().value(row))?,
        DataType::ListView(_) => lists(column, |row| column.as_list_view::<i32>().value(row))?,
        DataType::LargeListView(_) => lists(column, |row| column.as_list_view::<i64>().value(row))?,
        _ => {
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
            rows.map(|row| valid(row, Value::from(shown.value(row).to_string()))).collect()
        }
    })
}

/// The lists of a column, `items` of a row each.
fn lists(column: &ArrayRef, items: impl Fn(usize) -> ArrayRef) -> Result<Vec<Value>, ArrowError> {
    let list = |row: usize| match column.is_null(row) {
        true => Ok(Value::UNDEFINED),
        false => Ok(values(&items(row))?.into_iter().collect()),
    };
    (0..column.len()).map(list).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::{
        array::{Date32Array, Float64Array, Int32Array, ListArray, StringArray, StructArray, UInt64Array},
        datatypes::Field,
    };

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
    fn numbers_and_lists_of_all_kinds_are_what_they_are() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), Some([Some(2), Some(3)])]);
        let list: ArrayRef = Arc::new(list);
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let kinds = [
            ("fixed", DataType::FixedSizeList(item.clone(), 2)),
            ("large", DataType::LargeList(item.clone())),
            ("view", DataType::ListView(item.clone())),
            ("large_view", DataType::LargeListView(item)),
        ];
        let kinds = kinds.map(|(name, data_type)| (name, cast(&list, &data_type).expect("a list")));
        let number: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 3]));
        let columns = kinds.into_iter().chain([("list", list.clone()), ("n", number)]);
        let batch = RecordBatch::try_from_iter(columns).expect("columns");
        let text = |text: &str| Template::new(text, str::to_owned).expect("a template").render(&batch).expect("texts");
        assert_eq!(
            text("{% if n > 4 %}many{% else %}{{ n + 1 }}{% endif %}"),
            [Ok("many".to_owned()), Ok("4".to_owned())]
        );
        for name in ["list", "fixed", "large", "view", "large_view"] {
            let sum = text(&format!("{{% for x in {name} %}}{{{{ x | default(0) }}}};{{% endfor %}}"));
            assert_eq!(sum, [Ok("1;0;".to_owned()), Ok("2;3;".to_owned())], "{name}");
        }
    }

    #[test]
    fn columns_may_be_named_as_functions_are() {
        let names = |text: &str| Template::new(text, str::to_owned).expect("a template").names();
        assert_eq!(names("A range (from, to): {{ range }} {{ dict.a }}"), ["dict.a", "range"]);
        assert_eq!(
            names("a range {% for i in range (2) %}{{ my_range }}{{ x.range }}{% endfor %}"),
            ["my_range", "x.range"]
        );
        assert_eq!(
            names("{# {{ range }}, not {% range %} #}{% for i in range(2) %}{ {{ text }}{% endfor %}"),
            ["text"]
        );
        let column: ArrayRef = Arc::new(StringArray::from(vec!["1 to 5"]));
        let batch = RecordBatch::try_from_iter([("range", column)]).expect("columns");
        let template = Template::new("{{ range }}", str::to_owned).expect("a template");
        assert_eq!(template.render(&batch).expect("texts"), [Ok("1 to 5".to_owned())]);
    }

    #[test]
    fn the_null_that_is_to_blame_is_named() {
        let null: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]));
        let batch = RecordBatch::try_from_iter([("a", null.clone()), ("b", null), ("l", list)]).expect("columns");
        for (text, named) in [
            ("{{ a | default('-') }} {{ b }}", "`b` is null"),
            ("{{ a }} {{ b }}", "`a` is null"),
            ("{{ a | default('-') }} {{ l[5] }}", "a value is null"),
        ] {
            let template = Template::new(text, str::to_owned).expect("a template");
            let texts = template.render(&batch).expect("texts");
            assert!(texts[0].as_ref().is_err_and(|e| e.starts_with(named)), "{text}: {texts:?}");
        }
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
