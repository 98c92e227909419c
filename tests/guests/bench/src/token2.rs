//! `token2`: the second word of a text.

use dflow_plugin::arrow::{DataType, Field, RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};

use crate::{NoSettings, words::second_words};

pub(crate) struct Token2;

impl Operator for Token2 {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("token2", Shape::Map)
            .summary("the second of the words between spaces; nothing where there is only one")
            .port(Port::utf8("text", "what is split"))
    }

    fn open(_settings: NoSettings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Map).slice(Field::new("word", DataType::Utf8, true), 0)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let text = dflow_plugin::text(input, 0)?;
        let (starts, ends) = second_words(text.value_offsets(), text.value_data());
        emit.rows(Rows::new(vec![]).slice(0, starts, ends)).map(drop)
    }
}
