//! Memory of batches on their way, taken from the memory that all share.

use std::sync::Arc;

use datafusion::{
    arrow::array::{Array, ArrayData, RecordBatch},
    common::Result,
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
};

/// What is taken without asking: a batch of the usual size is there already, and refusing it would end a run that needs no more
/// than a moment. Who can spill sees it and does.
const UNASKED: usize = 8 << 20;

/// Memory that is held until this is dropped.
#[derive(Debug)]
pub struct Held(MemoryReservation);

impl Held {
    /// Nothing yet; `name` says to a user who holds it.
    pub fn new(pool: &Arc<dyn MemoryPool>, name: impl Into<String>) -> Self {
        Self(MemoryConsumer::new(name).register(pool))
    }

    /// As much more or less as makes it `bytes`.
    ///
    /// # Errors
    /// It is much, and there isn't so much left.
    pub fn set(&self, bytes: usize) -> Result<()> {
        if bytes <= UNASKED {
            self.take(bytes);
            return Ok(());
        }
        self.0.try_resize(bytes)
    }

    /// As much more or less as makes it `bytes`, whether there is room or not: for what is there already.
    pub fn take(&self, bytes: usize) {
        self.0.resize(bytes);
    }
}

/// The memory of batches, in bytes; a buffer that several columns or batches share counts once.
pub(crate) fn memory_of<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> usize {
    let mut buffers: Vec<(usize, usize)> = Vec::new();
    for batch in batches {
        batch.columns().iter().for_each(|column| add(&column.to_data(), &mut buffers));
    }
    buffers.sort_unstable();
    buffers.dedup_by_key(|(start, _)| *start);
    buffers.iter().map(|(_, bytes)| bytes).sum()
}

fn add(data: &ArrayData, buffers: &mut Vec<(usize, usize)>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    buffers.extend(
        data.buffers().iter().chain(nulls).map(|buffer| (buffer.data_ptr().as_ptr() as usize, buffer.capacity())),
    );
    data.child_data().iter().for_each(|child| add(child, buffers));
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::UInt32Array;
    use datafusion::arrow::{
        array::{ArrayRef, StringViewArray},
        compute::take,
    };

    use super::*;

    #[test]
    fn what_views_share_counts_once() {
        let text = "a document of some length ".repeat(100);
        let documents: ArrayRef = Arc::new(StringViewArray::from_iter_values([&text, &text]));
        let children = take(&documents, &UInt32Array::from(vec![0; 50]), None).expect("they are there");
        let batch = |column: &ArrayRef| RecordBatch::try_from_iter([("text", column.clone())]).expect("it is a batch");
        let (parents, carried) = (batch(&documents), batch(&children));
        let one = memory_of([&parents]);
        assert!(one >= 2 * text.len());
        assert_eq!(memory_of([&parents, &parents.slice(1, 1)]), one);
        let both = memory_of([&parents, &carried, &carried]);
        assert!((one + 50 * 16..one + 50 * 16 + 256).contains(&both), "{one} {both}");
    }
}
