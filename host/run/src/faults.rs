//! Where a run ends by force, so that tests see what the next one makes of it.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A step that what a run does is made of, and that a crash may come before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The journal says that tasks begin.
    Begun,
    /// A task's files are written out and synced.
    Synced,
    /// A task's files are uploaded into a bucket.
    Uploaded,
    /// The journal names what is about to be published.
    Prepared,
    /// Files get their names.
    Published,
    /// The journal says that they have them.
    Done,
    /// The manifest of an output in a bucket is written.
    Manifest,
    /// The journal says that all outputs of a segment are whole.
    Complete,
    /// Files that were replaced are removed.
    Cleaned,
    /// The journal says so.
    Removed,
    /// The journal says that the run came to its end.
    Ended,
}

impl Step {
    /// All of them, and what each is called.
    const ALL: [(Self, &'static str); 11] = [
        (Self::Begun, "begun"),
        (Self::Synced, "synced"),
        (Self::Uploaded, "uploaded"),
        (Self::Prepared, "prepared"),
        (Self::Published, "published"),
        (Self::Done, "done"),
        (Self::Manifest, "manifest"),
        (Self::Complete, "complete"),
        (Self::Cleaned, "cleaned"),
        (Self::Removed, "removed"),
        (Self::Ended, "ended"),
    ];
}

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    /// When a half of it is done.
    Amid,
    After,
}

/// A point at which a run ends as if it were killed: `before-prepared`, or `after-done:3` for the third time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    side: Side,
    step: Step,
    time: u32,
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (point, time) = text.split_once(':').unwrap_or((text, "1"));
        let parsed = point.split_once('-').and_then(|(side, step)| {
            let side = match side {
                "before" => Side::Before,
                "amid" => Side::Amid,
                "after" => Side::After,
                _ => return None,
            };
            let (step, _) = Step::ALL.into_iter().find(|(_, name)| *name == step)?;
            let possible = side != Side::Amid || step == Step::Published;
            possible.then_some(Self { side, step, time: time.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            let steps = Step::ALL.map(|(_, name)| name).join(", ");
            format!("expected `before-STEP` or `after-STEP` of {steps}; or `amid-published`; `:N` for the N-th time")
        })
    }
}

/// Where a run ends by force, if anywhere.
#[derive(Clone, Default)]
pub struct Faults {
    at: Option<CrashPoint>,
    reached: Arc<AtomicU32>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.at).finish()
    }
}

impl From<Option<CrashPoint>> for Faults {
    fn from(at: Option<CrashPoint>) -> Self {
        Self { at, reached: Arc::default() }
    }
}

impl Faults {
    pub(crate) fn before(&self, step: Step) {
        self.reach(Side::Before, step);
    }

    pub(crate) fn after(&self, step: Step) {
        self.reach(Side::After, step);
    }

    /// In the middle of a step, which is done in halves only where this is [expected](Self::expects_amid).
    pub(crate) fn amid(&self, step: Step) {
        self.reach(Side::Amid, step);
    }

    pub(crate) fn expects_amid(&self, step: Step) -> bool {
        self.at.is_some_and(|at| at.side == Side::Amid && at.step == step)
    }

    fn reach(&self, side: Side, step: Step) {
        let Some(at) = self.at.filter(|at| at.side == side && at.step == step) else { return };
        if self.reached.fetch_add(1, Ordering::Relaxed) + 1 == at.time {
            // As a kill does: nothing is dropped, nothing is said.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named() {
        for (text, point) in [
            ("before-prepared", Some((Side::Before, Step::Prepared, 1))),
            ("after-done:3", Some((Side::After, Step::Done, 3))),
            ("amid-published", Some((Side::Amid, Step::Published, 1))),
            ("amid-done", None),
            ("after-lunch", None),
            ("done", None),
            ("after-done:x", None),
        ] {
            let parsed = text.parse::<CrashPoint>().ok().map(|p| (p.side, p.step, p.time));
            assert_eq!(parsed, point, "{text}");
        }
    }
}
