//! JSON Schemas of answers whose root doesn't say its members itself: generators put them elsewhere, and neither columns nor providers look there.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{At, Mistake};

/// Keys that say nothing of values, or hold what is referred to: those of the root stay.
const ASIDE: [&str; 9] =
    ["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"];

/// What a `$ref` of a schema refers to within it: `#/$defs/NAME`, a JSON Pointer as a URI has it.
pub fn referred<'a>(whole: &'a Value, to: &str) -> Option<&'a Value> {
    let pointer = percent_decode_str(to.strip_prefix('#')?).decode_utf8().ok()?;
    whole.pointer(&pointer)
}

/// Whether a schema has members that it doesn't say itself. What only restricts those that it has (`required`, a condition) may stand in `allOf`.
fn has_members_elsewhere(schema: &Map<String, Value>) -> bool {
    let says = |inner: &Value| ["properties", "$ref", "allOf"].iter().any(|key| inner.get(key).is_some());
    let several = schema.get("allOf").and_then(Value::as_array);
    schema.get("$ref").is_some_and(Value::is_string) || several.is_some_and(|several| several.iter().any(says))
}

/// The same schema, whose root has the `properties` of what it refers to (`$ref`) or consists of (`allOf` with one schema).
pub(super) fn rooted(schema: Map<String, Value>, at: &At) -> Result<Map<String, Value>, Mistake> {
    let whole = Value::Object(schema.clone());
    let (mut schema, mut followed) = (schema, Vec::new());
    while !schema.get("properties").is_some_and(Value::is_object) || has_members_elsewhere(&schema) {
        let inner = if let Some(Value::String(to)) = schema.remove("$ref") {
            let inner = referred(&whole, &to).and_then(Value::as_object);
            let at = at.key("$ref");
            if followed.contains(&to) {
                let mistake = Mistake::new(at, format!("`schema` refers to itself (`{to}`)"));
                return Err(mistake.hint("let it describe an object with `properties`"));
            }
            let Some(inner) = inner else {
                let mistake = Mistake::new(at, format!("`schema` refers to `{to}`, which isn't in it"));
                return Err(mistake.hint("put it into `$defs`, and refer to it as `#/$defs/NAME`"));
            };
            followed.push(to);
            inner.clone()
        } else if let Some(Value::Array(mut several)) = schema.remove("allOf") {
            let (Some(Value::Object(inner)), true) = (several.pop(), several.is_empty()) else {
                let what = "`schema` is made of several (`allOf`), and which columns that makes isn't known";
                return Err(Mistake::new(at.key("allOf"), what).hint("write one, with all `properties`"));
            };
            inner
        } else {
            let what = "`schema` has no `properties`, and they are what becomes columns";
            return Err(Mistake::new(at.clone(), what).hint("let it describe an object, whose member is the value"));
        };
        for (key, value) in inner {
            match schema.get(&key) {
                Some(own) if *own != value && !ASIDE.contains(&key.as_str()) => {
                    let what = format!("`{key}` of `schema` isn't that of the schema that it refers to or is made of");
                    return Err(Mistake::new(at.key(key), what).hint("say it in one place"));
                }
                Some(_) => {}
                None => {
                    schema.insert(key, value);
                }
            }
        }
    }
    Ok(schema)
}
