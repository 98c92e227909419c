//! A file's content: its bytes as they come, decompressed by its codec.

mod frames;

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use bzip2::bufread::MultiBzDecoder;
use dflow_pipeline::{Codec, Fault};
use flate2::bufread::GzDecoder;
use liblzma::{bufread::XzDecoder, stream};
use tokio::runtime::Handle;

use self::frames::Frames;

use crate::IoError;

/// What of a compressed file is read at once.
const STORED: usize = 64 << 10;
/// What is decompressed at once: a decoder that meets broken bytes loses what it made in that call.
const DECODED: usize = 16 << 10;
/// What an xz decoder may allocate. `xz -9` needs 65 MiB; a header can ask for 4 GiB. (Zstandard's own limit is 128 MiB.)
const XZ_MEMORY: u64 = 256 << 20;

/// The content of a file. A decoder holds its window and nothing more, however large the file is; of a file of several frames a few
/// are held.
pub(crate) struct Content {
    codec: Codec,
    reader: Box<dyn Read + Send>,
}

impl Content {
    /// The content of stored bytes. Members, frames and streams may follow each other, but nothing else may. With a runtime, on one of
    /// whose blocking threads it is read, frames of Zstandard are decompressed side by side.
    ///
    /// # Errors
    /// The first bytes can't be read, or there are none although there is a codec.
    pub(crate) fn new(codec: Codec, stored: Box<dyn Read + Send>, io: Option<Handle>) -> io::Result<Self> {
        let reader: Box<dyn Read + Send> = match codec {
            Codec::None => stored,
            Codec::Gzip => Box::new(Members { member: Some(GzDecoder::new(begun(stored)?)) }),
            Codec::Zstd => match io {
                Some(io) => Box::new(Frames::new(io, begun(stored)?)),
                None => Box::new(zstd::stream::read::Decoder::with_buffer(begun(stored)?)?),
            },
            Codec::Bzip2 => Box::new(MultiBzDecoder::new(begun(stored)?)),
            Codec::Xz => {
                let decoder = stream::Stream::new_stream_decoder(XZ_MEMORY, stream::CONCATENATED)?;
                Box::new(Xz { decoder: XzDecoder::new_stream(begun(stored)?, decoder), failed: None })
            }
        };
        Ok(Self { codec, reader })
    }
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = if self.codec == Codec::None { into.len() } else { into.len().min(DECODED) };
        loop {
            match self.reader.read(&mut into[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// The content of a file on this machine that isn't of a source.
///
/// # Errors
/// It can't be read (fault `Outside`), or is empty although it should be compressed (`Data`).
pub fn content_of(path: &Path, codec: Codec) -> Result<impl Read + Send + use<>, IoError> {
    let content = File::open(path).and_then(|file| Content::new(codec, Box::new(file), None));
    content.map_err(|error| {
        let (fault, message) = describe(codec, &path.display().to_string(), "", error);
        IoError::new(fault, message)
    })
}

/// The members of a gzip file, one after the other. Zeros behind the last of them fill up a block of a tape or a disk, and mean
/// nothing; `flate2` would take them for a member.
struct Members {
    /// None after the last.
    member: Option<GzDecoder<BufReader<Stored>>>,
}

impl Read for Members {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let over = only_zeros(member.get_mut())?;
            self.member = self.member.take().filter(|_| !over).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Whether nothing but zeros follows, if anything; those are taken. It is an error if something else is behind them.
fn only_zeros(stored: &mut impl BufRead) -> io::Result<bool> {
    if stored.fill_buf()?.first().is_some_and(|byte| *byte != 0) {
        return Ok(false);
    }
    loop {
        let bytes = stored.fill_buf()?;
        let (zeros, all) = (bytes.iter().take_while(|byte| **byte == 0).count(), bytes.len());
        if all == 0 {
            return Ok(true);
        }
        stored.consume(zeros);
        if zeros < all {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid gzip header"));
        }
    }
}

/// An xz decoder that gives what it made before it failed.
struct Xz {
    decoder: XzDecoder<BufReader<Stored>>,
    failed: Option<io::Error>,
}

impl Read for Xz {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let before = self.decoder.total_out();
        match self.decoder.read(into) {
            Err(error) if self.decoder.total_out() > before => {
                self.failed = Some(error);
                Ok((self.decoder.total_out() - before) as usize)
            }
            result => result,
        }
    }
}

/// Stored bytes for a decoder, which needs some.
fn begun(stored: Box<dyn Read + Send>) -> io::Result<BufReader<Stored>> {
    let mut stored = BufReader::with_capacity(STORED, Stored(stored));
    if stored.fill_buf()?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(stored)
}

/// Stored bytes, whose errors can be told from the decoder's above them.
struct Stored(Box<dyn Read + Send>);

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| io::Error::new(error.kind(), Unreadable(error)))
    }
}

/// An error of reading stored bytes.
#[derive(Debug)]
struct Unreadable(io::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Unreadable {}

/// Whose fault it is that a content can't be read, and a phrase about it. `place` says from where on (` from line 3 on`).
pub(crate) fn describe(codec: Codec, uri: &str, place: &str, error: io::Error) -> (Fault, String) {
    let stored = codec == Codec::None || error.get_ref().is_some_and(|inner| inner.is::<Unreadable>());
    if stored {
        return (Fault::Outside, format!("can't read `{uri}`{place}: {error}"));
    }
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    (Fault::Data, format!("`{uri}` can't be decompressed as {}{place}: {why}", codec.as_str()))
}

#[cfg(test)]
pub(crate) mod tests;
