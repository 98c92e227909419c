//! Arithmetic on two columns of numbers, and three that come out.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};

use crate::{
    arithmetic::totals,
    guests::{contender, of_bench},
    turns::{self, Contender, Options, race},
};

pub(crate) fn run(options: &Options) {
    for rows in [1024usize, 8192, 65_536, 500_000] {
        let ids: Vec<i64> = (0..rows as i64).collect();
        let amounts: Vec<f64> = (0..rows).map(|row| row as f64 * 1.5).collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(ids.clone()))),
            ("amount", Arc::new(Float64Array::from(amounts.clone()))),
        ];
        let input = [RecordBatch::try_from_iter(columns).unwrap()];
        let natively = |times: usize| {
            for _ in 0..times {
                std::hint::black_box(totals(std::hint::black_box(&ids), &amounts));
            }
        };
        let total = of_bench("total", &input[0]);
        let found = race(options, vec![Contender::new("natively", natively), contender("sandbox", &total, &input)]);
        turns::show(&format!("{rows} rows"), &found, |_| None);
        for (name, times) in &found {
            println!("    {name:<34} {:>6.0} M rows/s", rows as f64 / times.least / 1e6);
        }
    }
}
