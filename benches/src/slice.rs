//! One thing done again and again for a slice of time, with how long it took each time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::figures::percentile;

/// More than anything is done in a slice.
const CAPACITY: usize = 1 << 18;
/// How often it is done before it counts, where that takes no longer than a slice.
const WARM_UP: usize = 100;

/// What a slice of time yielded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// How often it was done in a second.
    pub(crate) rate: f64,
    /// How long each took, in nanoseconds, the look at the clock included.
    pub(crate) nanos: Vec<u32>,
}

// === impl Slice ===

impl Slice {
    /// Does it for about this long, and drops what it yields each time. The clock is looked at once each time, and memory is there
    /// beforehand, so that both sides of a comparison pay the same for being measured.
    pub(crate) fn measure<T, E>(
        time: Duration,
        mut task: impl FnMut() -> Result<T, E>,
    ) -> Result<Self, E> {
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

    /// What several processes did at the same time.
    pub(crate) fn together(slices: impl IntoIterator<Item = Self>) -> Self {
        slices.into_iter().fold(Self::default(), |mut all, slice| {
            all.rate += slice.rate;
            all.nanos.extend(slice.nanos);
            all
        })
    }

    /// The time that this share stayed below, in microseconds.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        f64::from(percentile(&self.nanos, share)) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_at_least_once_and_counted() {
        let mut count = 0;
        let slice = Slice::measure(Duration::from_nanos(1), || {
            count += 1;
            Ok::<_, ()>(())
        });
        let slice = slice.unwrap();
        assert!((1..count).contains(&slice.nanos.len()) && slice.rate > 0.0);
    }

    #[test]
    fn rates_of_processes_add_up_and_their_times_do_not() {
        let slice = |rate, nanos| Slice { rate, nanos };
        let all = Slice::together([slice(10.0, vec![1000]), slice(5.0, vec![3000, 5000])]);
        assert_eq!((all.rate, all.micros(0.5)), (15.0, 3.0));
    }
}
