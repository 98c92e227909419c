//! Three operators, as `../python` and `../js` have them: what comes out is the same.

mod sentences;
mod urls;
mod validate;

pub use sentences::Sentences;
pub use urls::Urls;
pub use validate::Validate;

dflow_plugin::export!(
    plugin = "words",
    version = env!("CARGO_PKG_VERSION"),
    summary = "URLs in CSV files, a validator, sentences",
    operators = [Urls, Validate, Sentences]
);
