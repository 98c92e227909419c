//! What the benchmarks `pages` and `chunk-offsets` do, as a program of its own on two threads: the operators' functions are
//! called directly, with no engine and no sandbox between them.
//!
//! - `chunks pages FOLDER OUT`: HTML files → text → chunks → validator → `OUT/N.parquet`, one of each thread.
//! - `chunks offsets FOLDER OUT`: the column `text` of Parquet files → chunks → their offsets in `OUT/N.parquet`.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::builder::{ArrayBuilder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch, cast::AsArray};
use html::flow::Flow;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use text::measure::Unit;
use text::split::{By, Cut};
use text::tokens::Encoding;

/// The host's allocator, so that allocation costs the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;
/// What a thread does with the files, and where it writes.
type Work = fn(&Files, &Path) -> Result<(), Failure>;

const THREADS: usize = 2;
/// Rows that are written at a time.
const ROWS: usize = 8192;
/// `text/chunk` with `size = 1000`.
const CUT: Cut =
    Cut { size: 1000, overlap: 0, unit: Unit::Characters, encoding: Encoding::O200kBase, by: By::Text, trim: true };

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, out] = &arguments[..] else { return Err("usage: chunks pages|offsets FOLDER OUT".into()) };
    let (ending, work): (&str, Work) = match what.as_str() {
        "pages" => ("html", pages),
        "offsets" => ("parquet", offsets),
        _ => return Err(format!("`{what}` is neither `pages` nor `offsets`").into()),
    };
    let mut files = Files { root: folder.into(), paths: Vec::new(), next: AtomicUsize::new(0) };
    collect(Path::new(folder), ending, &mut files.paths)?;
    fs::create_dir_all(out)?;
    std::thread::scope(|scope| {
        let files = &files;
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let path = Path::new(out).join(format!("{number}.parquet"));
                scope.spawn(move || work(files, &path))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

/// The files, dealt one by one to who asks.
struct Files {
    root: PathBuf,
    paths: Vec<PathBuf>,
    next: AtomicUsize,
}

impl Files {
    fn next(&self) -> Option<&Path> {
        self.paths.get(self.next.fetch_add(1, Ordering::Relaxed)).map(PathBuf::as_path)
    }
}

/// All files below a folder whose names end so.
fn collect(folder: &Path, ending: &str, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, ending, paths)?;
        } else if path.extension().is_some_and(|e| e == ending) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Chunks that wait to be written.
#[derive(Default)]
struct Chunks {
    uris: StringBuilder,
    indices: UInt32Builder,
    chunks: StringBuilder,
}

impl Chunks {
    fn write(&mut self, writer: &mut Option<ArrowWriter<File>>, out: &Path) -> Result<(), Failure> {
        let columns: [ArrayRef; 3] =
            [Arc::new(self.uris.finish()), Arc::new(self.indices.finish()), Arc::new(self.chunks.finish())];
        write(writer, out, ["uri", "chunk_index", "chunk"], columns)
    }
}

fn pages(files: &Files, out: &Path) -> Result<(), Failure> {
    let judge = validator::Settings::default();
    let (mut found, mut writer) = (Chunks::default(), None);
    while let Some(path) = files.next() {
        let page = fs::read_to_string(path)?;
        let mut flow = Flow::with_capacity(page.len() / 3);
        html::visible::write(&page, false, &mut flow);
        flow.finish();
        let text = String::from_utf8(flow.into_bytes())?;
        let uri = path.strip_prefix(&files.root)?.to_str().ok_or("a path isn't UTF-8")?;
        let mut index = 0;
        CUT.chunks(&text, |start, end| {
            let chunk = &text[start..end];
            if judge.keeps(chunk) {
                found.uris.append_value(uri);
                found.indices.append_value(index);
                found.chunks.append_value(chunk);
            }
            index += 1;
        });
        if found.indices.len() >= ROWS {
            found.write(&mut writer, out)?;
        }
    }
    found.write(&mut writer, out)?;
    close(writer)
}

fn offsets(files: &Files, out: &Path) -> Result<(), Failure> {
    let mut writer = None;
    while let Some(path) = files.next() {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        let column = ProjectionMask::columns(builder.parquet_schema(), ["text"]);
        for batch in builder.with_projection(column).with_batch_size(256).build()? {
            let batch = batch?;
            let (mut starts, mut ends) = (UInt64Builder::new(), UInt64Builder::new());
            for text in batch.column(0).as_string::<i32>().iter().flatten() {
                CUT.chunks(text, |start, end| {
                    starts.append_value(start as u64);
                    ends.append_value(end as u64);
                });
            }
            let columns: [ArrayRef; 2] = [Arc::new(starts.finish()), Arc::new(ends.finish())];
            write(&mut writer, out, ["start_offset", "end_offset"], columns)?;
        }
    }
    close(writer)
}

/// Writes rows as the host does: zstd at level 1. The file is made with the first.
fn write<const N: usize>(
    writer: &mut Option<ArrowWriter<File>>,
    out: &Path,
    names: [&str; N],
    columns: [ArrayRef; N],
) -> Result<(), Failure> {
    let batch = RecordBatch::try_from_iter(names.into_iter().zip(columns))?;
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let zstd = Compression::ZSTD(ZstdLevel::try_new(1)?);
            let properties = WriterProperties::builder().set_compression(zstd).build();
            writer.insert(ArrowWriter::try_new(File::create(out)?, batch.schema(), Some(properties))?)
        }
    };
    Ok(writer.write(&batch)?)
}

fn close(writer: Option<ArrowWriter<File>>) -> Result<(), Failure> {
    writer.map(ArrowWriter::close).transpose()?;
    Ok(())
}
