//! What a pipeline will cost, said before anything is spent.
//!
//! The stages that ask models are tried on the first rows of each source, with models that answer nothing (`Mode::Rehearse`). What they would
//! have been asked is counted, and taken as often as there are rows (`scale`).

mod scale;

use std::collections::{BTreeMap, BTreeSet};

use dflow_models::{
    Mode, Rehearsed,
    money::{Price, Usage, Usd},
    records::Digest,
};
use dflow_operators::StepError;
use dflow_pipeline::{AnswerSchema, Draft, Fault, Group, Mistakes, Name, Pipeline, Prompt, Sql, Stage, Verb};
use dflow_plan::Plan;
use serde::{Serialize, Serializer};

use self::scale::Scale;
use crate::engine::Engine;

/// The stage that counts rows.
const ROWS: &str = "__rows__";
/// How far off a number of tokens may be that is estimated, and not counted by the model's tokenizer.
const ESTIMATED: f64 = 0.2;
/// Texts of one request for vectors.
const TEXTS: u32 = 128;

/// At least, likely, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range<T> {
    /// At least.
    pub low: T,
    /// Likely.
    pub likely: T,
    /// At most; of rows and requests the largest number there is, where that isn't known.
    pub high: T,
}

impl<T: Copy> Range<T> {
    fn map<U>(self, of: impl Fn(T) -> U) -> Range<U> {
        Range { low: of(self.low), likely: of(self.likely), high: of(self.high) }
    }
}

/// What a pipeline will cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// For each source: how many of its rows were looked at, and how many there are.
    pub sampled: BTreeMap<Name, (u64, u64)>,
    /// The stages that ask, in the order of the file.
    pub stages: Vec<StageCost>,
}

/// What a stage will cost.
#[derive(Clone, Debug, Serialize)]
pub struct StageCost {
    /// The stage.
    pub stage: Name,
    /// The model that it asks.
    pub model: Name,
    /// How many rows ask.
    #[serde(serialize_with = "as_known")]
    pub rows: Range<u64>,
    /// How many requests that will be; of shared answers one for each question.
    #[serde(serialize_with = "as_known")]
    pub requests: Range<u64>,
    /// Whether tokens and costs are known: not, where answers that nobody has given yet decide which rows ask, nor where no row came.
    pub known: bool,
    /// Whether no row came here of those that were looked at, and others may.
    pub unseen: bool,
    /// Tokens that go in; counted by the model's tokenizer, or estimated.
    pub input: Range<u64>,
    /// Whether they were counted.
    pub counted: bool,
    /// Tokens that come out.
    pub output: Range<u64>,
    /// What that costs; nothing is known without a price.
    pub usd: Option<Range<Usd>>,
}

/// What isn't known is null in JSON.
fn as_known<S: Serializer>(range: &Range<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let known = range.map(Some);
    Range { high: known.high.filter(|high| *high < u64::MAX), ..known }.serialize(serializer)
}

impl StageCost {
    /// Of a stage of whose rows some have asked this of a model. `known` is whether no answers decide which rows ask.
    fn of(
        pipeline: &Pipeline,
        (stage, resource): (&Name, &Name),
        asked: &[&Rehearsed],
        scale: Scale,
        known: bool,
    ) -> Self {
        let unseen = known && asked.is_empty() && scale.times.high > 1.0;
        let most = scale.most.unwrap_or(u64::MAX);
        let mut rows = scale.times.map(|times| ((asked.len() as f64 * times).round() as u64).min(most));
        let mut questions = rows.map(|rows| distinct(asked, rows).1);
        if unseen {
            rows.high = most;
            questions.high = rows.high;
        }
        let (asked, _) = distinct(asked, rows.likely);
        let model = pipeline.model.get(resource);
        let texts = model.and_then(|model| model.texts).unwrap_or(TEXTS);
        // Of vectors nothing comes out, and many are asked for at once.
        let embeds = !asked.is_empty() && asked.iter().all(|asked| asked.output[2] == 0);
        let requests = questions.map(|rows| if embeds { rows.div_ceil(u64::from(texts)) } else { rows });
        let input: Vec<f64> = asked.iter().map(|asked| asked.input as f64).collect();
        let (mean, error) = mean(&input, scale.times.high > 1.0);
        let counted = model.is_some_and(|model| model.tokenizer.is_some());
        let unsure = if counted { 0.0 } else { ESTIMATED };
        let input = Range {
            low: ((mean - 2.0 * error).max(0.0) * (1.0 - unsure) * questions.low as f64) as u64,
            likely: (mean * questions.likely as f64).round() as u64,
            high: ((mean + 2.0 * error) * (1.0 + unsure) * questions.high as f64).ceil() as u64,
        };
        let each = |i: usize| asked.iter().map(|asked| asked.output[i]).sum::<u64>() as f64 / asked.len().max(1) as f64;
        let out = |i: usize, rows: u64| (each(i) * rows as f64).round() as u64;
        let output =
            Range { low: out(0, questions.low), likely: out(1, questions.likely), high: out(2, questions.high) };
        let (whole, cached) =
            asked.iter().fold((0, 0), |(whole, cached), asked| (whole + asked.input, cached + asked.cached));
        let share = if whole == 0 { 0.0 } else { cached as f64 / whole as f64 };
        let price = model.and_then(|model| model.price);
        let usd = price.map(|price| {
            let price = Price { input: price.input, cached_input: price.cached_input, output: price.output };
            let of = |input: u64, cached: f64, output: u64| {
                price.of(Usage { input, cached_input: (input as f64 * cached) as u64, output, ..Usage::default() })
            };
            Range {
                // What rows share may be in the provider's cache, or not.
                low: of(input.low, share, output.low),
                likely: of(input.likely, share / 2.0, output.likely),
                high: of(input.high, 0.0, output.high),
            }
        });
        let known = known && !unseen;
        let usd = usd.filter(|_| known);
        let (stage, model) = (stage.clone(), resource.clone());
        Self { stage, model, rows, requests, known, unseen, input, counted, output, usd }
    }
}

/// Why it can't be said.
#[derive(Debug)]
pub enum NoCost {
    /// The pipeline has mistakes.
    Mistakes(Mistakes),
    /// Something failed.
    Failed(StepError),
}

impl From<StepError> for NoCost {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

impl From<Mistakes> for NoCost {
    fn from(mistakes: Mistakes) -> Self {
        Self::Mistakes(mistakes)
    }
}

impl Engine {
    /// What a pipeline will cost, by the first `sample` rows of each source. The engine's models must be such that nobody asks
    /// ([`Mode::Rehearse`]).
    ///
    /// # Errors
    /// Mistakes in the pipeline; what can't be read.
    pub fn cost(&self, draft: &Draft, sample: u64) -> Result<Cost, NoCost> {
        if self.settings.models != Mode::Rehearse {
            return Err(StepError::new(Fault::Internal, "a rehearsal that asks").into());
        }
        let pipeline = &draft.pipeline;
        self.plan(draft, None, None)?;
        let (mut sampled, mut stages) = (BTreeMap::<Name, (u64, u64)>::new(), Vec::new());
        for (name, stage) in &pipeline.stage {
            let models = pipeline.asked(stage);
            if models.is_empty() {
                continue;
            }
            let plan = self.plan(draft, Some(name), None)?;
            let evaluated = self.eval_first(&plan, Some(sample))?;
            let rehearsed = plan.models.rehearsed();
            let rows_in = |stage: &Name| evaluated.counts.get(stage).map_or(0, |counts| counts.rows_in);
            let mut sources = BTreeMap::new();
            for source in plan.segments.iter().flat_map(|segment| &segment.sources) {
                let given = rows_in(&source.stage);
                let there = match sampled.get(&source.stage) {
                    Some((_, there)) => *there,
                    // One that gave less than it might has no more, where all was wanted.
                    None if given < sample && !scale::may_stop(&plan) => given,
                    None => self.rows(draft, &source.stage)?,
                };
                // Who reads it twice gets its first rows twice.
                let looked_at = given.min(sample).min(there);
                sources.insert(source.stage.clone(), (looked_at, there));
                let told = sampled.entry(source.stage.clone()).or_insert((looked_at, there));
                told.0 = told.0.max(looked_at);
            }
            let Some(scale) = scale::scales(&plan, &evaluated.counts, &sources).remove(name) else { continue };
            let is_asking = stage.verb.asking().is_some();
            // A plugin may ask more than once about a row.
            let scale = if is_asking { scale } else { Scale { most: None, ..scale } };
            let (asks_above, decides) = answers_above(&plan, name);
            let some = sources.values().any(|(looked_at, _)| *looked_at > 0);
            for model in models {
                let asked =
                    rehearsed.iter().filter(|asked| *asked.stage == *name.as_str() && model.as_str() == asked.model);
                let asked: Vec<&Rehearsed> = asked.collect();
                if !asked.is_empty() || is_asking || rows_in(name) == 0 {
                    let known = !(decides || asked.is_empty() && asks_above && some);
                    stages.push(StageCost::of(pipeline, (name, model), &asked, scale, known));
                }
            }
        }
        Ok(Cost { sampled, stages })
    }

    /// How many rows a source has: all of them are counted, and nothing else is read of them.
    fn rows(&self, draft: &Draft, source: &Name) -> Result<u64, NoCost> {
        let mut counting = draft.clone();
        let group =
            Group { by: Default::default(), set: [("rows".to_owned(), "count(*)".to_owned())].into_iter().collect() };
        let name = Name::made(ROWS);
        counting.pipeline.stage.insert(name.clone(), stage(source, Verb::Group(group)));
        let plan = self.plan(&counting, Some(&name), None)?;
        let counted = self.eval_first(&plan, None)?;
        let rows = counted.rows.iter().filter(|batch| batch.num_rows() > 0).find_map(|batch| {
            let column = batch.columns().iter().find_map(|column| {
                column.as_any().downcast_ref::<arrow::array::Int64Array>().map(|counts| counts.value(0))
            });
            column.and_then(|count| u64::try_from(count).ok())
        });
        Ok(rows.unwrap_or_default())
    }
}

/// A stage that nobody has written.
pub(crate) fn stage(from: &Name, verb: Verb) -> Stage {
    Stage {
        from: vec![from.clone()],
        verb,
        on_error: Default::default(),
        max_failures: Default::default(),
        retries: 0,
        timeout: None,
        batch: None,
        id: None,
        save: false,
        doc: None,
        within: None,
    }
}

/// The questions among some, those with a shared answer once, and how many there will be in so many rows: what was asked once only says
/// how likely the next row has a question of its own (Good and Turing).
fn distinct<'a>(asked: &[&'a Rehearsed], rows: u64) -> (Vec<&'a Rehearsed>, u64) {
    let mut times: BTreeMap<Digest, u64> = BTreeMap::new();
    asked.iter().filter_map(|asked| asked.question).for_each(|question| *times.entry(question).or_default() += 1);
    let mut seen = BTreeSet::new();
    let first = |asked: &&&Rehearsed| asked.question.is_none_or(|question| seen.insert(question));
    let questions: Vec<&Rehearsed> = asked.iter().filter(first).copied().collect();
    let alone = asked.iter().filter(|asked| asked.question.is_none_or(|question| times[&question] == 1)).count();
    let more = rows.saturating_sub(asked.len() as u64) as f64 * alone as f64 / asked.len().max(1) as f64;
    let all = (questions.len() as u64 + more.round() as u64).min(rows);
    (questions, all)
}

/// Whether a stage's rows come from one that asks, and whether it depends on the answers which rows come.
fn answers_above(plan: &Plan, stage: &Name) -> (bool, bool) {
    let (mut asks, mut decides) = (false, false);
    let (mut todo, mut seen) = (vec![(stage, Vec::new())], BTreeSet::new());
    while let Some((at, filters)) = todo.pop() {
        for from in plan.stages.get(at).into_iter().flat_map(|stage| &stage.from) {
            let Some(written) = plan.pipeline.stage.get(from) else { continue };
            let mut filters = filters.clone();
            if let Verb::Filter(text) | Verb::Sql(Sql(text)) = &written.verb {
                filters.push(text);
            }
            if !plan.pipeline.asked(written).is_empty() {
                asks = true;
                let made = answers(&written.verb);
                let in_name = |c: char| c.is_alphanumeric() || c == '_';
                let names =
                    |text: &&String| text.split(|c: char| !in_name(c)).any(|word| made.iter().any(|it| it == word));
                decides |= filters.iter().any(names);
            }
            if seen.insert((from, filters.len())) {
                todo.push((from, filters));
            }
        }
    }
    (asks, decides)
}

/// The columns that answers become.
fn answers(verb: &Verb) -> Vec<String> {
    if let Verb::Prompt(Prompt { schema: Some(schema), .. }) = verb {
        return match schema {
            AnswerSchema::Columns(columns) => columns.keys().cloned().collect(),
            AnswerSchema::Json(schema) => {
                let members = schema.get("properties").and_then(serde_json::Value::as_object);
                members.into_iter().flat_map(|members| members.keys().cloned()).collect()
            }
        };
    }
    let default = match verb {
        Verb::Embed(_) => "embedding",
        Verb::Classify(_) => "label",
        _ => "answer",
    };
    let into = verb.asking().map(|asking| asking.into.clone().unwrap_or_else(|| default.to_owned()));
    into.into_iter().collect()
}

/// The mean, and how far that of all rows may be from it: its standard error, when not all were looked at.
fn mean(numbers: &[f64], sampled: bool) -> (f64, f64) {
    let count = numbers.len() as f64;
    if numbers.is_empty() {
        return (0.0, 0.0);
    }
    let mean = numbers.iter().sum::<f64>() / count;
    if !sampled || numbers.len() < 2 {
        return (mean, 0.0);
    }
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_questions_are_counted_once() {
        let asked = |question: Option<u8>| Rehearsed {
            stage: "s".into(),
            model: "m".to_owned(),
            input: 1,
            cached: 0,
            output: [0, 0, 0],
            question: question.map(|question| Digest([question; 16])),
        };
        let count = |questions: &[Option<u8>], rows| {
            let asked: Vec<Rehearsed> = questions.iter().copied().map(asked).collect();
            let (distinct, all) = distinct(&asked.iter().collect::<Vec<_>>(), rows);
            (distinct.len(), all)
        };
        assert_eq!(count(&[None, None], 100), (2, 100));
        assert_eq!(count(&[Some(1), Some(2), Some(1), Some(2)], 100), (2, 2));
        assert_eq!(count(&[Some(1), Some(2)], 100), (2, 100));
        assert_eq!(count(&[Some(1), Some(1), Some(2), Some(3)], 104), (3, 53));
        assert_eq!(count(&[], 0), (0, 0));
    }

    #[test]
    fn the_mean_of_a_sample_may_be_off() {
        assert_eq!(mean(&[], true), (0.0, 0.0));
        assert_eq!(mean(&[4.0, 6.0], false), (5.0, 0.0));
        let (mean, error) = mean(&[4.0, 6.0, 4.0, 6.0], true);
        assert!((mean - 5.0).abs() < 1e-9 && (error - 0.577).abs() < 1e-3, "{error}");
    }
}
