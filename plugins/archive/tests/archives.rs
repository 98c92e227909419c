//! Archives made here, and what `entries` lists of them.

#![expect(clippy::unwrap_used, reason = "what is made here is what it should be")]

use std::io::{Cursor, Write};
use std::sync::Arc;

use archive::Entries;
use dflow_plugin::arrow::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use dflow_plugin::testing::{self, Ran};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// An entry as a line: path, size, kind, content.
fn lines(ran: &Ran) -> Vec<String> {
    let text = |name: &str| ran.output.column_by_name(name).unwrap().as_string::<i32>().clone();
    let (paths, kinds, why) = (text("path"), text("kind"), text("left_out"));
    let sizes = ran.output.column_by_name("length").unwrap().as_primitive::<dflow_plugin::arrow::types::UInt64Type>();
    let contents = ran.output.column_by_name("bytes").unwrap().as_binary::<i32>();
    let line = |row: usize| {
        let content = match (contents.is_valid(row), why.is_valid(row)) {
            (true, _) if contents.value(row).len() > 20 => "…".to_owned(),
            (true, _) => String::from_utf8_lossy(contents.value(row)).into_owned(),
            (false, true) => format!("({})", why.value(row)),
            (false, false) => "-".to_owned(),
        };
        format!("{} {} {} {} {content}", ran.parents[row], paths.value(row), sizes.value(row), kinds.value(row))
    };
    (0..ran.output.num_rows()).map(line).collect()
}

fn run(settings: &str, archives: &[Option<&[u8]>]) -> Ran {
    let column = Arc::new(BinaryArray::from_opt_vec(archives.to_vec())) as ArrayRef;
    let input = RecordBatch::try_from_iter_with_nullable([("content", column, true)]).unwrap();
    testing::run::<Entries>(settings, &input).unwrap()
}

/// Entries of one archive, which is whole.
fn entries(settings: &str, archive: &[u8]) -> Vec<String> {
    let ran = run(settings, &[Some(archive)]);
    assert_eq!(ran.errors, []);
    lines(&ran)
}

/// The kind and the words of the one error.
fn error(archive: &[u8]) -> String {
    let ran = run("", &[Some(archive)]);
    assert_eq!((ran.output.num_rows(), ran.errors.len()), (0, 1), "{:?}", lines(&ran));
    format!("{}: {}", ran.errors[0].kind, ran.errors[0].message)
}

fn tarball() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, path, content).unwrap();
    };
    add("docs/", tar::EntryType::Directory, b"");
    add("docs/a.txt", tar::EntryType::Regular, b"one");
    add(&format!("docs/{}/b.md", "long".repeat(40)), tar::EntryType::Regular, b"two");
    add("docs/big.bin", tar::EntryType::Regular, &[7; 100_000]);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "docs/link", "a.txt").unwrap();
    tar.into_inner().unwrap()
}

fn zip(large: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().large_file(large);
    zip.add_directory("docs/", options).unwrap();
    zip.start_file("docs/a.txt", options.compression_method(CompressionMethod::Deflated)).unwrap();
    zip.write_all(b"one one one").unwrap();
    zip.start_file("docs/ü.md", options.compression_method(CompressionMethod::Stored)).unwrap();
    zip.write_all(b"two").unwrap();
    zip.start_file("zeros", options.compression_method(CompressionMethod::Deflated)).unwrap();
    zip.write_all(&vec![0; 3 << 20]).unwrap();
    zip.finish().unwrap().into_inner()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn tar_with_long_names_links_and_folders() {
    let long = format!("0 docs/{}/b.md 3 file two", "long".repeat(40));
    let expected = [
        "0 docs/ 0 folder -",
        "0 docs/a.txt 3 file one",
        &long,
        "0 docs/big.bin 100000 file …",
        "0 docs/link 0 link -",
    ];
    let tar = tarball();
    assert_eq!(entries("", &tar), expected);
    // What is compressed is told by its bytes; frames and members may follow each other.
    assert_eq!(entries("", &gzipped(&tar)), expected);
    let (head, tail) = tar.split_at(1000);
    assert_eq!(entries("", &[gzipped(head), gzipped(tail)].concat()), expected);
    assert_eq!(entries("", &zstd(&tar)), expected);
    assert_eq!(entries("", &[zstd(head), zstd(tail)].concat()), expected);
}

#[test]
fn pax_says_names_and_sizes() {
    let mut tar = tar::Builder::new(Vec::new());
    let name = format!("{}/ü.txt", "deep/".repeat(60));
    tar.append_pax_extensions([("path", name.as_bytes()), ("size", b"5")]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_size(5);
    header.set_cksum();
    tar.append(&header, &b"hello"[..]).unwrap();
    assert_eq!(entries("", &tar.into_inner().unwrap()), [format!("0 {name} 5 file hello")]);
}

#[test]
fn zip_with_and_without_64_bits() {
    let expected =
        ["0 docs/ 0 folder -", "0 docs/a.txt 11 file one one one", "0 docs/ü.md 3 file two", "0 zeros 3145728 file …"];
    assert_eq!(entries("", &zip(false)), expected);
    assert_eq!(entries("", &zip(true)), expected);
}

#[test]
fn settings_choose_entries_and_contents() {
    let left_out = "0 docs/big.bin 100000 file (it has 100000 bytes, `max_entry` is 50000 bytes)";
    assert_eq!(entries(r#"{"match": ["**/*.bin", "x"], "max_entry": "50KB"}"#, &tarball()), [left_out]);
    assert_eq!(entries(r#"{"match": ["**/a.*"], "content": false}"#, &zip(false)), ["0 docs/a.txt 11 file -"]);
    let none: [&str; 0] = [];
    assert_eq!(entries(r#"{"match": ["nothing"]}"#, &tarball()), none);
    let input =
        RecordBatch::try_from_iter([("content", Arc::new(BinaryArray::from_vec(vec![b""])) as ArrayRef)]).unwrap();
    let refused = testing::run::<Entries>(r#"{"max_entry": "1GiB"}"#, &input).unwrap_err().to_string();
    assert!(refused.contains("setting `max_entry` is 1 GiB, it must be at most 32 MiB"), "{refused}");
}

#[test]
fn archives_without_entries() {
    let none: [&str; 0] = [];
    assert_eq!(entries("", &tar::Builder::new(Vec::new()).into_inner().unwrap()), none);
    assert_eq!(entries("", &ZipWriter::new(Cursor::new(Vec::new())).finish().unwrap().into_inner()), none);
    assert_eq!(lines(&run("", &[None])), none);
}

#[test]
fn what_is_broken_says_where() {
    let tar = tarball();
    // Where one entry ends and no other begins, and also where its end is not.
    assert_eq!(error(&tar[..512 * 3]), "broken-archive: after its entry `docs/a.txt`: it ends too early");
    assert_eq!(error(&tar[..tar.len() - 1024]), "broken-archive: after its entry `docs/link`: it ends too early");
    assert!(error(&tar[..tar.len() - 80_000]).starts_with("broken-archive: in its entry `docs/big.bin`: "));
    let mut scribbled = tar.clone();
    scribbled[512 + 5] ^= 1;
    assert!(error(&scribbled).starts_with("broken-archive: after its entry `docs/`: "), "{}", error(&scribbled));
    let packed = gzipped(&tar);
    assert!(
        error(&packed[..packed.len() / 2]).starts_with("broken-archive: "),
        "{}",
        error(&packed[..packed.len() / 2])
    );
    let mut zip = zip(false);
    let at = zip.windows(3).position(|bytes| bytes == b"two").unwrap();
    zip[at] = b'T';
    assert_eq!(error(&zip), "broken-archive: in its entry `docs/ü.md`: Invalid checksum");
    assert!(error(&zip[..zip.len() - 10]).starts_with("broken-archive: its directory: "));
    for (bytes, words) in [
        (&b""[..], "no-archive: it is empty, and no archive"),
        (b"hello", "no-archive: it is no archive: neither tar nor zip, nor compressed by gzip or zstd"),
        (b"BZh91AY", "no-archive: it is compressed by bzip2, which is not read here"),
        (&gzipped(b"hello"), "no-archive: it is compressed by gzip, and holds no tar archive"),
    ] {
        assert_eq!(error(bytes), words);
    }
}

#[test]
fn a_broken_archive_takes_no_other_with_it() {
    let (tar, zip) = (tarball(), zip(false));
    let ran = run("", &[Some(&zip), Some(&tar[..1536]), None, Some(&tar)]);
    assert_eq!(ran.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [1]);
    assert_eq!(ran.parents, [0, 0, 0, 0, 3, 3, 3, 3, 3]);
}

#[test]
fn entries_that_share_their_bytes_are_a_bomb() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a", SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
    zip.write_all(&[1; 5000]).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    // The directory, once more with the same entry in it under another name.
    let start = bytes.windows(4).position(|four| four == [b'P', b'K', 1, 2]).unwrap();
    let end = bytes.windows(4).position(|four| four == [b'P', b'K', 5, 6]).unwrap();
    let one = &bytes[start..end];
    let mut other = one.to_vec();
    other[46] = b'b';
    let mut tail = bytes[end..].to_vec();
    (tail[8], tail[10]) = (2, 2);
    tail[12..16].copy_from_slice(&(2 * one.len() as u32).to_le_bytes());
    let bomb = [&bytes[..start], one, &other, &tail].concat();
    let told = error(&bomb);
    assert!(told.ends_with("entries overlap"), "{told}");
}
