//! `blobs` of the contract: parts of files that the host reads for a guest.

use std::{fmt::Debug, sync::Arc, time::Duration};

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt64Array},
    compute::cast,
    datatypes::{DataType, UInt64Type},
};
use dflow_pipeline::{Bytes, Millis};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use wasmtime::{
    StoreContextMut, Trap,
    component::{ComponentType, Lift, Linker},
};

use crate::{
    abi::{BLOBS, MOST_OF_A_CALL},
    account::MemoryAccount,
    emission::Refusal,
    state::{State, TICK_MS},
};

/// Parts of one call that are read at a time.
const AT_ONCE: usize = 16;
/// The member of a column of handles that holds the files' sizes.
const SIZE: &str = "size";

/// The type of a port's column that goes in instead of files: their sizes.
pub(crate) const FILE: DataType = DataType::UInt64;

/// Reads parts of files for guests.
pub trait Blobs: Debug + Send + Sync {
    /// Reads a part of the file for which a row of a column of handles stands; less where the file ends. The column is a struct with the
    /// member `size`, and means nothing to the sandbox beyond. Errors are what the guest is told.
    fn read(
        &self,
        handles: &ArrayRef,
        row: usize,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Whether columns of this type go into ports of files: handles, bytes, and what goes in for them.
pub(crate) fn is_file(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Struct(members) => members.iter().any(|member| member.name() == SIZE && *member.data_type() == FILE),
        other => *other == FILE,
    }
}

/// The sizes of a column of files; `None` when it isn't one.
pub(crate) fn sizes(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Struct(_) => {
            let column = column.as_struct();
            let sizes = column.column_by_name(SIZE)?.as_primitive_opt::<UInt64Type>()?;
            let size = |row| (column.is_valid(row) && sizes.is_valid(row)).then(|| sizes.value(row));
            Some(Arc::new((0..column.len()).map(size).collect::<UInt64Array>()))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = cast(column, &DataType::BinaryView).ok()?;
            let sizes = bytes.as_binary_view().iter().map(|bytes| bytes.map(|bytes| bytes.len() as u64));
            Some(Arc::new(sizes.collect::<UInt64Array>()))
        }
        _ => None,
    }
}

/// `blobs.range`
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct WireRange {
    port: u32,
    row: u32,
    offset: u64,
    length: u32,
}

/// Lets guests read parts of the files of their batch.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(BLOBS)?.func_wrap_async(
        "read",
        |store: StoreContextMut<'_, State>, (ranges,): (Vec<WireRange>,)| {
            Box::new(async move { Ok((read(store, ranges).await?,)) })
        },
    )
}

/// A part on its way.
type Part = BoxFuture<'static, Result<Vec<u8>, String>>;

/// Memory that is taken while bytes are on their way into a guest.
struct Taken(Option<Arc<dyn MemoryAccount>>, u64);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.give_back(self.1);
        }
    }
}

async fn read(
    mut store: StoreContextMut<'_, State>,
    ranges: Vec<WireRange>,
) -> wasmtime::Result<Vec<Result<Vec<u8>, String>>> {
    let state = store.data_mut();
    let lie = |state: &mut State, what: String| {
        state.refusal = Some(Refusal::Lie(what));
        Err(wasmtime::Error::msg("a read was refused"))
    };
    if state.collector.is_none() {
        return lie(state, "`read` was called outside of `process`".to_owned());
    }
    if ranges.len() > MOST_OF_A_CALL {
        return lie(state, format!("it asked for {} parts in one call, {MOST_OF_A_CALL} are the most", ranges.len()));
    }
    let (limits, cancel) = (state.limits, state.cancel.clone());
    let asked: u64 = ranges.iter().map(|range| u64::from(range.length)).sum();
    if asked > limits.received.0 {
        let (asked, most) = (Bytes(asked), limits.received);
        let why = format!("the parts of one call have {asked}, {most} may come in (`limits.received`)");
        return Ok(vec![Err(why); ranges.len()]);
    }
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        match part(state, range) {
            Ok(part) => parts.push(in_time(part, limits.wait)),
            Err(what) => return lie(state, what),
        }
    }
    let account = state.account().cloned();
    if account.as_ref().is_some_and(|account| !account.try_take(asked)) {
        let why = format!("the run has no {} of memory for them (`--memory`)", Bytes(asked));
        return Ok(vec![Err(why); parts.len()]);
    }
    let _taken = Taken(account, asked);
    let _waiting = state.waiting.begin();
    let mut parts = stream::iter(parts).buffered(AT_ONCE);
    let mut read = Vec::new();
    loop {
        tokio::select! {
            part = parts.next() => match part {
                Some(part) => read.push(part),
                None => return Ok(read),
            },
            () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => {
                if cancel.is_raised() {
                    return Err(Trap::Interrupt.into());
                }
            }
        }
    }
}

/// The same, or an error when it takes too long.
fn in_time(part: Part, most: Millis) -> Part {
    let part = async move {
        let read = tokio::time::timeout(most.duration(), part).await;
        read.unwrap_or_else(|_| Err(format!("it took longer than {most} (`limits.wait`)")))
    };
    part.boxed()
}

/// What reads a part of a file. Errors are lies: of files that didn't go in.
fn part(state: &State, range: WireRange) -> Result<Part, String> {
    let WireRange { port, row, offset, length } = range;
    let Some((_, column)) = state.files.iter().find(|(file, _)| *file == port) else {
        return Err(format!("it read of input column {port}, which is none of files"));
    };
    let row = row as usize;
    if row >= column.len() {
        return Err(format!("it read of row {row} of a batch of {}", column.len()));
    }
    if column.is_null(row) {
        return Err(format!("it read of row {row}, which has no file"));
    }
    if let DataType::Struct(_) = column.data_type() {
        return match &state.blobs {
            Some(blobs) => Ok(blobs.read(column, row, offset, length)),
            None => Ok(async { Err("there is nothing here that reads files".to_owned()) }.boxed()),
        };
    }
    let value = cast(&column.slice(row, 1), &DataType::BinaryView).map_err(|e| e.to_string())?;
    let bytes = value.as_binary_view().value(0);
    let start = offset.min(bytes.len() as u64);
    let end = (start + u64::from(length)).min(bytes.len() as u64);
    let bytes = bytes[start as usize..end as usize].to_vec();
    Ok(async { Ok(bytes) }.boxed())
}
