//! The binary `dflow-host`: what a person types, and what they see.
//!
//! Arguments are data ([`args`]); [`settings`] resolves them, once, with the environment and the machine; each of the
//! [`commands`] sees settings only. [`terminal`] is the one place that writes to stdout and stderr.

mod allocator;
mod args;
mod commands;
mod failure;
mod interrupt;
mod log;
mod machine;
mod outside;
mod pages;
mod pipeline_file;
mod schema;
mod settings;
mod shipped;
mod table;
mod terminal;
mod watch;
mod words;

use std::{process::ExitCode, sync::Arc};

use clap::Parser;

use crate::{args::Args, outside::Outside, terminal::Terminal};

fn main() -> ExitCode {
    allocator::give_back_soon();
    pages::keep_small();
    dflow_run::ship(shipped::SHIPPED);
    let args = Args::parse();
    let outside = Outside::real();
    let terminal = Arc::new(Terminal::new(&outside));
    let done = log::start(&outside, &terminal).and_then(|()| commands::run(args.command, &outside, &terminal));
    ExitCode::from(done.unwrap_or_else(|failure| {
        terminal.say(&failure.shown(terminal.colour(), terminal.stderr_width()));
        failure.exit_code()
    }))
}
