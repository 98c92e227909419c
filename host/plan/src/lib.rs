//! How will it run?
//!
//! Start with [`plan`]: it resolves a checked pipeline's files, plugins, columns and types, gathers every mistake, and gives a
//! [`Plan`]: what each stage's rows look like, and [`Segment`]s that end in the sinks, whose logical plans are optimised once and
//! made physical for each task.
//!
//! Deliberately absent: when tasks run, where their output goes, and what has happened before.

mod arrow_file;
mod columns;
mod csv_rows;
mod edges;
mod environment;
mod exact;
mod expression;
mod hashes;
mod inline;
mod json_document;
mod json_object;
mod json_rows;
mod json_types;
mod large_joins;
mod open;
mod optimize;
mod order;
mod parquet;
mod partitions;
mod parts;
mod planner;
mod problems;
mod prune;
mod query;
mod replay;
mod routed;
mod rows;
mod saved;
mod segment;
mod selection;
mod sink;
mod source;
mod steady;
mod steps;
mod stored;
mod tabular;
mod tee;
mod together;
mod types;
mod verbs;

pub use columns::{Column, Columns};
pub use edges::graph;
pub use environment::Environment;
pub use hashes::floats_alike;
pub use inline::InlineReader;
pub use json_rows::decode_objects;
pub use parts::Again;
pub use planner::{Plan, StagePlan, plan};
pub use replay::{DEAD, Replay};
pub use segment::{EndPlan, PartText, Segment, SegmentSource};
pub use sink::{named, place_of};
pub use stored::{StoredRows, stored_rows};
pub use types::{parse_type, type_text};
