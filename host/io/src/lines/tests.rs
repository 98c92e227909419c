//! Tests of reading lines, the first of them against the standard library's own.

use std::{fs, io::BufRead};

use arrow::{
    array::{Array, AsArray},
    datatypes::UInt64Type,
};

use super::*;
use crate::{
    content::tests::compress,
    testing::{Ground, block_on, limits, read_all},
};

/// What was read: `(uri, line number, line)`, and the failures. Checks on the way that all parts of a batch agree.
fn read_lines(
    reader: &LineReader,
    splits: &[Split],
    limits: BatchLimits,
) -> (Vec<(String, u64, String)>, Vec<SourceFailure>) {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for batch in read_all(reader, splits, &[URI, NUMBER, LINE], limits) {
        let (uri, line) = (batch.rows.column(URI).as_string_view(), batch.rows.column(LINE).as_string_view());
        let number = batch.rows.column(NUMBER).as_primitive::<UInt64Type>();
        let whole: String = line.iter().flatten().collect();
        assert_eq!(line.data_buffers()[0].as_slice(), whole.as_bytes(), "lines lie in one piece");
        assert!(line.len() <= limits.rows as usize && (line.len() < 2 || whole.len() as u64 <= limits.bytes.0));
        assert!(line.len() + batch.failed.len() > 0);
        assert_eq!(batch.runs.iter().map(|run| run.rows as usize).sum::<usize>(), line.len());
        for (i, (split, position)) in each_row(&batch.runs).enumerate() {
            assert_eq!((uri.value(i), number.value(i)), (splits[split as usize].uri().as_str(), position + 1));
            rows.push((uri.value(i).to_owned(), number.value(i), line.value(i).to_owned()));
        }
        failed.extend(batch.failed);
    }
    (rows, failed)
}

/// A repeatable source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn lines_are_those_of_the_standard_library() {
    let ground = Ground::new();
    let mut dice = Dice(7);
    for file in 0..60 {
        let mut text = String::new();
        for _ in 0..dice.roll(40) {
            match dice.roll(12) {
                0 | 1 => text.push('\n'),
                2 | 3 => text.push_str("\r\n"),
                4 => text.push('\r'),
                5 => text.push_str(&"long ".repeat(dice.roll(60_000))),
                6 => text.push_str("größer ∑ 🦀"),
                _ => text.push_str(&"word ".repeat(dice.roll(10))),
            }
        }
        ground.write(&format!("in/{file:02}.txt"), text);
    }
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    let mut expected = Vec::new();
    for split in &splits {
        let text = fs::read(stores.local_path(split).unwrap()).unwrap();
        expected.extend((1..).zip(text.lines()).map(|(i, line)| (split.uri(), i, line.unwrap())));
    }
    assert!(expected.len() > 300);
    let reader = LineReader::new(&stores);
    for (rows, bytes) in [(1, 1 << 20), (7, 1 << 20), (8192, 1 << 20), (8192, 100), (3, 5), (8192, 0)] {
        let (read, failed) = read_lines(&reader, &splits, limits(rows, bytes, 64 << 20));
        assert!(read == expected, "at {rows} rows, {bytes} bytes");
        assert!(failed.is_empty());
        let counted = read_all(&reader, &splits, &[], limits(rows, bytes, 64 << 20));
        assert_eq!(counted.iter().map(|batch| batch.rows.num_rows()).sum::<usize>(), expected.len());
        let runs = counted
            .iter()
            .flat_map(|batch| each_row(&batch.runs).map(|(split, at)| (splits[split as usize].uri(), at + 1)));
        assert!(runs.eq(expected.iter().map(|(uri, number, _)| (uri.clone(), *number))));
    }
}

#[test]
fn ends_of_files() {
    let ground = Ground::new();
    let stores = ground.stores(&[]);
    let reader = LineReader::new(&stores);
    for (text, lines) in [
        (&b""[..], &[][..]),
        (b"\n", &[""]),
        (b"a", &["a"]),
        (b"a\n", &["a"]),
        (b"a\r\n\r\nb\r", &["a", "", "b\r"]),
        (b"\xef\xbb\xbf", &[]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", &["a", "\u{feff}b"]),
        (b"\xef\xbb\xbf\n", &[""]),
    ] {
        ground.write("x.txt", text);
        let splits = block_on(stores.list("x.txt")).unwrap();
        let (read, failed) = read_lines(&reader, &splits, BatchLimits::default());
        assert_eq!(read.iter().map(|row| row.2.as_str()).collect::<Vec<_>>(), lines, "{text:?}");
        assert!(failed.is_empty());
    }
}

#[test]
fn bad_lines_are_failures_and_the_others_go_on() {
    let ground = Ground::new();
    let huge = "h".repeat(3_000_000);
    let exact = "e".repeat(1000);
    let mut text = b"one\ntw\xffo\nthree\n".to_vec();
    text.extend_from_slice(format!("{huge}\r\nfive\n{exact}\r\n{exact}\n{exact}x\n{exact}x").as_bytes());
    ground.write("in/a.txt", text);
    ground.write("in/b.txt", b"x");
    ground.write("in/c.txt", b"c\n\xe2\x82");
    ground.write("in/d.txt", [&b"\xff\n".repeat(20)[..], b"last"].concat());
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    fs::remove_file(ground.path("in/b.txt")).unwrap();
    let reader = LineReader::new(&stores);
    for (rows, bytes) in [(1, 1 << 20), (2, 10), (8192, 1 << 20), (5, 1500)] {
        let (read, failed) = read_lines(&reader, &splits, limits(rows, bytes, 1000));
        let read: Vec<_> = read.iter().map(|(uri, number, line)| (uri.as_str(), *number, line.as_str())).collect();
        let expected = [
            ("in/a.txt", 1, "one"),
            ("in/a.txt", 3, "three"),
            ("in/a.txt", 5, "five"),
            ("in/a.txt", 6, exact.as_str()),
            ("in/a.txt", 7, exact.as_str()),
            ("in/c.txt", 1, "c"),
            ("in/d.txt", 21, "last"),
        ];
        assert_eq!(read, expected, "at {rows} rows, {bytes} bytes");
        let told: Vec<_> = failed.iter().map(|f| (f.split, f.position, f.fault)).collect();
        let mut expected = vec![
            (0, 1, Fault::Data),
            (0, 3, Fault::Limit),
            (0, 7, Fault::Limit),
            (0, 8, Fault::Limit),
            (1, 0, Fault::Outside),
            (2, 1, Fault::Data),
        ];
        expected.extend((0..20).map(|i| (3, i, Fault::Data)));
        assert_eq!(told, expected, "at {rows} rows, {bytes} bytes");
        assert_eq!(
            failed[0].message,
            "line 2 of `in/a.txt` is not UTF-8 (invalid byte 0xff at offset 2 of the line); convert the file"
        );
        assert_eq!(
            failed[1].message,
            "line 4 of `in/a.txt` is 2.9 MiB (3000001 bytes), more than a row may have: `batch.max_row` is 1000 B"
        );
        assert_eq!(failed[4].message, "can't read `in/b.txt`: No such file or directory (os error 2)");
        assert_eq!(
            failed[5].message,
            "line 2 of `in/c.txt` is not UTF-8 (it ends within a character, at offset 0 of the line); convert the file"
        );
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_a_failure() {
    let ground = Ground::new();
    ground.write("in/a.txt", "x");
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    fs::remove_file(ground.path("in/a.txt")).unwrap();
    fs::create_dir(ground.path("in/a.txt")).unwrap();
    let (read, failed) = read_lines(&LineReader::new(&stores), &splits, BatchLimits::default());
    assert!(read.is_empty());
    assert_eq!(failed[0].message, "can't read `in/a.txt`: Is a directory (os error 21)");
}

#[test]
fn compressed_lines_are_the_same_lines_up_to_where_they_break() {
    let ground = Ground::new();
    let text: String = (0..20_000).map(|i| format!("line {i} {:x}\n", i * i * 7919)).collect();
    ground.write("plain.txt", &text);
    for (codec, name, endings) in &Codec::ALL[1..] {
        let stored = compress(*codec, text.as_bytes());
        ground.write(&format!("whole.txt.{}", endings[0]), &stored);
        ground.write(&format!("cut.txt.{}", endings[0]), &stored[..stored.len() - 200]);
        ground.write(&format!("said/{name}"), &stored);
    }
    let stores = ground.stores(&[]);
    let lines = |reader: &LineReader, pattern: &str, limits: BatchLimits| {
        let splits = block_on(stores.list(pattern)).unwrap();
        let (rows, failed) = read_lines(reader, &splits, limits);
        (rows.into_iter().map(|(_, number, line)| (number, line)).collect::<Vec<_>>(), failed)
    };
    let reader = LineReader::new(&stores);
    let (plain, _) = lines(&reader, "plain.txt", limits(8192, 1 << 20, 1 << 20));
    assert_eq!(plain.len(), 20_000);
    for (codec, name, endings) in &Codec::ALL[1..] {
        for (rows, bytes) in [(8192, 1 << 20), (7, 1 << 20), (8192, 100)] {
            let limits = limits(rows, bytes, 1 << 20);
            assert!(lines(&reader, &format!("whole.txt.{}", endings[0]), limits) == (plain.clone(), vec![]), "{name}");
            let said = LineReader::new(&stores).codec(Some(*codec));
            assert!(lines(&said, &format!("said/{name}"), limits) == (plain.clone(), vec![]), "{name}");
            let (cut, failed) = lines(&reader, &format!("cut.txt.{}", endings[0]), limits);
            assert!(cut.len() > 1000 && plain.starts_with(&cut), "{name}: {} lines", cut.len());
            let message = format!(
                "`cut.txt.{}` can't be decompressed as {name} from line {} on: it ends too early",
                endings[0],
                cut.len() + 1
            );
            let position = cut.len() as u64;
            assert_eq!(failed, [SourceFailure { split: 0, position, fault: Fault::Data, message }]);
        }
    }
}
