//! Tests of contents: whole ones of every codec, and what is wrong with the others.

use std::io::Write;

use tokio::runtime::Handle;

use super::*;

/// Lines of text that don't compress too well, so that they fill several of the decoders' buffers.
fn text(lines: usize) -> Vec<u8> {
    let mut seed = 7u64;
    let mut line = |i| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("line {i} {seed:016x}\n")
    };
    (0..lines).map(&mut line).collect::<String>().into_bytes()
}

pub(crate) fn compress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => bytes.to_vec(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Xz];

/// What can be read of stored bytes, and why no more.
fn read(codec: Codec, stored: Vec<u8>) -> (Vec<u8>, Option<String>) {
    let mut got = Vec::new();
    let result =
        Content::new(codec, Box::new(io::Cursor::new(stored)), Handle::try_current().ok()).and_then(|mut content| {
            let mut piece = vec![0; 100_000];
            loop {
                match content.read(&mut piece)? {
                    0 => return Ok(()),
                    read => got.extend_from_slice(&piece[..read]),
                }
            }
        });
    let why = result.err().map(|error| {
        let (fault, message) = describe(codec, "x", "", error);
        assert_eq!(fault, Fault::Data);
        message
    });
    (got, why)
}

#[test]
fn every_codec_gives_back_what_was_compressed() {
    for codec in CODECS {
        for lines in [0, 1, 30_000] {
            let text = text(lines);
            assert!(read(codec, compress(codec, &text)) == (text, None), "{lines} lines of {}", codec.as_str());
        }
        // Members, frames and streams may follow each other.
        let twice = [compress(codec, b"one\n"), compress(codec, b""), compress(codec, b"two\n")].concat();
        assert_eq!(read(codec, twice), (b"one\ntwo\n".to_vec(), None), "{}", codec.as_str());
    }
}

#[test]
fn zeros_behind_gzip_mean_nothing() {
    let text = text(30_000);
    let padded = |zeros: usize| [compress(Codec::Gzip, &text), vec![0; zeros]].concat();
    for zeros in [1, 511, 200_000] {
        assert!(read(Codec::Gzip, padded(zeros)) == (text.clone(), None), "{zeros} zeros");
    }
    let (got, why) = read(Codec::Gzip, [padded(9), compress(Codec::Gzip, &text)].concat());
    assert!(got == text);
    assert_eq!(why.as_deref(), Some("`x` can't be decompressed as gzip: invalid gzip header"));
}

#[test]
fn what_is_broken_says_so_after_what_is_good() {
    let text = text(30_000);
    for codec in CODECS {
        let name = codec.as_str();
        let whole = compress(codec, &text);
        for end in [1, 3, whole.len() / 2, whole.len() - 1] {
            let (got, why) = read(codec, whole[..end].to_vec());
            assert!(text.starts_with(&got), "{name} cut at {end}");
            assert!(end < 10 || got.len() > text.len() / 4, "{name} cut at {end} gives {} bytes", got.len());
            assert_eq!(
                why.as_deref(),
                Some(format!("`x` can't be decompressed as {name}: it ends too early").as_str())
            );
        }
        assert_eq!(read(codec, Vec::new()).1, Some(format!("`x` can't be decompressed as {name}: it is empty")));
        // What is no codec's at all, after something and alone.
        for good in [&text[..], b""] {
            let mut stored = if good.is_empty() { Vec::new() } else { compress(codec, good) };
            stored.extend_from_slice(b"this is plain text and nothing else");
            let (got, why) = read(codec, stored);
            assert!(got == good, "{name} gives {} of {} bytes before what is no codec's", got.len(), good.len());
            let why = why.unwrap();
            assert!(!why.ends_with("too early"), "{why}");
        }
        // A byte that flipped in the middle is noticed, at the latest by the checksum.
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x55;
        let (_, why) = read(codec, flipped);
        assert!(why.is_some(), "{name}");
    }
}

#[test]
fn an_error_below_the_decoder_is_the_outside_s() {
    struct Torn;
    impl Read for Torn {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the cable was cut"))
        }
    }
    for codec in CODECS {
        let start = compress(codec, &text(1000));
        let start = io::Cursor::new(start[..start.len() / 2].to_vec());
        let mut content = Content::new(codec, Box::new(start.chain(Torn)), None).unwrap();
        let error = io::copy(&mut content, &mut io::sink()).unwrap_err();
        let expected = "can't read `x` from line 3 on: the cable was cut".to_owned();
        assert_eq!(describe(codec, "x", " from line 3 on", error), (Fault::Outside, expected));
    }
}

#[test]
fn frames_side_by_side_give_what_they_give_one_after_the_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let side_by_side =
        |stored: Vec<u8>| runtime.block_on(runtime.spawn_blocking(move || read(Codec::Zstd, stored))).unwrap();
    let text = text(300_000);
    // Small ones, ones that hold more than is decompressed ahead, and one that is too large to be told apart.
    for size in [70_000, 1_000_000, text.len()] {
        let mut stored: Vec<u8> = text.chunks(size).flat_map(|part| compress(Codec::Zstd, part)).collect();
        assert!(side_by_side(stored.clone()) == (text.clone(), None), "frames of {size} bytes");
        for end in [stored.len() / 3, stored.len() - 1] {
            let (got, why) = side_by_side(stored[..end].to_vec());
            assert!(text.starts_with(&got) && got.len() > text.len() / 4, "{size}, {end}: {} bytes", got.len());
            assert_eq!(why.as_deref(), Some("`x` can't be decompressed as zstd: it ends too early"));
        }
        let middle = stored.len() / 2;
        stored[middle] ^= 0x55;
        assert!(side_by_side(stored).1.is_some(), "{size}");
    }
    let zeros = vec![0; 50 << 20];
    assert!(
        side_by_side([compress(Codec::Zstd, &zeros), compress(Codec::Zstd, b"end")].concat())
            == ([&zeros[..], b"end"].concat(), None)
    );
    assert_eq!(side_by_side(Vec::new()).1.as_deref(), Some("`x` can't be decompressed as zstd: it is empty"));
}
