//! `token2`, in the sandbox and natively, on one thread and on two.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StringViewArray, builder::make_view};

use crate::{
    guests::{contender, of_bench},
    turns::{self, Contender, Options, race},
    words::second_words,
};

/// Rows in all, and in one batch.
const ROWS: usize = 1_000_000;
const BATCH: usize = 8192;

pub(crate) fn run(options: &Options) {
    let plain = batches();
    let views: Vec<_> = plain.iter().map(|text| batch(Arc::new(StringViewArray::from(text)))).collect();
    let native = |times: usize| {
        for _ in 0..times {
            for text in &plain {
                std::hint::black_box(natively(text));
            }
        }
    };
    let loops = |times: usize| {
        for _ in 0..times {
            for text in &plain {
                std::hint::black_box(second_words(text.value_offsets(), text.value_data()));
            }
        }
    };
    let token2 = of_bench("token2", &views[0]);
    let (first, second) = views.split_at(views.len() / 2);
    let plain_batches: Vec<_> = plain.iter().map(|text| batch(Arc::new(text.clone()))).collect();
    let mut found = race(
        options,
        vec![
            Contender::new("natively", native),
            Contender::new("natively, only the words' ranges", loops),
            contender("sandbox", &token2, &views),
            contender("sandbox, of plain text", &token2, &plain_batches),
        ],
    );
    let half = options.rounds / 2 + 1;
    let two = two_threads(half, [first, second], &token2);
    found.push(("sandbox, two threads".to_owned(), two));
    turns::show(&format!("{ROWS} rows in batches of {BATCH}"), &found, |name| match name {
        "sandbox" => Some(1.7),
        _ => None,
    });
    for (name, times) in &found {
        println!("    {name:<34} {:>6.1} M rows/s", ROWS as f64 / times.least / 1e6);
    }
}

/// Each thread has its own instance and half of the batches.
fn two_threads(rounds: usize, halves: [&[RecordBatch]; 2], operator: &Arc<dflow_wasm::Operator>) -> turns::Times {
    let barrier = std::sync::Barrier::new(2);
    let seconds: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = halves
            .iter()
            .map(|half| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut contender = contender("", operator, half);
                    let took = (0..=rounds).map(|_| {
                        barrier.wait();
                        contender.once()
                    });
                    took.skip(1).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    // A round takes as long as the slower of the two.
    let mut slower: Vec<f64> = seconds[0].iter().zip(&seconds[1]).map(|(a, b)| a.max(*b)).collect();
    slower.sort_by(f64::total_cmp);
    turns::Times { least: slower[0], median: slower[slower.len() / 2] }
}

/// What the engine gets of `token2`, made by the same loops.
fn natively(text: &StringArray) -> StringViewArray {
    let (starts, ends) = second_words(text.value_offsets(), text.value_data());
    let values = text.value_data();
    let views = text.value_offsets().iter().zip(starts.iter().zip(&ends)).map(|(from, (start, end))| {
        let (from, to) = (*from as usize + *start as usize, *from as usize + *end as usize);
        make_view(&values[from..to], 0, from as u32)
    });
    StringViewArray::try_new(views.collect(), vec![text.values().clone()], None).expect("words are text")
}

fn batch(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("text", column)]).unwrap()
}

/// Three to nine words in each of the texts, which have 41 bytes; the same for every contender, peers too.
fn batches() -> Vec<StringArray> {
    let mut state = 7u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let mut text = || {
        let words = 3 + below(7) as usize;
        let mut bytes: Vec<u8> = (0..41).map(|_| b'a' + below(26) as u8).collect();
        // The spaces lie about as far from each other, and never at the ends.
        for word in 1..words {
            let at = word * 41 / words;
            bytes[at.clamp(1, 39)] = b' ';
        }
        String::from_utf8(bytes).expect("letters")
    };
    let rows: Vec<String> = (0..ROWS).map(|_| text()).collect();
    rows.chunks(BATCH).map(StringArray::from_iter_values).collect()
}
