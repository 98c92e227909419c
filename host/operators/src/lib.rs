//! What does one step do?
//!
//! Each file is one node of DataFusion's: [`SourceExec`] gives a source's rows with their ids, [`OperatorNode`] and its
//! execution run an operator of a plugin, a program or a model ([`Worker`], [`Asker`]), [`CommandNode`] a program that makes rows anew, [`OpenNode`] opens the files that rows name, [`MeterNode`] counts what leaves a stage. They find the task that they work for,
//! its splits and its counters, in the session ([`TaskScope`]). A plan that several others read is a [`Tee`]. What SQL can call is in [`functions()`].
//!
//! Deliberately absent: pipelines' text, the choice of plans, files that are written, and anything that outlives a task.

mod alone;
mod asker;
mod audit;
mod blobs;
mod by_split;
mod carried;
mod command;
mod command_answer;
mod command_exec;
mod command_messages;
mod command_node;
mod command_process;
mod cut;
mod cutoff;
mod dead_letters;
mod desk;
mod error;
mod exchange;
mod first_rows;
mod functions;
mod held;
mod ids;
mod left_out;
mod merge_join;
mod meter;
mod number;
mod open_exec;
mod open_node;
mod operator_exec;
mod operator_node;
mod parquet_files;
mod partitions;
mod planner;
mod process_group;
mod reads;
mod recall;
mod requests;
mod scope;
mod shared;
mod sized;
mod source;
mod split_column;
mod stage_models;
mod tee;
mod tee_exec;
mod template;
mod unchanged;
mod unique;
mod window;
mod worker;

pub use alone::Health;
pub use asker::{AnswerShape, Ask, Asker, EXACT, Wanted, columns_of, schema_of, usage_type};
pub use blobs::Parts;
pub use by_split::{BySplit, SplitCounts};
pub use command::Program;
pub use command_exec::CommandExec;
pub use command_node::{CommandNode, CommandSpec};
pub use cut::{cut, row_sizes};
pub use cutoff::CutoffExec;
pub use dead_letters::{DeadFile, DeadLetters, DeadPlace, LETTER_COLUMNS};
pub use desk::Desk;
pub use error::{StepError, no_memory, step_error};
pub use first_rows::FirstRows;
pub use functions::{TypeNames, functions, token_counter};
pub use held::Held;
pub use ids::{ID_FIELD_TYPE, Ids, child_id};
pub use left_out::LeftOut;
pub use meter::{MeterExec, MeterNode, ReadBy};
pub use number::{NumberExec, NumberNode};
pub use open_exec::OpenExec;
pub use open_node::{FilePart, OpenNode, OpenSpec};
pub use operator_exec::OperatorExec;
pub use operator_node::{ChildColumns, OperatorNode, OperatorSpec};
pub use parquet_files::{ParquetFiles, differs, parquet_metadata, unreadable_parquet};
pub use partitions::{PartitionedReader, Partitions};
pub use planner::StepPlanner;
pub use reads::Reads;
pub use recall::{Recall, StoredRows};
pub use requests::Requests;
pub use scope::{Failed, RowFailure, StageCounters, StageCounts, TaskScope};
pub use sized::{gathered_bytes, sized};
pub use source::{Reader, SourceExec, SourceSpec, deal, source_schema};
pub use split_column::{SPLIT_COLUMN, SPLIT_TYPE, is_split, split_column, splits_of};
pub use stage_models::{GrantedModel, StageModels};
pub use tee::{Tee, Tees};
pub use tee_exec::TeeExec;
pub use template::{Escape, Template};
pub use unique::{UniqueExec, UniqueNode};
pub use worker::Worker;
