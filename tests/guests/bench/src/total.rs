//! `total`: arithmetic on two columns, and three that come out.

use std::sync::Arc;

use dflow_plugin::arrow::{
    Array, AsArray, DataType, Field, Float64Array, NullBuffer, RecordBatch, Schema,
    types::{Float64Type, Int64Type},
};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};

use crate::{NoSettings, arithmetic::totals};

pub(crate) struct Total;

impl Operator for Total {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("total", Shape::Map)
            .summary("twice the amount and the id, with both")
            .port(Port::new("id", &["int64"], "a number"))
            .port(Port::new("amount", &["float64"], "another"))
    }

    fn open(_settings: NoSettings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let column = |name, data_type| Field::new(name, data_type, true);
        let opened =
            Opened::new(Shape::Map).column(column("id", DataType::Int64)).column(column("amount", DataType::Float64));
        Ok((Self, opened.column(column("total", DataType::Float64))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let ids = input.column(0).as_primitive::<Int64Type>();
        let amounts = input.column(1).as_primitive::<Float64Type>();
        let nulls = NullBuffer::union(ids.nulls(), amounts.nulls());
        let totals = Float64Array::new(totals(ids.values(), amounts.values()).into(), nulls);
        emit.map(vec![input.column(0).clone(), input.column(1).clone(), Arc::new(totals)]).map(drop)
    }
}
