//! Runs operators natively, as strictly as the host does: for a plain `cargo test`.
//!
//! [`run`] gives what an operator makes of one batch. [`cases!`](crate::cases) makes a test of every file in a plugin's folder
//! `cases`; [`cases::check_folder`] says what such a file holds. [`emitted`] and [`native`] are for benchmarks. [`answering`] stands for servers, [`modelling`] for models; what is given as bytes for a port of files is read in parts. Batches go through the same boundary code as in a component.

mod blobs;
pub mod cases;
mod collect;
mod http;
mod measure;
mod models;
pub mod rows;
mod run;

pub use crate::cases;
pub(crate) use blobs::part;
pub(crate) use http::answer;
pub use http::answering;
pub use measure::{Workload, emitted, median, native, workloads};
pub use models::{Model, modelling};
pub(crate) use models::{completion, vector};
pub use run::{Ran, run, run_entry};

/// Makes a test of every `cases/*.json` beside the plugin's `Cargo.toml`: `dflow_plugin::testing::cases!(crate::PLUGIN);` in a
/// test module or under `#[cfg(test)]`. With `DFLOW_BLESS=1` in the environment, files are rewritten to what came out.
#[macro_export]
macro_rules! cases {
    ($plugin:expr) => {
        #[test]
        fn cases() {
            $crate::testing::cases::check_folder(&$plugin, concat!(env!("CARGO_MANIFEST_DIR"), "/cases").as_ref());
        }
    };
}
