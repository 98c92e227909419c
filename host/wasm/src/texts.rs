//! Text handed over as strings (`wit/texts.wit`), for guests in languages whose strings aren't bytes of a buffer.

use arrow::{
    buffer::Buffer,
    datatypes::{DataType, Fields},
};
use dflow_boundary::{Lent, children};

use crate::error::WasmError;

/// Columns of text, each as offsets and bytes, taken out of what is lent.
pub(crate) struct Texts(Vec<(Buffer, Buffer)>);

impl Texts {
    /// Takes the columns of utf8 at the top level; empty buffers stay in their place.
    pub(crate) fn taken(lent: &mut Lent, fields: &Fields) -> Result<Self, String> {
        let (mut node, mut buffer, mut taken) = (0, 0, Vec::new());
        for field in fields {
            let end = node + nodes(field.data_type());
            let buffers: u32 =
                lent.nodes.get(node..end).ok_or("fewer arrays than columns")?.iter().map(|n| n.buffers).sum();
            if *field.data_type() == DataType::Utf8 {
                // Validity, offsets, bytes.
                let [_, offsets, bytes] =
                    lent.buffers.get_mut(buffer..buffer + 3).ok_or("fewer buffers than columns have")?
                else {
                    return Err("text without its buffers".to_owned());
                };
                taken.push((std::mem::take(offsets), std::mem::take(bytes)));
            }
            (node, buffer) = (end, buffer + buffers as usize);
        }
        Ok(Self(taken))
    }

    /// The values of each column.
    pub(crate) fn lists(&self) -> Result<Vec<Vec<&str>>, WasmError> {
        let lists: Option<Vec<_>> = self.0.iter().map(|(offsets, bytes)| values(offsets, bytes)).collect();
        lists.ok_or_else(|| WasmError::internal("a column of text holds what isn't text"))
    }
}

/// The values of a column.
fn values<'a>(offsets: &Buffer, bytes: &'a [u8]) -> Option<Vec<&'a str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let offsets = offsets.typed_data::<i32>();
    offsets.windows(2).map(|pair| text.get(pair[0] as usize..pair[1] as usize)).collect()
}

/// How many arrays a column of this type is.
fn nodes(data_type: &DataType) -> usize {
    1 + children(data_type).iter().map(|child| nodes(child.data_type())).sum::<usize>()
}
