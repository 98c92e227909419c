//! Models for which a test answers.

use std::{cell::RefCell, rc::Rc};

use crate::models::{Answer, Prompt};

/// A model for the time of a test.
pub trait Model {
    /// What it says to a prompt.
    fn complete(&self, model: &str, prompt: &Prompt) -> Result<Answer, String> {
        let _ = prompt;
        Err(format!("no test answers for `{model}` here"))
    }

    /// The vector of a text.
    fn embed(&self, model: &str, text: &str) -> Result<Vec<f32>, String> {
        let _ = text;
        Err(format!("no test answers for `{model}` here"))
    }
}

/// Nobody answers.
struct Nobody;

impl Model for Nobody {}

thread_local! {
    static MODEL: RefCell<Rc<dyn Model>> = RefCell::new(Rc::new(Nobody));
}

/// Does something, during which `model` answers what is asked of any model on this thread.
pub fn modelling<T>(model: impl Model + 'static, what: impl FnOnce() -> T) -> T {
    let before = MODEL.replace(Rc::new(model));
    let done = what();
    MODEL.set(before);
    done
}

fn asked() -> Rc<dyn Model> {
    MODEL.with_borrow(Rc::clone)
}

pub(crate) fn completion(model: &str, prompt: &Prompt) -> Result<Answer, String> {
    asked().complete(model, prompt)
}

pub(crate) fn vector(model: &str, text: &str) -> Result<Vec<f32>, String> {
    asked().embed(model, text)
}
