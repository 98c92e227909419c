//! What a stage's rows depend on beside the data: what it does and with which code, and the same of all that it reads.
//!
//! Two runs with one fingerprint give the same rows for the same splits. What can't change rows isn't in it: `doc`, how batches
//! are cut, `max_failures`, where a volume is, how many tasks there are.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use dflow_operators::StepError;
use dflow_pipeline::{Fault, GuestLimits, Mode, Name, Pipeline, Verb};
use dflow_plan::{Column, Plan, Segment, type_text};
use dflow_wasm::{Plugin, shipped};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What our own steps make of rows. To be raised whenever a verb, a reader or a writer gives other rows for the same form.
const SEMANTICS: u32 = 3;

/// A fingerprint, as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a document whose keys are in a fixed order.
    fn of(document: &Value) -> Self {
        Self(hexadecimal(&Sha256::digest(document.to_string().as_bytes())))
    }

    /// One that was written down.
    pub(crate) fn written(digits: String) -> Self {
        Self(digits)
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a stage depends on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Printed {
    /// Of all of it.
    pub(crate) fingerprint: Fingerprint,
    /// What the stage itself does, and with which code.
    pub(crate) form: Value,
    /// The fingerprints of the stages that it reads.
    pub(crate) reads: Vec<Fingerprint>,
}

/// What the stages of a plan depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprints {
    /// By stage.
    pub(crate) stages: BTreeMap<Name, Printed>,
}

/// The code and the columns that forms don't say.
struct Known<'a> {
    pipeline: &'a Pipeline,
    /// Which stages each stage reads.
    from: BTreeMap<&'a Name, &'a [Name]>,
    /// What a plugin's operator is.
    code: &'a dyn Fn(&str, &str) -> Value,
    /// A source's columns: what was found in its first file decides how all others are read.
    columns: &'a dyn Fn(&Name) -> Vec<String>,
    /// The files that a command line names.
    files: &'a dyn Fn(&Name) -> Value,
    /// For fingerprints that the user takes for others: which these are.
    accepted: &'a dyn Fn(&Name, &Fingerprint) -> Option<Fingerprint>,
}

impl Fingerprints {
    /// Those of all stages that a plan's segments end in and read. `accepted` says for a stage's fingerprint which other one it is to
    /// be taken for.
    ///
    /// # Errors
    /// A stage's form can't be written as JSON, which is a mistake of ours.
    pub(crate) fn of(
        plan: &Plan,
        accepted: &dyn Fn(&Name, &Fingerprint) -> Option<Fingerprint>,
    ) -> Result<Self, StepError> {
        let code = |plugin: &str, operator: &str| match plan.plugins.get(plugin) {
            Some(loaded) => code(loaded, operator),
            None => Value::Null,
        };
        let columns = |stage: &Name| {
            let column = |(name, column): (&String, &Column)| format!("{name} {}", type_text(column.data_type()));
            plan.stages.get(stage).map(|stage| stage.columns.visible.iter().map(column).collect()).unwrap_or_default()
        };
        let from = plan.stages.iter().map(|(name, stage)| (name, stage.from.as_slice())).collect();
        let files = |stage: &Name| files(plan, stage);
        let known = Known { pipeline: &plan.pipeline, from, code: &code, columns: &columns, files: &files, accepted };
        let mut stages = BTreeMap::new();
        for end in plan.segments.iter().flat_map(|segment| &segment.ends) {
            known.stage(end, &mut stages).map_err(|e| StepError::new(Fault::Internal, e.to_string()))?;
        }
        Ok(Self { stages })
    }

    /// That of a segment: of all stages that it ends in.
    pub(crate) fn of_segment(&self, segment: &Segment) -> Fingerprint {
        Fingerprint::of(&json!([SEMANTICS, self.ends(segment)]))
    }

    /// Those of the stages that a segment ends in.
    pub(crate) fn ends(&self, segment: &Segment) -> Vec<&str> {
        segment.ends.iter().filter_map(|end| self.stages.get(end)).map(|end| end.fingerprint.as_str()).collect()
    }
}

/// What an operator is: its version, of a plugin that ships with the host; the digest of any other.
fn code(plugin: &Plugin, operator: &str) -> Value {
    let own = plugin.name().rsplit_once('.').map_or(plugin.name(), |(_, own)| own);
    let described = plugin.description().operators.iter().find(|described| described.name == operator);
    match described {
        Some(described) if shipped(own).is_some() => json!(described.version),
        _ => json!(plugin.digest()),
    }
}

/// The digests of the files that a stage's command line names, by their names there.
fn files(plan: &Plan, stage: &Name) -> Value {
    let digest = |path: &PathBuf| match std::fs::read(path) {
        Ok(bytes) => json!(hexadecimal(&Sha256::digest(&bytes))),
        Err(_) => Value::Null,
    };
    let files = plan.programs.get(stage).into_iter().flatten();
    files.map(|(word, path)| (word.clone(), digest(path))).collect()
}

impl Known<'_> {
    fn stage(&self, name: &Name, known: &mut BTreeMap<Name, Printed>) -> Result<Fingerprint, serde_json::Error> {
        if let Some(printed) = known.get(name) {
            return Ok(printed.fingerprint.clone());
        }
        let mut reads = Vec::new();
        for from in self.from.get(name).copied().unwrap_or_default() {
            reads.push(self.stage(from, known)?);
        }
        let form = self.form(name)?;
        let below: Vec<&str> = reads.iter().map(Fingerprint::as_str).collect();
        let own = Fingerprint::of(&json!([name.as_str(), form, below]));
        let fingerprint = (self.accepted)(name, &own).unwrap_or(own);
        known.insert(name.clone(), Printed { fingerprint: fingerprint.clone(), form, reads });
        Ok(fingerprint)
    }

    /// The limits that a plugin is given, if any.
    fn limits(&self, plugin: &str) -> Option<Value> {
        self.pipeline.plugin.get(plugin).map(|named| decisive(named.limits))
    }

    /// What the stage does, and what that depends on.
    fn form(&self, name: &Name) -> Result<Value, serde_json::Error> {
        let Some(stage) = self.pipeline.stage.get(name) else { return Ok(Value::Null) };
        let mut form = serde_json::to_value(stage)?;
        // How long a guest may take for a row decides which rows fail; how long an endpoint may decides nothing that is kept.
        let guest = matches!(stage.verb, Verb::Use(_) | Verb::Python(_) | Verb::Js(_));
        for key in ["doc", "batch", "max_failures", "save"].into_iter().chain((!guest).then_some("timeout")) {
            form.as_object_mut().map(|form| form.shift_remove(key));
        }
        // A larger row fails: of all that says how batches are cut this is a matter of rows.
        form["max_row"] = serde_json::to_value(stage.batch.unwrap_or(self.pipeline.batch).max_row)?;
        match &stage.verb {
            Verb::Use(written) => {
                let limits = self.limits(&written.plugin).unwrap_or_else(|| decisive(GuestLimits::default()));
                form["code"] = json!([(self.code)(&written.plugin, &written.operator), limits]);
            }
            Verb::Command(_) => form["files"] = (self.files)(name),
            Verb::Python(_) | Verb::Js(_) => {
                form["files"] = (self.files)(name);
                let interpreter = self.pipeline.plugin_of(stage).unwrap_or_default();
                form["code"] = (self.code)(&interpreter, "call");
                if let Some(limits) = self.limits(&interpreter) {
                    form["limits"] = limits;
                }
            }
            // What becomes of others' files is no matter of these rows; that they are merged with is.
            Verb::Write(written) => form["verb"]["write"]["mode"] = json!(written.mode == Mode::Merge),
            verb if verb.is_source() => form["columns"] = json!((self.columns)(name)),
            _ => {}
        }
        // Neither at what pace nor at what price they answer.
        let asked =
            self.pipeline.asked(stage).iter().map(|name| self.pipeline.model.get(name)).map(|model| match model {
                Some(m) => json!([m.provider, m.model, m.dimensions, m.window, m.tokenizer]),
                None => Value::Null,
            });
        match asked.collect::<Vec<_>>().as_slice() {
            [] => {}
            [one] => form["model"] = one.clone(),
            several => form["model"] = json!(several),
        }
        without_nulls(&mut form);
        form["verb"].as_object_mut().into_iter().flat_map(|verb| verb.values_mut()).for_each(without_nulls);
        Ok(form)
    }
}

/// Those limits of a guest that decide at which row it gives up.
fn decisive(limits: GuestLimits) -> Value {
    let GuestLimits { memory, time, emitted, message, nesting, .. } = limits;
    json!([memory, time, emitted, message, nesting])
}

/// Without keys that say nothing, so that a key that comes with a later version changes nothing where nobody uses it.
fn without_nulls(form: &mut Value) {
    if let Some(keys) = form.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::written;

    use super::*;

    const PIPELINE: &str = r#"
[volume.docs]
url = "in"
[plugin.mine]
source = "mine.wasm"
[stage.pages]
read = "docs://*.html"
doc = "All pages."
[stage.chunks]
from = "pages"
use = "text/chunk"
in = { text = "content" }
with = { size = 100 }
[stage.long]
from = "chunks"
filter = "length(chunk) > 10"
[stage.other]
from = "pages"
use = "mine/x"
[stage.scored]
from = "pages"
command = ["python3", "x.py"]
returns = { score = "float64" }
with = { least = 1 }
[stage.sink]
from = "long"
write = "out/"
format = "jsonl"
columns = { chunk = "chunk", index = "chunk_index" }
"#;

    /// The fingerprint of a stage, of the pipeline with one text replaced by another.
    fn fingerprint(stage: &str, replaced: &str, by: &str, version: &str, column: &str) -> Fingerprint {
        assert!(PIPELINE.contains(replaced), "{replaced}");
        let text = PIPELINE.replacen(replaced, by, 1);
        let pipeline = written::read("p.toml", &text, &[], &|_| None).whole().expect("the pipeline is right");
        let code = |plugin: &str, operator: &str| json!([plugin, operator, version]);
        let columns = |_: &Name| vec![column.to_owned()];
        let from = pipeline.stage.iter().map(|(name, stage)| (name, stage.from.as_slice())).collect();
        let files = |_: &Name| json!({ "x.py": version });
        let accepted = |_: &Name, _: &Fingerprint| None;
        let known =
            Known { pipeline: &pipeline, from, code: &code, columns: &columns, files: &files, accepted: &accepted };
        known.stage(&stage.parse().expect("a name"), &mut BTreeMap::new()).expect("it can be written as JSON")
    }

    #[test]
    fn what_changes_rows_changes_the_fingerprint() {
        let before = fingerprint("sink", "", "", "1", "uri utf8");
        assert_eq!(before.as_str().len(), 64);
        for (replaced, by) in [
            ("size = 100", "size = 200"),
            ("> 10", "> 11"),
            ("docs://*.html", "docs://**/*.html"),
            ("format = \"jsonl\"", "format = \"csv\""),
            ("write = \"out/\"", "write = \"others/\""),
            ("{ chunk = \"chunk\", index = \"chunk_index\" }", "{ index = \"chunk_index\", chunk = \"chunk\" }"),
            ("use = \"text/chunk\"", "on_error = \"skip\"\nuse = \"text/chunk\""),
            ("[stage.pages]", "[batch]\nmax_row = \"1KiB\"\n[stage.pages]"),
            ("doc = \"All pages.\"", "id = \"uri\""),
            ("format = \"jsonl\"", "format = \"jsonl\"\nmode = \"merge\"\nkey = [\"chunk\"]"),
        ] {
            assert_ne!(fingerprint("sink", replaced, by, "1", "uri utf8"), before, "{by}");
        }
        assert_ne!(fingerprint("sink", "", "", "2", "uri utf8"), before, "a plugin's version");
        assert_ne!(fingerprint("sink", "", "", "1", "uri int64"), before, "a source's columns");
        let scored = fingerprint("scored", "", "", "1", "uri utf8");
        for (replaced, by, version) in [
            ("", "", "2"),
            ("\"x.py\"]", "\"x.py\", \"-v\"]", "1"),
            ("least = 1", "least = 2", "1"),
            ("score = \"float64\"", "score = \"float32\"", "1"),
        ] {
            assert_ne!(fingerprint("scored", replaced, by, version, "uri utf8"), scored, "{by}");
        }
        let timed =
            fingerprint("scored", "with = { least = 1 }", "with = { least = 1 }\ntimeout = \"1s\"", "1", "uri utf8");
        assert_eq!(timed, scored);
        let other = fingerprint("other", "", "", "1", "uri utf8");
        assert_ne!(
            fingerprint("other", "\"mine.wasm\"", "\"mine.wasm\"\nlimits = { memory = \"1GiB\" }", "1", "uri utf8"),
            other
        );
    }

    #[test]
    fn what_changes_no_row_doesn_t() {
        let before = fingerprint("sink", "", "", "1", "uri utf8");
        for (replaced, by) in [
            ("doc = \"All pages.\"", "doc = \"Every page.\""),
            ("doc = \"All pages.\"", "batch = { rows = 7 }"),
            ("doc = \"All pages.\"", "max_failures = 7"),
            ("doc = \"All pages.\"", "save = true"),
            ("[stage.pages]", "[batch]\nrows = 3\nbytes = \"1KiB\"\n[stage.pages]"),
            ("url = \"in\"", "url = \"elsewhere\""),
            ("format = \"jsonl\"", "format = \"jsonl\"\nmode = \"replace\""),
            // Nobody who is asked reads it.
            ("mine/x", "mine/y"),
        ] {
            assert_eq!(fingerprint("sink", replaced, by, "1", "uri utf8"), before, "{by}");
        }
    }
}
