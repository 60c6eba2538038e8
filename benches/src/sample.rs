//! A sample: one task repeated for some time, with the latency of each repetition.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::statistics::percentile;

/// More than the repetitions of any sample.
const CAPACITY: usize = 1 << 18;
/// The number of repetitions before the sample, if they take no longer than the sample.
const WARM_UP: usize = 100;

/// A sample.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Repetitions a second.
    pub(crate) rate: f64,
    /// The latency of each repetition in nanoseconds, including the reading of the clock.
    pub(crate) nanos: Vec<u32>,
}

// === impl Sample ===

impl Sample {
    /// Repeats the task for about this long, and drops each result. Each repetition reads the clock once
    /// and allocates no memory for its latency, so that measuring costs a baseline the same.
    pub(crate) fn measure<T, E>(
        time: Duration,
        mut task: impl FnMut() -> Result<T, E>,
    ) -> Result<Self, E> {
        // Written once, so that its pages are present.
        let mut nanos = vec![1; CAPACITY];
        nanos.clear();
        let warm = Instant::now() + time;
        for _ in 0..WARM_UP {
            drop(task()?);
            if Instant::now() > warm {
                break;
            }
        }
        let began = Instant::now();
        let mut last = began;
        while last - began < time && nanos.len() < CAPACITY {
            drop(task()?);
            let now = Instant::now();
            nanos.push(u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX));
            last = now;
        }
        Ok(Self { rate: nanos.len() as f64 / (last - began).as_secs_f64(), nanos })
    }

    /// The sample of several processes that ran concurrently.
    pub(crate) fn merged(samples: impl IntoIterator<Item = Self>) -> Self {
        samples.into_iter().fold(Self::default(), |mut all, sample| {
            all.rate += sample.rate;
            all.nanos.extend(sample.nanos);
            all
        })
    }

    /// The percentile of the latency, in microseconds.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        f64::from(percentile(&self.nanos, share)) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_is_repeated_and_counted() {
        let mut count = 0;
        let sample = Sample::measure(Duration::from_nanos(1), || {
            count += 1;
            Ok::<_, ()>(())
        });
        let sample = sample.unwrap();
        assert!((1..count).contains(&sample.nanos.len()) && sample.rate > 0.0);
    }

    #[test]
    fn merged_sample_adds_rates_and_keeps_latencies() {
        let sample = |rate, nanos| Sample { rate, nanos };
        let all = Sample::merged([sample(10.0, vec![1000]), sample(5.0, vec![3000, 5000])]);
        assert_eq!((all.rate, all.micros(0.5)), (15.0, 3.0));
    }
}
