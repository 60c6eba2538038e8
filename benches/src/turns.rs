//! Things measured in turns, so that whatever else the machine does, it does to all of them.

use anyhow::Result;

use crate::figures::median;
use crate::slice::Slice;

/// How often each thing has its turn.
const ROUNDS: usize = 7;

/// What was measured: for each round one slice of each thing.
#[derive(Debug)]
pub(crate) struct Turns {
    rounds: Vec<Vec<Slice>>,
}

// === impl Turns ===

impl Turns {
    /// Measures so many things in turns, every other round in the reverse order.
    pub(crate) fn of(
        count: usize,
        mut measure: impl FnMut(usize) -> Result<Slice>,
    ) -> Result<Self> {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let mut slices = vec![Slice::default(); count];
            for turn in 0..count {
                let index = if round.is_multiple_of(2) { turn } else { count - 1 - turn };
                slices[index] = measure(index)?;
            }
            rounds.push(slices);
        }
        Ok(Self { rounds })
    }

    /// The median of a figure of one thing.
    pub(crate) fn figure(&self, index: usize, figure: impl Fn(&Slice) -> f64) -> f64 {
        median(self.rounds.iter().map(|slices| figure(&slices[index])))
    }

    /// The median, over the rounds, of the ratio of a figure of one thing to that of another.
    pub(crate) fn ratio(&self, index: usize, to: usize, figure: impl Fn(&Slice) -> f64) -> f64 {
        median(self.rounds.iter().map(|slices| figure(&slices[index]) / figure(&slices[to])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_turned_round_and_the_result_is_not() {
        let mut order = Vec::new();
        let turns = Turns::of(2, |index| {
            order.push(index);
            Ok(Slice { rate: index as f64 + 1.0, nanos: vec![] })
        });
        assert_eq!(order[..4], [0, 1, 1, 0]);
        let turns = turns.unwrap();
        let rate = |slice: &Slice| slice.rate;
        assert_eq!((turns.figure(1, rate), turns.ratio(1, 0, rate)), (2.0, 2.0));
    }
}
