//! What an attack is, and the honest emission that most of them change one thing of.

use crate::bindings::dflow::operator::emitting::{self, Output, RowError, Slice};
use crate::bindings::dflow::operator::types::{Batch, Failure, Field, Node, Schema};
use crate::bindings::exports::dflow::operator::operators::Opened;

/// An operator that copies `text`, until a row says `attack`.
pub(crate) trait Attack: Sync {
    /// The operator's name: that of its file.
    fn name(&self) -> &'static str;

    /// Its row shape.
    fn shape(&self) -> &'static str {
        "map"
    }

    /// What it takes beside `text`, as it is described.
    fn ports(&self) -> &'static str {
        ""
    }

    /// Whether it waits for no row.
    fn always(&self) -> bool {
        false
    }

    /// What comes out when it is opened to attack in the way `how`.
    fn open(&self, _how: &str) -> Result<Opened, Failure> {
        Ok(opened(self.shape(), vec![field("copy", "u", 0)]))
    }

    /// What it does to rows that set it off.
    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure>;

    /// What it does to all others.
    fn behave(&self, batch: &Batch) {
        Emission::copy(batch).send();
    }
}

/// An answer of `open`.
pub(crate) fn opened(shape: &str, fields: Vec<Field>) -> Opened {
    Opened { output: Schema { fields }, shape: shape.to_owned(), slices: Vec::new() }
}

/// A nullable field.
pub(crate) fn field(name: &str, format: &str, children: u32) -> Field {
    let (name, format) = (name.to_owned(), format.to_owned());
    Field { name, format, nullable: true, ordered: false, children, metadata: Vec::new() }
}

/// The values of `text`.
pub(crate) fn texts(batch: &Batch) -> impl Iterator<Item = &[u8]> {
    let ends = batch.buffers[1].as_chunks::<4>().0.iter().map(|end| u32::from_le_bytes(*end) as usize);
    ends.clone().zip(ends.skip(1)).map(|(start, end)| &batch.buffers[2][start..end])
}

/// Numbers as the contract has them.
pub(crate) fn bytes(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// An emission before it is sent: every part of it may be wrong.
#[derive(Default)]
pub(crate) struct Emission {
    pub(crate) rows: u32,
    pub(crate) nodes: Vec<Node>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) parents: Option<Vec<u8>>,
    /// Column, starts, ends.
    pub(crate) slices: Vec<(u32, Vec<u8>, Vec<u8>)>,
    pub(crate) errors: Vec<(u32, String, String)>,
}

impl Emission {
    /// What came in.
    pub(crate) fn copy(batch: &Batch) -> Self {
        Self { rows: batch.rows, nodes: batch.nodes.clone(), buffers: batch.buffers.clone(), ..Self::default() }
    }

    /// A column of text.
    pub(crate) fn of(texts: &[&[u8]]) -> Self {
        let mut emission = Self { rows: texts.len() as u32, ..Self::default() };
        emission.node(texts.len() as u32, vec![vec![], vec![], texts.concat()]);
        let mut end = 0;
        emission.buffers[1] = bytes(std::iter::once(0).chain(texts.iter().map(|text| {
            end += text.len() as u32;
            end
        })));
        emission
    }

    /// As many rows as there are in the batch, without a column yet.
    pub(crate) fn rows(rows: u32) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Adds an array.
    pub(crate) fn node(&mut self, length: u32, buffers: Vec<Vec<u8>>) {
        self.nodes.push(Node { length, null_count: 0, buffers: buffers.len() as u32 });
        self.buffers.extend(buffers);
    }

    /// As [`node`](Self::node), given back.
    pub(crate) fn with(mut self, length: u32, buffers: Vec<Vec<u8>>) -> Self {
        self.node(length, buffers);
        self
    }

    /// With parents.
    pub(crate) fn parents(mut self, parents: impl IntoIterator<Item = u32>) -> Self {
        self.parents = Some(bytes(parents));
        self
    }

    /// With an error.
    pub(crate) fn error(mut self, row: u32, kind: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push((row, kind.into(), message.into()));
        self
    }

    /// Sends it to the host.
    pub(crate) fn send(&self) -> bool {
        let buffers: Vec<&[u8]> = self.buffers.iter().map(Vec::as_slice).collect();
        let slices = self.slices.iter().map(|(column, starts, ends)| Slice { column: *column, starts, ends });
        let errors = self.errors.iter().map(|(row, kind, message)| RowError { row: *row, kind, message });
        emitting::emit(Output {
            rows: self.rows,
            nodes: &self.nodes,
            buffers: &buffers,
            parents: self.parents.as_deref(),
            slices: &slices.collect::<Vec<_>>(),
            errors: &errors.collect::<Vec<_>>(),
        })
    }
}

/// A way that the attack doesn't know.
pub(crate) fn unknown(how: &str) -> Result<(), Failure> {
    Err(Failure::Other(format!("there is no attack `{how}`")))
}
