//! Tokens of models: encodings that are built in, and any `tokenizer.json` of Hugging Face's.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use datafusion::{common::Result, error::DataFusionError};
use dflow_pipeline::Fault;
use tokenizers::{PostProcessor, Tokenizer as FileTokenizer, TruncationDirection};

use super::arguments::misused;
use crate::StepError;

/// The encodings that are built in: those of OpenAI's models since GPT-4o, and of GPT-4, GPT-3.5 and `text-embedding-3-*`.
const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn { name: "o200k_base", tokens: bpe_openai::o200k_base, end_of_text: 199_999 },
    BuiltIn { name: "cl100k_base", tokens: bpe_openai::cl100k_base, end_of_text: 100_257 },
];

/// Names under which files without a setting for it have a token that pads.
const PADDING: [&str; 5] = ["[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>"];

/// An encoding that is built in. Its tables are unpacked at first use (0.1 s).
#[derive(Clone, Copy)]
pub(super) struct BuiltIn {
    name: &'static str,
    tokens: fn() -> &'static bpe_openai::Tokenizer,
    /// The special token behind the others, with which texts are padded.
    end_of_text: u32,
}

/// What makes tokens of text. Special tokens (`<|endoftext|>`) that stand in a text are the plain characters that they are there.
pub(super) enum Tokenizer {
    /// One that is built in.
    BuiltIn(BuiltIn),
    /// One of a file.
    File(Box<OfFile>),
}

/// A tokenizer of a file, without the truncation and padding that the file may ask for.
pub(super) struct OfFile {
    tokenizer: FileTokenizer,
    /// How many special tokens it puts around a text.
    added: usize,
    padding: Option<u32>,
}

impl Tokenizer {
    /// How many tokens a text is.
    pub(super) fn count(&self, text: &str) -> Result<usize> {
        match self {
            Self::BuiltIn(encoding) => Ok((encoding.tokens)().count(text)),
            Self::File(file) => Ok(file.encode(text)?.len()),
        }
    }

    /// Adds a text's tokens.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::BuiltIn(encoding) => tokens.extend((encoding.tokens)().encode(text)),
            Self::File(file) => tokens.extend(file.encode(text)?.get_ids()),
        }
        Ok(())
    }

    /// Adds exactly `length` tokens: a longer text is cut at its end (the special tokens around it are kept), a shorter one padded.
    pub(super) fn encode_to(&self, length: usize, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let end = tokens.len() + length;
        match self {
            Self::BuiltIn(_) => self.encode(text, tokens)?,
            Self::File(file) => tokens.extend(file.encode_up_to(length, text)?.get_ids()),
        }
        tokens.resize(end, self.padding().unwrap_or_default());
        Ok(())
    }

    /// The token that pads, if there is one.
    pub(super) fn padding(&self) -> Option<u32> {
        match self {
            Self::BuiltIn(encoding) => Some(encoding.end_of_text),
            Self::File(file) => file.padding,
        }
    }

    /// The text of tokens, special ones left out; `None` if one of them isn't a token at all. Bytes that are no text, as where
    /// a character was cut, become U+FFFD.
    pub(super) fn decode(&self, tokens: &[u32]) -> Option<String> {
        match self {
            Self::BuiltIn(encoding) => {
                let bpe = &(encoding.tokens)().bpe;
                let count = u32::try_from(bpe.num_tokens()).ok()?;
                // Behind the tokens of text there are a few that are special.
                let special = |token: u32| token >= count && token < encoding.end_of_text + 32;
                if tokens.iter().any(|token| *token >= count && !special(*token)) {
                    return None;
                }
                let text: Vec<u32> = tokens.iter().copied().filter(|token| *token < count).collect();
                Some(String::from_utf8_lossy(&bpe.decode_tokens(&text)).into_owned())
            }
            Self::File(file) => {
                if tokens.iter().any(|token| file.tokenizer.id_to_token(*token).is_none()) {
                    return None;
                }
                file.tokenizer.decode(tokens, true).ok()
            }
        }
    }
}

impl OfFile {
    fn read(path: &Path, named: &str) -> Result<Self, StepError> {
        let text = std::fs::read(path).map_err(|e| {
            let what = match e.kind() {
                std::io::ErrorKind::NotFound => format!("there is no tokenizer `{named}`"),
                _ => format!("can't read the tokenizer `{named}`: {e}"),
            };
            let names = BUILT_IN.map(|encoding| encoding.name).join("`, `");
            StepError::new(Fault::Pipeline, what).hint(format!(
                "a tokenizer is one of `{names}`, or the path of a `tokenizer.json` from the pipeline's folder"
            ))
        })?;
        let mut tokenizer = FileTokenizer::from_bytes(text).map_err(|e| {
            StepError::new(Fault::Pipeline, format!("`{named}` is not a tokenizer: {e}"))
                .hint("it must be a `tokenizer.json` as Hugging Face's tokenizers write it")
        })?;
        let padding = tokenizer.get_padding().map(|padding| padding.pad_id);
        let padding = padding.or_else(|| PADDING.iter().find_map(|token| tokenizer.token_to_id(token)));
        // Taking a setting away can't fail.
        let _ = tokenizer.with_truncation(None);
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let added = tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false));
        Ok(Self { tokenizer, added, padding })
    }

    fn encode(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.tokenizer.encode_fast(text, true).map_err(|e| refused(&e))
    }

    fn encode_up_to(&self, length: usize, text: &str) -> Result<tokenizers::Encoding> {
        let mut encoding = self.tokenizer.encode_fast(text, false).map_err(|e| refused(&e))?;
        encoding.truncate(length.saturating_sub(self.added), 0, TruncationDirection::Right);
        self.tokenizer.post_process(encoding, None, true).map_err(|e| refused(&e))
    }
}

fn refused(error: &tokenizers::Error) -> DataFusionError {
    StepError::new(Fault::Data, format!("a tokenizer can't take a text: {error}"))
        .hint("a tokenizer without a token for what it doesn't know refuses such text")
        .into()
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn(encoding) => encoding.name,
            Self::File(_) => "tokenizer of a file",
        })
    }
}

/// What is known of a file: its tokenizer, or why there is none.
type Loaded = Arc<OnceLock<Result<Arc<Tokenizer>, StepError>>>;

/// The tokenizers that a pipeline names: each is loaded when it is first asked for, and kept.
#[derive(Debug)]
pub(super) struct Tokenizers {
    folder: PathBuf,
    loaded: Mutex<BTreeMap<String, Loaded>>,
}

impl Tokenizers {
    /// Of a pipeline in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), loaded: Mutex::default() }
    }

    /// A tokenizer by the name of one that is built in, or the path of a file.
    ///
    /// # Errors
    /// There is no such file, or it holds no tokenizer.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Tokenizer>> {
        let place =
            self.loaded.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        Ok(place.get_or_init(|| self.load(name)).clone()?)
    }

    fn load(&self, name: &str) -> Result<Arc<Tokenizer>, StepError> {
        if let Some(encoding) = BUILT_IN.iter().find(|encoding| encoding.name == name) {
            return Ok(Arc::new(Tokenizer::BuiltIn(*encoding)));
        }
        Ok(Arc::new(Tokenizer::File(Box::new(OfFile::read(&self.folder.join(name), name)?))))
    }

    /// One that can make texts equally long.
    ///
    /// # Errors
    /// It has no token that pads, or no room for a text between the special tokens around it.
    pub(super) fn for_length(&self, name: &str, length: usize) -> Result<Arc<Tokenizer>> {
        let tokenizer = self.get(name)?;
        if tokenizer.padding().is_none() {
            let what = format!("the tokenizer `{name}` has no token that pads");
            return Err(misused(what, "leave the length out, or add `padding` to the file"));
        }
        if let Tokenizer::File(file) = tokenizer.as_ref()
            && length <= file.added
        {
            let what =
                format!("`{name}` puts {} special tokens around a text, {length} leave no room for it", file.added);
            return Err(misused(what, "ask for more"));
        }
        Ok(tokenizer)
    }
}

// Those of one folder give the same tokens.
impl PartialEq for Tokenizers {
    fn eq(&self, other: &Self) -> bool {
        self.folder == other.folder
    }
}

impl Eq for Tokenizers {}

impl Hash for Tokenizers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folder.hash(state);
    }
}
