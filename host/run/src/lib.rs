//! What happens when, and what has happened?
//!
//! Start with [`Engine`]: two runtimes, the sandbox and the files of one pipeline. [`Engine::plan`] checks, [`Engine::run`]
//! cuts segments into tasks, runs them on all cores and commits what they made, [`Engine::eval`] gives one stage's rows back.
//! A task is described by a serialisable [`TaskSpec`] and answers with a [`TaskResult`]; only the driver writes the journal, and
//! what it says is read with [`History`].
//!
//! Deliberately absent: arguments, terminals, and how anything looks.

mod compare;
mod cost;
mod coverage;
mod cut;
mod dead;
mod driver;
mod engine;
mod eval;
mod events;
mod explain;
mod faults;
mod fingerprint;
mod grouping;
mod handing;
mod journal;
mod ledger;
mod made_of;
mod memory;
mod merge;
mod outputs;
mod pack;
mod recall;
mod recorded;
mod replay;
mod report;
mod rerun;
mod reuse;
mod saved;
mod segment;
mod select;
mod sink;
mod specs;
mod store;
mod task;
mod totals;
mod trial;
mod why;
mod writer;

pub use cost::{Cost, NoCost, Range, StageCost};
pub use cut::Cut;
pub use dead::{DeadGroup, DeadRows};
pub use dflow_models::{Mode, money::Usd};
pub use dflow_operators::{RowFailure, StageCounts, StepError, is_split};
pub use dflow_plan::{Column, Columns, PartText, Plan, Segment, StagePlan, decode_objects, graph, type_text};
pub use dflow_wasm::{
    Cancel, Description, OperatorDescription, Plugin, Profile, RowShape, Shipped, ship, shipped, shipped_names,
};
pub use driver::{Beside, RunError};
pub use engine::{Engine, EngineSettings, STATE_FOLDER};
pub use eval::Evaluated;
pub use events::{Event, Observer, SCHEMA_VERSION, Silent};
pub use explain::{Explained, ExplainedSource, Why};
pub use faults::{CrashPoint, Faults};
pub use fingerprint::Fingerprint;
pub use handing::Handed;
pub use journal::{History, KeptAnswers, PastRun};
pub use made_of::{Inputs, MadeOf};
pub use memory::workers_for;
pub use outputs::{Kept, Output, Reasons, Status};
pub use replay::{Replayed, Stale, Tried};
pub use report::{Asked, OutputFile, Reused, RunReport, StageReport};
pub use rerun::{Compared, Recorded, Rerun, make_room, recorded};
pub use select::Selection;
pub use store::{StoredOutput, collect_answers, collectable, forget, of_stages, stored};
pub use task::{SinkFiles, TaskResult, TaskSpec, run_task};
pub use trial::Trial;
pub use why::Change;
pub use writer::{Files, Merge, TaskOutput};
