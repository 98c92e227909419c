//! `token_count(text, tokenizer)`: how many tokens a text is.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, Int32Builder},
        datatypes::{DataType, Field, FieldRef},
    },
    common::{Result, exec_datafusion_err, internal_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::{
    arguments::{coerced, constant, constant_of, each, result, text_first, texts},
    tokenizers::Tokenizers,
};

/// `token_count(text, tokenizer)`: how many tokens `tokenize` gives, as int32.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenCount {
    tokenizers: Arc<Tokenizers>,
    signature: Signature,
}

impl TokenCount {
    /// With a pipeline's tokenizers.
    pub(super) fn new(tokenizers: Arc<Tokenizers>) -> Self {
        Self { tokenizers, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TokenCount {
    fn name(&self) -> &str {
        "token_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(coerced(given))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("token_count looks at its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        text_first("token_count(text, 'tokenizer')", &args, 2..=2)?;
        self.tokenizers.get(constant(&args, 1, "the tokenizer of `token_count`")?)?;
        Ok(Arc::new(Field::new(self.name(), DataType::Int32, args.arg_fields[0].is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (texts, one) = texts(&args.args[0])?;
        let name = constant_of(&args, 1).ok_or_else(|| exec_datafusion_err!("token_count has lost its tokenizer"))?;
        let tokenizer = self.tokenizers.get(name)?;
        let mut counts = Int32Builder::with_capacity(texts.len());
        for text in each(&texts) {
            let count = text.map(|text| tokenizer.count(text)).transpose()?;
            counts.append_option(count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)));
        }
        result(Arc::new(counts.finish()), one)
    }
}
