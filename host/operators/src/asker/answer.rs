//! What answers are held against, and what they are read as.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, Fields};
use dflow_models::{exchange::Finish, records::Given};
use dflow_pipeline::Fault;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::{alone::Lost, desk::lost};

/// How much of an answer is shown, in characters.
const SHOWN: usize = 200;

/// What an answer in JSON holds.
pub struct AnswerShape {
    /// What a provider calls it.
    pub name: String,
    /// Its JSON Schema, an object's.
    pub schema: Value,
    /// The member that counts, when it is one alone.
    pub only: Option<String>,
    validator: Validator,
}

impl fmt::Debug for AnswerShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.fmt(f)
    }
}

/// Why an answer doesn't fit.
pub(crate) struct Misfit {
    kind: &'static str,
    message: String,
    attempts: u32,
}

impl Misfit {
    /// Of an answer that isn't what its columns hold.
    pub(crate) fn of_columns(why: impl fmt::Display, attempts: u32) -> Self {
        let message = format!("the answer doesn't fit its columns: {why}");
        Self { kind: "schema-violation", message, attempts }
    }

    /// What the model is told.
    pub(crate) fn repair(&self) -> String {
        format!("This answer doesn't fit: {}. Answer again, with nothing but JSON that fits the schema.", self.message)
    }

    /// What the row fails with.
    pub(crate) fn lost(self) -> Lost {
        lost(Fault::Data, self.kind, self.message, self.attempts)
    }
}

impl AnswerShape {
    /// Of a JSON Schema.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(name: impl Into<String>, schema: Value, only: Option<String>) -> Result<Self, String> {
        let validator = jsonschema::validator_for(&schema).map_err(|error| {
            let place = error.instance_path().as_str();
            let at = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
            format!("this is no JSON Schema{at}: {error}")
        })?;
        Ok(Self { name: name.into(), schema, only, validator })
    }

    /// One of some labels.
    ///
    /// # Errors
    /// Never: any labels can be chosen from.
    pub fn of_labels(labels: &[&str]) -> Result<Self, String> {
        let schema = json!({
            "type": "object",
            "properties": { "label": { "type": "string", "enum": labels } },
            "required": ["label"],
            "additionalProperties": false,
        });
        Self::new("label", schema, Some("label".to_owned()))
    }

    /// The members that become columns, in their order.
    pub(crate) fn members(&self) -> impl Iterator<Item = &String> {
        self.schema["properties"].as_object().into_iter().flat_map(Map::keys)
    }

    /// The labels that can be chosen.
    fn labels(&self) -> impl Iterator<Item = &str> {
        self.schema["properties"]["label"]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// What an answer says.
    pub(crate) fn read(&self, text: &str, given: &Given) -> Result<Value, Misfit> {
        let misfit = |kind, message| Misfit { kind, message, attempts: given.attempts };
        let value = match (document(text), &self.only) {
            (Some(value), _) => value,
            // Not everybody who is asked for JSON answers with JSON.
            (None, Some(only)) if self.labels().any(|label| label == text.trim()) => {
                json!({ only.as_str(): text.trim() })
            }
            (None, _) if given.finish == Finish::Length => {
                let what =
                    format!("the answer ends after {} tokens, before it is whole: {}", given.usage.output, begin(text));
                return Err(misfit("cut-answer", what));
            }
            (None, _) => return Err(misfit("not-json", format!("the answer is no JSON object: {}", begin(text)))),
        };
        if let Some(error) = self.validator.iter_errors(&value).next() {
            let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
            let at = if place.is_empty() { String::new() } else { format!("`{place}`: ") };
            return Err(misfit("schema-violation", format!("{at}{}", begin(&error.to_string()))));
        }
        Ok(match &self.only {
            Some(only) => value[only.as_str()].clone(),
            None => value,
        })
    }
}

/// The JSON object in an answer, which may stand among words, or between lines of "```".
fn document(text: &str) -> Option<Value> {
    let whole = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    whole(text.trim()).or_else(|| {
        let (begin, end) = (text.find('{')?, text.rfind('}')?);
        whole(text.get(begin..=end)?)
    })
}

/// The beginning of a text, for messages.
pub(crate) fn begin(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None if words.is_empty() => "(nothing)".to_owned(),
        None => words,
    }
}

/// What a picture is, by its first bytes.
pub(crate) fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// Makes a vector one of length 1, unless it has none.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// The place of the vector with the smallest angle.
pub(crate) fn closest(vector: &[f32], others: &[Vec<f32>]) -> usize {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let angle = |other: &Vec<f32>| dot(vector, other) / dot(other, other).sqrt().max(f64::MIN_POSITIVE);
    let nearest = others.iter().enumerate().max_by(|(_, a), (_, b)| angle(a).total_cmp(&angle(b)));
    nearest.map_or(0, |(i, _)| i)
}

/// The JSON Schema of values of a type; `None` when JSON has none.
pub fn schema_of(data_type: &DataType) -> Option<Value> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!({ "type": "string" }),
        DataType::Boolean => json!({ "type": "boolean" }),
        t if t.is_integer() => json!({ "type": "integer" }),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => json!({ "type": "number" }),
        DataType::Date32 | DataType::Date64 => json!({ "type": "string", "format": "date" }),
        DataType::Timestamp(..) => json!({ "type": "string", "format": "date-time" }),
        DataType::List(item) | DataType::LargeList(item) => {
            json!({ "type": "array", "items": schema_of(item.data_type())? })
        }
        DataType::Struct(fields) => object_of(fields)?,
        _ => return None,
    })
}

/// A value of a type that says nothing.
pub(crate) fn placeholder(data_type: &DataType) -> Value {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "some words".into(),
        DataType::Boolean => false.into(),
        DataType::List(_) | DataType::LargeList(_) => json!([]),
        t if t.is_numeric() => 0.into(),
        _ => Value::Null,
    }
}

/// The JSON Schema of an object with these members, all of them required.
pub(crate) fn object_of(fields: &Fields) -> Option<Value> {
    let properties = fields.iter().map(|field| Some((field.name().clone(), schema_of(field.data_type())?)));
    let properties = properties.collect::<Option<Map<_, _>>>()?;
    let required: Vec<&String> = properties.keys().collect();
    Some(json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties }))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use dflow_models::{
        money::Usage,
        records::{Content, Given},
    };

    use super::*;
    use crate::asker::columns_of;

    fn given(finish: Finish) -> Given {
        let (content, usage) = (Content::Text(String::new()), Usage { output: 7, ..Usage::default() });
        Given {
            content,
            finish,
            model: "m".to_owned(),
            usage,
            cost: None,
            latency: std::time::Duration::ZERO,
            attempts: 1,
        }
    }

    #[test]
    fn answers_are_held_against_their_schema() {
        let fields = Fields::from(vec![
            Field::new("topic", DataType::Utf8View, true),
            Field::new("score", DataType::Float64, true),
        ]);
        let shape = AnswerShape::new("row", object_of(&fields).expect("JSON has them"), None).expect("a schema");
        let read = |text: &str| shape.read(text, &given(Finish::Stop)).map_err(|misfit| (misfit.kind, misfit.message));
        let expected = json!({ "topic": "a", "score": 1 });
        assert_eq!(read(r#"{"topic": "a", "score": 1}"#), Ok(expected.clone()));
        assert_eq!(read("Here:\n```json\n{\"topic\": \"a\", \"score\": 1}\n```"), Ok(expected));
        let (kind, message) = read(r#"{"topic": "a", "score": "x"}"#).expect_err("text");
        assert_eq!((kind, message.as_str()), ("schema-violation", r#"`score`: "x" is not of type "number""#));
        assert!(
            read(r#"{"topic": "a"}"#).is_err_and(|(_, message)| message.contains("\"score\" is a required property"))
        );
        assert!(read("no").is_err_and(|(kind, _)| kind == "not-json"));
        let cut = shape.read("{\"topic\": \"a", &given(Finish::Length)).map_err(|misfit| misfit.message);
        assert!(cut.is_err_and(|message| message.contains("after 7 tokens")));
    }

    #[test]
    fn labels_are_read_however_they_are_said() {
        let shape = AnswerShape::of_labels(&["good", "not good"]).expect("labels");
        let read = |text: &str| shape.read(text, &given(Finish::Stop)).ok();
        assert_eq!(read(r#"{"label":"good"}"#), Some(json!("good")));
        assert_eq!(read(" not good\n"), Some(json!("not good")));
        assert_eq!(read(r#"{"label":"bad"}"#), None);
        assert_eq!(read("It is good."), None);
    }

    #[test]
    fn types_and_schemas_belong_together() {
        let item = |t| DataType::List(Field::new_list_field(t, true).into());
        for data_type in
            [DataType::Utf8View, DataType::Int64, DataType::Float64, DataType::Boolean, item(DataType::Utf8)]
        {
            let schema = json!({ "properties": { "a": schema_of(&data_type).expect("JSON has it") } });
            assert_eq!(columns_of(&schema), [("a".to_owned(), Ok(data_type))]);
        }
        assert!(schema_of(&DataType::Binary).is_none());
    }

    #[test]
    fn the_closest_vector_has_the_smallest_angle() {
        let others = [vec![10.0, 0.0], vec![0.0, 0.1]];
        assert_eq!(closest(&[1.0, 2.0], &others), 1);
        assert_eq!(closest(&[2.0, 1.0], &others), 0);
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = [0.0];
        normalize(&mut nothing);
        assert_eq!(nothing, [0.0]);
    }
}
