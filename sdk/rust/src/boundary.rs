//! Arrow ↔ the parts of the contract: fields in pre-order, nodes, and buffers that are lent.
//!
//! Nothing is copied on the way in, and on the way out only what has to be: bitmaps that don't begin at a byte and offsets that
//! don't begin at zero, which slices of arrays have.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::ByteArrayType;
use arrow_array::{Array, ArrayRef, GenericByteArray, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::Failure;

/// One field of a schema, as `types.field` of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireField {
    pub(crate) name: String,
    pub(crate) format: String,
    pub(crate) nullable: bool,
    pub(crate) children: u32,
    pub(crate) metadata: Vec<(String, String)>,
}

/// One array of a batch, as `types.node` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireNode {
    pub(crate) length: u32,
    pub(crate) null_count: u32,
}

/// Whether values of a type can cross the boundary.
pub(crate) fn crosses(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::Binary => true,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => true,
        DataType::List(child) | DataType::FixedSizeList(child, _) => crosses(child.data_type()),
        DataType::Struct(children) => children.iter().all(|child| crosses(child.data_type())),
        other => other.is_integer() || other.is_floating(),
    }
}

/// Takes a schema apart.
pub(crate) fn fields_of(schema: &Schema) -> Result<Vec<WireField>, Failure> {
    let mut fields = Vec::new();
    for field in schema.fields() {
        if !crosses(field.data_type()) {
            let message = format!(
                "output column `{}` is of type {}, which can't cross the boundary\nhint: plain utf8, binary and list can",
                field.name(),
                field.data_type()
            );
            return Err(Failure::Unsupported(message));
        }
        push_field(field, &mut fields)?;
    }
    Ok(fields)
}

fn push_field(field: &Field, fields: &mut Vec<WireField>) -> Result<(), ArrowError> {
    let children = match field.data_type() {
        DataType::List(child) | DataType::FixedSizeList(child, _) => std::slice::from_ref(child),
        DataType::Struct(children) => children,
        _ => &[],
    };
    let format = FFI_ArrowSchema::try_from(field.data_type())?.format().to_owned();
    let mut metadata: Vec<_> = field.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.sort();
    let (name, nullable) = (field.name().clone(), field.is_nullable());
    fields.push(WireField { name, format, nullable, children: children.len() as u32, metadata });
    children.iter().try_for_each(|child| push_field(child, fields))
}

/// Puts a schema together.
pub(crate) fn schema_of(fields: Vec<WireField>) -> Result<Schema, Failure> {
    let mut fields = fields.into_iter();
    let mut columns = Vec::new();
    while let Some(field) = fields.next() {
        columns.push(pull_field(field, &mut fields)?);
    }
    Ok(Schema::new(columns))
}

fn pull_field(wire: WireField, rest: &mut std::vec::IntoIter<WireField>) -> Result<Field, Failure> {
    let mut children = Vec::new();
    for _ in 0..wire.children {
        let child = rest
            .next()
            .ok_or_else(|| Failure::Schema(format!("field `{}` has fewer children than it says", wire.name)))?;
        children.push(FFI_ArrowSchema::try_from(&pull_field(child, rest)?)?);
    }
    let unknown =
        || Failure::Unsupported(format!("input column `{}` has the unknown format `{}`", wire.name, wire.format));
    if wire.format.contains('\0') {
        return Err(unknown());
    }
    let format = FFI_ArrowSchema::try_new(&wire.format, children, None)?;
    let data_type = DataType::try_from(&format).ok().filter(crosses).ok_or_else(unknown)?;
    Ok(Field::new(wire.name, data_type, wire.nullable).with_metadata(HashMap::from_iter(wire.metadata)))
}

/// Arrays taken apart: what is lent to the host.
#[derive(Default)]
pub(crate) struct Lent {
    pub(crate) nodes: Vec<WireNode>,
    pub(crate) buffers: Vec<Buffer>,
}

impl Lent {
    /// Adds a column, whose type [`crosses`].
    pub(crate) fn push(&mut self, array: &dyn Array) {
        // The null type has no validity buffer; all its values are null.
        let null_count = if array.data_type() == &DataType::Null { array.len() } else { array.null_count() };
        self.nodes.push(WireNode { length: array.len() as u32, null_count: null_count as u32 });
        if array.data_type() != &DataType::Null {
            self.buffers.push(validity(array.nulls()));
        }
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.buffers.push(bits(array.as_boolean().values())),
            DataType::Utf8 => self.push_bytes(array.as_string::<i32>()),
            DataType::Binary => self.push_bytes(array.as_binary::<i32>()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let (first, last) = bounds(list.offsets());
                self.buffers.push(from_zero(list.offsets()));
                self.push(&list.values().slice(first, last - first));
            }
            DataType::FixedSizeList(_, width) => {
                let list = array.as_fixed_size_list();
                self.push(&list.values().slice(list.value_offset(0) as usize, list.len() * *width as usize));
            }
            DataType::Struct(_) => array.as_struct().columns().iter().for_each(|column| self.push(column)),
            other => {
                let width = other.primitive_width().expect("all other types that cross have a fixed width");
                let data = array.to_data();
                self.buffers.push(data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width));
            }
        }
    }

    fn push_bytes<T: ByteArrayType<Offset = i32>>(&mut self, array: &GenericByteArray<T>) {
        let (first, last) = bounds(array.offsets());
        self.buffers.push(from_zero(array.offsets()));
        self.buffers.push(array.values().slice_with_length(first, last - first));
    }
}

fn validity(nulls: Option<&NullBuffer>) -> Buffer {
    nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| bits(nulls.inner())).unwrap_or_default()
}

/// The bytes of a bitmap, from its first bit to the byte of its last.
fn bits(bits: &BooleanBuffer) -> Buffer {
    let bytes = bits.sliced();
    bytes.slice_with_length(0, bits.len().div_ceil(8).min(bytes.len()))
}

fn bounds(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let first = offsets.first().copied().unwrap_or_default();
    (first as usize, offsets.last().copied().unwrap_or(first) as usize)
}

fn from_zero(offsets: &OffsetBuffer<i32>) -> Buffer {
    match offsets.first() {
        None | Some(0) => offsets.inner().inner().clone(),
        Some(first) => offsets.iter().map(|offset| offset - first).collect::<ScalarBuffer<i32>>().into_inner(),
    }
}

/// Whether what is received is believed: what comes from the host it has checked, and it can do anything to a guest's memory
/// anyway. Natively there is no host, and everything is checked.
const TRUSTED: bool = cfg!(target_arch = "wasm32");

/// Puts a batch of `schema` together from what was received.
pub(crate) fn receive(
    schema: SchemaRef,
    rows: usize,
    nodes: &[WireNode],
    buffers: Vec<Buffer>,
) -> Result<RecordBatch, Failure> {
    let mut parts = Parts { nodes: nodes.iter(), buffers: buffers.into_iter() };
    let columns: Vec<ArrayRef> =
        schema.fields().iter().map(|field| parts.array(field.data_type()).map(make_array)).collect::<Result<_, _>>()?;
    if parts.nodes.len() > 0 || parts.buffers.len() > 0 {
        return Err(Failure::Schema("the batch has more nodes or buffers than its schema".to_owned()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

struct Parts<'a> {
    nodes: std::slice::Iter<'a, WireNode>,
    buffers: std::vec::IntoIter<Buffer>,
}

impl Parts<'_> {
    fn buffer(&mut self) -> Result<Buffer, Failure> {
        let buffer = self
            .buffers
            .next()
            .ok_or_else(|| Failure::Schema("the batch has fewer buffers than its schema".to_owned()))?;
        // An empty list may be at any address; arrow wants one that is aligned.
        Ok(if buffer.is_empty() { MutableBuffer::new(0).into() } else { buffer })
    }

    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, Failure> {
        let node = *self
            .nodes
            .next()
            .ok_or_else(|| Failure::Schema("the batch has fewer nodes than its schema".to_owned()))?;
        let mut builder = ArrayData::builder(data_type.clone()).len(node.length as usize);
        if data_type != &DataType::Null {
            let validity = self.buffer()?;
            if !validity.is_empty() {
                builder = builder.null_bit_buffer(Some(validity));
            }
        }
        match data_type {
            DataType::Null => {}
            DataType::Utf8 | DataType::Binary => {
                builder = builder.add_buffer(self.offsets()?).add_buffer(self.buffer()?);
            }
            DataType::List(child) => {
                builder = builder.add_buffer(self.offsets()?).add_child_data(self.array(child.data_type())?);
            }
            DataType::FixedSizeList(child, _) => builder = builder.add_child_data(self.array(child.data_type())?),
            DataType::Struct(children) => {
                for child in children {
                    builder = builder.add_child_data(self.array(child.data_type())?);
                }
            }
            _ => builder = builder.add_buffer(self.buffer()?),
        }
        // The allocator aligns large buffers, but a small one may be less aligned than its type asks.
        let builder = builder.align_buffers(true);
        if !TRUSTED {
            return Ok(builder.build()?);
        }
        // SAFETY: the contract says that the host lends valid arrays.
        #[expect(unsafe_code, reason = "checking each batch again would cost as much as the boundary")]
        Ok(unsafe { builder.build_unchecked() })
    }

    fn offsets(&mut self) -> Result<Buffer, Failure> {
        let offsets = self.buffer()?;
        Ok(if offsets.is_empty() { Buffer::from(0i32.to_le_bytes()) } else { offsets })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{BooleanArray, FixedSizeListArray, Int64Array, ListArray, NullArray, StringArray, StructArray};
    use arrow_schema::{Fields, TimeUnit};

    use super::*;

    #[test]
    fn every_type_of_the_contract_survives() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        let members = Fields::from(vec![
            Field::new("a", DataType::Int64, false),
            Field::new("b", DataType::List(item(DataType::Boolean)), true),
        ]);
        let types = [
            DataType::Null,
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt64,
            DataType::Float16,
            DataType::Float32,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Date64,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Timestamp(TimeUnit::Second, None),
            DataType::List(item(DataType::Utf8)),
            DataType::FixedSizeList(item(DataType::Float32), 3),
            DataType::Struct(members),
        ];
        let fields = types.into_iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t, i % 2 == 0));
        let metadata = HashMap::from([("ARROW:extension:name".to_owned(), "dflow.file".to_owned())]);
        let mut fields: Vec<Field> = fields.collect();
        fields[6].set_metadata(metadata);
        let schema = Schema::new(fields);
        assert_eq!(schema_of(fields_of(&schema).unwrap()).unwrap(), schema);
    }

    #[test]
    fn types_that_cannot_cross_are_named() {
        let failure = fields_of(&Schema::new(vec![Field::new("big", DataType::LargeUtf8, true)])).unwrap_err();
        assert!(failure.to_string().contains("`big`"), "{failure}");
        let field = |format: &str, children| WireField {
            name: "x".into(),
            format: format.into(),
            nullable: true,
            children,
            metadata: vec![],
        };
        for fields in [vec![field("U", 0)], vec![field("??", 0)], vec![field("+l", 1)], vec![field("u\0", 0)]] {
            schema_of(fields.clone()).expect_err(&format!("{fields:?}"));
        }
    }

    #[test]
    fn arrays_survive_sliced_or_whole() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
        let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(7)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("größe")]));
        let both: ArrayRef = Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("n", numbers.data_type().clone(), true)), numbers.clone()),
            (Arc::new(Field::new("l", lists.data_type().clone(), true)), lists.clone()),
        ]));
        let pairs = [Some(vec![Some(1), Some(2)]), None, Some(vec![None, Some(3)]), Some(vec![Some(4), Some(5)])];
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]));
        let nothing: ArrayRef = Arc::new(NullArray::new(4));
        for array in [numbers, lists, text, both, fixed, flags, nothing] {
            for (from, len) in [(0, 4), (1, 3), (1, 2), (3, 1), (2, 0)] {
                let sliced = array.slice(from, len);
                let mut lent = Lent::default();
                lent.push(&sliced);
                let schema = Arc::new(Schema::new(vec![Field::new("x", array.data_type().clone(), true)]));
                let batch = receive(schema, len, &lent.nodes, lent.buffers).unwrap();
                assert_eq!(batch.column(0), &sliced, "{} [{from}, {len}]", array.data_type());
            }
        }
    }

    #[test]
    fn whole_arrays_are_lent_in_place() {
        let text = StringArray::from(vec!["one", "two"]);
        let mut lent = Lent::default();
        lent.push(&text);
        assert_eq!(lent.buffers[2].as_ptr(), text.value_data().as_ptr());
        assert!(lent.buffers[0].is_empty());
    }
}
