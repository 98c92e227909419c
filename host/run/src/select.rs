//! Which segments a run does, when not all of them.

use std::str::FromStr;

use dflow_operators::StepError;
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

/// Whether each of a plan's segments is selected: all of them, where nothing is said.
///
/// # Errors
/// A name that is neither a saved stage nor a sink (fault `Pipeline`).
pub(crate) fn selected(plan: &Plan, selections: &[Selection]) -> Result<Vec<bool>, StepError> {
    if selections.is_empty() {
        return Ok(vec![true; plan.segments.len()]);
    }
    let mut selected = vec![false; plan.segments.len()];
    for selection in selections {
        let at =
            plan.segments.iter().position(|segment| segment.ends.iter().any(|end| end.as_str() == selection.stage));
        let at = at.ok_or_else(|| unknown(plan, &selection.stage))?;
        let mut marked = vec![false; selected.len()];
        marked[at] = true;
        // Each segment comes after those whose rows it reads.
        if selection.needs {
            let mut needed = marked.clone();
            for (i, segment) in plan.segments.iter().enumerate().rev().filter(|(i, _)| *i <= at) {
                if needed[i] {
                    reads(plan, segment).for_each(|below| needed[below] = true);
                }
            }
            marked.iter_mut().zip(needed).for_each(|(marked, needed)| *marked |= needed);
        }
        if selection.needed_by {
            let mut above = vec![false; selected.len()];
            above[at] = true;
            for (i, segment) in plan.segments.iter().enumerate() {
                above[i] |= reads(plan, segment).any(|below| above[below]);
            }
            marked.iter_mut().zip(above).for_each(|(marked, above)| *marked |= above);
        }
        selected.iter_mut().zip(marked).for_each(|(selected, marked)| *selected |= marked);
    }
    Ok(selected)
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
