//! Tests against a real server, `tests/servers/web.py`, that serves well and badly.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use dflow_pipeline::{BatchLimits, Fault};
use object_store::ObjectStoreExt;

use crate::{
    FileReader, LineReader, SourceBatch, SourceReader, Stores,
    testing::{Ground, Server, block_on, limits, read_all},
};

/// Texts of a batch's first column and messages of what failed.
fn outcome(batches: &[SourceBatch]) -> (Vec<String>, Vec<String>) {
    let texts = |batch: &SourceBatch| {
        let column = arrow::array::AsArray::as_string_view(batch.rows.column(0).as_ref()).clone();
        column.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    let failed = batches.iter().flat_map(|batch| &batch.failed).map(|failure| failure.message.clone());
    (batches.iter().flat_map(texts).collect(), failed.collect())
}

#[test]
fn parts_of_files_are_the_parts_asked_for() {
    let ground = Ground::new();
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    ground.write("docs/a.bin", &content);
    let server = Server::of(&ground);
    let modes = ["good", "nohead", "dav", "noranges", "redirect", "wrong-range", "long-range", "chunked"];
    let stores = server.stores(&ground, &modes);
    for (mode, right) in modes.iter().zip([true, true, true, true, true, false, false, true]) {
        let pattern = format!("{}://a.bin", mode.replace('-', "_"));
        let split = block_on(stores.list(&pattern)).unwrap().remove(0);
        let size = if *mode == "chunked" { 0 } else { 100_000 };
        assert_eq!((split.size, split.etag.is_empty()), (size, size == 0), "{mode}");
        let (store, path) = stores.object(&split).unwrap();
        for range in [0..10, 5..70_000, 99_990..100_000, 50..51] {
            let expected = content[range.start as usize..range.end as usize].to_vec();
            let got = ground.io().block_on(async { store.get_range(&path, range.clone()).await });
            match right || (range.start == 0 && *mode != "long-range") {
                true => assert!(got.unwrap() == expected, "{mode} {range:?}"),
                false => {
                    let error = super::explain(&got.unwrap_err());
                    assert!(error.starts_with("the server was asked for `bytes="), "{mode} {range:?}: {error}");
                }
            }
        }
        let suffix = object_store::GetOptions {
            range: Some(object_store::GetRange::Suffix(7)),
            ..object_store::GetOptions::default()
        };
        let got = ground.io().block_on(async { store.get_opts(&path, suffix).await?.bytes().await });
        match *mode {
            "chunked" => {
                assert_eq!(super::explain(&got.unwrap_err()), "the server gives neither parts of files nor their sizes")
            }
            _ if right => assert!(got.unwrap() == content[99_993..], "{mode}"),
            _ => assert!(got.is_err(), "{mode}"),
        }
    }
}

#[test]
fn a_body_that_breaks_goes_on_where_it_broke_or_fails() {
    let ground = Ground::new();
    let text: String = (0..200_000).map(|i| format!("line {i}\n")).collect();
    ground.write("docs/long.txt", &text);
    let server = Server::of(&ground);
    let broken = ["broken-once", "broken-plain", "broken-whole", "broken-other"];
    let stores = server.stores(&ground, &[&["good", "short", "slow", "changing"][..], &broken[..]].concat());
    let read = |name: &str, reader: &dyn SourceReader, column: usize| {
        let splits = block_on(stores.list(&format!("{name}://long.txt"))).unwrap();
        outcome(&read_all(reader, &splits, &[column], BatchLimits::default()))
    };
    let (lines, files) = (LineReader::new(&stores), FileReader::new(&stores));
    for name in ["good", "broken_once", "broken_plain", "broken_whole"] {
        let (got, failed) = read(name, &lines, 2);
        assert!(got.len() == 200_000 && got[199_999] == "line 199999", "{name}: {} lines", got.len());
        assert!(failed.is_empty());
    }
    let (got, failed) = read("short", &lines, 2);
    assert!(got.len() > 90_000 && got.len() < 110_000, "{} lines", got.len());
    let from = got.len() + 1;
    assert_eq!(
        failed,
        [format!("can't read `short://long.txt` from line {from} on: the server closed the connection early")]
    );
    for (name, breaks) in [("broken_once", false), ("short", true)] {
        let split = block_on(stores.list(&format!("{name}://long.txt"))).unwrap().remove(0);
        let broke_off = Arc::default();
        let read = io::copy(&mut stores.reader(&split, None, &broke_off).unwrap(), &mut io::sink());
        assert_eq!((read.is_err(), broke_off.load(Relaxed)), (breaks, breaks), "{name}");
    }
    let (got, failed) = read("broken_other", &lines, 2);
    let from = got.len() + 1;
    let message = format!("can't read `broken_other://long.txt` from line {from} on: it has changed while it was read");
    assert_eq!(failed, [message]);
    let (got, failed) = read("short", &files, 4);
    assert_eq!((got.len(), failed.len()), (0, 1));
    let (got, failed) = read("changing", &files, 4);
    let message = "can't read `changing://long.txt`: it has changed since it was listed";
    assert_eq!((got.len(), failed), (0, vec![message.to_owned()]));
}

#[test]
fn many_files_come_in_order() {
    let ground = Ground::new();
    let mut manifest = String::new();
    for i in 0..200 {
        ground.write(&format!("docs/{i:03}.txt"), format!("text {i}"));
        manifest.push_str(&format!("{i:03}.txt\n"));
    }
    ground.write("files.txt", manifest);
    let server = Server::of(&ground);
    let mut pipeline = ground.pipeline(&[("docs", &format!("{}/good", server.site))]);
    pipeline.volume.values_mut().for_each(|volume| volume.manifest = Some("files.txt".to_owned()));
    let stores = Stores::new(&pipeline, ground.root(), |_| None, ground.io()).unwrap();
    let splits = block_on(stores.list("docs://*.txt")).unwrap();
    assert_eq!(splits.len(), 200);
    assert!(splits.iter().all(|split| split.size > 0 && split.etag.starts_with('"') && split.modified > 0));
    for rows in [1, 7, 8192] {
        let all = read_all(&FileReader::new(&stores), &splits, &[4], limits(rows, 1 << 20, 7));
        let (got, failed) = outcome(&all);
        assert_eq!(got, (0..100).map(|i| format!("text {i}")).collect::<Vec<_>>());
        assert_eq!(failed.len(), 100);
        assert_eq!(failed[0], "`docs://100.txt` is 8 B (8 bytes), more than a row may have: `batch.max_row` is 7 B");
    }
    assert_eq!(block_on(stores.list("docs://x*")).unwrap_err().fault, Fault::Outside);
}
