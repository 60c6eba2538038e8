//! Interleaved measurements, so that other load on the machine affects all subjects alike.

use anyhow::Result;

use crate::report::Unit;
use crate::sample::Sample;
use crate::statistics::median;

/// How many samples each subject gets.
const ROUNDS: usize = 7;

/// The results: for each round, one sample of each subject.
#[derive(Debug)]
pub(crate) struct Interleaved {
    rounds: Vec<Vec<Sample>>,
}

// === impl Interleaved ===

impl Interleaved {
    /// Measures this many subjects in rounds, every other round in reverse order.
    pub(crate) fn measure(
        count: usize,
        mut sample: impl FnMut(usize) -> Result<Sample>,
    ) -> Result<Self> {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let mut samples = vec![Sample::default(); count];
            for step in 0..count {
                let index = if round.is_multiple_of(2) { step } else { count - 1 - step };
                samples[index] = sample(index)?;
            }
            rounds.push(samples);
        }
        Ok(Self { rounds })
    }

    /// The median of a figure of one subject.
    pub(crate) fn figure(&self, index: usize, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.rounds.iter().map(|samples| figure(&samples[index])))
    }

    /// The ratios, over the rounds, of a figure of one subject to that of another.
    pub(crate) fn ratio(&self, index: usize, to: usize, figure: impl Fn(&Sample) -> f64) -> Unit {
        let ratio = |samples: &Vec<Sample>| figure(&samples[index]) / figure(&samples[to]);
        Unit::ratios(self.rounds.iter().map(ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_is_measured_in_reverse_order() {
        let mut order = Vec::new();
        let samples = Interleaved::measure(2, |index| {
            order.push(index);
            Ok(Sample { rate: index as f64 + 1.0, nanos: vec![] })
        });
        assert_eq!(order[..4], [0, 1, 1, 0]);
        let samples = samples.unwrap();
        let rate = |sample: &Sample| sample.rate;
        assert_eq!(samples.figure(1, rate), 2.0);
        assert_eq!(samples.ratio(1, 0, rate).to_string(), "2.00 [2.00-2.00]");
    }
}
