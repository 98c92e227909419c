//! Functions as queries call them.

use std::{path::Path, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, StringViewArray},
        datatypes::{DataType, Field, Int32Type, IntervalUnit, TimeUnit},
        util::display::array_value_to_string,
    },
    prelude::SessionContext,
};

use super::*;
use crate::step_error;

fn parse(name: &str) -> Option<DataType> {
    let item = |name: &str| {
        let data_type = if name == "utf8" { DataType::Utf8 } else { parse(name)? };
        Some(Arc::new(Field::new("item", data_type, true)))
    };
    Some(match name {
        "utf8" => DataType::Utf8View,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "float64" => DataType::Float64,
        "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "decimal" => DataType::Decimal128(38, 2),
        "duration" => DataType::Interval(IntervalUnit::DayTime),
        _ => DataType::List(item(name.strip_prefix("list<")?.strip_suffix('>')?)?),
    })
}

fn context() -> SessionContext {
    let context = SessionContext::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/sql-tokens/models");
    for function in functions(&folder, TypeNames { parse, known: || vec!["utf8", "int64"] }) {
        context.register_udf(function.as_ref().clone());
    }
    context
}

/// What an expression over a column `text` gives, or the error.
async fn given(texts: ArrayRef, expression: &str) -> Result<ArrayRef, String> {
    let context = context();
    let batch = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).expect("a batch");
    context.register_batch("t", batch).expect("a table");
    let query = format!("SELECT {expression} AS value FROM t");
    let shown = |e: datafusion::error::DataFusionError| step_error(&e).to_string();
    let rows = context.sql(&query).await.map_err(shown)?.collect().await.map_err(shown)?;
    let columns: Vec<&dyn Array> = rows.iter().map(|batch| batch.column(0).as_ref()).collect();
    Ok(datafusion::arrow::compute::concat(&columns).expect("one type"))
}

async fn shown(texts: &[Option<&str>], expression: &str) -> Vec<String> {
    let texts = Arc::new(StringViewArray::from(texts.to_vec()));
    let array = given(texts, expression).await.expect("values");
    let one = |row| match array.is_null(row) {
        true => "null".to_owned(),
        false => array_value_to_string(&array, row).expect("a value"),
    };
    (0..array.len()).map(one).collect()
}

#[tokio::test]
async fn values_fit_their_types_or_are_null() {
    let document = r#"{"i": 7, "f": 1.5, "w": 2.0, "t": "42", "s": "x\ty", "b": true, "n": null, "o": {"k": 1}, "l": [1, 2.5, "3", null],
        "d": "2024-02-30", "e": "2024-02-29", "big": 123456789012345678901234567890, "huge": 1e999, "neg": -1, "dec": 12345678901234567890.25}"#;
    for (path, name, value) in [
        ("i", "int64", "7"),
        ("f", "int64", "null"),
        ("w", "int64", "2"),
        ("t", "int64", "42"),
        ("s", "int64", "null"),
        ("b", "int64", "null"),
        ("big", "int64", "null"),
        ("neg", "uint8", "null"),
        ("o", "int64", "null"),
        ("f", "float64", "1.5"),
        ("huge", "float64", "inf"),
        ("b", "bool", "true"),
        ("i", "bool", "null"),
        ("e", "date", "2024-02-29"),
        ("d", "date", "null"),
        ("dec", "decimal", "12345678901234567890.25"),
        ("i", "utf8", "7"),
        ("huge", "utf8", "1e999"),
        ("big", "utf8", "123456789012345678901234567890"),
        ("b", "utf8", "true"),
        ("s", "utf8", "x\ty"),
        ("n", "utf8", "null"),
        ("o", "utf8", "null"),
        ("o", "json", r#"{"k": 1}"#),
        ("s", "json", r#""x\ty""#),
        ("n", "json", "null"),
        ("l", "list<int64>", "[1, , 3, ]"),
        ("l", "list<utf8>", "[1, 2.5, 3, ]"),
        ("i", "list<int64>", "null"),
        // A tree, which a query needs, has no room for 1e999.
        ("o.*", "json", "null"),
        ("none", "int64", "null"),
    ] {
        let got = shown(&[Some(document)], &format!("json_extract(text, '{path}', '{name}')")).await;
        assert_eq!(got, [value], "{path} as {name}");
    }
    for (name, value) in [("list<int64>", "[1, , 3]"), ("list<utf8>", "[1, 2.5, 3]"), ("json", r#"[1,2.5,"3"]"#)] {
        let call = format!("json_extract(text, 'o.*', '{name}')");
        assert_eq!(shown(&[Some(r#"{"o": {"a": 1, "b": 2.5, "c": "3"}}"#)], &call).await, [value], "{name}");
    }
}

#[tokio::test]
async fn one_document_spoils_no_other() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let texts = [
        Some(r#"{"a": "2024-01-01"}"#),
        None,
        Some(""),
        Some("nonsense"),
        Some(r#"{"a": "\ud800"}"#),
        Some(r#"{"a": "99999999-01-01"}"#),
        Some(r#"{"a": 99999999999999999999}"#),
        Some(&deep),
        Some(r#"{"a": "2024-01-02"}"#),
    ];
    for name in ["date", "timestamp"] {
        let got = shown(&texts, &format!("json_extract(text, '$.a', '{name}') IS NULL")).await;
        assert_eq!(got[0], "false", "{name}");
        assert_eq!(got[8], "false", "{name}");
        assert!(got[1..5].iter().all(|null| null == "true"), "{name}: {got:?}");
        assert_eq!(got[7], "true", "{name}");
    }
    let got = shown(&texts, "json_extract(text, '$.a', 'int64')").await;
    assert_eq!(got, ["null"; 9]);
}

#[tokio::test]
async fn text_may_be_of_any_encoding() {
    let plain: ArrayRef = Arc::new(StringArray::from(vec![Some(r#"{"a": "b"}"#), None]));
    let keys = Int32Array::from(vec![Some(0), None]);
    let dictionary = DictionaryArray::<Int32Type>::new(keys, Arc::new(StringArray::from(vec![r#"{"a": "b"}"#])));
    for texts in [plain, Arc::new(dictionary) as ArrayRef] {
        let got = given(texts.clone(), "json_extract(text, 'a')").await.expect("values");
        assert_eq!(got.as_string_view().iter().collect::<Vec<_>>(), [Some("b"), None]);
        let got = given(texts, "token_count(text, 'cl100k_base')").await.expect("values");
        assert_eq!(got.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(6), None]);
    }
    let got = shown(&[Some("x"); 2], "json_extract('{\"a\": [5]}', 'a[0]', 'int64')").await;
    assert_eq!(got, ["5", "5"]);
}

/// What is expected is what tiktoken-rs 0.12.1 gives (`encode_ordinary`), whose tests are OpenAI's.
#[tokio::test]
async fn tokens_are_tiktoken_s() {
    for (text, o200k, cl100k) in [
        ("", "[]", "[]"),
        (" ", "[220]", "[220]"),
        ("hello world, tokens", "[24912, 2375, 11, 20290]", "[15339, 1917, 11, 11460]"),
        (
            "  indented\n\n\n\tcode() { return 'x'; }  \r\n ",
            "[220, 1383, 23537, 2499, 86873, 416, 354, 622, 461, 87, 15290, 388, 18668, 220]",
            "[220, 1280, 16243, 1432, 44443, 368, 314, 471, 364, 87, 7112, 335, 10636, 220]",
        ),
        (
            "I'LL don't we've 1234567 3.14 ½",
            "[40, 6, 7454, 4128, 24716, 220, 7633, 19354, 22, 220, 18, 13, 1265, 220, 27124]",
            "[40, 6, 4178, 1541, 956, 584, 3077, 220, 4513, 10961, 22, 220, 18, 13, 975, 220, 27154]",
        ),
        (
            "東京都千代田区 👩‍👩‍👧 e\u{301} שלום עולם",
            "[123558, 30572, 6440, 30814, 5243, 61138, 102, 2524, 28823, 102, 2524, 28823, 100, 319, 13430, 173283, 143896]",
            "[14276, 109, 47653, 72368, 11239, 225, 31640, 7518, 108, 24775, 62904, 102, 378, 235, 9468, 239, 102, 378, 235, 9468, 239, 100, 384, 54939, 88898, 50391, 37769, 251, 17732, 95, 37769, 250, 147, 251]",
        ),
        ("<|endoftext|>", "[27, 91, 419, 1440, 919, 91, 29]", "[27, 91, 8862, 728, 428, 91, 29]"),
    ] {
        for (name, expected) in [("o200k_base", o200k), ("cl100k_base", cl100k)] {
            assert_eq!(shown(&[Some(text)], &format!("tokenize(text, '{name}')")).await, [expected], "{name} {text}");
            let back = format!("detokenize(tokenize(text, '{name}'), '{name}')");
            assert_eq!(shown(&[Some(text)], &back).await, [text], "{name}");
        }
    }
}

/// Text on which patterns try much and merging by steps takes time by the square of its length.
#[tokio::test]
async fn monotonous_text_is_counted() {
    for (text, o200k, cl100k) in [
        (" ".repeat(10_000), "79", "79"),
        ("a".repeat(10_000), "1250", "1250"),
        ("\n".repeat(3_000), "188", "95"),
        ("ab ".repeat(5_000), "5001", "5001"),
    ] {
        assert_eq!(shown(&[Some(&text)], "token_count(text, 'o200k_base')").await, [o200k]);
        assert_eq!(shown(&[Some(&text)], "token_count(text, 'cl100k_base')").await, [cl100k]);
    }
    let long = shown(&[Some(&"z".repeat(4_000_000))], "token_count(text, 'o200k_base')").await;
    assert!(long[0].parse::<u64>().is_ok_and(|count| count > 1_000), "{long:?}");
}

/// What is expected is what Hugging Face's `tokenizers` 0.23.3 for Python gives, without truncation and padding.
#[tokio::test]
async fn tokens_of_a_file_are_its_model_s() {
    let texts = [Some("The owner of a value"), Some(""), Some("memory\u{0} is  dropped\n"), None];
    for (call, expected) in [
        (
            "tokenize(text, 'ownership.json')",
            ["[2, 101, 157, 103, 117, 34, 212, 3]", "[2, 3]", "[2, 176, 125, 372, 156, 83, 3]", "null"],
        ),
        ("token_count(text, 'ownership.json')", ["8", "2", "7", "null"]),
        ("tokenize(text, 'ownership.json', 4)", ["[2, 101, 157, 3]", "[2, 3, 0, 0]", "[2, 176, 125, 3]", "null"]),
        (
            "tokenize(text, 'bytes.json')",
            [
                "[52, 258, 263, 310, 267, 282, 260, 361, 69]",
                "[]",
                "[276, 347, 189, 295, 221, 287, 82, 292, 80, 298, 199]",
                "null",
            ],
        ),
        ("tokenize(text, 'bytes.json', 3)", ["[52, 258, 263]", "[0, 0, 0]", "[276, 347, 189]", "null"]),
        (
            "detokenize(tokenize(text, 'ownership.json', 9), 'ownership.json')",
            ["the owner of a value", "", "memory is dropped", "null"],
        ),
        (
            "detokenize(tokenize(text, 'bytes.json'), 'bytes.json')",
            ["The owner of a value", "", "memory\u{0} is  dropped\n", "null"],
        ),
        ("tokenize(text, 'cl100k_base', 2)", ["[791, 6506]", "[100257, 100257]", "[17717, 188]", "null"]),
        ("arrow_typeof(tokenize(text, 'cl100k_base', 2))", ["FixedSizeList(2 x Int32)"; 4]),
    ] {
        assert_eq!(shown(&texts, call).await, expected, "{call}");
    }
}

#[tokio::test]
async fn what_is_no_token_has_no_text() {
    for (tokens, expected) in [
        ("[5, 100257]", "&"),
        ("[100300]", "null"),
        ("[-1]", "null"),
        ("[4294967296]", "null"),
        ("[NULL, 5]", "&"),
        ("[]", ""),
        ("[188]", "\u{0}"),
        ("[227]", "\u{fffd}"),
    ] {
        let got = shown(&[Some("x")], &format!("detokenize({tokens}, 'cl100k_base')")).await;
        assert_eq!(got, [expected], "{tokens}");
    }
    let got = shown(&[Some("x")], "detokenize([4, 4000000], 'bytes.json')").await;
    assert_eq!(got, ["null"]);
}

#[tokio::test]
async fn misuse_is_named() {
    for (call, message) in [
        ("json_extract(text, 'a[')", "`a[` is not a JSON path"),
        ("json_extract(text, text)", "the path of `json_extract` must be a constant"),
        ("json_extract(text, 'a', 'int')", "`json_extract` into an unknown type `int`"),
        ("json_extract(text, 'a', 'duration')", "JSON can't be read as `duration`"),
        ("json_extract(text, '*', 'int64')", "`*` may find several values"),
        ("json_extract(1, '*')", "`json_extract` takes text, and is given Int64"),
        ("json_extract(text)", "`json_extract` is called with 1 argument"),
        ("token_count(text, 'none.json')", "there is no tokenizer `none.json`"),
        ("token_count(text, '../pipeline.toml')", "`../pipeline.toml` is not a tokenizer"),
        ("tokenize(text, 'ownership.json', 2)", "`ownership.json` puts 2 special tokens around a text"),
        ("tokenize(text, 'o200k_base', -1)", "the length of `tokenize` must be a constant whole number"),
        ("detokenize(text, 'o200k_base')", "`detokenize` takes a list of integers"),
    ] {
        let error = given(Arc::new(StringViewArray::from(vec!["x"])), call).await.expect_err(call);
        assert!(error.contains(message), "{call}: {error}");
    }
}

#[tokio::test]
async fn no_rows_are_no_rows() {
    let none: ArrayRef = Arc::new(StringViewArray::from(Vec::<&str>::new()));
    for call in ["json_extract(text, 'a', 'int64')", "json_extract(text, 'a')", "tokenize(text, 'o200k_base', 3)"] {
        let context = context();
        let batch = RecordBatch::try_from_iter_with_nullable([("text", none.clone(), true)]).expect("a batch");
        context.register_batch("t", batch).expect("a table");
        let rows = context.sql(&format!("SELECT {call} FROM t")).await.expect("a plan").collect().await.expect("rows");
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 0, "{call}");
    }
}

/// Megabytes a second on real text: `cargo test --release -p dflow-cli -p dflow-operators -- --ignored --nocapture speed`
#[tokio::test]
#[ignore = "measures; needs the Rust Book of the toolchain's documentation"]
async fn speed() {
    let root = std::env::var("DFLOW_BOOK").expect("DFLOW_BOOK names the folder of the Book's pages");
    let pages = std::fs::read_dir(root).expect("a folder").filter_map(|entry| {
        let path = entry.ok()?.path();
        (path.extension()? == "html").then(|| std::fs::read_to_string(path).ok())?
    });
    let texts: Vec<String> = pages.collect();
    let documents: Vec<String> = texts
        .iter()
        .map(|text| {
            serde_json::json!({ "uri": "x", "content": text, "meta": { "size": text.len(), "tags": ["a", "b"] } })
                .to_string()
        })
        .collect();
    for (rows, call) in [
        (&documents, "json_extract(text, '$.meta.size', 'int64')"),
        (&documents, "json_extract(text, '$.meta.tags', 'list<utf8>')"),
        (&documents, "json_extract(text, '$.content')"),
        (&documents, "json_extract(text, '$.meta.tags[*]', 'list<utf8>')"),
        (&texts, "token_count(text, 'o200k_base')"),
        (&texts, "token_count(text, 'cl100k_base')"),
        (&texts, "tokenize(text, 'o200k_base')"),
        (&texts, "token_count(text, 'bytes.json')"),
    ] {
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows));
        drop(given(column.slice(0, 1), call).await);
        let bytes: usize = rows.iter().map(String::len).sum();
        let start = std::time::Instant::now();
        let got = given(column, call).await.expect("values");
        let speed = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{speed:8.0} MB/s  {call} ({} rows)\n", got.len()),
        )
        .expect("stderr");
    }
}
