//! Operators that attack their host, bound to the contract without the SDK, which would notice.
//!
//! Each file is one attack, an operator of its name; the setting `how` chooses among its ways. All of them copy the column
//! `text`, until a row says `attack`: so that it is seen that the host goes on. `host/wasm/tests/hostile` has a test for each
//! file, under the same name.

#![cfg(target_arch = "wasm32")]

mod attack;
mod blobs;
mod buffers;
mod emit;
mod grow;
mod keep;
mod log;
mod message;
mod names;
mod nesting;
mod nulls;
mod offsets;
mod panic;
mod parents;
mod recurse;
mod rows;
mod schema;
mod slices;
mod spin;
mod text;
mod types;
mod wasi;

use std::{cell::Cell, fmt::Write, sync::Once};

use attack::Attack;
use bindings::dflow::operator::logging;
use bindings::dflow::operator::types::{Batch, Failure, Schema};
use bindings::exports::dflow::operator::operators::{Guest, Opened};

/// Generated from `wit/operator.wit`.
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "operator-with-capabilities",
        ownership: Borrowing { duplicate_if_necessary: true },
        generate_all,
    });
}

/// The operators.
static ATTACKS: [&dyn Attack; 21] = [
    &blobs::Blobs,
    &buffers::Buffers,
    &emit::Emit,
    &grow::Grow,
    &keep::Keep,
    &log::Log,
    &message::Message,
    &names::Names,
    &nesting::Nesting,
    &nulls::Nulls,
    &offsets::Offsets,
    &panic::Panic,
    &parents::Parents,
    &recurse::Recurse,
    &rows::Rows,
    &schema::Schemas,
    &slices::Slices,
    &spin::Spin,
    &text::Text,
    &types::Types,
    &wasi::Wasi,
];

thread_local! {
    /// The attack that is open, and its way.
    static OPEN: Cell<(&'static dyn Attack, &'static str)> = const { Cell::new((&spin::Spin, "")) };
}

struct Component;

impl Guest for Component {
    fn describe() -> String {
        let mut operators = String::new();
        for attack in ATTACKS {
            let comma = if operators.is_empty() { "" } else { "," };
            let (name, shape, ports) = (attack.name(), attack.shape(), attack.ports());
            write!(
                operators,
                r#"{comma}{{"name":"{name}","version":"1.0.0","shape":"{shape}","rejects_rows":true,"profile":"pure",
                "ports":[{{"name":"text","types":["utf8"]}}{ports}]}}"#
            )
            .expect("a string takes all");
        }
        format!(
            r#"{{"describe":1,"interface":"0.1.0","plugin":"hostile","version":"1.0.0","operators":[{operators}]}}"#
        )
    }

    fn open(operator: String, settings: String, _input: Schema) -> Result<Opened, Failure> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                logging::log(logging::Level::Error, "panic", &panic.to_string());
            }));
        });
        let attack = ATTACKS.into_iter().find(|attack| attack.name() == operator);
        let attack = attack.ok_or_else(|| Failure::Unsupported(operator))?;
        // Settings are `{"how":"…"}` or nothing.
        let how = settings.split('"').nth(3).unwrap_or_default().to_owned().leak();
        OPEN.set((attack, how));
        attack.open(how)
    }

    fn process(batch: Batch) -> Result<(), Failure> {
        let (attack, how) = OPEN.get();
        if attack.always() || attack::texts(&batch).any(|text| text == b"attack") {
            return attack.process(how, &batch);
        }
        attack.behave(&batch);
        Ok(())
    }
}

bindings::export!(Component with_types_in bindings);
