//! What models have answered, kept as it comes: on the disk before a row flows on.
//!
//! Answers come by the thousand while tasks are committed, so they have a connection and a thread of their own. The first is written at once,
//! those that come soon after it together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dflow_models::{
    exchange::Finish,
    money::{Usage, Usd},
    records::{Answers, Content, Found, From, Given, Question, Unkept},
};
use dflow_operators::StepError;
use dflow_pipeline::Fault;
use futures::{FutureExt, future::BoxFuture};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{
    History,
    open::{Broken, Journal, NAME, opened},
    runs::{int, now, uint},
};

/// How long there is between two commits at least, one of which costs more than an answer. What was answered before a kill may be lost for as long.
const GATHER: Duration = Duration::from_millis(25);
/// How many answers are waited for at most.
const MOST: usize = 4096;

/// What is looked for, and who is told what was found.
type Asked = (Vec<Question>, oneshot::Sender<Result<Found, Unkept>>);

/// What waits for the thread. Nobody has more here than is under way.
#[derive(Default)]
struct Waiting {
    find: Vec<Asked>,
    keep: Vec<Kept>,
    /// Nothing more comes, or nobody does it any more.
    ended: bool,
}

/// Where the thread waits.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done next: answers when they are `due`, what is looked for at once. Nothing when all is done and nothing more comes.
    fn next(&self, due: Instant) -> Option<Waiting> {
        let mut waiting = self.waiting();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let write = waiting.ended || waiting.keep.len() >= MOST || left.is_zero();
            if write && !waiting.keep.is_empty() || !waiting.find.is_empty() {
                let keep = if write { mem::take(&mut waiting.keep) } else { Vec::new() };
                return Some(Waiting { find: mem::take(&mut waiting.find), keep, ended: waiting.ended });
            }
            if waiting.ended {
                return None;
            }
            waiting = match waiting.keep.is_empty() {
                true => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                false => self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What is to be kept, and who is told when it is.
struct Kept {
    answers: Vec<(Question, Given, From)>,
    /// What was spent on a model beside, without an answer; less than nothing when that turned out not to be spent.
    lost: Option<(String, i64)>,
    told: oneshot::Sender<Result<(), Unkept>>,
}

/// Keeps answers in a journal. What it was given is written when it is dropped.
pub(crate) struct Keeper {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

impl Journal {
    /// What keeps the answers of this run. What rows were answered before at some stages is forgotten.
    /// What it doesn't know is looked for in `other`, the state folder of another run.
    pub(crate) fn answers(&mut self, forgotten: &[&str], other: Option<&Path>) -> Result<Arc<Keeper>, StepError> {
        if !forgotten.is_empty() {
            self.with(|db| {
                let forget = db.transaction()?;
                for stage in forgotten {
                    forget.execute("DELETE FROM answered WHERE stage = ?", [stage])?;
                }
                forget.commit()?;
                Ok(())
            })?;
        }
        let (path, run) = (self.path.clone(), self.run.clone());
        let db = opened(&path).map_err(|broken| broken.named(&path))?;
        let other = other.map(|state| state.join(NAME));
        let other = other.map(|path| opened(&path).map_err(|broken| broken.named(&path))).transpose()?;
        let queue = Arc::<Queue>::default();
        let served = Served(queue.clone());
        let thread = thread::Builder::new()
            .name("dflow-answers".to_owned())
            .spawn(move || serve(db, other, &path, &run, &served.0));
        let thread = thread.map_err(|e| StepError::new(Fault::Outside, format!("failed to start threads: {e}")))?;
        Ok(Arc::new(Keeper { queue, thread: Some(thread) }))
    }

    /// Says which models the run may ask about all rows: that it comes to its end is the end of what was spent on them, and on no others.
    pub(crate) fn may_ask(&mut self, models: &BTreeSet<&str>) -> Result<(), StepError> {
        let run = self.run.clone();
        self.lazily(|db| {
            let note = db.transaction()?;
            for model in models {
                note.execute("INSERT OR IGNORE INTO spent VALUES (?, ?, 0, 1)", params![model, run])?;
            }
            note.commit()?;
            Ok(())
        })
    }

    /// What was spent that this run goes on with, by model: since the last run that might ask it and came to its end.
    pub(crate) fn spent(&mut self) -> Result<BTreeMap<String, Usd>, StepError> {
        let run = self.run.clone();
        self.with(|db| {
            let mut spent = db.prepare(
                "WITH runs AS (SELECT id, exit, first FROM run WHERE pipeline = (SELECT pipeline FROM run WHERE id = ?1) AND id <= ?1),
                 done AS (SELECT model, max(run) AS run FROM spent JOIN runs ON runs.id = spent.run
                     WHERE spent.ends AND runs.id < ?1 AND runs.exit IN (0, 4) AND runs.first IS NULL GROUP BY model)
                 SELECT spent.model, sum(spent.usd) FROM spent JOIN runs ON runs.id = spent.run LEFT JOIN done ON done.model = spent.model
                 WHERE spent.run > coalesce(done.run, '') GROUP BY spent.model HAVING sum(spent.usd) > 0",
            )?;
            let spent = spent.query_map([run], |row| Ok((row.get(0)?, Usd(uint(row.get(1)?)))))?;
            Ok(spent.collect::<Result<_, _>>()?)
        })
    }
}

/// Who waits is told that nobody is there any more, whatever ended the thread.
struct Served(Arc<Queue>);

impl Drop for Served {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        *waiting = Waiting { ended: true, ..Waiting::default() };
    }
}

impl Keeper {
    fn spend(&self, model: &str, usd: i64) -> BoxFuture<'static, Result<(), Unkept>> {
        let lost = Some((model.to_owned(), usd));
        self.tell(|waiting, told| waiting.keep.push(Kept { answers: Vec::new(), lost, told }))
    }

    fn tell<T: Send + 'static>(
        &self,
        put: impl FnOnce(&mut Waiting, oneshot::Sender<Result<T, Unkept>>),
    ) -> BoxFuture<'static, Result<T, Unkept>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.queue.waiting();
        if !waiting.ended {
            put(&mut waiting, sender);
        }
        // Who gathers answers needn't be woken for each.
        if !waiting.find.is_empty() || waiting.keep.len() == 1 || waiting.keep.len() >= MOST {
            self.queue.changed.notify_one();
        }
        drop(waiting);
        let gone = |_| Err(Unkept("what keeps answers has ended".to_owned(), None));
        receiver.map(move |told| told.unwrap_or_else(gone)).boxed()
    }
}

impl Answers for Keeper {
    fn find(&self, questions: Vec<Question>) -> BoxFuture<'static, Result<Found, Unkept>> {
        self.tell(|waiting, answer| waiting.find.push((questions, answer)))
    }

    fn keep(&self, answers: Vec<(Question, Given, From)>) -> BoxFuture<'static, Result<(), Unkept>> {
        self.tell(|waiting, told| waiting.keep.push(Kept { answers, lost: None, told }))
    }

    fn lost(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        self.spend(model, int(usd.0))
    }

    fn unspent(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        self.spend(model, -int(usd.0))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.queue.waiting().ended = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been told by then, to who waited.
            let _ = thread.join();
        }
    }
}

/// Does what waits until nothing more comes.
fn serve(mut db: Connection, other: Option<Connection>, path: &Path, run: &str, queue: &Queue) {
    let unkept = |broken: Broken| {
        let StepError { message, hint, .. } = broken.named(path);
        Unkept(message, hint)
    };
    let mut due = Instant::now();
    while let Some(Waiting { find, keep, .. }) = queue.next(due) {
        if !find.is_empty() {
            // One transaction for all: each locks the database, which takes longer than to look.
            // Nobody finds what isn't written: who asks the same at the same time is answered once (`Models::take`).
            let look = db.unchecked_transaction();
            for (questions, answer) in find {
                let _ = answer.send(find_in(&db, other.as_ref(), &questions).map_err(&unkept));
            }
            drop(look);
        }
        if !keep.is_empty() {
            due = Instant::now() + GATHER;
            let written = write(&mut db, run, &keep).map_err(&unkept);
            for Kept { told, .. } in keep {
                let _ = told.send(written.clone());
            }
        }
    }
}

fn write(db: &mut Connection, run: &str, keep: &[Kept]) -> Result<(), Broken> {
    let write = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut spent: BTreeMap<&str, i64> = BTreeMap::new();
    for Kept { answers, lost, .. } in keep {
        for (question, given, from) in answers {
            keep_one(&write, run, question, given, *from)?;
            if let (From::Asked, Some(cost)) = (from, given.cost) {
                *spent.entry(&given.model).or_default() += int(cost.0);
            }
        }
        if let Some((model, usd)) = lost {
            *spent.entry(model).or_default() += usd;
        }
    }
    for (model, usd) in spent {
        let mut add = write.prepare_cached(
            "INSERT INTO spent VALUES (?, ?, ?, 0) ON CONFLICT (model, run) DO UPDATE SET usd = usd + excluded.usd",
        )?;
        add.execute(params![model, run, usd])?;
    }
    write.commit()?;
    Ok(())
}

fn keep_one(write: &Transaction<'_>, run: &str, question: &Question, given: &Given, from: From) -> Result<(), Broken> {
    let mut answered = write.prepare_cached("INSERT OR REPLACE INTO answered VALUES (?, ?, ?, ?, ?)")?;
    let request = question.digest.0.as_slice();
    let known: Option<i64> = match from {
        From::Shared => {
            let mut shared = write.prepare_cached("SELECT answer FROM shared WHERE request = ?")?;
            shared.query_row([question.shared.0.as_slice()], |row| row.get(0)).optional()?
        }
        _ => None,
    };
    let answer = match known {
        Some(answer) => answer,
        None => {
            let (text, vector) = match &given.content {
                Content::Text(text) => (Some(text), None),
                Content::Vector(vector) => {
                    (None, Some(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
                }
            };
            let mut answer = write.prepare_cached(
                "INSERT INTO answer (run, stage, model, text, vector, finish, input_tokens, cached_tokens, output_tokens, usd, millis,
                 attempts, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            answer.execute(params![
                run,
                &*question.stage,
                given.model,
                text,
                vector,
                given.finish.to_string(),
                int(given.usage.input),
                int(given.usage.cached_input),
                int(given.usage.output),
                given.cost.map(|cost| int(cost.0)),
                int(given.latency.as_millis() as u64),
                given.attempts,
                int(now()),
            ])?;
            let id = write.last_insert_rowid();
            if question.share.is_some() {
                write
                    .prepare_cached("INSERT OR REPLACE INTO shared VALUES (?, ?)")?
                    .execute(params![question.shared.0.as_slice(), id])?;
            }
            id
        }
    };
    answered.execute(params![&*question.stage, question.row, question.call, request, answer])?;
    Ok(())
}

const COLUMNS: &str = "answer.text, answer.vector, answer.finish, answer.model, answer.input_tokens, answer.cached_tokens, \
                       answer.output_tokens, answer.usd, answer.millis, answer.attempts";

/// What is known in either of two.
fn find_in(db: &Connection, other: Option<&Connection>, questions: &[Question]) -> Result<Found, Broken> {
    let mut found = find(db, questions)?;
    if let Some(other) = other.filter(|_| found.iter().any(Option::is_none)) {
        for (found, of_other) in found.iter_mut().zip(find(other, questions)?) {
            *found = found.take().or(of_other.map(|(given, _)| (given, From::Row)));
        }
    }
    Ok(found)
}

fn find(db: &Connection, questions: &[Question]) -> Result<Found, Broken> {
    let mut of_row = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM answered JOIN answer ON answer.id = answered.answer WHERE answered.stage = ? AND row = ? AND call = ? AND request = ?"
    ))?;
    let mut of_others = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM shared JOIN answer ON answer.id = shared.answer WHERE request = ? AND answer.at >= ?"
    ))?;
    let mut found = Vec::with_capacity(questions.len());
    for question in questions {
        let request = question.digest.0.as_slice();
        let own =
            of_row.query_row(params![&*question.stage, question.row, question.call, request], given).optional()?;
        let mut of_all = || match question.share {
            Some(share) => {
                let since = share.ttl.map_or(0, |ttl| now().saturating_sub(ttl.as_millis() as u64));
                of_others.query_row(params![question.shared.0.as_slice(), int(since)], given).optional()
            }
            None => Ok(None),
        };
        found.push(match own {
            Some(own) if question.share.is_some() && of_all()?.is_none() => Some((own, From::Own)),
            Some(own) => Some((own, From::Row)),
            None => of_all()?.map(|given| (given, From::Shared)),
        });
    }
    Ok(found)
}

fn given(row: &Row<'_>) -> rusqlite::Result<Given> {
    let (text, vector): (Option<String>, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
    let content = match (text, vector) {
        (Some(text), _) => Content::Text(text),
        (None, vector) => {
            let bytes = vector.unwrap_or_default();
            let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            Content::Vector(numbers.collect())
        }
    };
    let finish: String = row.get(2)?;
    Ok(Given {
        content,
        finish: Finish::of(&finish),
        model: row.get(3)?,
        usage: Usage {
            input: uint(row.get(4)?),
            cached_input: uint(row.get(5)?),
            output: uint(row.get(6)?),
            ..Usage::default()
        },
        cost: row.get::<_, Option<i64>>(7)?.map(|usd| Usd(uint(usd))),
        latency: Duration::from_millis(uint(row.get(8)?)),
        attempts: row.get(9)?,
    })
}

/// What is kept of a stage's answers by one model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeptAnswers {
    /// The stage that asked.
    pub stage: String,
    /// Who answered.
    pub model: String,
    /// How many answers.
    pub answers: u64,
    /// For how many questions of rows they stand.
    pub rows: u64,
    /// How many of them count for every row with the same question.
    pub shared: u64,
    /// Bytes of what they say.
    pub bytes: u64,
    /// Tokens that went in and came out.
    pub tokens: u64,
    /// What they cost, in billionths of a dollar.
    pub usd: u64,
}

impl History {
    /// What is kept of answers.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn answers(&self) -> Result<Vec<KeptAnswers>, StepError> {
        self.read(|db| {
            let mut kept = db.prepare(
                // What rows and questions have is counted once, not looked for by each answer.
                "SELECT stage, model, count(*), coalesce(sum(of_rows.many), 0), count(of_all.answer),
                 sum(coalesce(length(CAST(text AS BLOB)), 0) + coalesce(length(vector), 0)),
                 sum(input_tokens + output_tokens), coalesce(sum(usd), 0)
                 FROM answer
                 LEFT JOIN (SELECT answer, count(*) AS many FROM answered GROUP BY answer) AS of_rows ON of_rows.answer = answer.id
                 LEFT JOIN (SELECT DISTINCT answer FROM shared) AS of_all ON of_all.answer = answer.id
                 GROUP BY stage, model ORDER BY stage, model",
            )?;
            let kept = kept.query_map([], |row| {
                let number = |column| -> rusqlite::Result<u64> { Ok(uint(row.get(column)?)) };
                Ok(KeptAnswers {
                    stage: row.get(0)?,
                    model: row.get(1)?,
                    answers: number(2)?,
                    rows: number(3)?,
                    shared: number(4)?,
                    bytes: number(5)?,
                    tokens: number(6)?,
                    usd: number(7)?,
                })
            })?;
            Ok(kept.collect::<Result<_, _>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use dflow_models::records::{Digest, Share};
    use dflow_pipeline::Name;

    use super::*;
    use crate::{faults::Faults, journal::Begun};

    fn journal(state: &Path, run: &str) -> Journal {
        let mut journal = Journal::open(state, run, &Faults::default()).expect("a journal");
        let parameters = Default::default();
        let begun = Begun { pipeline: "p", first: None, parameters: &parameters, made_of: None };
        journal.begin_run(&begun).expect("it can be written");
        journal
    }

    fn question(row: &str, request: &str, share: bool) -> Question {
        let (digest, share) = (Digest::of(&[request.as_bytes()]), share.then_some(Share { ttl: None }));
        Question { stage: "s".into(), row: row.to_owned(), call: 0, digest, shared: digest, share }
    }

    fn text(text: &str, usd: u64) -> Given {
        Given {
            content: Content::Text(text.to_owned()),
            finish: Finish::Stop,
            model: "m".to_owned(),
            usage: Usage { input: 3, cached_input: 1, output: 2, ..Usage::default() },
            cost: Some(Usd(usd)),
            latency: Duration::from_millis(7),
            attempts: 1,
        }
    }

    #[tokio::test]
    async fn answers_are_found_by_row_and_by_question() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut open = journal(folder.path(), "1");
        let keeper = open.answers(&[], None).expect("a keeper");
        let (own, shared) = (question("a", "q", false), question("a", "r", true));
        let vector = Given { content: Content::Vector(vec![1.5, -2.0]), ..text("", 5) };
        keeper
            .keep(vec![(own.clone(), text("hi", 10), From::Asked), (shared.clone(), vector.clone(), From::Asked)])
            .await
            .expect("kept");
        let other = question("b", "r", true);
        let found = keeper.find(vec![
            own.clone(),
            shared.clone(),
            other.clone(),
            question("b", "q", true),
            question("a", "z", false),
        ]);
        let expected = vec![
            Some((text("hi", 10), From::Row)),
            Some((vector.clone(), From::Row)),
            Some((vector.clone(), From::Shared)),
            None,
            None,
        ];
        assert_eq!(found.await.expect("found"), expected);
        keeper.keep(vec![(other.clone(), vector.clone(), From::Shared)]).await.expect("kept");
        keeper.lost("m", Usd(9)).await.expect("kept");
        keeper.unspent("m", Usd(5)).await.expect("kept");
        keeper.lost("other", Usd(1)).await.expect("kept");
        assert_eq!(keeper.find(vec![other.clone()]).await.expect("found"), [Some((vector.clone(), From::Row))]);
        drop(keeper);
        drop(open);
        // Another run goes on with what this one has spent, and finds its answers, if it isn't told to begin anew.
        let (other_spent, of_m) = (("other".to_owned(), Usd(1)), ("m".to_owned(), Usd(19)));
        let both = BTreeMap::from([of_m, other_spent.clone()]);
        let mut open = journal(folder.path(), "2");
        open.may_ask(&BTreeSet::from(["m"])).expect("noted");
        drop(open);
        let mut open = journal(folder.path(), "3");
        assert_eq!(open.spent().expect("known"), both);
        // One of some first rows that came to its end ends nothing.
        open.with(|db| Ok(db.execute("UPDATE run SET exit = 0, first = 3 WHERE id = '2'", [])?)).expect("written");
        assert_eq!(open.spent().expect("known"), both);
        // One that might not ask a model ends nothing of that one's.
        open.with(|db| Ok(db.execute("UPDATE run SET exit = 0, first = NULL WHERE id = '2'", [])?)).expect("written");
        assert_eq!(open.spent().expect("known"), BTreeMap::from([other_spent.clone()]));
        let keeper = open.answers(&["s"], None).expect("a keeper");
        let found = keeper.find(vec![own, other.clone()]).await.expect("found");
        assert_eq!(found, [None, Some((vector, From::Shared))]);
        drop(keeper);
        let (answers, _) = open.collect_answers(None, None).expect("collected");
        assert_eq!(answers, 1, "nobody has the first one any more");
        assert_eq!(open.spent().expect("known"), BTreeMap::from([other_spent]), "money isn't forgotten with answers");
        drop(open);
        let history = History::open(folder.path()).expect("read").expect("a journal");
        let kept = history.answers().expect("known");
        assert_eq!((kept.len(), kept[0].answers, kept[0].rows, kept[0].shared, kept[0].bytes), (1, 1, 0, 1, 8));
    }

    #[tokio::test]
    async fn what_a_row_failed_of_is_forgotten_and_what_it_was_answered_since_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, shared, other) = (question("a", "q", false), question("a", "r", true), question("b", "r", true));
        let (since, no) = (question("a", "since", false), text("no", 1));
        let mut open = journal(folder.path(), "1");
        let keeper = open.answers(&[], None).expect("a keeper");
        let asked = |question: &Question| (question.clone(), no.clone(), From::Asked);
        keeper.keep(vec![asked(&own), asked(&shared)]).await.expect("kept");
        keeper.keep(vec![(other.clone(), no.clone(), From::Shared)]).await.expect("kept");
        drop(keeper);
        drop(open);
        let mut open = journal(folder.path(), "2");
        let keeper = open.answers(&[], None).expect("a keeper");
        keeper.keep(vec![asked(&since)]).await.expect("kept");
        open.forget_answers(&Name::made("s"), &[("a".to_owned(), "1")]).expect("forgotten");
        let found = keeper.find(vec![own, shared, since, other]).await.expect("found");
        assert_eq!(found, [None, None, Some((no.clone(), From::Row)), Some((no.clone(), From::Own))]);
    }
}
