//! Whether an operator keeps what every operator must, whatever it is about.
//!
//! Its answer must be the same however its rows are cut into batches, beside whichever others they stand, and on whichever instance; and nothing
//! that its ports admit may trap it, except at a limit. Rows are those of its cases, and values that break what isn't ready for them. Each row's
//! answer when it is given alone is what all others are held against.

mod basis;
mod settings;
mod values;

use std::{path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use dflow_pipeline::Fault;
use dflow_plugin::testing::rows::objects;
use dflow_wasm::{OperatorDescription, Plugin, Profile, Stopped, WasmError};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;
use serde_json::Value;

pub use self::settings::resolved;
use self::{
    basis::{Basis, bases},
    settings::varied,
};
use crate::{
    KitError, Workbench,
    answer::{Answer, RowAnswer, cut},
    workbench::{Open, is_refusal},
};

/// So many findings of a check are told, the others counted.
const TOLD: usize = 3;
/// So many rows are given each to an instance of its own.
const FRESH: usize = 24;
/// So many rows follow settings that are tried.
const AFTER_SETTINGS: usize = 6;

/// What came of all operators of a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// `sha256:…` of the component.
    pub digest: String,
    /// Its operators.
    pub operators: Vec<VerifiedOperator>,
}

/// What came of an operator.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedOperator {
    /// Its name.
    pub name: String,
    /// How determined it says that its answers are.
    pub profile: Profile,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// One property, over everything that it was tried with.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What is to hold.
    pub what: &'static str,
    /// How often it was tried.
    pub tried: usize,
    /// What came of it.
    pub verdict: Verdict,
    /// The first findings.
    pub findings: Vec<String>,
    /// How many there are in all.
    pub found: usize,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It wasn't tried.
    Skipped,
    /// It holds.
    Passed,
    /// It holds except at a limit, which findings name.
    Limit,
    /// It doesn't.
    Failed,
}

impl Verified {
    /// Whether nothing failed.
    pub fn has_passed(&self) -> bool {
        !self.operators.iter().flat_map(|o| &o.checks).any(|check| check.verdict == Verdict::Failed)
    }
}

/// The properties, in the order in which they are told.
const CHECKS: [(&str, &str); 12] = [
    ("describes", "it says the same of itself each time"),
    ("opens", "it opens with its cases' settings, or says why not"),
    ("values", "no value that its ports admit traps it"),
    ("claims", "it says that it rejects rows if it does"),
    ("split", "batches of 3 and of 7 rows give what rows alone give"),
    ("merged", "all rows in one batch do"),
    ("reordered", "rows in another order do"),
    ("repeated", "rows that come twice, and batches that come again, do"),
    ("fresh", "an instance that has seen no row before does"),
    ("empty", "a batch without rows gives none"),
    ("large", "a row of 2 MiB doesn't change its neighbours' answers"),
    ("settings", "settings at and past their bounds are taken, or refused with a reason"),
];

/// What is found out about an operator.
struct Checks(Vec<Check>);

impl Checks {
    fn new() -> Self {
        let check =
            |(name, what)| Check { name, what, tried: 0, verdict: Verdict::Skipped, findings: Vec::new(), found: 0 };
        Self(CHECKS.into_iter().map(check).collect())
    }

    /// Notes something that was tried.
    fn tried(&mut self, name: &str) -> &mut Check {
        let place = self.0.iter().position(|check| check.name == name).unwrap_or_default();
        let check = &mut self.0[place];
        check.tried += 1;
        check.verdict = check.verdict.max(Verdict::Passed);
        check
    }
}

impl Check {
    fn finds(&mut self, verdict: Verdict, finding: String) {
        self.verdict = self.verdict.max(verdict);
        self.found += 1;
        if self.findings.len() < TOLD && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn stopped(&mut self, by: &str, error: &WasmError) {
        let verdict = if error.fault == Fault::Limit { Verdict::Limit } else { Verdict::Failed };
        self.finds(verdict, format!("{by}: {}", error.message));
    }
}

/// Verifies all operators of a plugin; `cases` is the folder of their cases, which say with which settings they open.
///
/// # Errors
///
/// A case that can't be read.
pub fn verify(workbench: &Workbench, name: &str, cases: Option<&Path>) -> Result<Verified, KitError> {
    let plugin = workbench.load(name)?;
    let again = workbench.load(name)?;
    let mut operators = Vec::new();
    for operator in &plugin.description().operators {
        let mut checks = Checks::new();
        let describes = checks.tried("describes");
        if plugin.description() != again.description() {
            describes.finds(Verdict::Failed, "two answers of `describe` differ".to_owned());
        }
        let bases = bases(operator, cases).map_err(KitError::plugin)?;
        let mut has_opened = false;
        for basis in &bases {
            if workbench.is_interrupted() {
                break;
            }
            has_opened |= Examined { workbench, plugin: &plugin, operator, basis, checks: &mut checks }.examine();
        }
        if !has_opened {
            let why = "nothing opened it: a case with its settings says how (`cases/NAME.json`)";
            checks.tried("opens").finds(Verdict::Failed, why.to_owned());
        }
        operators.push(VerifiedOperator { name: operator.name.clone(), profile: operator.profile, checks: checks.0 });
    }
    let (plugin, description) = (&plugin, plugin.description());
    Ok(Verified {
        plugin: plugin.name().to_owned(),
        version: description.version.clone(),
        digest: plugin.digest().to_owned(),
        operators,
    })
}

/// An operator with settings and rows.
struct Examined<'a> {
    workbench: &'a Workbench,
    plugin: &'a Arc<Plugin>,
    operator: &'a OperatorDescription,
    basis: &'a Basis,
    checks: &'a mut Checks,
}

impl Examined<'_> {
    /// Tries everything; says whether it opened.
    fn examine(&mut self) -> bool {
        let Basis { from, settings, schema, .. } = self.basis;
        let opens = self.checks.tried("opens");
        let mut open = match self.workbench.open(self.plugin, &self.operator.name, settings, schema) {
            Ok(open) => open,
            // Types that it doesn't take with these settings are its own matter.
            Err(error) if is_refusal(&error) && !from.ends_with(".json") => return false,
            Err(error) => {
                opens.finds(Verdict::Failed, format!("{from}: {}", error.message));
                return false;
            }
        };
        let rows = match self.basis.batch() {
            Ok(rows) => rows,
            Err(why) => {
                opens.finds(Verdict::Failed, format!("{from}: {why}"));
                return true;
            }
        };
        let alone = self.alone(&mut open, &rows);
        self.compare_all(&mut open, &rows, &alone);
        self.empty(&mut open, &rows);
        self.nulls(&mut open);
        self.large(&mut open, &rows, &alone);
        self.settings(&rows);
        true
    }

    /// The answer of each row alone; none of those that it breaks at.
    fn alone(&mut self, open: &mut Open<'_>, rows: &RecordBatch) -> Vec<Option<RowAnswer>> {
        let one = |row: usize| {
            let given = rows.slice(row, 1);
            let values = self.checks.tried("values");
            match open.answer(&given) {
                Ok(answer) => {
                    let claims = self.checks.tried("claims");
                    if answer.has_errors() && !self.operator.rejects_rows {
                        claims.finds(Verdict::Failed, format!("{} was rejected: {}", shown(&given), answer.of(0)));
                    }
                    Some(answer.of(0))
                }
                Err(stopped) => {
                    values.stopped(&shown(&given), &stopped.error);
                    None
                }
            }
        };
        (0..rows.num_rows()).map(one).collect()
    }

    /// Holds batches of all kinds against the rows' answers when they were alone.
    fn compare_all(&mut self, open: &mut Open<'_>, rows: &RecordBatch, alone: &[Option<RowAnswer>]) {
        let sound: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| alone[*row as usize].is_some()).collect();
        let whole = sound.len().max(1);
        let (mut backwards, mut shuffled) = (sound.clone(), sound.clone());
        backwards.reverse();
        shuffled.shuffle(&mut StdRng::seed_from_u64(7));
        let twice: Vec<u32> = sound.iter().flat_map(|row| [*row, *row]).collect();
        let again: Vec<u32> = sound.iter().chain(&sound).copied().collect();
        // What streams is given its rows one at a time.
        let most = if open.operator().is_streaming() { 1 } else { usize::MAX };
        for (check, order, size) in [
            ("split", &sound, 3),
            ("split", &sound, 7),
            ("merged", &sound, whole),
            ("reordered", &backwards, whole),
            ("reordered", &shuffled, 5),
            ("repeated", &twice, 2 * whole),
            ("repeated", &again, whole),
        ] {
            for part in order.chunks(size.min(most)) {
                self.compare(open, check, rows, part, alone);
            }
        }
        let step = sound.len().div_ceil(FRESH).max(1);
        for row in sound.iter().step_by(step) {
            open.refresh();
            self.compare(open, "fresh", rows, &[*row], alone);
        }
    }

    fn compare(
        &mut self,
        open: &mut Open<'_>,
        check: &str,
        rows: &RecordBatch,
        part: &[u32],
        alone: &[Option<RowAnswer>],
    ) {
        let check = self.checks.tried(check);
        let batch = match take_record_batch(rows, &UInt32Array::from(part.to_vec())) {
            Ok(batch) => batch,
            Err(why) => return check.finds(Verdict::Failed, why.to_string()),
        };
        match open.answer(&batch) {
            Err(stopped) => check.stopped(&format!("{} rows together", part.len()), &stopped.error),
            Ok(_) if self.operator.profile == Profile::Open => {}
            Ok(answer) => different(check, &answer, part, rows, alone),
        }
    }

    fn empty(&mut self, open: &mut Open<'_>, rows: &RecordBatch) {
        let check = self.checks.tried("empty");
        match open.answer(&rows.slice(0, 0)) {
            Ok(answer) => {
                if !answer.into_parts().1.is_empty() {
                    check.finds(Verdict::Failed, "rows came of none".to_owned());
                }
            }
            Err(stopped) => check.stopped("no rows", &stopped.error),
        }
    }

    fn nulls(&mut self, open: &mut Open<'_>) {
        let check = self.checks.tried("values");
        match self.basis.nulls().map(|rows| open.answer(&rows)) {
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(stopped)) => check.stopped("rows of nulls", &stopped.error),
        }
    }

    /// A large row between two others.
    fn large(&mut self, open: &mut Open<'_>, rows: &RecordBatch, alone: &[Option<RowAnswer>]) {
        let Ok(Some(large)) = self.basis.huge() else { return };
        let Some(row) = alone.iter().position(Option::is_some) else { return };
        let check = self.checks.tried("large");
        let small = rows.slice(row, 1);
        let mut given = |batches: &[&RecordBatch]| -> Result<Answer, Box<Stopped>> {
            let together = concat_batches(large.schema_ref(), batches.iter().copied());
            let together = together.map_err(|e| Stopped::from(WasmError::new(Fault::Internal, e.to_string())))?;
            open.answer(&together)
        };
        let most =
            if self.operator.streaming { vec![vec![&large], vec![&small]] } else { vec![vec![&small, &large, &small]] };
        for batches in most {
            match given(&batches) {
                Err(stopped) => {
                    check.stopped(&format!("{}, a row of 2 MiB", self.basis.from), &stopped.error);
                    open.refresh();
                    return self.compare(open, "large", rows, &[row as u32], alone);
                }
                Ok(_) if self.operator.profile == Profile::Open => {}
                Ok(answer) => {
                    let places = (0..answer.rows()).filter(|place| std::ptr::eq(batches[*place], &small));
                    let wrong = places.filter(|place| Some(&answer.of(*place)) != alone[row].as_ref()).count();
                    if wrong > 0 {
                        check.finds(
                            Verdict::Failed,
                            format!("beside a row of 2 MiB, {} gives another answer", shown(&small)),
                        );
                    }
                }
            }
        }
    }

    /// Settings at and past their bounds. An operator is tried with one set of rows only.
    fn settings(&mut self, rows: &RecordBatch) {
        if self.checks.0.iter().any(|check| check.name == "settings" && check.tried > 0) {
            return;
        }
        for each in varied(&self.operator.settings, &self.basis.settings) {
            let check = self.checks.tried("settings");
            match self.workbench.open(self.plugin, &self.operator.name, &each.settings, &self.basis.schema) {
                Err(error) if is_refusal(&error) => {}
                Err(error) => check.stopped(&each.what, &error),
                Ok(mut open) => {
                    for row in 0..rows.num_rows().min(AFTER_SETTINGS) {
                        if let Err(stopped) = open.answer(&rows.slice(row, 1)) {
                            check.stopped(&format!("{}, {}", each.what, shown(&rows.slice(row, 1))), &stopped.error);
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// Notes the first row of a batch whose answer isn't the one that it has alone.
fn different(check: &mut Check, answer: &Answer, part: &[u32], rows: &RecordBatch, alone: &[Option<RowAnswer>]) {
    for (place, row) in part.iter().enumerate() {
        let (got, expected) = (answer.of(place), alone[*row as usize].as_ref());
        if let Some(expected) = expected.filter(|expected| **expected != got) {
            let row = shown(&rows.slice(*row as usize, 1));
            return check.finds(Verdict::Failed, format!("{row} gives {got}, and {expected} when it came first"));
        }
    }
}

/// A row, for people.
fn shown(row: &RecordBatch) -> String {
    let objects = objects(row).unwrap_or_default();
    cut(&objects.first().map_or_else(|| "a row".to_owned(), |row| Value::Object(row.clone()).to_string()))
}
