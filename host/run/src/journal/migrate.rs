//! Brings a journal of an earlier version up to date.

use rusqlite::{Connection, TransactionBehavior};

use super::{
    base::Base,
    open::{Broken, Why},
};

/// What leads from each version to the next one; the first makes all of it.
pub(super) const STEPS: [&str; 6] = [
    include_str!("schema.sql"),
    include_str!("handing.sql"),
    include_str!("splits.sql"),
    include_str!("answers.sql"),
    include_str!("spent.sql"),
    include_str!("base.sql"),
];

/// The version of a journal.
///
/// # Errors
/// It is newer than those that this host knows; it can't be read.
pub(super) fn known(db: &Connection) -> Result<usize, Broken> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(version) if version <= STEPS.len() => Ok(version),
        _ => Err(Why::Newer { version, known: STEPS.len() }.into()),
    }
}

/// Takes the steps that a journal hasn't taken yet, all or none; `base` is where it is.
///
/// # Errors
/// It is of a newer version than this host knows; it can't be read or written.
pub(super) fn migrate(db: &mut Connection, base: &Base) -> Result<(), Broken> {
    let version = known(db)?;
    if version < STEPS.len() {
        let steps = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        steps.execute_batch("CREATE TEMP TABLE here (own TEXT NOT NULL, project TEXT)")?;
        steps.execute("INSERT INTO here VALUES (?, ?)", base.beginnings())?;
        for step in &STEPS[version..] {
            steps.execute_batch(step)?;
        }
        steps.execute_batch("DROP TABLE here")?;
        steps.pragma_update(None, "user_version", STEPS.len() as i64)?;
        steps.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn base() -> Base {
        Base::of(Path::new("/no-such-folder/.dflow"))
    }

    #[test]
    fn a_journal_of_the_first_version_keeps_its_runs() {
        let mut db = Connection::open_in_memory().expect("memory is there");
        db.execute_batch(STEPS[0]).expect("the schema is right");
        db.pragma_update(None, "user_version", 1).expect("it can be written");
        db.execute(
            "INSERT INTO run (id, pipeline, host, pid, started, parameters) VALUES ('1', 'p', '0', 1, 1, '{}')",
            [],
        )
        .expect("a run");
        migrate(&mut db, &base()).expect("it can be brought up to date");
        assert_eq!(known(&db).expect("it is known"), STEPS.len());
        let made_of: Option<String> =
            db.query_row("SELECT made_of FROM run WHERE id = '1'", [], |row| row.get(0)).expect("the run is there");
        assert_eq!(made_of, None);
        migrate(&mut db, &base()).expect("a second time does nothing");
    }

    #[test]
    fn what_answers_have_cost_stays_spent() {
        let mut db = Connection::open_in_memory().expect("memory is there");
        for step in &STEPS[..4] {
            db.execute_batch(step).expect("the schema is right");
        }
        db.pragma_update(None, "user_version", 4).expect("it can be written");
        db.execute_batch(
            "INSERT INTO run (id, pipeline, host, pid, started, exit, parameters)
             VALUES ('1', 'p', '0', 1, 1, 0, '{}'), ('2', 'p', '0', 1, 2, 7, '{}');
             INSERT INTO answer (run, stage, model, text, finish, input_tokens, cached_tokens, output_tokens, usd, millis, attempts, at)
             VALUES ('2', 's', 'm', '', 'stop', 1, 0, 1, 3, 1, 1, 1), ('2', 's', 'm', '', 'stop', 1, 0, 1, 4, 1, 1, 1),
                    ('2', 's', 'free', '', 'stop', 1, 0, 1, NULL, 1, 1, 1);",
        )
        .expect("answers");
        migrate(&mut db, &base()).expect("it can be brought up to date");
        let mut spent = db.prepare("SELECT model, run, usd FROM spent ORDER BY model, run").expect("it is there");
        let spent = spent.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        let spent: Vec<(String, String, i64)> = spent.collect::<Result<_, _>>().expect("rows");
        let expected = [("free", "1", 0), ("m", "1", 0), ("m", "2", 7)];
        assert_eq!(spent, expected.map(|(model, run, usd)| (model.to_owned(), run.to_owned(), usd)));
    }

    #[test]
    fn paths_in_the_project_are_held_from_the_state_folder() {
        let mut db = Connection::open_in_memory().expect("memory is there");
        for step in &STEPS[..5] {
            db.execute_batch(step).expect("the schema is right");
        }
        db.pragma_update(None, "user_version", 5).expect("it can be written");
        db.execute_batch(
            "INSERT INTO run (id, pipeline, host, pid, started, parameters) VALUES ('1', 'p', '0', 1, 1, '{}');
             INSERT INTO task (run, segment, number, state, started) VALUES ('1', 's', 0, 'done', 1);
             INSERT INTO split VALUES (1, 'a', 0, 'file:///no-such-folder/.dflow/store/a/1f/a.parquet', 'v', NULL, NULL),
                                      (1, 'a', 1, 'file:///no-such-folder/in/a.parquet', 'v', NULL, NULL),
                                      (1, 'a', 2, 'in/a.parquet', 'v', NULL, NULL);
             INSERT INTO file (run, sink, part, state, temporary, path)
             VALUES ('1', 's', 0, 'removed', '/no-such-folder/out/.a.tmp', '/no-such-folder/out/a'),
                    ('1', 's', 1, 'removed', '/no-such-folder/.dflow/parts/.a.tmp', '/no-such-folder/.dflow/parts/a'),
                    ('1', 's', 0, 'removed', NULL, '/no-such-folder-either/a'),
                    ('1', 's', 0, 'removed', '/no-such-folder/.dflow/uploads/.a.tmp', 'lake://out/a');",
        )
        .expect("files");
        migrate(&mut db, &base()).expect("it can be brought up to date");
        let texts = |query: &str| -> Vec<Option<String>> {
            let mut read = db.prepare(query).expect("it is there");
            let rows = read.query_map([], |row| row.get(0)).expect("rows");
            rows.collect::<Result<_, _>>().expect("rows")
        };
        let expected = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            texts("SELECT path FROM file ORDER BY id"),
            expected(&["../out/a", "parts/a", "/no-such-folder-either/a", "lake://out/a"])
        );
        assert_eq!(
            texts("SELECT temporary FROM file WHERE temporary IS NOT NULL ORDER BY id"),
            expected(&["../out/.a.tmp", "parts/.a.tmp", "uploads/.a.tmp"])
        );
        assert_eq!(
            texts("SELECT identity FROM split ORDER BY place"),
            expected(&["file://store/a/1f/a.parquet", "file:///no-such-folder/in/a.parquet", "in/a.parquet"])
        );
    }
}
