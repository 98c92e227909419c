//! Which segments a run does, and of those with several ends which of these, when not all of them.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use dflow_operators::{StepError, step_error};
use dflow_pipeline::{Fault, Name};
use dflow_plan::{Plan, Segment};

/// A saved stage or a sink, `STAGE`; with `+` before it also what it needs, with `+` after it also what needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    stage: String,
    needs: bool,
    needed_by: bool,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, needs) = text.strip_prefix('+').map_or((text, false), |rest| (rest, true));
        let (stage, needed_by) = rest.strip_suffix('+').map_or((rest, false), |stage| (stage, true));
        match stage.is_empty() || stage.contains('+') {
            true => Err(format!("`{text}` isn't `STAGE`, `+STAGE` or `STAGE+`")),
            false => Ok(Self { stage: stage.to_owned(), needs, needed_by }),
        }
    }
}

/// What a run does of a segment.
pub(crate) struct Chosen {
    /// The ends that are selected; none, when it isn't done.
    pub(crate) ends: Vec<Name>,
    /// The plan in which the segment ends in no others, when it does in the pipeline.
    pub(crate) part: Option<Arc<Plan>>,
}

impl Chosen {
    /// Whether anything of it is done.
    pub(crate) fn is_selected(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The plan in which it is done.
    pub(crate) fn plan<'a>(&'a self, whole: &'a Arc<Plan>) -> &'a Arc<Plan> {
        self.part.as_ref().unwrap_or(whole)
    }
}

/// What is done of each of a plan's segments: all of it, where nothing is said.
///
/// # Errors
/// A name that is neither a saved stage nor a sink (fault `Pipeline`).
pub(crate) fn chosen(plan: &Plan, selections: &[Selection]) -> Result<Vec<Chosen>, StepError> {
    if selections.is_empty() {
        return Ok(plan.segments.iter().map(|segment| Chosen { ends: segment.ends.clone(), part: None }).collect());
    }
    let selected = selected(plan, selections)?;
    let chosen =
        plan.segments.iter().zip(selected).enumerate().map(|(i, (segment, selected))| -> Result<Chosen, StepError> {
            let ends: Vec<&Name> = segment.ends.iter().filter(|end| selected.contains(end)).collect();
            let part = match ends.is_empty() || ends.len() == segment.ends.len() {
                true => None,
                false => {
                    let mut part = plan.clone();
                    part.segments[i] = ending_in(segment, &ends)?;
                    Some(Arc::new(part))
                }
            };
            Ok(Chosen { ends: ends.into_iter().cloned().collect(), part })
        });
    chosen.collect()
}

/// The ends of each of a plan's segments that are selected.
fn selected<'a>(plan: &'a Plan, selections: &[Selection]) -> Result<Vec<BTreeSet<&'a Name>>, StepError> {
    let mut selected: Vec<BTreeSet<&'a Name>> = vec![BTreeSet::new(); plan.segments.len()];
    for selection in selections {
        let named = |segment: &'a Segment| segment.ends.iter().find(|end| end.as_str() == selection.stage);
        let found = plan.segments.iter().enumerate().find_map(|(i, segment)| Some((i, named(segment)?)));
        let (at, end) = found.ok_or_else(|| unknown(plan, &selection.stage))?;
        selected[at].insert(end);
        if selection.needs {
            let mut needed: Vec<usize> = reads(plan, &ending_in(&plan.segments[at], &[end])?).collect();
            let mut seen = BTreeSet::new();
            while let Some(below) = needed.pop() {
                if seen.insert(below) {
                    selected[below].extend(&plan.segments[below].ends);
                    needed.extend(reads(plan, &plan.segments[below]));
                }
            }
        }
        if selection.needed_by {
            let mut above = BTreeSet::from([end]);
            // Each segment comes after those whose rows it reads.
            for (i, segment) in plan.segments.iter().enumerate() {
                for other in &segment.ends {
                    if ending_in(segment, &[other])?.reads_saved().any(|stage| above.contains(&stage)) {
                        above.insert(other);
                        selected[i].insert(other);
                    }
                }
            }
        }
    }
    Ok(selected)
}

fn ending_in(segment: &Segment, ends: &[&Name]) -> Result<Segment, StepError> {
    segment.ending_in(ends).map_err(|e| step_error(&e))
}

/// The segments whose rows a segment reads.
fn reads<'a>(plan: &'a Plan, segment: &'a Segment) -> impl Iterator<Item = usize> + 'a {
    segment.reads_saved().filter_map(|stage| plan.segments.iter().position(|other| other.ends.contains(stage)))
}

/// The error that a stage is none whose rows are kept.
pub(crate) fn unknown(plan: &Plan, stage: &str) -> StepError {
    let ends: Vec<String> =
        plan.segments.iter().flat_map(|segment| &segment.ends).map(|end| format!("`{end}`")).collect();
    let there = plan.pipeline.stage.keys().any(|name: &Name| name.as_str() == stage);
    let what = match there {
        true => format!("stage `{stage}` is neither saved nor a sink, so nothing of it is kept"),
        false => format!("there is no stage `{stage}`"),
    };
    let hint = match (there, ends.is_empty()) {
        (true, true) => "`save = true` in the stage keeps its rows".to_owned(),
        (true, false) => format!("`save = true` in the stage keeps its rows; kept are those of {}", ends.join(", ")),
        (false, _) => format!("saved stages and sinks are {}", ends.join(", ")),
    };
    StepError::new(Fault::Pipeline, what).hint(hint)
}

/// The error that a stage is a sink, where a saved stage is wanted.
pub(crate) fn no_saved_stage(stage: &str) -> StepError {
    StepError::new(Fault::Pipeline, format!("`{stage}` is a sink: its files are at their place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_says_what_else() {
        let parse = |text: &str| text.parse::<Selection>().map(|s| (s.stage, s.needs, s.needed_by));
        assert_eq!(parse("a.b"), Ok(("a.b".to_owned(), false, false)));
        assert_eq!(parse("+a"), Ok(("a".to_owned(), true, false)));
        assert_eq!(parse("a+"), Ok(("a".to_owned(), false, true)));
        assert_eq!(parse("+a+"), Ok(("a".to_owned(), true, true)));
        for wrong in ["", "+", "++", "a+b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
