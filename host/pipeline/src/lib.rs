//! What did the user ask for, and is it right?
//!
//! Start with [`Pipeline`]: the neutral, serialisable form of a pipeline. [`read`](written::read) makes one from a TOML file
//! as a [`Draft`] with every [`Mistake`], each pointing at its characters. The words that every other room shares are
//! here too: names, limits, and whose [`Fault`] an error is.
//!
//! Deliberately absent: the reading of files (who calls gives their texts), plugins, types of columns, and anything that runs.

mod draft;
mod fault;
mod file_names;
mod form;
mod format;
mod grant;
mod insert;
mod limits;
mod mistake;
mod model;
mod name;
mod node;
mod params;
mod render;
mod trial;
mod value;
pub mod written;

pub use draft::Draft;
pub use fault::{Fault, exit};
pub use file_names::{FileNames, refuse_name};
pub use form::{
    Cell, Command, CommandRows, CsvOptions, DEAD, Distinct, Explode, Flow, Given, Group, How, Input, Join, Language,
    Limit, MaxFailures, Missing, Mode, Nulls, OnError, OneOrMany, Open, Pipeline, Plugin, Read, ReadAs, Row, Sample,
    SampleSize, Script, ScriptRows, Select, Set, Sort, SourceSchema, Sql, Stage, Steps, Union, Use, Values, Verb,
    Volume, Write,
};
pub use format::{Codec, Format};
pub use grant::{Grant, HttpGrant};
pub use limits::{BatchLimits, Bytes, GuestLimits, Millis};
pub use mistake::{At, Mistake, Mistakes, SourceText, Sources, Within};
pub use model::{
    AnswerSchema, Asking, Classify, ClassifyBy, Embed, HOSTS_PARAMS, Model, ModelLimits, ModelPrice, Prompt, Provider,
};
pub use name::{Name, NameError};
pub use render::{render, render_warnings};
pub use trial::Test;
