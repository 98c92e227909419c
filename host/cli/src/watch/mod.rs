//! What does a person (or a program) see of a run, while it goes on and when it is over?
//!
//! [`bars`] are for a terminal, [`lines`] for anything else that people read later, [`events`] for programs; [`summary`] is
//! what stays at the end, [`page`] the same for a browser.

pub(crate) mod bars;
pub(crate) mod events;
pub(crate) mod failures;
pub(crate) mod lines;
pub(crate) mod page;
mod stages;
pub(crate) mod summary;

pub(crate) use stages::{Stages, what};
