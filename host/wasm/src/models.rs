//! `models` of the contract: models that the host asks for a guest.

use std::{fmt::Debug, time::Duration};

use futures::future::BoxFuture;
use wasmtime::{
    StoreContextMut, Trap,
    component::{ComponentType, Lift, Linker, Lower},
};

use crate::{
    abi::{MODELS, MOST_OF_A_CALL},
    emission::Refusal,
    error::WasmError,
    state::{State, TICK_MS},
};

/// An answer to each of several things, or why there is none.
pub type Asked<T> = BoxFuture<'static, Result<Vec<Result<T, String>>, WasmError>>;

/// Asks models for guests. What it is asked is not believed: it is the one to know which are granted.
pub trait Asks: Debug + Send + Sync {
    /// An answer to each prompt, or why there is none.
    ///
    /// The whole fails when nothing can be asked any more: then the run ends.
    fn complete(&self, model: String, prompts: Vec<AskedPrompt>) -> Asked<AskedAnswer>;

    /// A vector for each text, or why there is none.
    ///
    /// The whole fails when nothing can be asked any more: then the run ends.
    fn embed(&self, model: String, texts: Vec<String>) -> Asked<Vec<f32>>;
}

/// `models.prompt`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct AskedPrompt {
    /// What the model is told before; nothing when empty.
    pub system: String,
    /// What it is asked.
    pub text: String,
    /// The JSON Schema of the answer; none when empty.
    pub schema: String,
    /// A JSON object of further parameters; none when empty.
    pub params: String,
    /// The most tokens that may come out; 0 when nobody says.
    #[component(name = "max-tokens")]
    pub max_tokens: u32,
}

/// `models.answer`
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub struct AskedAnswer {
    /// What it says.
    pub text: String,
    /// Why it ends.
    pub finish: String,
    /// Tokens that went in.
    #[component(name = "input-tokens")]
    pub input_tokens: u64,
    /// Tokens that came out.
    #[component(name = "output-tokens")]
    pub output_tokens: u64,
}

/// Lets guests ask models, if their operator may.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut models = linker.instance(MODELS)?;
    models.func_wrap_async(
        "complete",
        |store: StoreContextMut<'_, State>, (model, prompts): (String, Vec<AskedPrompt>)| {
            Box::new(async move {
                let asked = prompts.len();
                Ok((ask(store, asked, |asks| asks.complete(model, prompts), |answer| answer.text.len()).await?,))
            })
        },
    )?;
    models.func_wrap_async("embed", |store: StoreContextMut<'_, State>, (model, texts): (String, Vec<String>)| {
        Box::new(async move {
            let asked = texts.len();
            Ok((ask(store, asked, |asks| asks.embed(model, texts), |vector| vector.len() * 4).await?,))
        })
    })
}

/// Has something asked, unless the run ends meanwhile.
async fn ask<T>(
    mut store: StoreContextMut<'_, State>,
    asked: usize,
    ask: impl FnOnce(&dyn Asks) -> Asked<T>,
    size: impl Fn(&T) -> usize,
) -> wasmtime::Result<Vec<Result<T, String>>> {
    let state = store.data_mut();
    let refused = match (&state.models, &state.collector) {
        (None, _) => "it asked a model, and is no open operator whose description wants `models`".to_owned(),
        (Some(_), None) => "a model was asked outside of `process`".to_owned(),
        (Some(_), Some(_)) if asked > MOST_OF_A_CALL => {
            format!("it asked {asked} things of a model in one call, {MOST_OF_A_CALL} are the most")
        }
        (Some(asks), Some(_)) => {
            let (most, cancel) = (state.limits.received, state.cancel.clone());
            let mut answers = ask(asks.as_ref());
            let waiting = state.waiting.begin();
            let answers = loop {
                tokio::select! {
                    answers = &mut answers => break answers,
                    () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => {
                        if cancel.is_raised() {
                            return Err(Trap::Interrupt.into());
                        }
                    }
                }
            };
            drop(waiting);
            match answers {
                Ok(answers) => {
                    let received: u64 = answers.iter().flatten().map(|answer| size(answer) as u64).sum();
                    if received <= most.0 {
                        return Ok(answers);
                    }
                    let what = format!("the answers of one call have more than {most} in all (`limits.received`)");
                    return Ok(answers.iter().map(|_| Err(what.clone())).collect());
                }
                Err(error) => {
                    state.refusal = Some(Refusal::Ending(Box::new(error)));
                    return Err(wasmtime::Error::msg("nothing can be asked any more"));
                }
            }
        }
    };
    state.refusal = Some(Refusal::Lie(refused));
    Err(wasmtime::Error::msg("a question that may not be"))
}
