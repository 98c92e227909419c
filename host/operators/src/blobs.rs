//! Parts of files for guests, read by the room that knows how.

use arrow::array::ArrayRef;
use dflow_io::Stores;
use dflow_wasm::Blobs;
use futures::future::{BoxFuture, FutureExt};

/// Reads parts of the files that a pipeline's sources list.
#[derive(Debug)]
pub struct Parts(pub Stores);

impl Blobs for Parts {
    fn read(
        &self,
        handles: &ArrayRef,
        row: usize,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (stores, handles) = (self.0.clone(), handles.clone());
        async move { stores.read_part(&handles, row, offset, length).await }.boxed()
    }
}
