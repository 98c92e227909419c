//! Notices two rows with one id.
//!
//! Rows pass as they are. The ids of all partitions go into one set as hashes of 128 bits, with the place at which each was seen
//! first, so that the message can name both rows; the set is taken from the run's memory. A task sees only its own rows, so
//! a segment with this node is one task.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::cast,
    },
    common::{DFSchemaRef, Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        execution_plan::CardinalityEffect, stream::RecordBatchStreamAdapter,
    },
};
use dflow_pipeline::{Fault, Name};
use futures::StreamExt;
use xxhash_rust::xxh3::xxh3_128;

use crate::{error::StepError, ids::ID_FIELD_TYPE};

/// Memory that one remembered id takes: its hash and its place, and the room that a hash map leaves free.
const BYTES: usize = 2 * (size_of::<u128>() + size_of::<Place>() + 1);
/// Ids for which memory is asked at once.
const STEP: usize = 1 << 15;

/// The logical node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UniqueNode {
    stage: Name,
    /// The column's name as the user knows it.
    column: String,
    id: Expr,
    input: LogicalPlan,
}

impl UniqueNode {
    /// Passes the rows of `input`, and fails where two have one `id`, or one has none. `column` is what the user calls it.
    pub fn new(stage: Name, column: String, id: Expr, input: LogicalPlan) -> Self {
        Self { stage, column, id, input }
    }

    /// What it reads.
    pub(crate) fn id(&self) -> &Expr {
        &self.id
    }

    /// The node that does it.
    pub(crate) fn physical(&self, id: Arc<dyn PhysicalExpr>, input: Arc<dyn ExecutionPlan>) -> UniqueExec {
        UniqueExec { stage: self.stage.clone(), column: self.column.clone(), id, input, seen: Arc::default() }
    }
}

impl PartialOrd for UniqueNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.stage == other.stage).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for UniqueNode {
    fn name(&self) -> &str {
        "Unique"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.id.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A duplicate that a later stage drops is a duplicate.
        self.input.schema().fields().iter().map(|f| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Unique: {}", self.id)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (exprs.pop(), inputs.pop()) {
            (Some(id), Some(input)) => Ok(Self { id, input, ..self.clone() }),
            _ => internal_err!("unique rows without an id or input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// Where a row was: its partition and its place in it.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: u32,
    row: u64,
}

/// Hashes are random already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// The ids that the partitions of one run of the node have seen.
#[derive(Debug, Default)]
struct Seen {
    places: HashMap<u128, Place, BuildHasherDefault<Same>>,
    reservation: Option<MemoryReservation>,
}

/// The physical node.
#[derive(Debug)]
pub struct UniqueExec {
    stage: Name,
    column: String,
    id: Arc<dyn PhysicalExpr>,
    input: Arc<dyn ExecutionPlan>,
    seen: Arc<Mutex<Seen>>,
}

impl DisplayAs for UniqueExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "UniqueExec: {}", self.id)
    }
}

impl ExecutionPlan for UniqueExec {
    fn name(&self) -> &str {
        "UniqueExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.id)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (stage, column, id) = (self.stage.clone(), self.column.clone(), self.id.clone());
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { stage, column, id, input, seen: Arc::default() })),
            None => internal_err!("unique rows without input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("ids of stage `{}`", self.stage));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.reservation.get_or_insert_with(|| consumer.register(context.memory_pool()));
        drop(seen);
        let mut check = Check {
            stage: self.stage.clone(),
            column: self.column.clone(),
            id: self.id.clone(),
            seen: self.seen.clone(),
            partition: partition as u32,
            partitions: self.input.output_partitioning().partition_count(),
            rows: 0,
        };
        let input = self.input.execute(partition, context)?;
        let checked = input.map(move |batch| batch.and_then(|batch| check.batch(&batch).map(|()| batch)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), checked)))
    }
}

/// One partition's check.
struct Check {
    stage: Name,
    column: String,
    id: Arc<dyn PhysicalExpr>,
    seen: Arc<Mutex<Seen>>,
    partition: u32,
    partitions: usize,
    rows: u64,
}

impl Check {
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let ids = cast(&self.id.evaluate(batch)?.into_array(batch.num_rows())?, &ID_FIELD_TYPE)?;
        let ids = ids.as_string_view();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { places, reservation } = &mut *seen;
        let room = places.len() + ids.len();
        if let Some(reservation) = reservation
            && reservation.size() < room * BYTES
        {
            // The pool's own message names the consumer, the limit and what was asked.
            reservation.try_resize(room.next_multiple_of(STEP) * BYTES)?;
        }
        for (i, id) in ids.iter().enumerate() {
            let place = Place { partition: self.partition, row: self.rows + i as u64 };
            let Some(id) = id else {
                let what = format!(
                    "stage `{}`: {} has no value in the column `{}`, its `id`",
                    self.stage,
                    self.name(place),
                    self.column
                );
                let hint = format!(
                    "keep rows with a value only: `filter = \"{} IS NOT NULL\"` in a stage before",
                    self.column
                );
                return Err(StepError::new(Fault::Data, what).hint(hint).into());
            };
            match places.entry(xxh3_128(id.as_bytes())) {
                Entry::Vacant(free) => {
                    free.insert(place);
                }
                Entry::Occupied(taken) => {
                    let (mut one, mut other) = (*taken.get(), place);
                    if (other.partition, other.row) < (one.partition, one.row) {
                        (one, other) = (other, one);
                    }
                    let what = format!(
                        "stage `{}`: two rows have the same id, `{id}` in the column `{}`: {} and {}",
                        self.stage,
                        self.column,
                        self.name(one),
                        self.name(other)
                    );
                    let hint = format!(
                        "keep the first of each with `distinct = [\"{}\"]` in a stage before, or leave `id` out",
                        self.column
                    );
                    return Err(StepError::new(Fault::Data, what).hint(hint).into());
                }
            }
        }
        self.rows += ids.len() as u64;
        Ok(())
    }

    /// What messages call a row; counted from 1.
    fn name(&self, place: Place) -> String {
        let row = place.row + 1;
        match self.partitions {
            1 => format!("row {row}"),
            parts => format!("row {row} of part {} of {parts}", place.partition + 1),
        }
    }
}
