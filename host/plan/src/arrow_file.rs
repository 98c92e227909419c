//! Arrow IPC: files and streams, read from their start.
//!
//! A file is a stream between a magic word and a footer, so that both are read alike, compressed or from the web too. The footer is
//! only looked at to know that the file is whole.

use std::{
    io::{self, Cursor, Read},
    sync::Arc,
};

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{FieldRef, Schema, SchemaRef},
    error::ArrowError,
    ipc::reader::StreamReader,
};

use dflow_operators::differs;

use crate::rows::said;

/// What a file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";
/// What messages begin with.
const CONTINUED: [u8; 4] = [0xff; 4];
/// What messages are aligned to at least.
const WORD: u64 = 8;
/// What is said of a file that isn't whole.
const CUT: &str = "it ends too early";

type Stream<R> = StreamReader<io::BufReader<io::Chain<Cursor<Vec<u8>>, R>>>;

/// A stream, and whether it is in a file.
fn open<R: Read>(mut file: R) -> Result<(Stream<R>, bool), String> {
    let mut begin = word(&mut file)?;
    if begin.is_empty() {
        return Err("it is empty".to_owned());
    }
    let is_file = begin.starts_with(MAGIC);
    if is_file {
        // Behind the magic word stand zeros, up to the alignment of who wrote it.
        begin.clear();
        while begin.iter().all(|byte| *byte == 0) {
            begin = word(&mut file)?;
            if begin.is_empty() {
                return Err(CUT.to_owned());
            }
        }
    }
    if !begin.starts_with(&CONTINUED) {
        return Err("it is neither a file nor a stream of Arrow's".to_owned());
    }
    let stream = StreamReader::try_new_buffered(Cursor::new(begin).chain(file), None).map_err(|e| in_our_words(&e))?;
    Ok((stream, is_file))
}

/// The next bytes; fewer than a word has at the end.
fn word(file: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut word = Vec::with_capacity(WORD as usize);
    file.by_ref().take(WORD).read_to_end(&mut word).map_err(|e| e.to_string())?;
    Ok(word)
}

/// The columns of a file.
pub(crate) fn arrow_schema<R: Read>(file: R) -> Result<SchemaRef, String> {
    open(file).map(|(stream, _)| stream.schema())
}

/// The batches of a file in the columns of a schema, cut to `rows` rows. Where a type isn't pinned it must be what the first file has.
pub(crate) fn arrow_batches<R: Read + 'static>(
    file: R,
    schema: &SchemaRef,
    pinned: bool,
    rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch, String>> + use<R>, String> {
    let (stream, is_file) = open(file)?;
    check(&stream.schema(), schema, pinned)?;
    let schema = Arc::clone(schema);
    let mut batches = Batches { stream, is_file, ended: false };
    let mut left: Option<RecordBatch> = None;
    Ok(std::iter::from_fn(move || {
        let batch = match left.take() {
            Some(batch) => batch,
            None => match batches.next()?.and_then(|batch| fit(&batch, &schema)) {
                Ok(batch) => batch,
                Err(why) => return Some(Err(why)),
            },
        };
        if batch.num_rows() > rows {
            left = Some(batch.slice(rows, batch.num_rows() - rows));
            return Some(Ok(batch.slice(0, rows)));
        }
        Some(Ok(batch))
    }))
}

struct Batches<R: Read> {
    stream: Stream<R>,
    is_file: bool,
    ended: bool,
}

impl<R: Read> Iterator for Batches<R> {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.stream.next() {
            Some(Ok(batch)) => Some(Ok(batch)),
            Some(Err(e)) => {
                self.ended = true;
                Some(Err(in_our_words(&e)))
            }
            None => {
                self.ended = true;
                // A file that is cut between two batches looks like a stream that ends.
                let whole = !self.is_file || ends(self.stream.get_mut()).unwrap_or(false);
                (!whole).then(|| Err(CUT.to_owned()))
            }
        }
    }
}

/// Whether what is left ends as a file does.
fn ends(rest: &mut impl Read) -> io::Result<bool> {
    let (mut last, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match rest.read(&mut piece)? {
            0 => return Ok(last.ends_with(MAGIC)),
            read => {
                last.extend_from_slice(&piece[..read]);
                last.drain(..last.len().saturating_sub(MAGIC.len()));
            }
        }
    }
}

/// Whether a file has the columns of a schema, as the first file has them if nobody says how they are.
fn check(file: &Schema, schema: &Schema, pinned: bool) -> Result<(), String> {
    let wrong = |field: &FieldRef| match file.field_with_name(field.name()) {
        Err(_) if pinned => Some(format!("it has no column `{}`", field.name())),
        Ok(_) if pinned => None,
        _ => differs(file, field),
    };
    schema.fields().iter().find_map(wrong).map_or(Ok(()), Err)
}

fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    // What can't be what is asked for is a failure, not null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().map(|field| {
        let column =
            batch.column_by_name(field.name()).ok_or_else(|| format!("it has no column `{}`", field.name()))?;
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast_with_options(column, field.data_type(), &options)
            .map_err(|e| format!("column `{}`: {}", field.name(), in_our_words(&e)))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, String>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| in_our_words(&e))
}

/// What Arrow says, in our words where a file is cut.
fn in_our_words(error: &ArrowError) -> String {
    match error {
        ArrowError::IoError(_, e) if e.kind() == io::ErrorKind::UnexpectedEof => CUT.to_owned(),
        other => said(&other.to_string()).to_owned(),
    }
}
