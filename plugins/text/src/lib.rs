//! The plugin `text`: cuts and cleans text, and says what language it is in.
//!
//! | operator | question | home |
//! | --- | --- | --- |
//! | [`chunk`](mod@chunk) | where may a long text be cut? | [`split`] walks the text, [`mod@characters`] does so where lengths are in characters, [`mod@blocks`] says where markdown may be taken apart, [`measure`] says how long a piece is, [`tokens`] counts those of models |
//! | [`detect_language`](mod@detect_language) | which language is it in? | |
//! | [`normalize`](mod@normalize) | which of several spellings of the same text? | |

pub mod blocks;
pub mod characters;
pub mod chunk;
pub mod detect_language;
pub mod measure;
pub mod normalize;
pub mod split;
pub mod tokens;

dflow_plugin::export!(
    plugin = "text",
    version = env!("CARGO_PKG_VERSION"),
    summary = "cuts and cleans text, and says what language it is in",
    operators = [chunk::Chunk, detect_language::DetectLanguage, normalize::Normalize]
);
