//! How is a model called?
//!
//! Start with [`Models`]: the models of a run, what is asked of them, and what they have answered before ([`records`]). A [`Model`] sends requests at
//! the pace of its [`controller`], within its [`money`], again as long as that may help; [`openai`] and [`anthropic`] write what is sent and read what
//! comes back, [`exchange`] is what is said in both, and [`told`] reads what an endpoint says of its limits.
//!
//! Deliberately absent: rows, columns and templates (`operators`), and where answers are kept (`run`).

pub mod anthropic;
mod aside;
pub mod controller;
mod error_body;
pub mod exchange;
mod flights;
mod model;
mod models;
pub mod money;
pub mod openai;
pub mod records;
mod request;
pub mod told;

pub use flights::{Awaited, Flight};
pub use model::{Count, Dialect, Key, Model, Request, UNREACHABLE, Unanswered, estimated};
pub use models::{Mode, Models, Rehearsed, Settings, Taken};
pub use request::{completion, most_prompt_tokens, prompt_digest, prompt_tokens, text_digest, vectors};
