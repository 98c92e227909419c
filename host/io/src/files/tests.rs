//! Tests of files as rows.

use arrow::{
    array::{Array, AsArray},
    datatypes::{TimestampMillisecondType, UInt64Type},
};

use super::*;
use crate::{
    content::tests::compress,
    testing::{Ground, block_on, limits, read_all},
};

/// The texts of a batch's column, which must lie one after another in one buffer.
fn texts(batch: &SourceBatch, column: usize) -> Vec<String> {
    let column = batch.rows.column(column).as_string_view();
    assert_eq!(column.data_buffers().len(), 1);
    let whole: String = column.iter().flatten().collect();
    assert_eq!(column.data_buffers()[0].as_slice(), whole.as_bytes());
    column.iter().map(|text| text.unwrap().to_owned()).collect()
}

#[test]
fn each_file_is_a_row() {
    let ground = Ground::new();
    ground.write("in/a.txt", "first file, of more than twelve bytes");
    ground.write("in/b.txt", "");
    ground.write("in/c.txt", b"\xef\xbb\xbf\xef\xbb\xbfmarked twice");
    ground.write("in/d.txt", "gr\u{fc}\u{df}e");
    let stores = ground.stores(&[("docs", "in")]);
    let splits = block_on(stores.list("docs://")).unwrap();
    let reader = FileReader::new(&stores);
    let all = read_all(&reader, &splits, &[0, 1, 2, 3, 4, 5], BatchLimits::default());
    let [batch] = all.as_slice() else { panic!("{} batches", all.len()) };
    assert!(batch.failed.is_empty());
    assert_eq!(batch.runs, [0, 1, 2, 3].map(|split| Run { split, position: 0, rows: 1 }));
    let column = |i: usize| batch.rows.column(i);
    assert_eq!(
        column(URI).as_string_view().iter().flatten().collect::<Vec<_>>(),
        ["docs://a.txt", "docs://b.txt", "docs://c.txt", "docs://d.txt"]
    );
    assert_eq!(column(SIZE).as_primitive::<UInt64Type>().values(), &[37, 0, 18, 7]);
    assert_eq!(column(MODIFIED).as_primitive::<TimestampMillisecondType>().value(1), splits[1].modified);
    assert_eq!(column(ETAG).as_string_view().value(2), splits[2].etag);
    let text = ["first file, of more than twelve bytes", "", "\u{feff}marked twice", "gr\u{fc}\u{df}e"];
    assert_eq!(column(TEXT).as_string_view().iter().flatten().collect::<Vec<_>>(), text);
    let binary = column(BINARY).as_binary_view();
    assert_eq!(binary.value(2), b"\xef\xbb\xbf\xef\xbb\xbfmarked twice");
    assert_eq!(binary.data_buffers()[0].as_ptr(), column(TEXT).as_string_view().data_buffers()[0].as_ptr());
    // Alone, the texts lie in one piece, the mark taken out.
    for rows in [1, 3, 9] {
        let all = read_all(&reader, &splits, &[TEXT], limits(rows, 1 << 20, 1 << 20));
        assert_eq!(all.len(), 4usize.div_ceil(rows as usize));
        assert_eq!(all.iter().flat_map(|batch| texts(batch, 0)).collect::<Vec<_>>(), text);
    }
}

#[test]
fn batches_are_cut_by_rows_and_bytes() {
    let ground = Ground::new();
    for (i, size) in [4, 4, 4, 30, 4, 10, 1, 0, 0].into_iter().enumerate() {
        ground.write(&format!("in/{i}"), "x".repeat(size));
    }
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    let reader = FileReader::new(&stores);
    let rows = |projection: &[usize], rows, bytes, max_row| {
        let all = read_all(&reader, &splits, projection, limits(rows, bytes, max_row));
        all.iter().map(|batch| (batch.rows.num_rows(), batch.failed.len())).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[TEXT], 8192, 10, 100), [(2, 0), (1, 0), (1, 0), (1, 0), (1, 0), (3, 0)]);
    assert_eq!(rows(&[BINARY], 2, 1000, 100), [(2, 0), (2, 0), (2, 0), (2, 0), (1, 0)]);
    assert_eq!(rows(&[TEXT], 8192, 1000, 9), [(7, 2)]);
    assert_eq!(rows(&[URI], 5, 10, 9), [(5, 0), (4, 0)]);
    assert_eq!(rows(&[], 8192, 10, 9), [(9, 0)]);
    let failed = read_all(&reader, &splits, &[TEXT], limits(8192, 1000, 9)).remove(0).failed;
    assert_eq!((failed[0].split, failed[0].fault, failed[1].split), (3, Fault::Limit, 5));
    assert_eq!(failed[0].message, "`in/3` is 30 B (30 bytes), more than a row may have: `batch.max_row` is 9 B");
    assert!(read_all(&reader, &[], &[TEXT], BatchLimits::default()).is_empty());
}

#[test]
fn what_can_t_be_read_is_a_failure_and_the_rest_goes_on() {
    let ground = Ground::new();
    ground.write("in/a", "a longer text, with two more around it");
    ground.write("in/b", b"good until \xff here");
    ground.write("in/c", b"\xef\xbb\xbfends within \xc3");
    ground.write("in/d", "gone");
    ground.write("in/e", "grows");
    ground.write("in/f", "z");
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    std::fs::remove_file(ground.path("in/d")).unwrap();
    ground.write("in/e", "e".repeat(100_000));
    let reader = FileReader::new(&stores);
    for rows in [1, 2, 100] {
        let all = read_all(&reader, &splits, &[TEXT], limits(rows, 1000, 99_999));
        let got: Vec<_> = all.iter().flat_map(|batch| texts(batch, 0)).collect();
        assert_eq!(got, ["a longer text, with two more around it", "z"]);
        let failed: Vec<_> = all.iter().flat_map(|batch| &batch.failed).collect();
        let told: Vec<_> = failed.iter().map(|f| (f.split, f.position, f.fault, f.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    1,
                    0,
                    Fault::Data,
                    "`in/b` is not UTF-8 (invalid byte 0xff at offset 11); convert it, or read it as a blob"
                ),
                (
                    2,
                    0,
                    Fault::Data,
                    "`in/c` is not UTF-8 (it ends within a character, at offset 15); convert it, or read it as a blob"
                ),
                (3, 0, Fault::Outside, "can't read `in/d`: No such file or directory (os error 2)"),
                (
                    4,
                    0,
                    Fault::Limit,
                    "`in/e` is 97.7 KiB (100000 bytes), more than a row may have: `batch.max_row` is 97.7 KiB"
                ),
            ]
        );
    }
    let all = read_all(&reader, &splits, &[BINARY, TEXT], limits(100, 1000, 1 << 20));
    assert_eq!(all[0].runs.iter().map(|run| run.split).collect::<Vec<_>>(), [0, 4, 5]);
    assert_eq!(all[0].rows.column(0).as_binary_view().value(1), "e".repeat(100_000).as_bytes());
    // Nobody asked for text: what isn't UTF-8 is fine.
    let all = read_all(&reader, &splits, &[BINARY], limits(100, 1000, 1 << 20));
    assert_eq!((all[0].rows.num_rows(), all[0].failed.len()), (5, 1));
    assert_eq!(all[0].rows.column(0).as_binary_view().value(1), b"good until \xff here");
}

#[test]
fn compressed_files_are_cut_by_what_comes_out() {
    let ground = Ground::new();
    let texts: Vec<String> = [4, 0, 4, 30_000, 4, 10, 20, 300_000, 0, 3].map(|size| "x".repeat(size)).to_vec();
    for (i, text) in texts.iter().enumerate() {
        let (codec, _, endings) = Codec::ALL[i % Codec::ALL.len()];
        let ending = endings.first().unwrap_or(&"txt");
        ground.write(&format!("in/{i}.{ending}"), compress(codec, text.as_bytes()));
    }
    let stores = ground.stores(&[]);
    let splits = block_on(stores.list("in")).unwrap();
    for (rows, bytes) in [(8192, 1 << 20), (8192, 30), (2, 1 << 20), (1, 1), (3, 10)] {
        let got = |reader: FileReader, column: usize, max_row| {
            let all = read_all(&reader, &splits, &[SIZE, column], limits(rows, bytes, max_row));
            let mut contents = Vec::new();
            for batch in &all {
                let column = arrow::compute::cast(batch.rows.column(1), &DataType::BinaryView).unwrap();
                let column = column.as_binary_view();
                let bytes_of: usize = column.iter().flatten().map(<[u8]>::len).sum();
                assert!(column.len() <= rows as usize && (column.len() < 2 || bytes_of as u64 <= bytes));
                assert!(batch.runs.iter().map(|run| run.split).is_sorted());
                let sizes = batch.rows.column(0).as_primitive::<UInt64Type>();
                for (run, (size, content)) in batch.runs.iter().zip(sizes.values().iter().zip(column)) {
                    assert_eq!(*size, splits[run.split as usize].size);
                    contents.push((run.split, String::from_utf8(content.unwrap().to_vec()).unwrap()));
                }
            }
            (contents, all.into_iter().flat_map(|batch| batch.failed).collect::<Vec<_>>())
        };
        let all: Vec<_> = (0..).zip(texts.clone()).collect();
        for column in [TEXT, BINARY] {
            assert!(got(FileReader::new(&stores), column, 1 << 20) == (all.clone(), vec![]));
        }
        let (some, failed) = got(FileReader::new(&stores), TEXT, 30_000);
        assert_eq!(some.len(), 9);
        let message =
            "`in/7.zst` is more than 29.3 KiB when decompressed, more than a row may have: `batch.max_row` is 29.3 KiB";
        assert_eq!((failed.len(), failed[0].fault, failed[0].message.as_str()), (1, Fault::Limit, message));
    }
    // A blob is what is stored, unless a codec is said.
    let stored = |reader: FileReader| {
        let all = read_all(&reader, &splits[..5], &[URI, TEXT], limits(10, 1 << 20, 1 << 20));
        let lengths = |batch: &SourceBatch| batch.rows.column(1).as_binary_view().lengths().collect::<Vec<_>>();
        (all.iter().flat_map(lengths).collect::<Vec<_>>(), all.iter().map(|batch| batch.failed.len()).sum())
    };
    let sizes: Vec<u32> = splits[..5].iter().map(|split| split.size as u32).collect();
    assert_eq!(stored(FileReader::blob(&stores)), (sizes, 0usize));
    assert_eq!(stored(FileReader::blob(&stores).codec(Some(Codec::Gzip))), (vec![0], 4));
}
