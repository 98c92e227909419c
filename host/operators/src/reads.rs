//! What an operator reads of its input's rows.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, RecordBatch, UInt32Array},
        compute::cast,
        datatypes::{DataType, UInt32Type},
    },
    common::{Result, internal_err},
    physical_expr::PhysicalExpr,
};

/// What an operator reads of its input's rows: expressions of the logical plan, or of the physical one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reads<E> {
    /// One expression for each port.
    pub ports: Vec<E>,
    /// The rows' id, where they have one.
    pub id: Option<E>,
    /// The URI of the file that a row comes from, where it comes from one: for messages about rows that fail.
    pub uri: Option<E>,
    /// How often a row was tried before, where it is one that failed and is tried again.
    pub attempts: Option<E>,
    /// What else rows that fail are to be kept with.
    pub kept: Vec<E>,
}

impl<E> Reads<E> {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.ports.iter().chain(&self.id).chain(&self.uri).chain(&self.attempts).chain(&self.kept)
    }

    /// The same made of others, given in the order of [`Reads::iter`].
    pub(crate) fn with<F>(&self, others: impl IntoIterator<Item = F>) -> Result<Reads<F>> {
        let mut others = others.into_iter();
        let ports: Vec<F> = others.by_ref().take(self.ports.len()).collect();
        let id = self.id.as_ref().and_then(|_| others.next());
        let uri = self.uri.as_ref().and_then(|_| others.next());
        let attempts = self.attempts.as_ref().and_then(|_| others.next());
        let kept = others.take(self.kept.len()).collect();
        let made = Reads { ports, id, uri, attempts, kept };
        if made.iter().count() != self.iter().count() {
            return internal_err!("an operator reads {} expressions, and was given fewer", self.iter().count());
        }
        Ok(made)
    }
}

/// A column as text.
pub(crate) fn texts(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(cast(&expr.evaluate(batch)?.into_array(batch.num_rows())?, &DataType::Utf8View)?)
}

impl Reads<Arc<dyn PhysicalExpr>> {
    /// How often rows were tried before, where they were.
    pub(crate) fn tried(&self, rows: &RecordBatch) -> Result<Option<UInt32Array>> {
        let Some(attempts) = &self.attempts else { return Ok(None) };
        let attempts = attempts.evaluate(rows)?.into_array(rows.num_rows())?;
        Ok(attempts.as_primitive_opt::<UInt32Type>().cloned())
    }
}
