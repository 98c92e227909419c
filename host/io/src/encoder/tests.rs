//! Tests of encoding: read back, or compared with the bytes that are promised.

use arrow::{
    array::{
        ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListBuilder, NullArray,
        StringViewArray, StringViewBuilder, StructArray, TimestampMillisecondArray,
    },
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, UnionFields, UnionMode},
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{StagedFile, testing::Ground};

/// Columns of every sort that our stages make; the first ones are flat.
fn batch() -> RecordBatch {
    let mut list = ListBuilder::new(StringViewBuilder::new());
    list.append_value([Some("a"), None, Some("a link that is longer than twelve bytes")]);
    list.append_null();
    let text = StringViewArray::from(vec![Some("comma, \"quote\" and\nline end, of some length"), None]);
    let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None]));
    let time = TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), None]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("text", Arc::new(text) as ArrayRef),
        ("n", Arc::clone(&n)),
        ("x", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN)]))),
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("time", Arc::new(time)),
        ("bytes", Arc::new(BinaryViewArray::from(vec![Some(&b"\x00\xff"[..]), None]))),
        ("price", Arc::new(Decimal128Array::from(vec![Some(1234), None]).with_precision_and_scale(10, 2).unwrap())),
        ("nothing", Arc::new(NullArray::new(2))),
        ("links", Arc::new(list.finish())),
        ("pair", Arc::new(StructArray::try_from(vec![("n", n)]).unwrap())),
    ])
    .unwrap()
}

const FLAT: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];

fn encode(format: Format, schema: SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = Encoder::new(format, schema, Vec::new()).unwrap();
    for batch in batches {
        encoder.write(batch).unwrap();
    }
    assert_eq!(encoder.rows(), batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    encoder.finish().unwrap()
}

#[test]
fn jsonl_has_every_column_in_every_line() {
    let bytes = encode(Format::Jsonl, batch().schema(), &[batch(), batch()]);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..2],
        [
            r#"{"text":"comma, \"quote\" and\nline end, of some length","n":9007199254740993,"x":0.1,"yes":true,"time":"2023-11-14T22:13:20.123Z","bytes":"00ff","price":12.34,"nothing":null,"links":["a",null,"a link that is longer than twelve bytes"],"pair":{"n":9007199254740993}}"#,
            r#"{"text":null,"n":null,"x":null,"yes":null,"time":null,"bytes":null,"price":null,"nothing":null,"links":null,"pair":{"n":null}}"#,
        ]
    );
    assert_eq!(lines[2..], lines[..2]);
    assert!(encode(Format::Jsonl, batch().schema(), &[]).is_empty());
}

#[test]
fn csv_has_one_header_also_without_rows() {
    let flat = batch().project(FLAT).unwrap();
    let text = String::from_utf8(encode(Format::Csv, flat.schema(), &[flat.clone(), flat.slice(1, 1)])).unwrap();
    assert_eq!(
        text,
        "text,n,x,yes,time,bytes,price,nothing\n\
         \"comma, \"\"quote\"\" and\nline end, of some length\",9007199254740993,0.1,true,2023-11-14T22:13:20.123Z,00ff,12.34,\n\
         ,,NaN,,,,,\n,,NaN,,,,,\n"
    );
    assert_eq!(encode(Format::Csv, flat.schema(), &[]), b"text,n,x,yes,time,bytes,price,nothing\n");
}

#[test]
fn parquet_keeps_everything() {
    let schema = batch().schema();
    let big = concat_batches(&schema, &vec![batch(); 1000]).unwrap();
    for batches in [vec![], vec![batch()], vec![big.clone(), batch(), big]] {
        let bytes = Bytes::from(encode(Format::Parquet, Arc::clone(&schema), &batches));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        assert_eq!(reader.schema(), &schema);
        for group in reader.metadata().row_groups() {
            assert!(
                group.columns().iter().all(|column| column.compression() == Compression::ZSTD(ZstdLevel::default()))
            );
        }
        let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let (read, written) = (concat_batches(&schema, &read).unwrap(), concat_batches(&schema, &batches).unwrap());
        // Two NaNs aren't equal: compare as text.
        assert_eq!(
            encode(Format::Jsonl, Arc::clone(&schema), &[read]),
            encode(Format::Jsonl, Arc::clone(&schema), &[written])
        );
    }
}

#[test]
fn row_groups_are_bounded() {
    // Noise, so that compression doesn't make it small.
    let mut seed = 1_u64;
    let mut noise = || {
        let mut text = String::with_capacity(1 << 20);
        while text.len() < 1 << 20 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{seed:016x}"));
        }
        Arc::new(StringViewArray::from_iter_values([text])) as ArrayRef
    };
    let first = RecordBatch::try_from_iter([("text", noise())]).unwrap();
    let mut encoder = Encoder::new(Format::Parquet, first.schema(), Vec::new()).unwrap();
    let mut most = 0;
    for _ in 0..150 {
        encoder.write(&RecordBatch::try_from_iter([("text", noise())]).unwrap()).unwrap();
        most = most.max(encoder.buffered_bytes());
    }
    assert!(most < 150 << 20, "{most}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encoder.finish().unwrap())).unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() > 1, "{}", groups.len());
    assert!(groups.iter().all(|group| group.compressed_size() < 72 << 20));
}

#[test]
fn what_a_format_can_t_hold_is_refused_by_name() {
    let schema = |batch: RecordBatch| batch.schema();
    let whole = batch();
    let union = DataType::Union(UnionFields::from_fields([Field::new("a", DataType::Int64, true)]), UnionMode::Dense);
    let union = Arc::new(Schema::new(vec![Field::new("either", union, true)]));
    let nothing = Arc::new(Schema::new(vec![Field::new("nothing", DataType::FixedSizeBinary(0), true)]));
    for (format, schema, message) in [
        (
            Format::Parquet,
            nothing,
            "parquet can't hold the column `nothing`, of type FixedSizeBinary(0)\n  hint: cast it to text, or leave it out with `columns`",
        ),
        (
            Format::Csv,
            schema(whole.clone()),
            "csv can't hold the list column `links`\n  hint: leave it out with `columns`, or write jsonl, arrow or parquet",
        ),
        (
            Format::Csv,
            schema(whole.project(&[9]).unwrap()),
            "csv can't hold the struct column `pair`\n  hint: leave it out with `columns`, or write jsonl, arrow or parquet",
        ),
        (
            Format::Jsonl,
            Arc::clone(&union),
            "jsonl can't hold the column `either`, of type Union(Dense, 0: (\"a\": Int64))\n  hint: cast it to text, or leave it out with `columns`",
        ),
        (
            Format::Parquet,
            Arc::clone(&union),
            "parquet can't hold the column `either`, of type Union(Dense, 0: (\"a\": Int64))\n  hint: cast it to text, or leave it out with `columns`",
        ),
        (
            Format::Csv,
            union,
            "csv can't hold the union column `either`\n  hint: leave it out with `columns`, or write jsonl, arrow or parquet",
        ),
        (
            Format::Html,
            schema(whole),
            "`html` can't be written\n  hint: write `parquet`, `csv`, `json`, `jsonl` or `arrow`",
        ),
    ] {
        let error = Encoder::new(format, schema, Vec::new()).unwrap_err();
        assert_eq!((error.fault, error.to_string().as_str()), (Fault::Pipeline, message));
    }
}

#[test]
fn what_no_text_shows_is_refused() {
    let times = TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), Some(i64::MAX)]);
    let batch = RecordBatch::try_from_iter([("time", Arc::new(times) as ArrayRef)]).unwrap();
    for format in [Format::Jsonl, Format::Json, Format::Csv, Format::Parquet, Format::Arrow] {
        let mut encoder = Encoder::new(format, batch.schema(), Vec::new()).unwrap();
        let told = encoder.write(&batch).map_err(|error| (error.fault, error.message));
        let text = matches!(format, Format::Jsonl | Format::Json | Format::Csv);
        let name = format.as_str();
        let what = format!("{name} can't hold 9223372036854775807 in the column `time`: no Timestamp(ms) shows it");
        assert_eq!(told, if text { Err((Fault::Data, what)) } else { Ok(()) });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_in_every_format() {
    let flat = batch().project(FLAT).unwrap();
    let flat = concat_batches(&flat.schema(), &vec![flat.clone(); 20_000]).unwrap();
    for format in [Format::Jsonl, Format::Csv, Format::Parquet] {
        let ground = Ground::new();
        std::os::unix::fs::symlink("/dev/full", ground.path(".x.tmp")).unwrap();
        let out = StagedFile::create(ground.root(), "x").unwrap();
        let mut encoder = Encoder::new(format, flat.schema(), out).unwrap();
        let error = match encoder.write(&flat) {
            Err(error) => error,
            Ok(()) => encoder.finish().map(|file| file.finish().unwrap_err()).unwrap_or_else(|error| error),
        };
        let expected = format!("can't write `{}`: No space left on device (os error 28)", ground.path("x").display());
        assert_eq!((error.fault, error.message.as_str()), (Fault::Outside, expected.as_str()), "{format:?}");
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
    }
}
