//! Values that many rows share, kept once while the rows are put in order.
//!
//! A chunk carries the columns of its document along. In memory that costs a view of 16 bytes. But rows that are put on disk are
//! written value by value, a document once for each of its chunks, and sorting counts its buffers once for each batch. So the values of such columns stay behind:
//! each is kept once, rows carry its number through the sort and get it back afterwards. What doesn't fit into memory is in
//! one file, each value at one place.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, StringViewArray, UInt32Array, UInt64Array,
            make_view, new_empty_array,
        },
        buffer::{Buffer, NullBuffer, ScalarBuffer},
        compute::{interleave, take},
        datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
    },
    common::{Result, internal_err},
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
        spill_file::{SpillFile, SpillWriter},
    },
};

/// A column's values stay behind when they would be so many times as many bytes written for each row ...
const SHARED: u64 = 2;
/// ... and are as long as this, in bytes, on average. A number takes 8.
const LONG: u64 = 64;
/// Views of at most so many bytes hold the value itself.
const INLINE: u32 = 12;
/// What is known of a value takes about so many bytes.
const ENTRY: usize = 64;

/// The columns of some rows whose values stay behind, by position, but for those that are `read` meanwhile.
pub(crate) fn shared_columns<'a, B: Iterator<Item = &'a RecordBatch>>(
    rows: impl Fn() -> B,
    read: &HashSet<usize>,
) -> Vec<usize> {
    let shared = |at: &usize| {
        let (mut written, mut kept, mut count) = (0, 0, 0);
        for batch in rows() {
            let Some((views, buffers, nulls)) = views(batch.column(*at)) else { return false };
            let mut last = None;
            for (_, view) in valid(views, nulls) {
                let (key, length) = (Some(identity(*view, buffers)), u64::from(*view as u32));
                written += length;
                kept += if key == last { 0 } else { length };
                count += 1;
                last = key;
            }
        }
        count > 0 && written >= SHARED * kept && written >= LONG * count
    };
    let columns = rows().next().map_or(0, RecordBatch::num_columns);
    (0..columns).filter(|at| !read.contains(at)).filter(shared).collect()
}

/// The views that aren't null, with their rows.
fn valid<'a>(views: &'a [u128], nulls: Option<&'a NullBuffer>) -> impl Iterator<Item = (usize, &'a u128)> {
    views.iter().enumerate().filter(move |(row, _)| nulls.is_none_or(|nulls| nulls.is_valid(*row)))
}

/// The views of a column that has some.
fn views(column: &ArrayRef) -> Option<(&ScalarBuffer<u128>, &[Buffer], Option<&NullBuffer>)> {
    match column.data_type() {
        DataType::Utf8View => {
            let column = column.as_string_view();
            Some((column.views(), column.data_buffers(), column.nulls()))
        }
        DataType::BinaryView => {
            let column = column.as_binary_view();
            Some((column.views(), column.data_buffers(), column.nulls()))
        }
        _ => None,
    }
}

/// What is the same for views of the same bytes, as long as their buffer is held.
fn identity(view: u128, buffers: &[Buffer]) -> u128 {
    let length = view as u32;
    if length <= INLINE {
        return view;
    }
    let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
    ((buffers[buffer].as_ptr() as usize + offset) as u128) << 32 | u128::from(length)
}

/// The values of the columns that stay behind.
pub(crate) struct Shared {
    columns: Vec<(usize, Values)>,
    memory: MemoryReservation,
    context: Arc<TaskContext>,
    /// The rows' schema with and without them.
    whole: SchemaRef,
    numbered: SchemaRef,
}

impl Shared {
    /// None yet, of the columns at these positions.
    pub(crate) fn new(schema: &SchemaRef, columns: &[usize], context: &Arc<TaskContext>) -> Self {
        let fields = schema.fields().iter().enumerate().map(|(at, field)| match columns.contains(&at) {
            true => Arc::new(Field::new(field.name(), DataType::UInt64, field.is_nullable())),
            false => field.clone(),
        });
        let numbered = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
        let columns = columns.iter().map(|at| (*at, Values::default())).collect();
        let memory = MemoryConsumer::new("values that sorted rows share").with_can_spill(true);
        let memory = memory.register(context.memory_pool());
        Self { columns, memory, context: context.clone(), whole: schema.clone(), numbered: Arc::new(numbered) }
    }

    /// The schema of rows with numbers in place of values.
    pub(crate) fn numbered(&self) -> &SchemaRef {
        &self.numbered
    }

    /// The rows with numbers in place of values, which are kept.
    pub(crate) fn keep(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for (at, values) in &mut self.columns {
            columns[*at] = Arc::new(values.keep(&columns[*at])?);
        }
        self.hold()?;
        Ok(RecordBatch::try_new(self.numbered.clone(), columns)?)
    }

    /// Takes the memory that is held by now; where there is none, the values of the column with most go to a file.
    fn hold(&mut self) -> Result<()> {
        loop {
            let held = self.columns.iter().map(|(_, values)| values.place.held()).sum();
            if self.memory.try_resize(held).is_ok() {
                return Ok(());
            }
            let in_memory = |values: &&mut Values| matches!(values.place, Place::Memory { .. });
            let most = self.columns.iter_mut().map(|(_, values)| values).filter(in_memory);
            match most.max_by_key(|values| values.place.held()) {
                Some(values) => values.put_away(&self.context)?,
                None => {
                    self.memory.resize(held);
                    return Ok(());
                }
            }
        }
    }

    /// The first of some rows with their values again: so many that about so many bytes are read from files. No rows can be kept
    /// after this.
    pub(crate) fn give(&mut self, rows: &RecordBatch, bytes: u64) -> Result<RecordBatch> {
        self.columns.iter_mut().try_for_each(|(_, values)| values.close())?;
        let rows = rows.slice(0, self.count(rows, bytes));
        let mut columns = rows.columns().to_vec();
        for (at, values) in &self.columns {
            columns[*at] = values.give(columns[*at].as_primitive(), self.whole.field(*at).data_type())?;
        }
        Ok(RecordBatch::try_new(self.whole.clone(), columns)?)
    }

    /// How many of the first rows may be given at a time: one at least, if there is any.
    fn count(&self, rows: &RecordBatch, bytes: u64) -> usize {
        let mut count = rows.num_rows();
        for (at, values) in &self.columns {
            let Place::File { places, .. } = &values.place else { continue };
            let (mut read, mut seen) = (0, HashSet::new());
            for (row, number) in rows.column(*at).as_primitive::<UInt64Type>().iter().enumerate().take(count) {
                read += number
                    .filter(|number| seen.insert(*number))
                    .map_or(0, |number| u64::from(places[number as usize].1));
                if read > bytes && row > 0 {
                    count = row;
                    break;
                }
            }
        }
        count
    }
}

/// The different values of one column, by number.
#[derive(Default)]
struct Values {
    /// The numbers of values whose buffers are held.
    known: HashMap<u128, u64>,
    place: Place,
}

/// Where values are.
enum Place {
    /// Arrays of them, and for each its array and its row there. `buffers` are the addresses of those that are held, of so many bytes.
    Memory { arrays: Vec<ArrayRef>, rows: Vec<(usize, usize)>, buffers: HashSet<usize>, bytes: usize },
    /// A file, with where each begins in it and how long it is.
    File {
        file: Arc<dyn SpillFile>,
        writer: Option<BufWriter<Box<dyn SpillWriter>>>,
        reader: Option<File>,
        places: Vec<(u64, u32)>,
        length: u64,
    },
}

impl Values {
    /// The numbers of a column's values.
    fn keep(&mut self, column: &ArrayRef) -> Result<UInt64Array> {
        let Some((views, buffers, nulls)) = views(column) else { return internal_err!("only views can be shared") };
        let first = self.place.count() as u64;
        let (mut numbers, mut new) = (vec![0; views.len()], Vec::new());
        let mut last = None;
        for (row, view) in valid(views, nulls) {
            let key = identity(*view, buffers);
            numbers[row] = match last {
                Some((same, number)) if same == key => number,
                _ => *self.known.entry(key).or_insert_with(|| {
                    new.push(row as u32);
                    first + new.len() as u64 - 1
                }),
            };
            last = Some((key, numbers[row]));
        }
        if !new.is_empty() {
            self.place.add(take(column, &UInt32Array::from(new), None)?)?;
        }
        if matches!(self.place, Place::File { .. }) {
            // Their buffers aren't held, and other values may come to where they were.
            self.known.clear();
        }
        Ok(UInt64Array::new(numbers.into(), nulls.cloned()))
    }

    /// Puts the values into a file.
    fn put_away(&mut self, context: &TaskContext) -> Result<()> {
        let file = context.runtime_env().disk_manager.create_tmp_file("values that sorted rows share")?;
        let writer = Some(BufWriter::new(file.open_writer()?));
        let to = Place::File { file, writer, reader: None, places: Vec::new(), length: 0 };
        if let Place::Memory { arrays, .. } = std::mem::replace(&mut self.place, to) {
            arrays.into_iter().try_for_each(|array| self.place.add(array))?;
        }
        self.known.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.known = HashMap::new();
        if let Place::File { file, writer, reader, .. } = &mut self.place
            && let Some(writer) = writer.take()
        {
            writer.into_inner().map_err(|e| e.into_error())?.finish()?;
            let Some(path) = file.path() else { return internal_err!("a file for values has no path") };
            *reader = Some(File::open(path)?);
        }
        Ok(())
    }

    /// The values of some numbers.
    fn give(&self, numbers: &UInt64Array, data_type: &DataType) -> Result<ArrayRef> {
        // Those that are needed, each once, and where each row's is among them.
        let (mut needed, mut at) = (Vec::new(), HashMap::new());
        let rows = numbers.iter().map(|number| {
            number.map(|number| {
                *at.entry(number).or_insert_with(|| {
                    needed.push(number as usize);
                    needed.len() as u32 - 1
                })
            })
        });
        let rows: UInt32Array = rows.collect();
        let values = match &self.place {
            Place::Memory { arrays, rows, .. } => {
                let (mut used, mut at) = (Vec::new(), HashMap::new());
                let found = needed.iter().map(|number| {
                    let (array, row) = rows[*number];
                    let array = *at.entry(array).or_insert_with(|| {
                        used.push(arrays[array].as_ref());
                        used.len() - 1
                    });
                    (array, row)
                });
                let found: Vec<(usize, usize)> = found.collect();
                match used.is_empty() {
                    true => new_empty_array(data_type),
                    false => interleave(&used, &found)?,
                }
            }
            Place::File { reader, places, .. } => {
                let Some(file) = reader else { return internal_err!("values are read before all are there") };
                let mut bytes = vec![0; needed.iter().map(|number| places[*number].1 as usize).sum()];
                let (mut views, mut start) = (Vec::with_capacity(needed.len()), 0);
                for number in needed {
                    let (from, length) = places[number];
                    let value = &mut bytes[start..start + length as usize];
                    file.read_exact_at(value, from)?;
                    views.push(make_view(value, 0, start as u32));
                    start += length as usize;
                }
                let (views, buffers) = (ScalarBuffer::from(views), vec![Buffer::from_vec(bytes)]);
                match data_type {
                    DataType::Utf8View => Arc::new(StringViewArray::try_new(views, buffers, None)?) as ArrayRef,
                    _ => Arc::new(BinaryViewArray::try_new(views, buffers, None)?),
                }
            }
        };
        Ok(take(&values, &rows, None)?)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Memory { arrays: Vec::new(), rows: Vec::new(), buffers: HashSet::new(), bytes: 0 }
    }
}

impl Place {
    /// The memory that it takes, in bytes.
    fn held(&self) -> usize {
        match self {
            Self::Memory { rows, bytes, .. } => bytes + rows.len() * ENTRY,
            Self::File { places, .. } => places.len() * size_of::<(u64, u32)>(),
        }
    }

    /// How many values there are.
    fn count(&self) -> usize {
        match self {
            Self::Memory { rows, .. } => rows.len(),
            Self::File { places, .. } => places.len(),
        }
    }

    /// Keeps more values, of which none is null.
    fn add(&mut self, values: ArrayRef) -> Result<()> {
        match self {
            Self::Memory { arrays, rows, buffers, bytes } => {
                let held = views(&values).map_or(&[][..], |(_, held, _)| held);
                let new = held.iter().filter(|buffer| buffers.insert(buffer.as_ptr() as usize));
                *bytes += new.map(Buffer::capacity).sum::<usize>();
                rows.extend((0..values.len()).map(|row| (arrays.len(), row)));
                arrays.push(values);
            }
            Self::File { writer, places, length, .. } => {
                let Some(writer) = writer else { return internal_err!("values come after all were there") };
                let values = values.as_ref();
                for row in 0..values.len() {
                    let value = match values.data_type() {
                        DataType::Utf8View => values.as_string_view().value(row).as_bytes(),
                        _ => values.as_binary_view().value(row),
                    };
                    writer.write_all(value)?;
                    places.push((*length, value.len() as u32));
                    *length += value.len() as u64;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::compute::concat_batches,
        execution::{memory_pool::UnboundedMemoryPool, runtime_env::RuntimeEnvBuilder},
    };

    use super::*;

    /// Children of documents, a batch for each three of these: a document in 10 rows, one of few letters, none at all.
    fn children() -> Vec<RecordBatch> {
        let batch = |n: usize| {
            let documents: ArrayRef = Arc::new(StringViewArray::from(vec![
                Some(format!("document {n} ").repeat(200)),
                Some(format!("short {n}")),
                None,
            ]));
            let bytes: ArrayRef = Arc::new(BinaryViewArray::from_iter([Some(vec![n as u8; 300]), Some(vec![]), None]));
            let parents = UInt32Array::from_iter_values((0..30).map(|row| row / 10));
            let carried = |column: &ArrayRef| take(column, &parents, None).expect("they are there");
            let chunk: ArrayRef =
                Arc::new(StringViewArray::from_iter_values((0..30).map(|row| format!("chunk {n} {row}"))));
            let columns = [("text", carried(&documents)), ("chunk", chunk), ("bytes", carried(&bytes))];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
                .expect("a batch")
        };
        (0..20).map(batch).collect()
    }

    fn context(memory: usize) -> Arc<TaskContext> {
        let runtime = match memory {
            0 => RuntimeEnvBuilder::new().with_memory_pool(Arc::new(UnboundedMemoryPool::default())),
            bytes => RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0),
        };
        Arc::new(TaskContext::default().with_runtime(runtime.build_arc().expect("a folder for files")))
    }

    #[test]
    fn what_children_share_is_found() {
        let (batches, read) = (children(), |columns: &[usize]| columns.iter().copied().collect());
        assert_eq!(shared_columns(|| batches.iter(), &read(&[])), [0, 2]);
        assert_eq!(shared_columns(|| batches.iter(), &read(&[0, 1])), [2]);
        assert_eq!(shared_columns(|| [].iter(), &read(&[])), Vec::<usize>::new());
    }

    #[test]
    fn rows_get_their_values_back() {
        let batches = children();
        let all = concat_batches(&batches[0].schema(), &batches).expect("they have one schema");
        // Without a limit, with one that the first batches keep to, and with one that nothing keeps to.
        for memory in [0, 20_000, 1] {
            let mut shared = Shared::new(&all.schema(), &[0, 2], &context(memory));
            let numbered: Vec<_> = batches.iter().map(|batch| shared.keep(batch).expect("kept")).collect();
            let in_file =
                shared.columns.iter().filter(|(_, values)| matches!(values.place, Place::File { .. })).count();
            assert_eq!(in_file > 0, memory > 0, "{memory}");
            let counts: Vec<usize> = shared.columns.iter().map(|(_, values)| values.place.count()).collect();
            // Nulls not at all; the same short value of several batches once in memory, once a batch in a file.
            assert_eq!(counts[0], 40, "each value once");
            assert!(if memory == 0 { counts[1] == 21 } else { (21..=40).contains(&counts[1]) }, "{counts:?}");
            let numbered = concat_batches(shared.numbered(), &numbered).expect("they have one schema");
            let order = UInt32Array::from_iter_values((0..600).map(|row| row * 7919 % 600));
            let taken = |batch: &RecordBatch| {
                let columns = batch.columns().iter().map(|column| take(column, &order, None).expect("they are there"));
                RecordBatch::try_new(batch.schema(), columns.collect()).expect("a batch")
            };
            let (mut left, mut given, mut parts) = (taken(&numbered), Vec::new(), 0);
            while left.num_rows() > 0 {
                let part = shared.give(&left, 10_000).expect("given");
                left = left.slice(part.num_rows(), left.num_rows() - part.num_rows());
                given.push(part);
                parts += 1;
            }
            assert_eq!(parts > 1, memory > 0, "what is read from a file comes in parts");
            assert_eq!(concat_batches(&all.schema(), &given).expect("they have one schema"), taken(&all));
        }
    }
}
