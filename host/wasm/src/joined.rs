//! Text whose values are joined by U+0000: for guests in languages in which a loop over values costs more than most operators' own work.
//!
//! One call takes such a text apart there, or puts it together. Offsets are left out; a text that holds a U+0000 itself goes with them.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    buffer::Buffer,
    datatypes::{DataType, Field},
};
use dflow_boundary::{Lent, WireNode, children};

/// Joins the columns of utf8 at the top level, but for those in which it couldn't be undone.
pub(crate) fn join<'a>(lent: &mut Lent, fields: impl IntoIterator<Item = &'a Arc<Field>>) -> Result<(), String> {
    let Lent { nodes, buffers, .. } = lent;
    each_text(nodes, fields, |Text { buffer, .. }| {
        let Some([offsets, bytes]) = buffers.get_mut(buffer + 1..buffer + 3) else {
            return Err("text without its buffers".to_owned());
        };
        if memchr::memchr(0, bytes).is_some() {
            return Ok(());
        }
        let ends = offsets.typed_data::<i32>();
        let mut joined = Vec::with_capacity(bytes.len() + ends.len());
        for (place, pair) in ends.windows(2).enumerate() {
            if place > 0 {
                joined.push(0);
            }
            joined.extend_from_slice(&bytes[pair[0] as usize..pair[1] as usize]);
        }
        (*offsets, *bytes) = (Buffer::default(), joined.into());
        Ok(())
    })
}

/// How many bytes of offsets are left out of emitted columns of utf8 at the top level, which are joined.
pub(crate) fn left_out<'a>(
    nodes: &[WireNode],
    buffers: &[&[u8]],
    fields: impl Iterator<Item = &'a Arc<Field>>,
) -> usize {
    let mut bytes = 0;
    let looked = each_text(nodes, fields, |text| {
        if text.is_joined(buffers.get(text.buffer + 1).copied()) {
            bytes += 4 * (text.length + 1);
        }
        Ok(())
    });
    // What has too few nodes is told by who makes arrays of them.
    if looked.is_err() { 0 } else { bytes }
}

/// Buffers with offsets, of some in which offsets are [left out](left_out).
pub(crate) fn split<'a>(
    nodes: &[WireNode],
    buffers: &[&'a [u8]],
    fields: impl Iterator<Item = &'a Arc<Field>>,
) -> Result<Vec<Cow<'a, [u8]>>, String> {
    let mut all: Vec<Cow<'a, [u8]>> = buffers.iter().map(|buffer| Cow::Borrowed(*buffer)).collect();
    each_text(nodes, fields, |text| {
        let Text { buffer, length, field } = text;
        let Some([offsets, bytes]) = all.get_mut(buffer + 1..buffer + 3) else { return Ok(()) };
        if !text.is_joined(Some(offsets)) {
            return Ok(());
        }
        let mut ends = Vec::with_capacity(4 * (length + 1));
        let mut plain = Vec::with_capacity(bytes.len());
        ends.extend_from_slice(&0i32.to_le_bytes());
        let mut begin = 0;
        let mut values = 0;
        for end in memchr::memchr_iter(0, bytes).chain([bytes.len()]) {
            values += 1;
            // Those that are too many are counted alone: a guest may have sent nothing but what joins.
            if values <= length {
                plain.extend_from_slice(&bytes[begin..end]);
                let end =
                    i32::try_from(plain.len()).map_err(|_| format!("column `{}` has more than 2 GiB", field.name()))?;
                ends.extend_from_slice(&end.to_le_bytes());
            }
            begin = end + 1;
        }
        if values != length {
            return Err(format!("column `{}` is joined of {values} texts, and has {length} values", field.name()));
        }
        (*offsets, *bytes) = (ends.into(), plain.into());
        Ok(())
    })?;
    Ok(all)
}

/// A column of utf8.
#[derive(Clone, Copy)]
struct Text<'a> {
    field: &'a Field,
    /// The place of its first buffer.
    buffer: usize,
    /// How many values it has.
    length: usize,
}

impl Text<'_> {
    /// Whether its offsets, which these are, are left out.
    fn is_joined(&self, offsets: Option<&[u8]>) -> bool {
        self.length > 0 && offsets.is_some_and(<[u8]>::is_empty)
    }
}

/// Does something with each column of utf8 at the top level.
fn each_text<'a>(
    nodes: &[WireNode],
    fields: impl IntoIterator<Item = &'a Arc<Field>>,
    mut with: impl FnMut(Text<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let (mut node, mut buffer) = (0, 0);
    for field in fields {
        let end = node + arrays(field.data_type());
        let own = nodes.get(node..end).ok_or("fewer arrays than columns")?;
        if *field.data_type() == DataType::Utf8 {
            with(Text { field, buffer, length: own[0].length as usize })?;
        }
        (node, buffer) = (end, buffer + own.iter().map(|node| node.buffers as usize).sum::<usize>());
    }
    Ok(())
}

/// How many arrays a column of this type is.
fn arrays(data_type: &DataType) -> usize {
    1 + children(data_type).iter().map(|child| arrays(child.data_type())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, Int64Array, StringArray, StructArray},
        datatypes::Schema,
    };

    use super::*;

    fn there_and_back(columns: Vec<(&str, Arc<dyn Array>)>) -> Vec<Vec<u8>> {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, column)| Arc::new(Field::new(*name, column.data_type().clone(), true)))
            .collect();
        let schema = Schema::new(fields);
        let mut lent = Lent::without_views();
        columns.iter().for_each(|(_, column)| lent.push(column).expect("it can be lent"));
        let before: Vec<Vec<u8>> = lent.buffers.iter().map(|b| b.as_slice().to_vec()).collect();
        join(&mut lent, schema.fields()).expect("it can be joined");
        let joined: Vec<&[u8]> = lent.buffers.iter().map(|b| b.as_slice()).collect();
        let back = split(&lent.nodes, &joined, schema.fields().iter()).expect("it can be taken apart");
        let back: Vec<Vec<u8>> = back.iter().map(|buffer| buffer.to_vec()).collect();
        assert_eq!(back, before);
        joined.iter().map(|b| b.to_vec()).collect()
    }

    #[test]
    fn texts_come_back_as_they_were() {
        let texts: Arc<dyn Array> =
            Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("grün"), Some("")]));
        let numbers: Arc<dyn Array> = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]));
        let inner: Arc<dyn Array> =
            Arc::new(StructArray::from(vec![(Arc::new(Field::new("t", DataType::Utf8, true)), texts.clone())]));
        let joined = there_and_back(vec![("n", numbers), ("s", inner), ("t", texts.clone())]);
        assert_eq!(joined.last().map(Vec::as_slice), Some("a\0\0\0grün\0".as_bytes()));
        assert!(joined[joined.len() - 2].is_empty());
        there_and_back(vec![("t", Arc::new(StringArray::from(vec![""])))]);
    }

    #[test]
    fn a_text_that_holds_what_joins_goes_with_offsets() {
        let joined = there_and_back(vec![("t", Arc::new(StringArray::from(vec!["a\0b", "c"])))]);
        assert_eq!(joined[1].len(), 12);
    }

    #[test]
    fn as_many_texts_are_needed_as_there_are_values() {
        let array = StringArray::from(vec!["a", "b"]);
        let field = Arc::new(Field::new("t", DataType::Utf8, true));
        let mut lent = Lent::without_views();
        lent.push(&array).expect("it can be lent");
        let why = split(&lent.nodes, &[b"", b"", b"a\0b\0c"], [&field].into_iter()).expect_err("one is too many");
        assert_eq!(why, "column `t` is joined of 3 texts, and has 2 values");
    }
}
