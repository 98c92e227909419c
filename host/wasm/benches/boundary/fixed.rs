//! What a call costs without data.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    datatypes::Schema,
};

use crate::{
    guests::{contender, of_bench},
    turns::{self, Options, race},
};

pub(crate) fn run(options: &Options) {
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..16).map(|i| format!("a text of a row, {i}"))));
    let text = RecordBatch::try_from_iter([("text", text)]).unwrap();
    let rows = RecordBatchOptions::new().with_row_count(Some(16));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &rows).unwrap();
    let (empty, text) = ([empty], [text]);
    let found = race(
        options,
        vec![
            contender("nothing in, nothing out", &of_bench("nothing", &empty[0]), &empty),
            contender("three buffers in, nothing out", &of_bench("nothing", &text[0]), &text),
            contender("three buffers in, three out", &of_bench("identity", &text[0]), &text),
            contender("three buffers in, ranges out", &of_bench("whole", &text[0]), &text),
        ],
    );
    turns::show("16 rows", &found, |name| match name {
        "nothing in, nothing out" => Some(0.5),
        "three buffers in, three out" => Some(1.0),
        _ => None,
    });
}
