//! The journal's own tests: what it remembers, and what it makes of a crash.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dflow_io::{Prepared, Split, Splits};
use dflow_operators::{RowFailure, StageCounts, StepError};
use dflow_pipeline::{Codec, Fault, Format, Name, Pipeline};

use super::*;
use crate::{
    faults::Faults,
    fingerprint::Fingerprint,
    task::{SinkFiles, TaskResult, TaskSpec},
    writer::{Files, TaskOutput},
};

/// An empty folder, gone when it is dropped.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("the temporary folder can be written to")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn open(state: &Path, run: &str) -> Result<Journal, StepError> {
    Journal::open(state, run, &Faults::default())
}

/// A journal in which a run has begun.
fn begun(state: &Path, run: &str) -> Journal {
    let mut journal = open(state, run).expect("opens");
    let parameters = indexmap::IndexMap::new();
    journal
        .begin_run(&Begun { pipeline: "p", first: None, parameters: &parameters, made_of: None })
        .expect("can be written");
    journal
}

/// A file under its temporary name.
fn file(folder: &Path, name: &str) -> Prepared {
    let temporary = folder.join(format!(".{name}.tmp"));
    fs::write(&temporary, name).expect("can be written");
    Prepared { temporary, path: folder.join(name), bytes: name.len() as u64, rows: 1, row: None, splits: Vec::new() }
}

/// A task that reads `a.txt` and writes a file of this name for the stage `sink`.
fn spec(folder: &Path, number: u32, file: &str) -> TaskSpec {
    let split = Split {
        volume: "docs".to_owned(),
        path: "a.txt".to_owned(),
        size: 9,
        modified: 0,
        range: Some((2, 9)),
        etag: "v1".to_owned(),
    };
    let output = TaskOutput {
        folder: folder.to_owned(),
        staging: None,
        name: file.to_owned(),
        format: Format::Jsonl,
        codec: Codec::None,
        files: Files::One,
        merge: None,
    };
    TaskSpec {
        version: TaskSpec::VERSION,
        run: "r1".to_owned(),
        number,
        pipeline: Pipeline::default(),
        pins: BTreeMap::new(),
        segment: name("sink"),
        splits: BTreeMap::from([(name("pages"), Splits::from(vec![split]))]),
        partitions: 1,
        parallel: 1,
        first: None,
        outputs: BTreeMap::from([(name("sink"), output)]),
        dead: None,
        stored: Vec::new(),
        cut: None,
        left_out: Vec::new(),
    }
}

fn result(files: Vec<Prepared>) -> TaskResult {
    let counts = StageCounts { rows_in: 2, rows_out: 1, failed: 1, ..StageCounts::default() };
    let failure = RowFailure {
        split: None,
        stage: name("pages"),
        id: Some("00ff".to_owned()),
        uri: None,
        fault: Fault::Data,
        kind: "encoding".to_owned(),
        message: "not UTF-8".to_owned(),
        attempts: 1,
    };
    TaskResult {
        files: BTreeMap::from([(name("sink"), files.into())]),
        counts: BTreeMap::from([(name("pages"), counts)]),
        again: BTreeMap::new(),
        failures: vec![failure],
        by_split: None,
        dead: Vec::new(),
        elapsed: Duration::from_millis(5),
    }
}

fn print(digits: &str) -> Fingerprint {
    Fingerprint::written(digits.to_owned())
}

fn made<'a>(task: TaskId, sink: &'a Name, files: &'a SinkFiles) -> Made<'a> {
    Made { task: Some(task), sink, part: false, files }
}

#[test]
fn what_a_task_did_is_remembered() {
    let folder = folder();
    let out = folder.path();
    let sink = name("sink");
    let (spec, result) = (spec(out, 0, "a"), result(vec![file(out, "a")]));
    let mut journal = begun(out, "r1");
    let ids = journal.begin_tasks(Some("f"), std::slice::from_ref(&spec), &|_| false).expect("begins");
    assert!(journal.known().past_tasks(&print("f")).expect("can be read").is_empty(), "it isn't done");
    journal.commit(&[(ids[0], &spec, &result)], &[made(ids[0], &sink, &result.files[&sink])]).expect("is committed");
    journal.complete(&sink, &print("f"), &ids, false).expect("is complete");
    drop(journal);

    let mut journal = begun(out, "r2");
    journal.recover().expect("there is nothing to recover");
    let past = journal.known().past_tasks(&print("f")).expect("can be read");
    assert!(past.len() == 1 && past[0].complete && past[0].rows[&sink] == 1);
    assert_eq!(past[0].splits[&name("pages")], [PastSplit::of(&spec.splits[&name("pages")][0])]);
    assert_eq!((&past[0].result.counts, &past[0].result.failures), (&result.counts, &result.failures));
    assert_eq!(past[0].result.files[&sink].files[0].path, out.join("a"));
    assert_eq!(journal.known().own().expect("can be read"), BTreeMap::from([(out.join("a"), sink.clone())]));
    let is_of = |pipeline: &str| journal.known().is_of(&out.join("a"), pipeline).expect("can be read");
    assert_eq!((is_of("p"), is_of("q")), (true, false));
    assert!(journal.known().past_tasks(&print("g")).expect("can be read").is_empty(), "another fingerprint");

    // What another task made in its place stays, it goes.
    let ids = journal.begin_tasks(Some("g"), std::slice::from_ref(&spec), &|_| false).expect("begins");
    let result = self::result(vec![file(out, "b")]);
    journal.commit(&[(ids[0], &spec, &result)], &[made(ids[0], &sink, &result.files[&sink])]).expect("is committed");
    journal.complete(&sink, &print("g"), &ids, false).expect("is complete");
    assert!(journal.known().past_tasks(&print("f")).expect("can be read").is_empty());
    // A saved stage's outputs of other fingerprints stay.
    let others = journal.begin_tasks(Some("h"), std::slice::from_ref(&spec), &|_| false).expect("begins");
    let result = self::result(vec![file(out, "c")]);
    journal
        .commit(&[(others[0], &spec, &result)], &[made(others[0], &sink, &result.files[&sink])])
        .expect("is committed");
    journal.complete(&sink, &print("h"), &others, true).expect("is complete");
    assert_eq!(journal.known().outputs(&sink).expect("can be read").len(), 2);
    let stored = journal.known().stored().expect("can be read");
    assert_eq!(stored.iter().map(|output| output.files.len()).collect::<Vec<_>>(), [1, 1]);
    journal.forget(&[&print("h")]).expect("can be written");
    journal.removed(&[out.join("c")], &[]).expect("can be written");
    journal.removed(&[out.join("a")], &ids).expect("can be written");
    assert_eq!(journal.known().own().expect("can be read"), BTreeMap::from([(out.join("b"), sink)]));
    journal.forget(&[&print("g")]).expect("can be written");
    assert!(journal.known().past_tasks(&print("g")).expect("can be read").is_empty(), "it was forgotten");
}

#[test]
fn what_could_not_be_read_for_a_reason_outside_is_to_be_read_again() {
    let version = |fault: Fault, uri: Option<&str>, failed: u64| {
        let folder = folder();
        let out = folder.path();
        let sink = name("sink");
        let (spec, mut result) = (spec(out, 0, "a"), result(vec![file(out, "a")]));
        result.failures[0].fault = fault;
        result.failures[0].uri = uri.map(str::to_owned);
        result.counts.entry(name("pages")).or_default().failed = failed;
        let mut journal = begun(out, "r1");
        let ids = journal.begin_tasks(Some("f"), std::slice::from_ref(&spec), &|_| false).expect("begins");
        journal.commit(&[(ids[0], &spec, &result)], &[made(ids[0], &sink, &result.files[&sink])]).expect("committed");
        journal.complete(&sink, &print("f"), &ids, false).expect("is complete");
        let past = journal.known().past_tasks(&print("f")).expect("can be read");
        past[0].splits[&name("pages")][0].version.clone()
    };
    assert_eq!(version(Fault::Data, Some("docs://a.txt"), 1), "v1");
    assert_eq!(version(Fault::Outside, Some("docs://a.txt"), 1), "");
    assert_eq!(version(Fault::Outside, Some("docs://b.txt"), 1), "v1");
    // Of so many failures not all are described.
    assert_eq!(version(Fault::Outside, Some("docs://b.txt"), 101), "");
}

#[test]
fn prepared_files_roll_forward_and_begun_ones_are_swept() {
    let folder = folder();
    let out = folder.path();
    let sink = name("sink");
    let (prepared, begun_file) = (file(out, "a"), file(out, "b"));
    fs::write(out.join("old"), "what a replaces").expect("can be written");
    fs::create_dir_all(out.join(".c.tmp/k=1")).expect("can be made");
    let specs = [spec(out, 0, "a"), spec(out, 1, "b"), spec(out, 2, "c")];
    let mut journal = begun(out, "r1");
    let ids = journal.begin_tasks(Some("f"), &specs, &|_| false).expect("begins");
    // As a crash between `prepared` and the first name leaves it.
    let files = SinkFiles { files: vec![prepared.clone()], replaced: vec![out.join("old")] };
    let mut result = result(Vec::new());
    result.files.insert(sink.clone(), files.clone());
    fs::create_dir(out.join("a")).expect("can be made");
    journal
        .commit(&[(ids[0], &specs[0], &result)], &[made(ids[0], &sink, &files)])
        .expect_err("a folder is in the way");
    fs::remove_dir(out.join("a")).expect("can be removed");
    assert!(!prepared.temporary.exists(), "what can't be published is removed before anything is prepared");
    let prepared = file(out, "a");
    journal
        .with(|db| {
            let prepare = db.transaction()?;
            prepare.execute(
                "INSERT INTO file (run, task, sink, part, state, temporary, path, bytes, rows) VALUES ('r1', 1, 'sink', 0, 'prepared', ?, ?, 1, 1)",
                [prepared.temporary.to_str(), prepared.path.to_str()],
            )?;
            prepare.execute(
                "INSERT INTO file (run, task, sink, part, state, path) VALUES ('r1', 1, 'sink', 0, 'leaving', ?)",
                [out.join("old").to_str()],
            )?;
            tasks::record(&prepare, &base::Base::of(out), "r1", ids[0], &specs[0], &result, "prepared")?;
            prepare.commit()?;
            Ok(())
        })
        .expect("can be written");
    drop(journal);

    let mut journal = begun(out, "r2");
    for _ in 0..2 {
        journal.recover().expect("recovers");
        assert!(prepared.path.exists() && !prepared.temporary.exists());
        assert!(!begun_file.temporary.exists() && !begun_file.path.exists() && !out.join(".c.tmp").exists());
        assert!(!out.join("old").exists());
        assert_eq!(
            journal.known().own().expect("can be read").into_keys().collect::<Vec<_>>(),
            std::slice::from_ref(&prepared.path)
        );
        assert_eq!(journal.known().past_tasks(&print("f")).expect("can be read").len(), 1);
    }
}

#[test]
fn a_prepared_file_that_is_gone_takes_its_task_with_it() {
    let folder = folder();
    let out = folder.path();
    let spec = spec(out, 0, "a");
    let mut journal = begun(out, "r1");
    let ids = journal.begin_tasks(Some("f"), std::slice::from_ref(&spec), &|_| false).expect("begins");
    journal
        .with(|db| {
            let prepare = db.transaction()?;
            let gone = out.join("a");
            prepare.execute(
                "INSERT INTO file (run, task, sink, part, state, temporary, path) VALUES ('r1', 1, 'sink', 0, 'prepared', ?, ?)",
                [gone.to_str(), gone.to_str()],
            )?;
            tasks::record(&prepare, &base::Base::of(out), "r1", ids[0], &spec, &result(Vec::new()), "prepared")?;
            prepare.commit()?;
            Ok(())
        })
        .expect("can be written");
    journal.recover().expect("recovers");
    assert!(journal.known().past_tasks(&print("f")).expect("can be read").is_empty());
}

#[test]
fn a_journal_is_written_ahead_and_synced() {
    let folder = folder();
    // First it is made, then it is there.
    for run in ["r1", "r2"] {
        let journal = open(folder.path(), run).expect("opens");
        let mode: String = journal.db.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("is known");
        let synced: i64 = journal.db.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("is known");
        assert_eq!((mode.as_str(), synced), ("wal", 2), "{run}");
        assert!(!folder.path().join("dflow.db-journal").exists(), "{run}");
    }
}

#[test]
fn one_run_at_a_time() {
    let folder = folder();
    let first = open(folder.path(), "r1").expect("opens");
    let message = open(folder.path(), "r2").expect_err("it is held").to_string();
    let holder = format!("another run of this pipeline is going on (run r1, process {}, since 20", std::process::id());
    assert!(message.starts_with(&holder), "{message}");
    let history = History::open(folder.path()).expect("can be read while a run goes on").expect("there is one");
    assert!(history.runs().expect("can be read").is_empty());
    drop(first);
    // What a dead process left says nothing.
    assert!(folder.path().join("lock").exists());
    open(folder.path(), "r2").expect("nobody holds it any more");
}

#[test]
fn runs_are_listed() {
    let folder = folder();
    assert!(History::open(folder.path()).expect("nothing is wrong").is_none());
    let mut journal = begun(folder.path(), "r1");
    let history = || History::open(folder.path()).expect("can be read").expect("there is one");
    let run = |id: &str| history().run(id).expect("can be read").expect("there is one");
    assert!(run("r1").going_on && run("r1").exit.is_none());
    journal.fail_run(6, &StepError::new(Fault::Outside, "no disk")).expect("can be written");
    drop(journal);
    drop(begun(folder.path(), "r2"));
    assert_eq!((run("r1").exit, run("r1").message.as_deref(), run("r1").going_on), (Some(6), Some("no disk"), false));
    assert_eq!((run("r2").exit, run("r2").going_on), (None, false), "it was killed");
    let runs: Vec<String> = history().runs().expect("can be read").into_iter().map(|run| run.run).collect();
    assert_eq!(runs, ["r2", "r1"]);
}

/// What is said of a state folder whose database is as `spoil` leaves it.
fn refused(spoil: impl FnOnce(&Path)) -> String {
    let folder = folder();
    drop(begun(folder.path(), "r1"));
    spoil(&folder.path().join("dflow.db"));
    let error = open(folder.path(), "r2").expect_err("it is refused");
    assert_eq!(error.fault, Fault::Outside);
    let (said, read) = (error.to_string(), History::open(folder.path()).err().map(|error| error.to_string()));
    assert!(read.is_none_or(|read| read == said), "who reads it is told the same");
    said.replace(&folder.path().display().to_string(), "<state>")
}

#[test]
fn a_journal_of_a_newer_version_is_refused() {
    let said = refused(|path| {
        let db = rusqlite::Connection::open(path).expect("opens");
        db.pragma_update(None, "user_version", 99).expect("can be written");
    });
    let expected = format!(
        "the journal `<state>/dflow.db` was written by a newer dflow-host (its version is 99, this one knows {})",
        migrate::STEPS.len()
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_damaged_journal_is_refused() {
    let garbage = refused(|path| fs::write(path, [7; 10_000]).expect("can be written"));
    assert!(garbage.starts_with("the journal `<state>/dflow.db` is damaged: file is not a database"), "{garbage}");
    let cut = refused(|path| {
        let whole = fs::read(path).expect("can be read");
        fs::write(path, &whole[..whole.len() / 2]).expect("can be written");
    });
    assert!(cut.starts_with("the journal `<state>/dflow.db` is damaged: database disk image is malformed"), "{cut}");
}

#[test]
fn a_journal_of_lines_is_named() {
    let folder = folder();
    fs::write(folder.path().join("journal.jsonl"), "{}\n").expect("can be written");
    let said = open(folder.path(), "r").expect_err("it is refused").to_string();
    assert!(said.contains("journal.jsonl` was written by an earlier dflow-host"), "{said}");
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = folder();
    let out = folder.path();
    let mut journal = begun(out, "r1");
    // No more pages than there are: what SQLite says then is what it says of a full disk.
    let pages: i64 = journal.db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("can be read");
    journal.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).expect("can be set");
    let specs: Vec<TaskSpec> = (0..500).map(|i| spec(out, i, "a")).collect();
    let error = journal.begin_tasks(Some("f"), &specs, &|_| false).expect_err("the disk is full");
    assert_eq!(error.fault, Fault::Outside);
    assert!(error.message.ends_with("dflow.db`: the disk is full"), "{error}");
    let left: i64 = journal.db.query_row("SELECT count(*) FROM task", [], |row| row.get(0)).expect("can be read");
    assert_eq!(left, 0, "a transaction is whole or not there");
    journal.fail_run(6, &error).expect("a page that is there can be written");
    let path: PathBuf = out.join("dflow.db");
    assert!(path.exists());
}
