//! Functions that SQL and expressions can call besides DataFusion's own.
//!
//! [`functions`] gives all of them. `json_extract` takes a value out of a JSON document ([`JsonExtract`]), `token_count`,
//! `tokenize` and `detokenize` work with the tokens of a model ([`Tokenizers`]). Each is pure: a row's result depends on nothing
//! but the row. Nothing is loaded until a query calls for it.

mod arguments;
mod detokenize;
mod json_extract;
mod json_path;
mod token_count;
mod tokenize;
mod tokenizers;

use std::{path::Path, sync::Arc};

use datafusion::{arrow::datatypes::DataType, logical_expr::ScalarUDF};

use self::{
    detokenize::Detokenize, json_extract::JsonExtract, token_count::TokenCount, tokenize::Tokenize,
    tokenizers::Tokenizers,
};
use crate::error::{StepError, step_error};

/// What a type's name means, and all names.
#[derive(Clone, Copy, Debug)]
pub struct TypeNames {
    /// A type by its name.
    pub parse: fn(&str) -> Option<DataType>,
    /// The names that a message lists.
    pub known: fn() -> Vec<&'static str>,
}

/// The functions. Paths of tokenizers are relative to `folder`.
pub fn functions(folder: &Path, types: TypeNames) -> Vec<Arc<ScalarUDF>> {
    let tokenizers = Arc::new(Tokenizers::new(folder));
    let functions = [
        ScalarUDF::new_from_impl(JsonExtract::new(types)),
        ScalarUDF::new_from_impl(TokenCount::new(tokenizers.clone())),
        ScalarUDF::new_from_impl(Tokenize::new(tokenizers.clone())),
        ScalarUDF::new_from_impl(Detokenize::new(tokenizers)),
    ];
    functions.into_iter().map(Arc::new).collect()
}

/// What counts tokens, by the name of an encoding that is built in, or the path of a tokenizer's file relative to `folder`.
///
/// # Errors
/// There is no such file, or it holds no tokenizer.
pub fn token_counter(folder: &Path, name: &str) -> Result<dflow_models::Count, StepError> {
    let tokenizer = Tokenizers::new(folder).get(name).map_err(|e| step_error(&e))?;
    // What a tokenizer refuses is as long as it can be.
    Ok(Arc::new(move |text| tokenizer.count(text).unwrap_or(text.len()) as u64))
}

#[cfg(test)]
mod tests;
