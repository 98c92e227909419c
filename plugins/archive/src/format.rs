//! Which kind of archive a file is: told by its first bytes, whatever its name.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
};

use dflow_plugin::blobs::File;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// A block of a tar archive.
const BLOCK: usize = 512;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Tar,
    Zip,
    /// What may hold a tar archive.
    Compressed(Codec),
    /// None that is read here: why.
    Other(&'static str),
}

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Gzip,
    Zstd,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

impl Format {
    /// The kind of what begins here. A block of it is read.
    pub(crate) fn of(content: &mut impl Read) -> io::Result<Self> {
        let mut first = Vec::with_capacity(BLOCK);
        content.take(BLOCK as u64).read_to_end(&mut first)?;
        Ok(Self::of_bytes(&first))
    }

    fn of_bytes(first: &[u8]) -> Self {
        match first {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x1f, 0x8b, ..] => Self::Compressed(Codec::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Compressed(Codec::Zstd),
            [b'B', b'Z', b'h', ..] => Self::Other("it is compressed by bzip2, which is not read here"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Other("it is compressed by xz, which is not read here"),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Self::Other("it is a 7z archive, which is not read here"),
            [b'R', b'a', b'r', b'!', ..] => Self::Other("it is a RAR archive, which is not read here"),
            first if is_tar(first) => Self::Tar,
            _ => Self::Other("it is no archive: neither tar nor zip, nor compressed by gzip or zstd"),
        }
    }
}

/// Whether a tar archive begins so: by its checksum, since the oldest have nothing else, or by the end that an empty one is.
fn is_tar(first: &[u8]) -> bool {
    if first.len() < BLOCK {
        return false;
    }
    if first.iter().all(|byte| *byte == 0) {
        return true;
    }
    let said = std::str::from_utf8(&first[148..156]).unwrap_or_default();
    let said = u32::from_str_radix(said.trim_matches(['\0', ' ']), 8);
    let sum = first.iter().enumerate().map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) });
    said == Ok(sum.sum())
}

/// A file that doesn't let anybody go past its end: what is left out must be there, too.
pub(crate) struct Stored(File);

impl Stored {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }
}

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Seek for Stored {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self.0.seek(to)? {
            at if at > self.0.size() => Err(io::ErrorKind::UnexpectedEof.into()),
            at => Ok(at),
        }
    }
}

/// What a compressed file holds.
pub(crate) struct Unpacked {
    /// What was read to see what it is.
    first: Vec<u8>,
    reader: Box<dyn Read>,
}

impl Unpacked {
    pub(crate) fn new(codec: Codec, file: File) -> Self {
        let file = BufReader::with_capacity(64 << 10, file);
        let reader: Box<dyn Read> = match codec {
            Codec::Gzip => Box::new(MultiGzDecoder::new(file)),
            Codec::Zstd => Box::new(Frames { file: Some(file), frame: None }),
        };
        Self { first: Vec::new(), reader }
    }

    /// The same from its beginning.
    pub(crate) fn again(self) -> impl Read {
        Cursor::new(self.first).chain(self.reader)
    }
}

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.first.extend_from_slice(&into[..read]);
        Ok(read)
    }
}

/// Frames of Zstandard that follow each other.
struct Frames {
    /// The file between two frames.
    file: Option<BufReader<File>>,
    frame: Option<Box<StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>>>,
}

impl Read for Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.read(into)? {
                    0 if !into.is_empty() => self.file = self.frame.take().map(|frame| frame.into_inner()),
                    read => return Ok(read),
                }
            }
            let Some(mut file) = self.file.take() else { return Ok(0) };
            if file.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let frame =
                StreamingDecoder::new(file).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            self.frame = Some(Box::new(frame));
        }
    }
}
