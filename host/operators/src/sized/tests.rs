//! Tests of nodes that get batches by bytes.

use datafusion::{
    arrow::{
        array::{Int64Array, StringViewArray},
        compute::SortOptions,
        datatypes::{Field, Schema},
    },
    common::{JoinType, NullEquality},
    physical_expr::expressions::Column,
    physical_plan::execution_plan::{Boundedness, EmissionType},
    prelude::SessionConfig,
};
use dflow_pipeline::BatchLimits;
use dflow_wasm::Cancel;

use super::*;

/// Rows of a partition, of 16 KiB each.
const ROWS: i64 = 400;
/// Bytes of a batch: what is gathered has four times as many, or 16 rows.
const BATCH: Bytes = Bytes(64 << 10);

fn wide(partitions: usize) -> Arc<dyn ExecutionPlan> {
    let fields = [("n", DataType::Int64), ("text", DataType::Utf8View)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, false));
    let schema: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema.clone()),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    let batch = |start: i64| -> Result<RecordBatch> {
        let numbers = Int64Array::from_iter_values(start..start + 10);
        let texts = StringViewArray::from_iter_values((start..start + 10).map(|n| format!("{n:016384}")));
        Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers) as ArrayRef, Arc::new(texts)])?)
    };
    let batches = || (0..ROWS).step_by(10).map(batch).collect::<Vec<_>>();
    let rows = (0..partitions).map(|partition| (partition, stream::iter(batches()).boxed())).collect();
    Given::new(Arc::new(properties), rows)
}

/// How many rows each batch of a plan has; its partitions are driven together.
async fn batches(plan: Arc<dyn ExecutionPlan>) -> Vec<usize> {
    let limits = BatchLimits { bytes: BATCH, ..BatchLimits::default() };
    let scope = Arc::new(TaskScope::new(BTreeMap::new(), 2, 1, None, limits, Cancel::new()));
    let context = Arc::new(TaskContext::default().with_session_config(SessionConfig::new().with_extension(scope)));
    let plan = sized(plan).expect("a plan");
    let partitions = 0..plan.properties().output_partitioning().partition_count();
    let rows = partitions.map(|partition| plan.execute(partition, context.clone()).expect("it runs"));
    let batches = stream::select_all(rows).map(|batch| batch.expect("a batch").num_rows());
    batches.collect().await
}

fn column() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("n", 0))
}

#[tokio::test]
async fn an_exchange_gathers_by_bytes() {
    let exchange = RepartitionExec::try_new(wide(2), Partitioning::Hash(vec![column()], 2)).expect("an exchange");
    let rows = batches(Arc::new(exchange)).await;
    assert_eq!(rows.iter().sum::<usize>(), 2 * ROWS as usize);
    // Less than 16 rows waited when the last piece came, of ten at most. 80 batches were cut into 160 pieces.
    assert!(rows.iter().all(|rows| *rows < 16 + 10) && rows.len() < 80, "{rows:?}");
}

#[tokio::test]
async fn a_join_of_sorted_rows_gathers_by_bytes() {
    let join = SortMergeJoinExec::try_new(
        wide(1),
        wide(1),
        vec![(column(), column())],
        None,
        JoinType::Inner,
        vec![SortOptions::default()],
        NullEquality::NullEqualsNothing,
    );
    let rows = batches(Arc::new(join.expect("a join"))).await;
    assert_eq!(rows.iter().sum::<usize>(), ROWS as usize);
    assert!(rows.iter().all(|rows| *rows <= 16), "{rows:?}");
}
