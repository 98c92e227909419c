//! Batches out of an Arrow IPC stream that a program writes, message by message.
//!
//! A program may write anything, so lengths are looked at before anything of that length is read, and a batch is given as soon as
//! its last byte is there: who waits for more would wait for an answer to what it hasn't asked yet.

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::{Buffer, MutableBuffer},
    datatypes::SchemaRef,
    ipc::{
        MessageHeader,
        convert::fb_to_schema,
        reader::{read_dictionary, read_record_batch},
        root_as_message,
    },
};
use dflow_pipeline::Bytes;
use futures::FutureExt;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// What each message begins with.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The longest description of a message.
const LONGEST_HEAD: usize = 16 << 20;
/// The largest batch.
pub(crate) const LARGEST: Bytes = Bytes(256 << 20);
/// How much of what isn't a stream is shown.
const SHOWN: usize = 80;

/// Why there is no batch.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The program closed its output where it shouldn't have: it ended.
    Ended,
    /// What it wrote is no Arrow stream, or a broken one: a phrase that follows `wrote`.
    NotArrow(String),
    /// A batch is larger than [`LARGEST`].
    TooLarge(u64),
}

/// Reads batches.
#[derive(Debug)]
pub(crate) struct Messages<R> {
    input: R,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl<R: AsyncBufRead + Unpin> Messages<R> {
    /// Nothing is read yet.
    pub(crate) fn new(input: R) -> Self {
        Self { input, schema: None, dictionaries: HashMap::new() }
    }

    /// The next batch; `None` at the mark that ends the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Broken> {
        loop {
            let Some(length) = self.head().await? else { return Ok(None) };
            let mut head = vec![0; length];
            self.fill(&mut head).await?;
            let message = root_as_message(&head).map_err(|e| broken(&e))?;
            let length = match u64::try_from(message.bodyLength()) {
                Ok(length) if length <= LARGEST.0 => length as usize,
                Ok(length) => return Err(Broken::TooLarge(length)),
                Err(_) => return Err(broken(&"a length below zero")),
            };
            let mut body = MutableBuffer::from_len_zeroed(length);
            self.fill(body.as_slice_mut()).await?;
            let (body, version) = (Buffer::from(body), message.version());
            let schema = || self.schema.clone().ok_or_else(|| broken(&"rows before their columns"));
            match message.header_type() {
                MessageHeader::Schema if self.schema.is_some() => return Err(broken(&"columns for the second time")),
                MessageHeader::Schema => {
                    let described = message.header_as_schema().ok_or_else(|| broken(&"no columns"))?;
                    self.schema = Some(Arc::new(guarded(|| fb_to_schema(described))?));
                }
                MessageHeader::DictionaryBatch => {
                    let schema = schema()?;
                    let values = message.header_as_dictionary_batch().ok_or_else(|| broken(&"no values"))?;
                    guarded(|| read_dictionary(&body, values, &schema, &mut self.dictionaries, &version))?
                        .map_err(|e| broken(&e))?;
                }
                MessageHeader::RecordBatch => {
                    let schema = schema()?;
                    let rows = message.header_as_record_batch().ok_or_else(|| broken(&"no rows"))?;
                    let batch = guarded(|| read_record_batch(&body, rows, schema, &self.dictionaries, None, &version))?;
                    return batch.map(Some).map_err(|e| broken(&e));
                }
                other => {
                    return Err(broken(&format!("a message of kind {}", other.variant_name().unwrap_or("unknown"))));
                }
            }
        }
    }

    /// Whether there is more already, which nobody has asked for.
    pub(crate) fn has_more(&mut self) -> bool {
        matches!(self.input.fill_buf().now_or_never(), Some(Ok(more)) if !more.is_empty())
    }

    /// The length of a message's description; `None` at the end of the stream.
    async fn head(&mut self) -> Result<Option<usize>, Broken> {
        let mut head = [0; 8];
        let mut read = 0;
        while read < head.len() {
            let more = self.input.read(&mut head[read..]).await.map_err(|e| unreadable(&e))?;
            let begun = read.min(CONTINUATION.len());
            read += more;
            let known = read.min(CONTINUATION.len());
            if head[begun..known] != CONTINUATION[begun..known] {
                return Err(self.garbage(&head[..read]).await);
            }
            if more == 0 {
                return Err(Broken::Ended);
            }
        }
        let [_, _, _, _, length @ ..] = head;
        match usize::try_from(i32::from_le_bytes(length)) {
            Ok(0) => Ok(None),
            Ok(length) if length <= LONGEST_HEAD => Ok(Some(length)),
            _ => Err(broken(&"a message of a length that can't be")),
        }
    }

    async fn fill(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        self.input.read_exact(into).await.map(drop).map_err(|e| unreadable(&e))
    }

    /// What was written instead, with a little of what follows.
    async fn garbage(&mut self, begun: &[u8]) -> Broken {
        let mut seen = begun.to_vec();
        let more = async {
            let mut part = [0; SHOWN];
            while seen.len() < SHOWN {
                match self.input.read(&mut part).await {
                    Ok(read) if read > 0 => seen.extend_from_slice(&part[..read]),
                    _ => break,
                }
            }
        };
        // What doesn't come soon may never.
        drop(tokio::time::timeout(Duration::from_millis(300), more).await);
        let text: String = String::from_utf8_lossy(&seen).chars().take(SHOWN).collect();
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Broken::NotArrow(format!("what is no Arrow stream: {line:?}"))
    }
}

/// What `arrow` makes of a message. It panics about some that it doesn't know, and a program's message is no mistake of ours.
fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| broken(&"what `arrow` doesn't know"))
}

fn broken(what: &dyn std::fmt::Display) -> Broken {
    Broken::NotArrow(format!("a broken Arrow stream: {what}"))
}

fn unreadable(error: &io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Ended,
        _ => Broken::NotArrow(format!("what can't be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::{
        array::{Int64Array, StringArray},
        ipc::writer::StreamWriter,
    };

    use super::*;

    fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).expect("a stream");
        batches.iter().for_each(|batch| writer.write(batch).expect("a batch"));
        writer.finish().expect("an end");
        writer.into_inner().expect("its bytes")
    }

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| i.to_string())));
        RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).expect("a batch")
    }

    async fn all(bytes: &[u8]) -> Result<Vec<RecordBatch>, Broken> {
        let (mut messages, mut batches) = (Messages::new(bytes), Vec::new());
        while let Some(batch) = messages.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    #[tokio::test]
    async fn batches_come_as_they_were_written() {
        let batches = [batch(3), batch(0), batch(1)];
        assert_eq!(all(&stream(&batches)).await.expect("it is right"), batches);
    }

    #[tokio::test]
    async fn what_is_cut_off_has_ended() {
        let bytes = stream(&[batch(3)]);
        for length in 0..bytes.len() - 8 {
            assert!(matches!(all(&bytes[..length]).await, Err(Broken::Ended)), "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_no_stream_is_shown() {
        for (bytes, shown) in [(&b"hello\n"[..], "\"hello\""), (b"x", "\"x\""), (b"\xff\xffno", "no")] {
            let Err(Broken::NotArrow(what)) = all(bytes).await else { panic!("{bytes:?}") };
            assert!(what.contains(shown), "{what}");
        }
        let long = [&CONTINUATION[..], &i32::MAX.to_le_bytes(), b"..."].concat();
        assert!(matches!(all(&long).await, Err(Broken::NotArrow(_))));
    }

    #[tokio::test]
    async fn damaged_bytes_are_never_more_than_an_error() {
        let bytes = stream(&[batch(3)]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            // Some bytes say nothing, so that all may be well.
            drop(all(&damaged).await);
        }
    }
}
