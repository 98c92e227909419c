//! Rows that failed, kept with their content: what a task writes of them.
//!
//! One Parquet file for each stage at which rows failed, written as they come; nothing is made when nothing fails.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
};
use dflow_io::{Encoder, Prepared, StagedFile, StagedFolder};
use dflow_pipeline::{Format, Name};
use serde::{Deserialize, Serialize};

use crate::{
    error::StepError,
    scope::RowFailure,
    split_column::{SPLIT_COLUMN, SPLIT_TYPE},
};

/// The most that waits in memory of one stage's rows, encoded, in bytes.
const WAITING: usize = 8 << 20;

/// The columns behind those of the row, whose names have a `.` in them.
pub const LETTER_COLUMNS: [&str; 9] = [
    "error_fault",
    "error_kind",
    "error_message",
    "error_attempts",
    "error_at",
    "error_code",
    "row",
    "uri",
    SPLIT_COLUMN,
];

/// Where a task writes the rows that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadPlace {
    /// The folder.
    pub folder: PathBuf,
    /// What the names of the files begin with, and the name under which they are staged.
    pub name: String,
}

/// The file of rows that failed at a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadFile {
    /// The stage.
    pub stage: Name,
    /// The file, under its temporary name.
    pub file: Prepared,
}

/// Writes the rows that fail in a task.
pub struct DeadLetters {
    place: DeadPlace,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Where files are staged, once there is one.
    staged: Option<StagedFolder>,
    /// One for each stage; where a stage runs in several plans, one for each form of its rows.
    letters: Vec<Letters>,
    /// Whether the task's attempt is over. What it has detached may still be at work (`tee`), and the next attempt has the same place.
    over: bool,
}

struct Letters {
    stage: Name,
    /// What rows come with.
    given: SchemaRef,
    /// Which of their columns are written.
    kept: Vec<usize>,
    schema: SchemaRef,
    encoder: Encoder<StagedFile>,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("place", &self.place).finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// Nothing is made before something fails.
    pub fn new(place: DeadPlace) -> Self {
        Self { place, open: Mutex::default() }
    }

    /// Writes rows of one stage that failed: `rows` are their columns, in the failures' order, where anything is known of them. `code` is
    /// the digest of what they failed in. What comes when the files were finished or discarded isn't written: nobody reads on there.
    pub(crate) fn write(
        &self,
        failures: &[RowFailure],
        rows: Option<&RecordBatch>,
        code: Option<&str>,
    ) -> Result<(), StepError> {
        let Some(first) = failures.first() else { return Ok(()) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.over {
            return Ok(());
        }
        let given = rows.map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let same = |letters: &Letters| letters.stage == first.stage && letters.given == given;
        let at = match open.letters.iter().position(same) {
            Some(at) => at,
            None => {
                let letters = open.begin(&self.place, &first.stage, given)?;
                open.letters.push(letters);
                open.letters.len() - 1
            }
        };
        let letters = &mut open.letters[at];
        let kept = letters.kept.iter().filter_map(|i| Some(rows?.column(*i).clone()));
        let columns: Vec<ArrayRef> = kept.chain(told(failures, code)).collect();
        let batch = RecordBatch::try_new(letters.schema.clone(), columns)
            .map_err(|e| StepError::internal(format!("rows that failed can't be written: {e}")))?;
        letters.encoder.write(&batch)?;
        if letters.encoder.buffered_bytes() > WAITING {
            letters.encoder.relieve()?;
        }
        Ok(())
    }

    /// Removes what was written.
    pub fn discard(&self) {
        // Under the lock: when this is done, so is all that was written here.
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Open::over();
    }

    /// Ends the files and syncs them. They are under temporary names.
    ///
    /// # Errors
    /// The disk is full or fails; nothing is left behind.
    pub fn finish(&self) -> Result<Vec<DeadFile>, StepError> {
        let open = std::mem::replace(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner), Open::over());
        let Open { staged, letters, .. } = open;
        let Some(staged) = staged else { return Ok(Vec::new()) };
        let mut files = Vec::with_capacity(letters.len());
        for Letters { stage, encoder, .. } in letters {
            let rows = encoder.rows();
            files.push(DeadFile { stage, file: encoder.finish()?.close()?.with_rows(rows) });
        }
        staged.finish(&files.iter().map(|dead| dead.file.clone()).collect::<Vec<_>>())?;
        Ok(files)
    }
}

impl Open {
    fn over() -> Self {
        Self { over: true, ..Self::default() }
    }

    fn begin(&mut self, place: &DeadPlace, stage: &Name, given: SchemaRef) -> Result<Letters, StepError> {
        let staged = match self.staged.take() {
            Some(staged) => staged,
            None => StagedFolder::create(&place.folder, &place.name)?,
        };
        let staged = self.staged.insert(staged);
        // What the optimizer made for itself is no column of the row, nor what was told of it before; what Parquet can't hold is left out.
        let (mut kept, mut fields) = (Vec::new(), Vec::<FieldRef>::new());
        for (i, field) in given.fields().iter().enumerate() {
            let told = LETTER_COLUMNS.contains(&field.name().as_str());
            if !told && !field.name().starts_with("__common_expr") && writable(field) {
                kept.push(i);
                fields.push(Arc::new(
                    Field::clone(field).with_name(flat(field.name(), stage, &given)).with_nullable(true),
                ));
            }
        }
        fields.extend(told_fields());
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let more = match self.letters.iter().filter(|letters| letters.stage == *stage).count() {
            0 => String::new(),
            before => format!("-{}", before + 1),
        };
        let file = staged.begin(&format!("{}-{stage}{more}.parquet", place.name))?;
        let encoder = Encoder::new(Format::Parquet, schema.clone(), file)?;
        Ok(Letters { stage: stage.clone(), given, kept, schema, encoder })
    }
}

/// A column's name: a sink's are called as they are written, all others `stage.column` already. What a sink of files that rows name
/// has beside the columns that these read keeps its `#` where one of them has its name.
fn flat(name: &str, stage: &Name, given: &Schema) -> String {
    if name.contains('.') {
        return name.to_owned();
    }
    let plain = name.trim_start_matches('#');
    let taken = plain != name && !LETTER_COLUMNS.contains(&plain) && given.field_with_name(plain).is_ok();
    format!("{stage}.{}", if taken { name } else { plain })
}

/// Whether a column can be written.
fn writable(field: &Field) -> bool {
    Encoder::new(Format::Parquet, Arc::new(Schema::new(vec![field.clone()])), io::sink()).is_ok()
}

/// The fields of [`LETTER_COLUMNS`].
fn told_fields() -> impl Iterator<Item = FieldRef> {
    LETTER_COLUMNS.iter().map(|name| {
        let (data_type, nullable) = match *name {
            "error_attempts" => (DataType::UInt32, false),
            SPLIT_COLUMN => (SPLIT_TYPE, true),
            "error_at" => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            "error_fault" | "error_kind" | "error_message" => (DataType::Utf8, false),
            _ => (DataType::Utf8, true),
        };
        Arc::new(Field::new(*name, data_type, nullable))
    })
}

/// The columns of [`LETTER_COLUMNS`].
fn told(failures: &[RowFailure], code: Option<&str>) -> impl Iterator<Item = ArrayRef> {
    let text = |of: &dyn Fn(&RowFailure) -> Option<String>| -> ArrayRef {
        Arc::new(failures.iter().map(of).collect::<StringArray>())
    };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0));
    let at = TimestampMillisecondArray::from_value(at, failures.len()).with_timezone("UTC");
    let columns: [ArrayRef; LETTER_COLUMNS.len()] = [
        text(&|failure| Some(failure.fault.as_str().to_owned())),
        text(&|failure| Some(failure.kind.clone())),
        text(&|failure| Some(failure.message.clone())),
        Arc::new(UInt32Array::from_iter_values(failures.iter().map(|failure| failure.attempts))),
        Arc::new(at),
        text(&|_| code.map(str::to_owned)),
        text(&|failure| failure.id.clone()),
        text(&|failure| failure.uri.clone()),
        Arc::new(failures.iter().map(|failure| failure.split).collect::<UInt32Array>()),
    ];
    columns.into_iter()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dflow_pipeline::Fault;

    use super::*;

    fn failure() -> RowFailure {
        RowFailure {
            stage: "pieces".parse().expect("a name"),
            id: None,
            uri: None,
            split: None,
            fault: Fault::Data,
            kind: "said-so".to_owned(),
            message: "no".to_owned(),
            attempts: 1,
        }
    }

    fn letters(folder: &Path) -> DeadLetters {
        DeadLetters::new(DeadPlace { folder: folder.to_owned(), name: "task".to_owned() })
    }

    #[test]
    fn columns_of_a_sink_of_named_files_have_names_of_their_own() {
        let fields = ["#content", "#id", "#uri", "id", "article.title", "uri"];
        let given = Schema::new(fields.map(|name| Field::new(name, DataType::Utf8, true)).to_vec());
        let stage: Name = "pages".parse().expect("a name");
        let named = fields.map(|name| flat(name, &stage, &given));
        assert_eq!(named, ["pages.content", "pages.#id", "pages.uri", "pages.id", "article.title", "pages.uri"]);
    }

    #[test]
    fn who_writes_late_leaves_the_next_attempts_letters_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |letters: &DeadLetters| letters.write(&[failure()], None, None).expect("it can be written");
        let first = letters(folder.path());
        write(&first);
        first.discard();
        let second = letters(folder.path());
        write(&second);
        write(&first);
        let files = second.finish().expect("its files are there");
        assert_eq!(files.iter().map(|dead| dead.file.rows).collect::<Vec<_>>(), [1]);
        // Nor is what is finished begun once more.
        write(&second);
        drop((first, second));
        assert!(files.iter().all(|dead| dead.file.temporary.exists()));
        Prepared::discard_all(&files.iter().map(|dead| dead.file.clone()).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder is there").count(), 0);
    }
}
