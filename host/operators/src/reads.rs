//! What an operator reads of its input's rows.

use datafusion::common::{Result, internal_err};

/// What an operator reads of its input's rows: expressions of the logical plan, or of the physical one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reads<E> {
    /// One expression for each port.
    pub ports: Vec<E>,
    /// The rows' id, where they have one.
    pub id: Option<E>,
    /// The URI of the file that a row comes from, where it comes from one: for messages about rows that fail.
    pub uri: Option<E>,
}

impl<E> Reads<E> {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.ports.iter().chain(&self.id).chain(&self.uri)
    }

    /// The same made of others, given in the order of [`Reads::iter`].
    pub(crate) fn with<F>(&self, others: impl IntoIterator<Item = F>) -> Result<Reads<F>> {
        let mut others = others.into_iter();
        let ports: Vec<F> = others.by_ref().take(self.ports.len()).collect();
        let id = self.id.as_ref().and_then(|_| others.next());
        let uri = self.uri.as_ref().and_then(|_| others.next());
        if ports.len() != self.ports.len() || id.is_some() != self.id.is_some() || uri.is_some() != self.uri.is_some() {
            return internal_err!("an operator reads {} expressions, and was given fewer", self.iter().count());
        }
        Ok(Reads { ports, id, uri })
    }
}
