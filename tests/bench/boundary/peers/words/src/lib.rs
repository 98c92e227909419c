//! `token2` as fv-compute has it: a function of whole columns. Its contract is `wit/transform.wit` of fv-compute-wasm 0.2.

wit_bindgen::generate!({
    inline: r#"
        package fv:compute@0.1.0;

        interface transform {
            record bool-col { values: list<bool>, validity: option<list<bool>> }
            record int32-col { values: list<s32>, validity: option<list<bool>> }
            record int64-col { values: list<s64>, validity: option<list<bool>> }
            record float32-col { values: list<f32>, validity: option<list<bool>> }
            record float64-col { values: list<f64>, validity: option<list<bool>> }
            record utf8-col { values: list<string>, validity: option<list<bool>> }
            variant column {
                boolean(bool-col),
                int32(int32-col),
                int64(int64-col),
                float32(float32-col),
                float64(float64-col),
                utf8(utf8-col),
            }
            record field { name: string, column: column }
            record batch { fields: list<field> }
            run: func(inputs: list<batch>) -> result<batch, string>;
        }

        world transform-component {
            export transform;
        }
    "#,
});

use exports::fv::compute::transform::{Batch, Column, Field, Guest, Utf8Col};

struct Token2;

impl Guest for Token2 {
    fn run(inputs: Vec<Batch>) -> Result<Batch, String> {
        let field = inputs.into_iter().next().and_then(|batch| batch.fields.into_iter().next());
        let Some(Field { column: Column::Utf8(texts), .. }) = field else { return Err("no column of text".to_owned()) };
        let values = texts.values.iter().map(|text| text.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
        let column = Column::Utf8(Utf8Col { values, validity: None });
        Ok(Batch { fields: vec![Field { name: "word".to_owned(), column }] })
    }
}

export!(Token2);
