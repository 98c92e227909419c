//! `python`, `js`: a function in a source text, called by the language's interpreter, a plugin that ships with the host.
//!
//! Three of its operators are opened: `imports` says which neighbours a text imports, `signature` which parameters the function has, and `call` calls it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use dflow_pipeline::{At, Fault, Language, Mistake, Name, Script, Stage, Use};
use dflow_wasm::{Plugin, PortType, RowShape, WasmError, Within, fields_as_json, goes_in};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::{
    Environment,
    columns::SYSTEM,
    problems::of_wasm,
    source::schema,
    steps::{Opening, Step},
};

/// The most that the source texts of one stage may be, in bytes.
const MOST: usize = 4 << 20;

/// The source texts of a stage.
#[derive(Debug, Default)]
struct Sources {
    /// By path, as seen from the folder of the stage's file.
    files: BTreeMap<String, String>,
    /// What people call them.
    names: BTreeMap<String, String>,
    /// The stage's own.
    entry: String,
    /// Where those are that are files.
    paths: Vec<(String, PathBuf)>,
}

/// A parameter of the function.
struct Parameter {
    name: String,
    optional: bool,
    /// Whether it takes all columns.
    row: bool,
}

impl Step {
    /// `python = "clean.py:clean"`. Also gives the files whose texts it is made of.
    pub(crate) async fn script(
        &self,
        name: &Name,
        stage: &Stage,
        (language, written): (Language, &Script),
        environment: &Environment,
        opening: Opening<'_>,
    ) -> Result<(Self, RowShape, Vec<(String, PathBuf)>), Vec<Mistake>> {
        let at = At::stage(name);
        let keyword = at.key(language.keyword());
        let plugin = opening.plugin;
        let text = written.named().unwrap_or_else(|| language.keyword().to_owned());
        let own = Own { name, keyword: &keyword, text, plugin, inline: written.is_inline() };
        let mut sources = Sources::read(&keyword, language, written, environment).map_err(|mistake| vec![mistake])?;
        sources.neighbours(&own, language, written, environment).await?;
        let mut settings = Map::new();
        settings.insert("files".to_owned(), json!(sources.files));
        settings.insert("names".to_owned(), json!(sources.names));
        settings.insert("entry".to_owned(), json!(sources.entry));
        settings.insert("function".to_owned(), json!(written.function));
        let parameters = own.schema("signature", &settings).await?;
        let parameters: Vec<Parameter> = parameters
            .fields()
            .iter()
            .map(|field| Parameter {
                name: field.name().clone(),
                optional: field.is_nullable(),
                row: field.metadata().contains_key("row"),
            })
            .collect();
        let input = self.arguments((&at, &keyword), &own.text, written, &parameters)?;
        if let Some(returns) = &written.returns {
            let returns = plain(&*schema(&at.key("returns"), returns)?);
            let fields = fields_as_json(&returns)
                .map_err(|e| vec![Mistake::new(at.key("returns"), format!("a column can't come out: {e}"))])?;
            settings.insert("returns".to_owned(), fields);
        }
        settings.insert("rows".to_owned(), json!(written.rows.map(dflow_pipeline::ScriptRows::as_str)));
        settings.insert("with".to_owned(), Value::Object(written.with.clone()));
        let call = Use {
            plugin: plugin.name().to_owned(),
            operator: "call".to_owned(),
            input,
            output: IndexMap::new(),
            with: settings,
        };
        let opening = Opening { called: Some(own.text.clone()), keyword: language.keyword(), ..opening };
        let (step, shape) = self.operator(name, stage, &call, opening).await?;
        Ok((step, shape, sources.paths))
    }

    /// Which column goes into which parameter.
    fn arguments(
        &self,
        (at, keyword): (&At, &At),
        function: &str,
        written: &Script,
        parameters: &[Parameter],
    ) -> Result<IndexMap<String, String>, Vec<Mistake>> {
        let (mut given, mut mistakes) = (IndexMap::new(), Vec::new());
        let known: Vec<&str> = parameters.iter().filter(|p| !p.row).map(|p| p.name.as_str()).collect();
        let takes_all = parameters.iter().any(|parameter| parameter.row);
        for key in written.input.keys().filter(|key| !takes_all && !known.contains(&key.as_str())) {
            let what = format!("parameter of `{function}`");
            mistakes.push(Mistake::unknown(at.key("in").key(key), &what, key, &known));
        }
        for key in written.with.keys() {
            let what = format!("parameter of `{function}`");
            if !takes_all && !known.contains(&key.as_str()) {
                mistakes.push(Mistake::unknown(at.key("with").key(key), &what, key, &known));
            } else if written.input.contains_key(key) {
                let what = format!("the parameter `{key}` is given twice, here and in `in`");
                mistakes.push(Mistake::new(at.key("with").key(key), what));
            }
        }
        for parameter in parameters.iter().filter(|parameter| !parameter.row) {
            let name = &parameter.name;
            if written.with.contains_key(name) {
                continue;
            }
            match written.input.get(name) {
                Some(column) => drop(given.insert(name.clone(), column.clone())),
                None if self.columns.get(name).is_some() => drop(given.insert(name.clone(), name.clone())),
                None if parameter.optional => {}
                None => {
                    let what = format!("`{function}` takes `{name}`, and there is no column `{name}`");
                    let place = if written.input.is_empty() { keyword.clone() } else { at.key("in") };
                    mistakes.push(Mistake::new(place, what).hint(format!(
                        "say which: `in = {{ {name} = \"…\" }}`, or give a value: `with = {{ {name} = … }}`; there is: {}",
                        self.columns.known().join(", ")
                    )));
                }
            }
        }
        if takes_all {
            let more = written.input.iter().map(|(name, column)| (name.clone(), column.clone()));
            let all = self.columns.visible.keys().filter(|name| !SYSTEM.contains(&name.as_str()));
            let all = all.map(|name| (name.clone(), name.clone()));
            for (name, column) in more.chain(all) {
                if !written.with.contains_key(&name) {
                    given.entry(name).or_insert(column);
                }
            }
        }
        if mistakes.is_empty() { Ok(given) } else { Err(mistakes) }
    }
}

/// The stage, for what its interpreter is asked.
struct Own<'a> {
    name: &'a Name,
    keyword: &'a At,
    text: String,
    plugin: &'a Arc<Plugin>,
    /// Whether the source is the text itself.
    inline: bool,
}

impl Own<'_> {
    /// What errors call it.
    fn label(&self) -> String {
        format!("stage `{}`: `{}`", self.name, self.text)
    }

    /// The schema with which one of the interpreter's operators opens.
    async fn schema(&self, operator: &str, settings: &Map<String, Value>) -> Result<SchemaRef, Vec<Mistake>> {
        let within = Within { label: Some(self.label()), ..Within::default() };
        let opened = self.plugin.open_within(self.name.as_str(), operator, settings, &Schema::empty(), within).await;
        opened.map(|operator| operator.output().clone()).map_err(|e| {
            let mistake = own_words(self.keyword.clone(), &e);
            // As the interpreters of Python and of JavaScript say it.
            let cut = ["unterminated string literal", "unescaped line break"];
            vec![match self.inline && cut.iter().any(|what| mistake.message.contains(what)) {
                true => mistake
                    .hint("between `\"\"\"`, TOML makes a line break of `\\n`; between `'''`, `\\` stays as it is"),
                false => mistake,
            }]
        })
    }
}

/// What an interpreter says about a source text, without what the sandbox says around it.
pub(crate) fn own_words(at: At, error: &WasmError) -> Mistake {
    match &error.refusal {
        Some(own) => Mistake::new(at, own.clone()),
        None => of_wasm(at, error),
    }
}

impl Sources {
    /// The stage's own.
    fn read(at: &At, language: Language, written: &Script, environment: &Environment) -> Result<Self, Mistake> {
        let mut sources = Self::default();
        if written.is_inline() {
            sources.entry = format!("inline{}", language.endings()[0]);
            let name = format!("<{}>", at.parts().get(1).map_or("stage", String::as_str));
            sources.names.insert(sources.entry.clone(), name);
            sources.files.insert(sources.entry.clone(), written.source.clone());
            return Ok(sources);
        }
        let (folder, file) = written.source.rsplit_once('/').unwrap_or(("", &written.source));
        sources.entry = file.to_owned();
        let path = folder_of(environment, written).join(folder).join(file);
        let text = read(at, &path, &written.source)?;
        sources.add(file, text, &written.source, path);
        Ok(sources)
    }

    fn add(&mut self, file: &str, text: String, name: &str, path: PathBuf) {
        self.files.insert(file.to_owned(), text);
        self.names.insert(file.to_owned(), name.to_owned());
        self.paths.push((name.to_owned(), path));
    }

    /// Those beside it that it imports, and what they import.
    async fn neighbours(
        &mut self,
        own: &Own<'_>,
        language: Language,
        written: &Script,
        environment: &Environment,
    ) -> Result<(), Vec<Mistake>> {
        let folder =
            if written.is_inline() { "" } else { written.source.rsplit_once('/').map_or("", |(folder, _)| folder) };
        let beside = folder_of(environment, written).join(folder);
        loop {
            let settings = json!({ "files": self.files, "names": self.names, "entry": self.entry });
            let Value::Object(settings) = settings else { return Ok(()) };
            let imported = own.schema("imports", &settings).await?;
            let mut found = false;
            for module in imported.fields().iter().flat_map(|field| candidates(language, field.name())) {
                let path = beside.join(&module);
                if self.files.contains_key(&module) || !path.is_file() {
                    continue;
                }
                let name = if folder.is_empty() { module.clone() } else { format!("{folder}/{module}") };
                let text = read(own.keyword, &path, &name).map_err(|mistake| vec![mistake])?;
                self.add(&module, text, &name, path);
                found = true;
            }
            let all: usize = self.files.values().map(String::len).sum();
            if all > MOST {
                let what = format!("`{}` and what it imports are {all} bytes, {MOST} are the most", own.text);
                return Err(vec![Mistake::new(own.keyword.clone(), what)]);
            }
            if !found {
                return Ok(());
            }
        }
    }
}

/// Columns as guests know them, without views.
fn plain(columns: &Schema) -> Schema {
    let any = [PortType("any".to_owned())];
    let field = |field: &FieldRef| {
        let data_type = goes_in(&any, field.data_type()).unwrap_or_else(|| field.data_type().clone());
        Field::clone(field).with_data_type(data_type)
    };
    Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>())
}

/// The folder from which the stage's file is seen.
fn folder_of(environment: &Environment, written: &Script) -> PathBuf {
    environment.folder.join(&written.folder)
}

/// The files that a module may be in: of Python itself and the packages above it.
fn candidates(language: Language, module: &str) -> Vec<String> {
    match language {
        Language::Python => {
            let parts: Vec<&str> = module.split('.').collect();
            if parts.iter().any(|part| part.is_empty() || part.contains(['/', '\\'])) {
                return Vec::new();
            }
            let packages = (1..=parts.len()).map(|n| format!("{}/__init__.py", parts[..n].join("/")));
            packages.chain([format!("{}.py", parts.join("/"))]).collect()
        }
        Language::Js => {
            let inside = !module.split('/').any(|part| part == "..") && !module.starts_with('/');
            if inside { vec![module.to_owned()] } else { Vec::new() }
        }
    }
}

/// A source text.
fn read(at: &At, path: &std::path::Path, name: &str) -> Result<String, Mistake> {
    let bytes = std::fs::read(path).map_err(|e| {
        Mistake::new(at.clone(), format!("can't read `{name}`: {e}"))
            .hint(format!("it is looked for at `{}`", path.display()))
            .fault(Fault::Outside)
    })?;
    if bytes.len() > MOST {
        return Err(Mistake::new(at.clone(), format!("`{name}` has {} bytes, {MOST} are the most", bytes.len())));
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        let what = format!("`{name}` isn't UTF-8: byte {valid}, in line {line}, is {:#04x}", e.as_bytes()[valid]);
        Mistake::new(at.clone(), what).hint("save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_looked_for_beside_the_file_and_nowhere_else() {
        assert_eq!(candidates(Language::Python, "a.b"), ["a/__init__.py", "a/b/__init__.py", "a/b.py"]);
        assert!(candidates(Language::Python, "..b").is_empty());
        assert_eq!(candidates(Language::Js, "a/b.js"), ["a/b.js"]);
        for outside in ["../b.js", "a/../../b.js", "/etc/passwd"] {
            assert!(candidates(Language::Js, outside).is_empty(), "{outside}");
        }
    }
}
