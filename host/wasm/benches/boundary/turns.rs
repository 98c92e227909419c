//! Contenders in turns.
//!
//! What counts is the time of the thread on a processor: what else a machine does then hardly shows.

use std::time::Duration;

/// How it is measured.
pub(crate) struct Options {
    pub(crate) rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 25 }
    }
}

/// At least so long is one sample.
const SAMPLE: Duration = Duration::from_millis(2);

/// Somebody who does what is measured, as often as is asked for.
pub(crate) struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut(usize) + 'a>,
    times: usize,
    /// Seconds of one time.
    samples: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut(usize) + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), times: 1, samples: Vec::new() }
    }

    /// Runs it once, and says how many seconds it took.
    pub(crate) fn once(&mut self) -> f64 {
        self.times = 1;
        self.sample().as_secs_f64()
    }

    fn sample(&mut self) -> Duration {
        let began = on_processor();
        (self.run)(self.times);
        on_processor() - began
    }
}

/// How long this thread has run.
fn on_processor() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library doesn't have it")]
    // SAFETY: the kernel writes a time to where there is room for one.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "every Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Seconds that one time took.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) least: f64,
    pub(crate) median: f64,
}

/// Runs each until it is warm, then all in turns.
pub(crate) fn race(options: &Options, mut contenders: Vec<Contender<'_>>) -> Vec<(String, Times)> {
    for contender in &mut contenders {
        while contender.sample() < SAMPLE {
            contender.times *= 2;
        }
    }
    for _ in 0..options.rounds {
        for contender in &mut contenders {
            let took = contender.sample().as_secs_f64() / contender.times as f64;
            contender.samples.push(took);
        }
    }
    let times = contenders.into_iter().map(|mut contender| {
        contender.samples.sort_by(f64::total_cmp);
        let (least, median) = (contender.samples[0], contender.samples[contender.samples.len() / 2]);
        (contender.name, Times { least, median })
    });
    times.collect()
}

/// Prints what each took, beside the first.
pub(crate) fn show(title: &str, found: &[(String, Times)], target: impl Fn(&str) -> Option<f64>) {
    println!("  {title}");
    let first = found[0].1.least;
    for (name, times) in found {
        let target = target(name).map(|t| format!("   target {t}")).unwrap_or_default();
        println!(
            "    {name:<34} {:>11} {:>11} {:>7.2}{target}",
            microseconds(times.least),
            microseconds(times.median),
            times.least / first
        );
    }
}

pub(crate) fn microseconds(seconds: f64) -> String {
    match seconds * 1e6 {
        small if small < 100.0 => format!("{small:.2} us"),
        large if large < 100_000.0 => format!("{large:.0} us"),
        larger => format!("{:.0} ms", larger / 1000.0),
    }
}
