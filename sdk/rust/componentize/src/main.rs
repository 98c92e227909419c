//! `dflow-componentize MODULE.wasm COMPONENT.wasm`: `sdk/rust/build` calls it; a plugin's author needn't.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to, more @ ..] = arguments.as_slice() else {
        return fail("usage: dflow-componentize MODULE.wasm COMPONENT.wasm [IMPORTS_THAT_BEGIN_SO…]");
    };
    let more: Vec<_> = more.iter().map(|start| start.to_string_lossy()).collect();
    match dflow_componentize::componentize(from.as_ref(), to.as_ref(), &more) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

#[expect(clippy::print_stderr, reason = "a program's own message")]
fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
