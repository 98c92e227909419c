//! `tokenize(text, tokenizer[, length])`: a text's tokens.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, FixedSizeListArray, Int32Array, ListArray, StringViewArray},
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::{DataType, Field, FieldRef},
    },
    common::{Result, exec_datafusion_err, internal_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::{
    arguments::{coerced, constant, constant_of, each, length, misused, result, text_first, texts},
    tokenizers::{Tokenizer, Tokenizers},
};

/// `tokenize(text, tokenizer[, length])`: a text's tokens as a list of int32, with the special tokens that the tokenizer puts around
/// it; with `length` as lists of that size, cut or padded.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Tokenize {
    tokenizers: Arc<Tokenizers>,
    signature: Signature,
}

impl Tokenize {
    /// With a pipeline's tokenizers.
    pub(super) fn new(tokenizers: Arc<Tokenizers>) -> Self {
        Self { tokenizers, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// An element of the lists.
fn token() -> FieldRef {
    Arc::new(Field::new("item", DataType::Int32, true))
}

impl ScalarUDFImpl for Tokenize {
    fn name(&self) -> &str {
        "tokenize"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(coerced(given))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type of tokenize depends on its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        text_first("tokenize(text, 'tokenizer', length)", &args, 2..=3)?;
        let name = constant(&args, 1, "the tokenizer of `tokenize`")?;
        let data_type = match args.scalar_arguments.get(2) {
            None => {
                self.tokenizers.get(name)?;
                DataType::List(token())
            }
            Some(value) => {
                let length = value.and_then(length).ok_or_else(|| {
                    misused("the length of `tokenize` must be a constant whole number above 0", "such as `512`")
                })?;
                self.tokenizers.for_length(name, length as usize)?;
                DataType::FixedSizeList(token(), length)
            }
        };
        Ok(Arc::new(Field::new(self.name(), data_type, args.arg_fields[0].is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (texts, one) = texts(&args.args[0])?;
        let name = constant_of(&args, 1).ok_or_else(|| exec_datafusion_err!("tokenize has lost its tokenizer"))?;
        let tokenizer = self.tokenizers.get(name)?;
        let array = match args.return_type() {
            DataType::FixedSizeList(_, length) => fixed(&texts, &tokenizer, *length)?,
            _ => lists(&texts, &tokenizer)?,
        };
        result(array, one)
    }
}

fn lists(texts: &StringViewArray, tokenizer: &Tokenizer) -> Result<ArrayRef> {
    let mut tokens = Vec::new();
    let mut offsets = vec![0];
    for text in each(texts) {
        if let Some(text) = text {
            tokenizer.encode(text, &mut tokens)?;
        }
        let end = i32::try_from(tokens.len());
        offsets.push(end.map_err(|_| exec_datafusion_err!("a batch has more tokens than a list can hold"))?);
    }
    let nulls = datafusion::arrow::array::Array::nulls(texts).cloned();
    Ok(Arc::new(ListArray::try_new(token(), OffsetBuffer::new(offsets.into()), values(tokens), nulls)?))
}

fn fixed(texts: &StringViewArray, tokenizer: &Tokenizer, length: i32) -> Result<ArrayRef> {
    let size = length as usize;
    let mut tokens = Vec::new();
    for text in each(texts) {
        match text {
            Some(text) => tokenizer.encode_to(size, text, &mut tokens)?,
            None => tokens.resize(tokens.len() + size, 0),
        }
    }
    let nulls: Option<NullBuffer> = datafusion::arrow::array::Array::nulls(texts).cloned();
    Ok(Arc::new(FixedSizeListArray::try_new(token(), length, values(tokens), nulls)?))
}

/// Tokens are below 2³¹.
fn values(tokens: Vec<u32>) -> ArrayRef {
    Arc::new(tokens.into_iter().map(u32::cast_signed).collect::<Int32Array>())
}
