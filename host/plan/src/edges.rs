//! Which stages each stage reads.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::execution::{SessionStateBuilder, session_state::SessionState};
use dflow_pipeline::{At, Draft, Mistake, Mistakes, Name, Pipeline, Sql, Verb};
use indexmap::IndexMap;

use crate::{
    environment::config,
    query::{self, Query},
};

/// Which stages each stage of a pipeline reads, in the order of the file. Nothing but the pipeline itself is looked at: neither
/// files nor plugins need be there.
///
/// # Errors
/// All mistakes in the pipeline's text, those in what its queries read among them.
pub fn graph(draft: &Draft) -> Result<IndexMap<Name, Vec<Name>>, Mistakes> {
    let state = SessionStateBuilder::new().with_config(config()).build();
    let edges = Edges::of(&draft.pipeline, &draft.flawed, &state);
    let mistakes = draft.mistakes.iter().cloned().chain(edges.mistakes).collect();
    match Mistakes::collect(draft.text.clone(), mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(edges.from),
    }
}

/// The edges between stages that aren't flawed.
#[derive(Default)]
pub(crate) struct Edges {
    /// The stages that each stage reads.
    pub(crate) from: IndexMap<Name, Vec<Name>>,
    /// The queries of which every table is a stage that can be read.
    pub(crate) queries: BTreeMap<Name, Query>,
    pub(crate) mistakes: Vec<Mistake>,
}

impl Edges {
    /// Takes them from each `from`; of queries from their text.
    pub(crate) fn of(pipeline: &Pipeline, flawed: &BTreeSet<String>, state: &SessionState) -> Self {
        let mut edges = Self::default();
        for (name, stage) in pipeline.stage.iter().filter(|(name, _)| !flawed.contains(name.as_str())) {
            let from = match &stage.verb {
                Verb::Sql(sql) => edges.of_query(pipeline, flawed, state, (name, stage.within.as_ref()), sql),
                Verb::Join(join) => stage.from.iter().chain([&join.with]).cloned().collect(),
                _ => stage.from.clone(),
            };
            edges.from.insert(name.clone(), from);
        }
        edges
    }

    fn of_query(
        &mut self,
        pipeline: &Pipeline,
        flawed: &BTreeSet<String>,
        state: &SessionState,
        (name, within): (&Name, Option<&Name>),
        sql: &Sql,
    ) -> Vec<Name> {
        let query = match query::parse(state, name, &sql.0) {
            Ok(query) => query,
            Err(mistake) => {
                self.mistakes.push(mistake);
                return Vec::new();
            }
        };
        let at = || At::stage(name).key("sql");
        let mut from = Vec::new();
        for table in &query.tables {
            let whole = within.map_or_else(|| table.clone(), |within| within.part(table).to_string());
            match pipeline.stage.get_key_value(whole.as_str()) {
                Some((stage, read)) if !matches!(read.verb, Verb::Write(_)) => from.push(stage.clone()),
                Some(_) => {
                    let message = format!("`{table}` writes its rows; nothing can read it");
                    self.mistakes.push(Mistake::new(at(), message));
                }
                None if flawed.contains(&whole) => {}
                None => {
                    let own = |stage: &'_ Name| match within {
                        Some(within) => within.own(stage.as_str()).is_some(),
                        None => !stage.as_str().contains('.'),
                    };
                    let known = pipeline.stage.keys().filter(|s| *s != name && own(s)).map(Name::as_str);
                    let known: Vec<_> = known.map(|s| s.rsplit_once('.').map_or(s, |(_, own)| own)).collect();
                    self.mistakes.push(Mistake::unknown(at(), "stage", table, &known));
                }
            }
        }
        if from.len() == query.tables.len() {
            self.queries.insert(name.clone(), query);
        }
        from
    }
}
