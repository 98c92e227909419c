//! What has happened: one SQLite database in the pipeline's state folder, open to anybody with `sqlite3`.
//!
//! Start with [`Journal`]: it is held by one run at a time ([`lock`]), and only the driver writes it. What its tables and columns
//! mean is said in `schema.sql`; [`migrate`] brings a database of an earlier version up to date. A task's files go through
//! [`commit`]: they are written under temporary names, `prepared` names them all, they are published, `done` says so. After a
//! crash [`recover`] publishes what was prepared and sweeps what was merely begun. [`History`] reads what was run. Paths in the project
//! are held as [`base`] says, so that it can be moved.
//!
//! Deliberately absent: which tasks are done again (`reuse.rs`), and where files go (`sink.rs`).

mod answers;
mod base;
mod commit;
mod cut;
mod dead;
mod files;
mod forgotten;
mod history;
mod known;
mod lock;
mod migrate;
mod open;
mod packed;
mod prints;
mod recover;
mod replay;
mod reruns;
mod runs;
mod tasks;
#[cfg(test)]
mod tests;

pub use self::answers::KeptAnswers;
pub use self::history::{History, PastRun};
pub(crate) use self::{
    commit::Made,
    cut::{SplitFile, SplitTask},
    dead::DeadSource,
    files::remove,
    known::{Known, PastOutput},
    open::Journal,
    packed::{PackedFile, PackedPrint, PackedSplit, PackedTask, TakenIn},
    recover::drop_empty_folders,
    replay::{Dead, STALE},
    reruns::{SinkFile, Standing as StandingFiles},
    runs::Begun,
    tasks::{PastSplit, PastTask, TaskId},
};
