//! How is a model called?
//!
//! Unfinished (issue 6). [`controller`] says at what pace an endpoint may be asked (tested on a simulated clock: an hour of 600 requests and
//! 60,000 tokens a minute), [`told`] reads what endpoints say of their limits, [`money`] holds budgets, [`openai`] and [`anthropic`] write
//! requests and read answers, [`exchange`] is what is said in both. `model` (the client with its retries) is only begun.

pub mod anthropic;
pub mod controller;
pub mod exchange;
pub mod money;
pub mod openai;
pub mod told;
