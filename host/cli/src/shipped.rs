//! The plugins that ship inside the binary: those that were in `plugins/.built` when it was compiled (`build.rs`).

use dflow_run::Shipped;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));
