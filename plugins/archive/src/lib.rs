//! The plugin `archive`: what is in archives.
//!
//! | operator | question | home |
//! | --- | --- | --- |
//! | [`entries`](mod@entries) | which files does an archive hold? | `format` tells kinds apart, `tarball` and `zipped` read them, `batch` makes columns |

mod batch;
mod entries;
mod format;
mod size;
mod tarball;
mod zipped;

pub use entries::{Entries, Settings};
pub use size::Size;

dflow_plugin::export!(
    plugin = "archive",
    version = env!("CARGO_PKG_VERSION"),
    summary = "what is in archives",
    operators = [Entries]
);
