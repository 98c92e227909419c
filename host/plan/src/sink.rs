//! `write`: the columns that a sink gets.

use std::collections::BTreeSet;

use datafusion::{
    arrow::{datatypes::DataType, row::RowConverter, row::SortField},
    execution::session_state::SessionState,
    logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder},
};
use dflow_io::{IoError, Place, Stores, name_part};
use dflow_operators::{SPLIT_COLUMN, Template};
use dflow_pipeline::{At, FileNames, Format, Mistake, Mode, Name, Pipeline, Verb, Write};
use indexmap::IndexMap;

use crate::{
    columns::{Column, Columns, ambiguous, flat},
    expression::expression,
    json_object::json_object,
    problems::{of_io, of_sql},
    steps::{Planned, Step, planning},
    together::{Rows, Way},
    types::{in_csv, type_text},
};

/// The columns that a sink of files named by their rows gets before those that its template reads.
pub mod named {
    /// The files' content, text or bytes.
    pub const CONTENT: &str = "#content";
    /// The rows' ids, where they have one.
    pub const ID: &str = "#id";
    /// The URIs of the files that rows come from, where they are known.
    pub const URI: &str = "#uri";
}

/// The columns that are written, and the expressions that give them.
#[derive(Default)]
struct Written {
    columns: IndexMap<String, Column>,
    projection: Vec<Expr>,
    /// Which split each row comes from, which isn't written.
    split: Option<Expr>,
}

impl Written {
    fn add(&mut self, name: &str, expr: Expr, data_type: DataType, nullable: bool) {
        self.projection.push(expr.alias(name));
        let field = Columns::field(name, data_type, nullable);
        self.columns.insert(name.to_owned(), Column { flat: name.to_owned(), field, bytes: None, file: None });
    }

    fn add_column(&mut self, name: &str, column: &Column) {
        self.add(name, column.expr(), column.data_type().clone(), column.field.is_nullable());
    }
}

impl Step {
    /// What a sink writes, or the visible columns of a stage that is none.
    pub(crate) fn sink(&self, state: &SessionState, name: &Name, write: Option<&Write>) -> Planned {
        let at = At::stage(name);
        if let Some(write) = write
            && let Some(names) = FileNames::of(&write.path)
        {
            return self.named_sink(name, &names, write.column.as_deref().unwrap_or_default());
        }
        let mut written = Written::default();
        match write.and_then(|write| write.columns.as_ref()) {
            None => self.columns.visible.iter().for_each(|(name, column)| written.add_column(name, column)),
            Some(columns) => self.written(state, &at.key("columns"), columns, &mut written)?,
        }
        if let Some(write) = write {
            let mut mistakes = partitions(&at.key("partition_by"), &write.partition_by, &written.columns);
            mistakes.extend(keys(&at.key("key"), &write.key, &written.columns));
            mistakes.extend(read_back(&at.key("mode"), write, &written.columns));
            if !mistakes.is_empty() {
                return Err(mistakes);
            }
        }
        if write.is_some() {
            written.split = self.split().map_err(planning(At::stage(name).key("write")))?;
        }
        self.project(name, written)
    }

    fn project(&self, name: &Name, mut written: Written) -> Planned {
        written.projection.extend(written.split.take());
        let plan = LogicalPlanBuilder::from(self.plan.clone()).project(written.projection);
        let columns = Columns { visible: written.columns, ..self.columns.child(name) };
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(planning(At::stage(name).key("write")))?;
        Ok(Self { plan, columns })
    }

    /// Which split each row comes from, where rows of different splits never meet.
    pub(crate) fn split(&self) -> datafusion::common::Result<Option<Expr>> {
        let single = Rows::of(&self.plan)?.way() == Way::Single;
        Ok(self.columns.split.as_ref().filter(|_| single).map(|split| split.expr().alias(SPLIT_COLUMN)))
    }

    /// `columns = { name = "expression", rest = "*" }`
    fn written(
        &self,
        state: &SessionState,
        at: &At,
        columns: &IndexMap<String, String>,
        written: &mut Written,
    ) -> Result<(), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut rest: Option<&str> = None;
        for (column, text) in columns {
            let (place, text) = (at.key(column), text.trim());
            if text == "*" {
                if let Some(first) = rest.replace(column) {
                    let what = format!("`{first}` holds all the rest (`*`) already");
                    mistakes.push(Mistake::new(place, what).hint("leave one of them out"));
                    continue;
                }
                let named: Vec<&str> = columns
                    .values()
                    .filter_map(|text| self.columns.get(text.trim()))
                    .map(|c| c.flat.as_str())
                    .collect();
                let others = self.columns.visible.iter().filter(|(_, c)| !named.contains(&c.flat.as_str()));
                let (names, values) = others.map(|(name, c)| (name.clone(), c.expr())).unzip();
                written.add(column, json_object(names, values), DataType::Utf8View, false);
                continue;
            }
            if let Some(existing) = self.columns.get(text) {
                written.add_column(column, existing);
                continue;
            }
            let planned = expression(state, &self.columns, self.plan.schema(), &place, text)
                .and_then(|expr| Ok((expr.to_field(self.plan.schema()).map_err(|e| of_sql(place, &e))?.1, expr)));
            match planned {
                Ok((field, expr)) => written.add(column, expr, field.data_type().clone(), field.is_nullable()),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// A sink whose files are named by their rows: the content, what failures tell of a row, and what the template reads.
    fn named_sink(&self, name: &Name, names: &FileNames, content: &str) -> Planned {
        let at = At::stage(name);
        let template = Template::new(&names.template, name_part);
        let template =
            template.map_err(|e| vec![Mistake::new(at.key("write"), format!("this name is no template: {e}"))])?;
        let mut mistakes: Vec<Mistake> = template
            .unknown()
            .map(|e| Mistake::new(at.key("write"), format!("this name can't be made: {e}")))
            .into_iter()
            .collect();
        let mut written = Written::default();
        match self.columns.get(content) {
            None => mistakes.push(self.unknown_column(at.key("column"), content)),
            Some(column) => match content_of(column) {
                Some((flat_name, data_type)) => written.add(named::CONTENT, flat(flat_name), data_type, true),
                None => {
                    let what = format!(
                        "a file's content is text or bytes, and `{content}` is {}",
                        type_text(column.data_type())
                    );
                    let hint = "make text of it with `set`, such as `{ content = \"cast(… AS text)\" }`";
                    mistakes.push(Mistake::new(at.key("column"), what).hint(hint));
                }
            },
        }
        if let Some(id) = self.columns.id() {
            written.add_column(named::ID, id);
        }
        if let Some(uri) = &self.columns.uri {
            written.add_column(named::URI, uri);
        }
        for name in template.names() {
            match self.read_by_template(&at.key("write"), &name) {
                Ok((as_name, column)) if !written.columns.contains_key(as_name) => written.add_column(as_name, column),
                Ok(_) => {}
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        written.split = self.split().map_err(planning(at.key("write")))?;
        self.project(name, written)
    }

    /// The column that a template means by a name, and the name under which it gets it: `title` of this stage, `article.title` of a
    /// stage above, or `place.city` of a struct, which it gets as `place`.
    pub(crate) fn read_by_template<'a>(&self, at: &At, name: &'a str) -> Result<(&'a str, &Column), Mistake> {
        let Some((first, member)) = name.split_once('.') else {
            return match self.columns.get(name) {
                Some(column) => Ok((name, column)),
                None if self.columns.has_stage(name) => {
                    Err(Mistake::new(at.clone(), format!("`{{{{ {name} }}}}` is a stage, not a column"))
                        .hint(format!("name one of its columns: `{{{{ {name}.… }}}}`")))
                }
                None => Err(self.unknown_column(at.clone(), name)),
            };
        };
        let own = self.columns.visible.get(first);
        let members = own.and_then(|column| match column.data_type() {
            DataType::Struct(fields) => Some(fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>()),
            _ => None,
        });
        // What is within a member is found when it is read.
        let (member, name) = match member.split_once('.') {
            Some((member, _)) => (member, &name[..first.len() + 1 + member.len()]),
            None => (member, name),
        };
        let is_member = members.as_ref().is_some_and(|members| members.contains(&member));
        match (own, self.columns.of_stage(first, member)) {
            (Some(_), Some(_)) if is_member => {
                let what = format!("`{name}` is both a column of stage `{first}` and a member of the column `{first}`");
                Err(Mistake::new(at.clone(), what).hint("give one of them another name with `set`"))
            }
            (_, Some(column)) => Ok((name, column)),
            (Some(column), None) if is_member => Ok((first, column)),
            (Some(column), None) if !self.columns.has_stage(first) => Err(match members {
                Some(members) => Mistake::unknown(at.clone(), &format!("member of `{first}`"), member, &members),
                None => {
                    let what = format!("`{first}` is {}, and only a struct has members", type_text(column.data_type()));
                    Mistake::new(at.clone(), what)
                }
            }),
            _ if self.columns.ambiguous.contains(first) => Err(ambiguous(at.clone(), first)),
            _ => Err(self.unknown_column(at.clone(), name)),
        }
    }
}

/// The sinks that write to one place.
pub(crate) fn same_places(pipeline: &Pipeline, flawed: &BTreeSet<String>, stores: &Stores) -> Vec<Mistake> {
    let (mut taken, mut mistakes): (Vec<(&Name, _)>, _) = (Vec::new(), Vec::new());
    for (name, stage) in pipeline.stage.iter().filter(|(name, _)| !flawed.contains(name.as_str())) {
        let Verb::Write(write) = &stage.verb else { continue };
        // What is wrong with a place by itself is said of its stage.
        let Ok((place, names)) = place_of(write, stores) else { continue };
        let place = (place, names.map(|names| names.glob));
        if let Some((other, _)) = taken.iter().find(|(_, there)| *there == place) {
            let what = format!("stages `{other}` and `{name}` write to the same place, `{}`", write.path);
            let mistake = Mistake::new(At::stage(name).key("write"), what);
            mistakes.push(mistake.hint("give each a place of its own"));
        }
        taken.push((name, place));
    }
    mistakes
}

/// Where a sink writes, and how its files are named, if rows name them.
///
/// # Errors
/// As of [`Stores::place`].
pub fn place_of(write: &Write, stores: &Stores) -> Result<(Place, Option<FileNames>), IoError> {
    let names = FileNames::of(&write.path);
    let path = names.as_ref().map_or(write.path.as_str(), |names| names.folder.as_str());
    let place = match stores.place(if path.is_empty() { "." } else { path })? {
        Place::File(path) if names.is_some() => Place::Folder(path),
        place => place,
    };
    Ok((place, names))
}

/// Refuses what can't be written into a bucket, where names aren't changed and nothing is written anew in place.
pub(crate) fn fits(stores: &Stores, name: &Name, write: &Write) -> Result<(), Vec<Mistake>> {
    let at = At::stage(name);
    match stores.in_bucket(&write.path) {
        Ok(false) => return Ok(()),
        Ok(true) => {}
        Err(error) => return Err(vec![of_io(at.key("write"), &error)]),
    }
    let mut mistakes = Vec::new();
    let mut refuse = |at: At, what: &str| {
        let mistake = Mistake::new(at, format!("{what} can't be written into a bucket in this version of dflow"));
        mistakes
            .push(mistake.hint("write into a folder, and copy it there; or write a table with `mode = \"replace\"`"));
    };
    if FileNames::of(&write.path).is_some() {
        refuse(at.key("write"), "files named by their rows");
    } else if write.mode == Mode::Merge {
        refuse(at.key("mode"), "what is merged");
    }
    if !write.partition_by.is_empty() {
        refuse(at.key("partition_by"), "folders of values");
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// The flat name and the type of a column as a file's content: bytes before text, since they are what was read.
fn content_of(column: &Column) -> Option<(&str, DataType)> {
    if let Some(bytes) = &column.bytes {
        return Some((bytes, DataType::BinaryView));
    }
    let data_type = column.data_type();
    (data_type.is_string() || data_type.is_binary()).then(|| (column.flat.as_str(), data_type.clone()))
}

/// Mistakes in `partition_by`.
fn partitions(at: &At, names: &[String], columns: &IndexMap<String, Column>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for name in names {
        match columns.get(name) {
            None => mistakes.push(unknown(at, name, columns)),
            Some(column) if !names_folders(column.data_type()) => {
                let what = format!(
                    "`{name}` is {}, and folders are named by text, whole numbers, booleans or dates",
                    type_text(column.data_type())
                );
                mistakes
                    .push(Mistake::new(at.clone(), what).hint("make one of these of it, in `columns` or with `set`"));
            }
            Some(_) => {}
        }
    }
    if mistakes.is_empty() && !names.is_empty() && names.len() == columns.len() {
        mistakes.push(Mistake::new(at.clone(), "every column names folders, and none is left for the files"));
    }
    mistakes
}

fn names_folders(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => names_folders(value),
        DataType::Boolean | DataType::Date32 | DataType::Date64 => true,
        other => other.is_integer() || other.is_string(),
    }
}

/// Mistakes in `key`.
fn keys(at: &At, names: &[String], columns: &IndexMap<String, Column>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for name in names {
        match columns.get(name) {
            None => mistakes.push(unknown(at, name, columns)),
            Some(column) if !RowConverter::supports_fields(&[SortField::new(column.data_type().clone())]) => {
                let what = format!("`{name}` is {}, which can't be compared", type_text(column.data_type()));
                mistakes.push(Mistake::new(at.clone(), what));
            }
            Some(_) => {}
        }
    }
    mistakes
}

/// Mistakes in what is merged with csv, whose rows have to be read back.
fn read_back(at: &At, write: &Write, columns: &IndexMap<String, Column>) -> Vec<Mistake> {
    let format = write.format.or_else(|| Format::of_name(&write.path));
    if write.mode != Mode::Merge || format != Some(Format::Csv) {
        return Vec::new();
    }
    let lost = columns.iter().filter(|(_, column)| !in_csv(column.data_type()));
    let mistakes = lost.map(|(name, column)| {
        let what = format!("`{name}` is {}, which can't be read back from csv", type_text(column.data_type()));
        Mistake::new(at.clone(), what).hint("make text of it, in `columns` or with `set`, or merge in another format")
    });
    mistakes.collect()
}

fn unknown(at: &At, name: &str, columns: &IndexMap<String, Column>) -> Mistake {
    let known: Vec<&str> = columns.keys().map(String::as_str).collect();
    Mistake::unknown(at.clone(), "written column", name, &known)
}
