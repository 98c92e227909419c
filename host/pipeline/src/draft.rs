//! A pipeline as far as it could be read.

use std::{collections::BTreeSet, sync::Arc};

use crate::{Mistake, Mistakes, Pipeline, Sources};

/// A pipeline as far as it could be read. What is sound of it can be planned, so that the mistakes found there come with those
/// found here.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The pipeline. It is whole if there are no mistakes.
    pub pipeline: Pipeline,
    /// The texts it was read from.
    pub text: Option<Arc<Sources>>,
    /// What is wrong so far.
    pub mistakes: Vec<Mistake>,
    /// The stages about which nothing more can be said: a mistake is in them, or in a resource that they name. Some of them
    /// aren't in the pipeline at all.
    pub flawed: BTreeSet<String>,
}

impl Draft {
    /// The pipeline, if it is whole.
    ///
    /// # Errors
    /// All mistakes at once, in the order of the texts.
    pub fn whole(self) -> Result<Pipeline, Mistakes> {
        match Mistakes::collect(self.text, self.mistakes) {
            Some(mistakes) => Err(mistakes),
            None => Ok(self.pipeline),
        }
    }
}

impl From<Pipeline> for Draft {
    fn from(pipeline: Pipeline) -> Self {
        Self { pipeline, text: None, mistakes: Vec::new(), flawed: BTreeSet::new() }
    }
}
