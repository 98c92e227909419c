//! Requests that a test answers.

use std::cell::RefCell;

use crate::http::{Request, Response};

type Answers = dyn Fn(&Request) -> Result<Response, String>;

thread_local! {
    static ANSWERS: RefCell<Option<Box<Answers>>> = const { RefCell::new(None) };
}

/// Does something, during which `answers` answers the requests that are sent on this thread.
pub fn answering<T>(answers: impl Fn(&Request) -> Result<Response, String> + 'static, what: impl FnOnce() -> T) -> T {
    let before = ANSWERS.replace(Some(Box::new(answers)));
    let done = what();
    ANSWERS.set(before);
    done
}

pub(crate) fn answer(request: &Request) -> Result<Response, String> {
    ANSWERS.with_borrow(|answers| match answers {
        Some(answers) => answers(request),
        None => Err("no test answers requests here".to_owned()),
    })
}
