//! How the rows that came of a sample stand for all that there will be.
//!
//! They are as many times more as the source has more rows, but for what isn't proportional: a limit that is reached, rows that are made of several.

use std::collections::BTreeMap;

use dflow_operators::StageCounts;
use dflow_pipeline::{Limit, Name, Sample, SampleSize, Verb};
use dflow_plan::Plan;
use dflow_wasm::RowShape;

use super::Range;

/// Of a stage's rows that came of a sample: how many times more there will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// How many times.
    pub(super) times: Range<f64>,
    /// The most rows that there may be, where that is known.
    pub(super) most: Option<u64>,
}

impl Scale {
    /// Of a source, so many of whose rows were looked at, and so many are there.
    fn of_source(looked_at: u64, there: u64) -> Self {
        let times = there as f64 / looked_at.max(1) as f64;
        Self { times: Range { low: times, likely: times, high: times }, most: Some(there) }
    }

    /// Of the rows of several stages together, so many of each of which came.
    fn of_all(inputs: &[(Self, u64)]) -> Self {
        let weight = |came: u64| came.max(1) as f64;
        let whole: f64 = inputs.iter().map(|(_, came)| weight(*came)).sum();
        let mean = |times: fn(&Range<f64>) -> f64| {
            inputs.iter().map(|(scale, came)| times(&scale.times) * weight(*came)).sum::<f64>() / whole
        };
        let times =
            Range { low: mean(|times| times.low), likely: mean(|times| times.likely), high: mean(|times| times.high) };
        Self { times, most: inputs.iter().map(|(scale, _)| scale.most).sum() }
    }

    /// Of rows each of which is made of some of several stages: nothing is proportional.
    fn of_some(inputs: &[(Self, u64)]) -> Self {
        let times = inputs.iter().map(|(scale, _)| scale.times);
        let likely = times.clone().map(|times| times.likely).fold(1.0, f64::max);
        let high = times.map(|times| times.high.max(1.0)).product();
        Self { times: Range { low: 1.0, likely, high }, most: None }
    }

    /// Of those of which at most so many come through, and so many came: where all of them did, no more will.
    fn cut(self, most: u64, came: u64) -> Self {
        let times = if came == 0 { self.times } else { self.times.map(|times| times.min(most as f64 / came as f64)) };
        Self { times, most: Some(self.most.map_or(most, |known| known.min(most))) }
    }

    /// Of those that are made of several each, so many of so many: the sample may have had all of them, and each further row may make one more.
    fn regrouped(self, came: u64, of: u64) -> Self {
        let Range { low, likely, high } = self.times;
        if high <= 1.0 {
            return self;
        }
        let rows = self.most.map_or(of as f64 * high, |most| most as f64);
        let further = (rows - of as f64).max(0.0) / came.max(1) as f64;
        Self { times: Range { low: low.min(1.0), likely, high: high.max(1.0 + further) }, ..self }
    }
}

/// Whether a plan may have enough of a source before it has read all of it.
pub(super) fn may_stop(plan: &Plan) -> bool {
    verbs(plan).any(|(_, verb)| matches!(verb, Verb::Limit(_) | Verb::Join(_) | Verb::Sql(_)))
}

/// The scale of each stage of a plan that was made for one of them, by what was counted, and by how many rows of each source were looked at and are there.
pub(super) fn scales(
    plan: &Plan,
    counts: &BTreeMap<Name, StageCounts>,
    sources: &BTreeMap<Name, (u64, u64)>,
) -> BTreeMap<Name, Scale> {
    let came = |name: &Name| counts.get(name).map_or(0, |counts| counts.rows_out);
    let mut scales: BTreeMap<Name, Scale> = BTreeMap::new();
    for (name, verb) in verbs(plan) {
        let from = plan.stages.get(name).map_or(&[][..], |stage| &stage.from);
        let inputs: Vec<_> = from.iter().filter_map(|from| Some((*scales.get(from)?, came(from)))).collect();
        let scale = match (sources.get(name), verb) {
            (Some((looked_at, there)), _) => Scale::of_source(*looked_at, *there),
            (None, Verb::Join(_) | Verb::Sql(_)) => Scale::of_some(&inputs),
            (None, Verb::Group(group)) if group.by.is_empty() => Scale::of_source(1, 1),
            (None, _) if inputs.is_empty() => Scale::of_source(1, 1),
            (None, verb) => {
                let (all, of) = (Scale::of_all(&inputs), inputs.iter().map(|(_, came)| came).sum::<u64>());
                match (verb, plan.shapes.get(name)) {
                    (Verb::Limit(Limit(rows)) | Verb::Sample(Sample { size: SampleSize::Rows(rows), .. }), _) => {
                        all.cut(*rows, came(name))
                    }
                    (Verb::Group(_) | Verb::Distinct(_), _) => all.regrouped(came(name), of),
                    (Verb::Command(_), None) => Scale { most: None, ..all.regrouped(came(name), of) },
                    (Verb::Explode(_), _) | (_, Some(RowShape::Expand)) => Scale { most: None, ..all },
                    _ => all,
                }
            }
        };
        scales.insert(name.clone(), scale);
    }
    scales
}

/// The stages that rows go through, each after those it reads.
fn verbs(plan: &Plan) -> impl Iterator<Item = (&Name, &Verb)> {
    let names = plan.segments.iter().flat_map(|segment| &segment.stages);
    names.filter_map(move |name| Some((name, &plan.pipeline.stage.get(name)?.verb)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proportional_is_a_range() {
        let times = |low, likely, high| Range { low, likely, high };
        let rows = Scale::of_source(200, 2_000);
        assert_eq!(rows, Scale { times: times(10.0, 10.0, 10.0), most: Some(2_000) });
        // A limit that was reached, and one that wasn't.
        assert_eq!(rows.cut(10, 10), Scale { times: times(1.0, 1.0, 1.0), most: Some(10) });
        assert_eq!(rows.cut(500, 200), Scale { times: times(2.5, 2.5, 2.5), most: Some(500) });
        assert_eq!(rows.cut(10, 0), Scale { times: rows.times, most: Some(10) });
        // Of 200 rows two groups, and each of 1,800 further rows may be one.
        assert_eq!(rows.regrouped(2, 200), Scale { times: times(1.0, 10.0, 901.0), most: Some(2_000) });
        let made = Scale { most: None, ..rows };
        assert_eq!(made.regrouped(100, 600), Scale { times: times(1.0, 10.0, 55.0), most: None });
        let few = Scale::of_source(50, 50);
        assert_eq!(few.regrouped(2, 50), few, "all were looked at");
        assert_eq!(Scale::of_all(&[(rows, 100), (few, 50)]), Scale { times: times(7.0, 7.0, 7.0), most: Some(2_050) });
        assert_eq!(Scale::of_some(&[(rows, 100), (rows, 50)]), Scale { times: times(1.0, 10.0, 100.0), most: None });
        // Nothing was looked at of what is there.
        assert_eq!(Scale::of_source(0, 7).times.high, 7.0);
    }
}
