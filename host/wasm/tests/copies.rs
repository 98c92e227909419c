//! How often the bytes of a batch are copied, counted by what is allocated for them: each copy needs a place.
//!
//! In a binary of its own, since its allocator counts, and with one test, since other tests would be counted, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use dflow_pipeline::GuestLimits;
use dflow_wasm::{Granted, OperatorInstance, Processed, Sandbox, SandboxSettings};

/// Bytes that were allocated in pieces of at least [`LARGE`].
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
/// What is less isn't for a column.
const LARGE: usize = 4096;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn count(bytes: usize) {
        if bytes >= LARGE {
            ALLOCATED.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "an allocator can't be made without")]
// SAFETY: everything is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        // SAFETY: passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// An operator of the guest `bench`, for columns as these.
async fn opened(sandbox: &Sandbox, operator: &str, input: &RecordBatch) -> OperatorInstance {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/.built/bench.wasm");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `sdk/rust/build tests/guests` first", path.display()));
    let plugin =
        sandbox.load("bench", &bytes, None, GuestLimits::default(), Granted::default()).await.expect("it loads");
    let settings = serde_json::Map::new();
    let operator = plugin.open("a_stage", operator, &settings, &input.schema()).await.expect("it opens");
    operator.instance().await.expect("it starts")
}

/// What a batch comes to, the bytes that the host allocated for it, and those by which the guest grew.
async fn counted(instance: &mut OperatorInstance, input: &RecordBatch) -> (Processed, u64, u64) {
    let (before, grown) = (ALLOCATED.load(Ordering::Relaxed), instance.memory());
    let done = instance.process(input).await.expect("it does as it was told");
    (done, ALLOCATED.load(Ordering::Relaxed) - before, instance.memory() - grown)
}

#[tokio::test(flavor = "current_thread")]
async fn a_batch_is_copied_once_in_and_once_or_never_out() {
    let (rows, length) = (2048u64, 4096u64);
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| {
        let start = format!("text {row} ");
        start.repeat(length as usize / start.len() + 1)[..length as usize].to_owned()
    })));
    let input = RecordBatch::try_from_iter([("text", text.clone())]).expect("one column");
    let (values, offsets, indices, views) = (rows * length, 4 * (rows + 1), 4 * rows, 16 * rows);
    let sandbox = Sandbox::new(SandboxSettings::default()).expect("the sandbox starts");
    let given = text.as_string::<i32>().value_data().as_ptr();

    // In: the host makes nothing of its own of it, and the guest a place for one copy.
    let mut nothing = opened(&sandbox, "nothing", &input).await;
    let (_, host, guest) = counted(&mut nothing, &input).await;
    assert_eq!(host, 0, "the host lends what it has");
    let payload = values + offsets;
    assert!((payload..payload + payload / 8 + (1 << 17)).contains(&guest), "{guest} bytes for {payload}");

    // Out as ranges: views of the text that the host has, and parents; no text.
    let mut whole = opened(&sandbox, "whole", &input).await;
    let (done, host, _) = counted(&mut whole, &input).await;
    assert_eq!(host, views + indices);
    let column = done.pieces[0].columns.column(0).as_string_view();
    assert_eq!(column.data_buffers()[0].as_ptr(), given, "it lies where it lay");

    // Out as text: once, with its offsets, beside views and parents. The guest lends what it was given, and makes no copy either.
    let mut identity = opened(&sandbox, "identity", &input).await;
    let (done, host, guest) = counted(&mut identity, &input).await;
    let padded = |bytes: u64| bytes.next_multiple_of(64);
    assert_eq!(host, padded(values) + padded(offsets) + views + indices);
    assert!((payload..payload + payload / 8 + (1 << 17)).contains(&guest), "{guest} bytes for {payload}");
    let column = done.pieces[0].columns.column(0).as_string_view();
    assert_ne!(column.data_buffers()[0].as_ptr(), given);
    assert_eq!(column.iter().collect::<Vec<_>>(), text.as_string::<i32>().iter().collect::<Vec<_>>());
}
