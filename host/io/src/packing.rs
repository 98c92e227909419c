//! Bytes compressed on their way out.

use std::{
    fmt,
    io::{self, Write},
};

use bzip2::write::BzEncoder;
use dflow_pipeline::Codec;
use flate2::write::GzEncoder;
use liblzma::write::XzEncoder;

/// An output whose bytes are compressed by a codec: one member, frame or stream.
pub(crate) enum Packing<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Bzip2(BzEncoder<W>),
    Xz(XzEncoder<W>),
}

impl<W: Write> Packing<W> {
    /// Begins to compress into an output, with each codec's own default level.
    pub(crate) fn new(codec: Codec, out: W) -> io::Result<Self> {
        Ok(match codec {
            Codec::None => Self::None(out),
            Codec::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Codec::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Codec::Bzip2 => Self::Bzip2(BzEncoder::new(out, bzip2::Compression::default())),
            Codec::Xz => Self::Xz(XzEncoder::new(out, 6)),
        })
    }

    /// Ends the compressed bytes and gives the output back.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Bzip2(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
        }
    }

    fn inner(&mut self) -> &mut dyn Write {
        match self {
            Self::None(out) => out,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
            Self::Bzip2(encoder) => encoder,
            Self::Xz(encoder) => encoder,
        }
    }
}

impl<W: Write> Write for Packing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }

    /// Only what isn't compressed is given on: encoders asked to flush compress worse.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            _ => Ok(()),
        }
    }
}

impl<W: Write> fmt::Debug for Packing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::content::Content;

    #[test]
    fn what_is_packed_reads_back() {
        let text = "many words, ".repeat(100_000);
        for (codec, ..) in Codec::ALL {
            let mut packing = Packing::new(*codec, Vec::new()).unwrap();
            for piece in text.as_bytes().chunks(1000) {
                packing.write_all(piece).unwrap();
                packing.flush().unwrap();
            }
            let packed = packing.finish().unwrap();
            assert!(*codec == Codec::None || packed.len() < text.len() / 100, "{codec:?}");
            let mut back = String::new();
            Content::new(*codec, Box::new(io::Cursor::new(packed)), None).unwrap().read_to_string(&mut back).unwrap();
            assert!(back == text, "{codec:?}");
        }
    }
}
