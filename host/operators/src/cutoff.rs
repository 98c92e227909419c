//! Leaves out rows that can't be among the first of a sort, before they are sorted.
//!
//! Once as many rows as are wanted have been seen, the last of them in the order is a cutoff: whatever comes after it isn't wanted. It moves on
//! with the rows that come. Only the sort's first key is looked at, a number of some kind; rows that are alike in it are all kept.

use std::{
    cmp::Ordering,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, RecordBatch,
            downcast_primitive,
        },
        buffer::BooleanBuffer,
        compute::{BatchCoalescer, SortOptions, filter_record_batch},
        datatypes::DataType,
    },
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryPool},
    physical_expr::{PhysicalExpr, PhysicalSortExpr},
    physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, stream::RecordBatchStreamAdapter},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::held::Held;

/// Of so many wanted rows half as many more are seen before the cutoff moves on: finding it takes time, too.
const SEEN: usize = 2;

/// The physical node. Its partitions share the cutoff, so their rows are to be merged, and the first of all of them to be taken.
#[derive(Debug)]
pub struct CutoffExec {
    input: Arc<dyn ExecutionPlan>,
    key: PhysicalSortExpr,
    rows: usize,
    seen: Arc<Mutex<Option<Box<dyn Seen>>>>,
}

impl CutoffExec {
    /// Keeps what may be among the first `rows` by a key; `None` if its type has none of the orders that are known here.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, key: PhysicalSortExpr, rows: usize) -> Option<Self> {
        let data_type = key.expr.data_type(&input.schema()).ok()?;
        let is_known =
            data_type.is_numeric() || (data_type.is_temporal() && !matches!(data_type, DataType::Interval(_)));
        is_known.then(|| Self { input, key, rows: rows.max(1), seen: Arc::default() })
    }
}

impl DisplayAs for CutoffExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CutoffExec: rows={} by=[{}]", self.rows, self.key)
    }
}

impl ExecutionPlan for CutoffExec {
    fn name(&self) -> &str {
        "CutoffExec"
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
        f(&self.key.expr)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a cutoff without input") };
        Ok(Arc::new(Self { input, key: self.key.clone(), rows: self.rows, seen: Arc::default() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let pool = context.memory_pool().clone();
        let rows = self.input.execute(partition, context.clone())?;
        let (key, wanted, seen) = (self.key.clone(), self.rows, self.seen.clone());
        let kept = move |batch: &RecordBatch| -> Result<Option<BooleanArray>> {
            let keys = key.expr.evaluate(batch)?.into_array(batch.num_rows())?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_none() {
                *seen = new_seen(keys.data_type(), wanted, key.options, &pool);
            }
            Ok(seen.as_mut().and_then(|seen| seen.keep(&keys)).map(|kept| BooleanArray::new(kept, None)))
        };
        let stream = if self.schema().fields().iter().all(|field| field.data_type().is_primitive()) {
            gathered(rows, context.session_config().batch_size(), kept).boxed()
        } else {
            // Wide rows stay in the batches that they are in, which have about as many bytes as they may.
            let filter = move |batch: Result<RecordBatch>| {
                let batch = batch?;
                Ok(match kept(&batch)? {
                    Some(kept) => filter_record_batch(&batch, &kept)?,
                    None => batch,
                })
            };
            rows.map(filter).boxed()
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// What is kept of rows, in batches of so many again: a sort merges as many runs as it is given batches.
fn gathered(
    rows: SendableRecordBatchStream,
    size: usize,
    kept: impl Fn(&RecordBatch) -> Result<Option<BooleanArray>> + Send + Sync + 'static,
) -> impl Stream<Item = Result<RecordBatch>> {
    let waiting = BatchCoalescer::new(rows.schema(), size).with_biggest_coalesce_batch_size(Some(size / 2));
    stream::try_unfold((rows.fuse(), waiting, kept), move |(mut rows, mut waiting, kept)| async move {
        loop {
            if let Some(batch) = waiting.next_completed_batch() {
                return Ok(Some((batch, (rows, waiting, kept))));
            }
            match rows.try_next().await? {
                Some(batch) => match kept(&batch)? {
                    Some(kept) => waiting.push_batch_with_filter(batch, &kept)?,
                    None => waiting.push_batch(batch)?,
                },
                None if waiting.is_empty() => return Ok(None),
                None => waiting.finish_buffered_batch()?,
            }
        }
    })
}

/// The keys of rows that were seen, whatever their type.
trait Seen: Send {
    /// Which of some more rows may be among the first; all of them, if nothing is said.
    fn keep(&mut self, keys: &ArrayRef) -> Option<BooleanBuffer>;
}

impl fmt::Debug for dyn Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

/// Those of one type.
struct Keys<T: ArrowPrimitiveType> {
    rows: usize,
    options: SortOptions,
    /// Those of rows that may be among the first, and of some more.
    keys: Vec<T::Native>,
    /// What comes after it isn't among the first.
    cutoff: Option<T::Native>,
    held: Held,
}

fn new_seen(
    data_type: &DataType,
    rows: usize,
    options: SortOptions,
    pool: &Arc<dyn MemoryPool>,
) -> Option<Box<dyn Seen>> {
    macro_rules! of {
        ($t:ty) => {
            Some(Box::new(Keys::<$t>::new(rows, options, pool)))
        };
    }
    downcast_primitive! {
        data_type => (of),
        _ => None
    }
}

impl<T: ArrowPrimitiveType> Keys<T> {
    fn new(rows: usize, options: SortOptions, pool: &Arc<dyn MemoryPool>) -> Self {
        Self { rows, options, keys: Vec::new(), cutoff: None, held: Held::new(pool, "the first rows of a sort") }
    }

    fn has_room(&mut self, more: usize) -> bool {
        let wanted = self.keys.len() + more;
        if wanted <= self.keys.capacity() {
            return true;
        }
        let room = wanted.max(self.keys.capacity() * 2);
        let has_room = self.held.set(room * size_of::<T::Native>()).is_ok();
        if has_room {
            self.keys.reserve_exact(room - self.keys.len());
        }
        has_room
    }

    fn order(&self) -> impl Fn(&T::Native, &T::Native) -> Ordering + use<T> {
        let descending = self.options.descending;
        move |a, b| if descending { b.compare(*a) } else { a.compare(*b) }
    }

    /// Finds the cutoff anew when enough keys are there.
    fn cut(&mut self) {
        if self.keys.len() < self.rows + self.rows / SEEN {
            return;
        }
        let order = self.order();
        let (_, last, _) = self.keys.select_nth_unstable_by(self.rows - 1, order);
        // Of zero there are two, which some orders take for one.
        let zero = if self.options.descending { T::Native::ZERO.neg_wrapping() } else { T::Native::ZERO };
        self.cutoff = Some(if last.is_zero() { zero } else { *last });
        self.keys.truncate(self.rows);
    }
}

impl<T: ArrowPrimitiveType> Seen for Keys<T> {
    fn keep(&mut self, keys: &ArrayRef) -> Option<BooleanBuffer> {
        let keys = keys.as_primitive_opt::<T>()?;
        let (order, values) = (self.order(), keys.values());
        let kept = self.cutoff.map(|cutoff| {
            let kept = BooleanBuffer::collect_bool(values.len(), |row| order(&values[row], &cutoff).is_le());
            match keys.nulls() {
                // All that were seen until the cutoff come before nulls that are last.
                Some(nulls) if self.options.nulls_first => &kept | &!nulls.inner(),
                Some(nulls) => &kept & nulls.inner(),
                None => kept,
            }
        });
        // Where there is no room to remember more, the cutoff stays where it is.
        if self.has_room(values.len()) {
            let seen = |row: &usize| keys.is_valid(*row) && kept.as_ref().is_none_or(|kept| kept.value(*row));
            self.keys.extend((0..values.len()).filter(seen).map(|row| values[row]));
            self.cut();
        }
        kept.filter(|kept| kept.count_set_bits() < values.len())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::array::{Float64Array, Int64Array, StringArray},
        execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool},
    };

    use super::*;

    fn kept(seen: &mut dyn Seen, keys: ArrayRef) -> Vec<usize> {
        let rows = keys.len();
        seen.keep(&keys).map_or_else(|| (0..rows).collect(), |kept| kept.set_indices().collect())
    }

    fn seen(data_type: &DataType, rows: usize, descending: bool, nulls_first: bool) -> Box<dyn Seen> {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        new_seen(data_type, rows, SortOptions { descending, nulls_first }, &pool).expect("a number")
    }

    fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(values))
    }

    #[test]
    fn what_comes_after_enough_rows_is_left_out() {
        let mut seen = seen(&DataType::Int64, 2, false, true);
        assert_eq!(kept(&mut *seen, ints([5, 9].map(Some))), [0, 1], "nothing is known yet");
        assert_eq!(kept(&mut *seen, ints([Some(7), None])), [0, 1], "nor before they were seen");
        // 5 and 7 are the first two now: 7 may be wanted for another key, 8 is not, and nulls come first.
        assert_eq!(kept(&mut *seen, ints([Some(7), Some(8), None, Some(1)])), [0, 2, 3]);
        assert_eq!(kept(&mut *seen, ints([6, 5].map(Some))), [1]);
    }

    #[test]
    fn nulls_that_are_last_are_left_out_and_both_zeros_are_kept() {
        let mut seen = seen(&DataType::Float64, 2, true, false);
        let floats = |values: [Option<f64>; 4]| Arc::new(Float64Array::from_iter(values)) as ArrayRef;
        assert_eq!(kept(&mut *seen, floats([Some(0.0), Some(0.0), Some(-1.0), None])), [0, 1, 2, 3]);
        assert_eq!(kept(&mut *seen, floats([Some(-0.0), None, Some(f64::NAN), Some(-0.5)])), [0, 2]);
    }

    #[test]
    fn all_first_rows_are_kept_whatever_comes_when() {
        let mut state = 7_u64;
        let mut random = move |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        for (rows, most) in [(1, 5), (10, 30), (100, 1_000_000)] {
            let mut seen = seen(&DataType::Int64, rows, true, false);
            let (mut all, mut left) = (Vec::new(), Vec::new());
            for _ in 0..50 {
                let batch: Vec<i64> = (0..random(60)).map(|_| random(most) as i64).collect();
                all.extend(&batch);
                left.extend(kept(&mut *seen, ints(batch.iter().copied().map(Some))).into_iter().map(|row| batch[row]));
            }
            for values in [&mut all, &mut left] {
                values.sort_unstable_by(|a, b| b.cmp(a));
                values.truncate(rows);
            }
            assert_eq!(all, left);
        }
    }

    #[test]
    fn without_memory_all_rows_are_kept() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let mut seen = new_seen(&DataType::Int64, 1 << 20, SortOptions::default(), &pool).expect("a number");
        for _ in 0..4 {
            assert_eq!(kept(&mut *seen, ints((0..1 << 20).map(Some))).len(), 1 << 20);
        }
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert!(new_seen(text.data_type(), 1, SortOptions::default(), &pool).is_none());
    }
}
