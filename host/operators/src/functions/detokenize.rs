//! `detokenize(tokens, tokenizer)`: the text of tokens.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, AsArray, Int64Array, StringViewBuilder},
        compute::cast,
        datatypes::{DataType, Field, FieldRef, Int64Type},
    },
    common::{Result, exec_datafusion_err, internal_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::{
    arguments::{constant, constant_of, counted, misused, result},
    tokenizers::Tokenizers,
};

/// How it is called.
const USAGE: &str = "detokenize(tokens, 'tokenizer')";

/// `detokenize(tokens, tokenizer)`: the text of a list of tokens, special tokens left out. Null if one of them isn't a token.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Detokenize {
    tokenizers: Arc<Tokenizers>,
    signature: Signature,
}

impl Detokenize {
    /// With a pipeline's tokenizers.
    pub(super) fn new(tokenizers: Arc<Tokenizers>) -> Self {
        Self { tokenizers, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Detokenize {
    fn name(&self) -> &str {
        "detokenize"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("detokenize looks at its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        counted(USAGE, &args, 2..=2)?;
        let tokens = args.arg_fields[0].data_type();
        let integers = match tokens {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                item.data_type().is_integer() || item.data_type().is_null()
            }
            other => other.is_null(),
        };
        if !integers {
            let what = format!("`detokenize` takes a list of integers, and is given {tokens}");
            return Err(misused(what, format!("call it as `{USAGE}`")));
        }
        self.tokenizers.get(constant(&args, 1, "the tokenizer of `detokenize`")?)?;
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8View, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = constant_of(&args, 1).ok_or_else(|| exec_datafusion_err!("detokenize has lost its tokenizer"))?;
        let tokenizer = self.tokenizers.get(name)?;
        let one = matches!(args.args[0], ColumnarValue::Scalar(_));
        let lists = args.args[0].to_array(if one { 1 } else { args.number_rows })?;
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let lists = cast(&lists, &DataType::List(item))?;
        let lists = lists.as_list::<i32>();
        let mut texts = StringViewBuilder::with_capacity(lists.len());
        for row in 0..lists.len() {
            let text = lists.is_valid(row).then(|| lists.value(row)).and_then(|list| {
                let list: &Int64Array = list.as_primitive::<Int64Type>();
                // An element that is null is no token, and left out.
                let tokens: Option<Vec<u32>> = list.iter().flatten().map(|token| u32::try_from(token).ok()).collect();
                tokenizer.decode(&tokens?)
            });
            texts.append_option(text);
        }
        result(Arc::new(texts.finish()), one)
    }
}
