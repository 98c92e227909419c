//! Buffers in guest memory → checked Arrow arrays, with one copy.
//!
//! Nothing of the guest's is believed: each buffer is copied into memory of ours and the array is then validated by arrow
//! itself (lengths, offsets, UTF-8, null counts, children).

use arrow::{
    array::{ArrayData, ArrayRef, make_array},
    buffer::Buffer,
    datatypes::{DataType, Field},
};

use crate::abi::WireNode;

/// The nodes and buffers of one emission, consumed field by field.
pub(crate) struct Parts<'a> {
    pub(crate) nodes: std::slice::Iter<'a, WireNode>,
    pub(crate) buffers: std::slice::Iter<'a, &'a [u8]>,
}

impl Parts<'_> {
    /// The next column, which must have `rows` values. Errors are phrases that follow the column's name.
    pub(crate) fn column(&mut self, field: &Field, rows: usize) -> Result<ArrayRef, String> {
        let data = self.array(field)?;
        if data.len() != rows {
            return Err(format!("has {} values for {rows} rows", data.len()));
        }
        if !field.is_nullable() && data.null_count() > 0 {
            return Err(format!("is not nullable and has {} nulls", data.null_count()));
        }
        Ok(make_array(data))
    }

    /// Whether everything was consumed.
    pub(crate) fn rest(&self) -> Result<(), String> {
        match (self.nodes.len(), self.buffers.len()) {
            (0, 0) => Ok(()),
            (nodes, buffers) => Err(format!("{nodes} nodes and {buffers} buffers more than the schema has")),
        }
    }

    fn buffer(&mut self) -> Result<Buffer, String> {
        self.buffers.next().map(|bytes| Buffer::from(*bytes)).ok_or_else(|| "lacks a buffer".to_owned())
    }

    fn array(&mut self, field: &Field) -> Result<ArrayData, String> {
        let node = *self.nodes.next().ok_or("lacks a node")?;
        let length = node.length as usize;
        let mut builder = ArrayData::builder(field.data_type().clone()).len(length);
        let mut nulls = 0;
        if field.data_type() == &DataType::Null {
            if node.null_count != node.length {
                return Err(format!(
                    "is of the null type and says that {} of {length} values are null",
                    node.null_count
                ));
            }
        } else {
            let validity = self.buffer()?;
            if !validity.is_empty() {
                if validity.len() < length.div_ceil(8) {
                    return Err(format!("has a validity buffer of {} bytes for {length} values", validity.len()));
                }
                nulls = length - validity.count_set_bits_offset(0, length);
                builder = builder.null_bit_buffer(Some(validity));
            }
            if nulls != node.null_count as usize {
                return Err(format!("says that {} values are null, its validity buffer says {nulls}", node.null_count));
            }
        }
        match field.data_type() {
            DataType::Null => {}
            DataType::Utf8 | DataType::Binary => {
                let mut offsets = self.buffer()?;
                if offsets.is_empty() && length == 0 {
                    offsets = Buffer::from(0i32.to_le_bytes());
                }
                builder = builder.add_buffer(offsets).add_buffer(self.buffer()?);
            }
            DataType::List(child) => {
                let mut offsets = self.buffer()?;
                if offsets.is_empty() && length == 0 {
                    offsets = Buffer::from(0i32.to_le_bytes());
                }
                builder = builder.add_buffer(offsets).add_child_data(self.array(child)?);
            }
            DataType::FixedSizeList(child, _) => builder = builder.add_child_data(self.array(child)?),
            DataType::Struct(children) => {
                for child in children {
                    let data = self.array(child)?;
                    if data.len() != length {
                        return Err(format!("has a member `{}` of {} values for {length}", child.name(), data.len()));
                    }
                    builder = builder.add_child_data(data);
                }
            }
            _ => builder = builder.add_buffer(self.buffer()?),
        }
        // `build` validates everything; a buffer that guests aligned worse than the type needs is aligned by our copy.
        builder.align_buffers(true).build().map_err(|e| format!("is not valid Arrow: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, AsArray, Int64Array, ListArray, StringArray, StringViewArray, StructArray, types::Int32Type},
        datatypes::Fields,
    };

    use super::*;
    use crate::lower::Lowered;

    /// Lowers a column and lifts it again.
    fn through(array: ArrayRef) -> Result<ArrayRef, String> {
        let mut lowered = Lowered::default();
        lowered.push(&array)?;
        let buffers: Vec<&[u8]> = lowered.buffers.iter().map(Buffer::as_slice).collect();
        let mut parts = Parts { nodes: lowered.nodes.iter(), buffers: buffers.iter() };
        let field = Field::new("x", crate::lower::plain(array.data_type()), true);
        let out = parts.column(&field, array.len())?;
        parts.rest()?;
        Ok(out)
    }

    #[test]
    fn arrays_survive_sliced_or_whole() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(7)]),
        ]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("größe")]));
        let both: ArrayRef = Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("n", numbers.data_type().clone(), true)), numbers.clone()),
            (Arc::new(Field::new("l", lists.data_type().clone(), true)), lists.clone()),
        ]));
        let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(4));
        let fixed: ArrayRef = Arc::new(arrow::array::FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
            [Some(vec![Some(1), Some(2)]), None, Some(vec![None, Some(3)]), Some(vec![Some(4), Some(5)])],
            2,
        ));
        let flags: ArrayRef =
            Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]));
        for array in [numbers, lists, text, both, nothing, fixed, flags] {
            for (from, len) in [(0, 4), (1, 3), (1, 2), (3, 1), (2, 0)] {
                let slice = array.slice(from, len);
                let back = through(slice.clone()).unwrap_or_else(|e| panic!("{}: {e}", array.data_type()));
                assert_eq!(&back, &slice, "{} [{from}, {len}]", array.data_type());
            }
        }
    }

    #[test]
    fn views_become_plain_without_gathering_when_adjacent() {
        let plain = StringArray::from(vec!["thirteen bytes", "another long value", "and a third one"]);
        let views: ArrayRef = Arc::new(StringViewArray::from(&plain));
        let mut lowered = Lowered::default();
        lowered.push(&views).expect("views can cross");
        assert_eq!(lowered.buffers[2].as_ptr(), views.as_string_view().data_buffers()[0].as_ptr());
        for slice in [views.slice(1, 2), views.slice(2, 1)] {
            assert_eq!(
                through(slice.clone()).expect("crosses").as_string::<i32>().iter().collect::<Vec<_>>(),
                slice.as_string_view().iter().collect::<Vec<_>>()
            );
        }
        let short: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a value of some length"), Some("b")]));
        assert_eq!(
            through(short.clone()).expect("crosses").as_string::<i32>().iter().collect::<Vec<_>>(),
            short.as_string_view().iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn lies_are_refused_by_name() {
        let node = |length, null_count| WireNode { length, null_count };
        let offsets = |o: [i32; 3]| o.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let utf8 = DataType::Utf8;
        let ascending = offsets([0, 1, 2]);
        type Case = (DataType, Vec<WireNode>, Vec<Vec<u8>>, &'static str);
        let cases: Vec<Case> = vec![
            (utf8.clone(), vec![node(2, 0)], vec![vec![], offsets([0, 2, 1]), b"ab".to_vec()], "not valid Arrow"),
            (utf8.clone(), vec![node(2, 0)], vec![vec![], offsets([0, 1, 9]), b"ab".to_vec()], "not valid Arrow"),
            (utf8.clone(), vec![node(2, 0)], vec![vec![], ascending.clone(), vec![0xff, 0xfe]], "not valid Arrow"),
            (utf8.clone(), vec![node(2, 0)], vec![vec![], vec![0; 4], b"ab".to_vec()], "not valid Arrow"),
            (utf8.clone(), vec![node(3, 0)], vec![vec![], ascending.clone(), b"ab".to_vec()], "not valid Arrow"),
            (
                utf8.clone(),
                vec![node(2, 1)],
                vec![vec![], ascending.clone(), b"ab".to_vec()],
                "says that 1 values are null",
            ),
            (
                utf8.clone(),
                vec![node(2, 2)],
                vec![vec![0b10], ascending.clone(), b"ab".to_vec()],
                "says that 2 values are null",
            ),
            (utf8.clone(), vec![node(2, 0)], vec![vec![], ascending.clone()], "lacks a buffer"),
            (utf8, vec![], vec![], "lacks a node"),
            (DataType::Int64, vec![node(2, 0)], vec![vec![], vec![0; 15]], "not valid Arrow"),
            (DataType::Int64, vec![node(1, 0)], vec![vec![], vec![0; 8]], "has 1 values for 2 rows"),
            (DataType::Int64, vec![node(2, 0)], vec![vec![], vec![0; 16], vec![]], "more than the schema has"),
            (
                DataType::Struct(Fields::from(vec![Field::new("m", DataType::Int8, true)])),
                vec![node(2, 0), node(1, 0)],
                vec![vec![], vec![], vec![0]],
                "member `m`",
            ),
        ];
        for (data_type, nodes, buffers, expected) in cases {
            let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
            let mut parts = Parts { nodes: nodes.iter(), buffers: slices.iter() };
            let result = parts.column(&Field::new("x", data_type.clone(), true), 2).and_then(|_| parts.rest());
            let message = result.expect_err(&format!("{data_type} {nodes:?}"));
            assert!(message.contains(expected), "{data_type}: {message}");
        }
    }
}
