//! `emit` for operators of whose rows more comes than is to be held: it waits until somebody takes what there is.

use wasmtime::{AsContextMut, StoreContextMut, Trap, component::Linker};

use crate::{
    abi::{EMITTING, EmittedOutput},
    state::{State, TICK_MS, emit},
};

/// What comes of one row is held up to so many bytes before it flows on: until then a failure is the row's alone, and nothing is done twice.
const HELD: u64 = 8 << 20;

/// Lets guests emit, and wait.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance(EMITTING)?
        .func_wrap_async("emit", |store: StoreContextMut<'_, State>, (output,): (EmittedOutput,)| {
            Box::new(emit_on(store, output))
        })
}

async fn emit_on(mut store: StoreContextMut<'_, State>, output: EmittedOutput) -> wasmtime::Result<(bool,)> {
    let gives = output.rows > 0;
    emit(store.as_context_mut(), (output,))?;
    let state = store.data_mut();
    let Some(flow) = state.flow.clone() else { return Ok((true,)) };
    if gives && !flow.is_closed() {
        // It gets on, and somebody wants it: what it does for one row may take as long as it likes.
        state.waiting.restart();
        state.whole_time();
    }
    let most = HELD.min(state.limits.emitted.0 / 2);
    let Some(pieces) = state.collector.as_mut().and_then(|collector| collector.take_above(most)) else {
        return Ok((!flow.is_closed(),));
    };
    let _waits = state.waiting.begin();
    let mut sent = std::pin::pin!(flow.send(pieces));
    loop {
        tokio::select! {
            sent = &mut sent => return Ok((sent.is_ok(),)),
            () = tokio::time::sleep(std::time::Duration::from_millis(TICK_MS)) => {
                if state.cancel.is_raised() {
                    return Err(Trap::Interrupt.into());
                }
            }
        }
    }
}
