//! The printed report: a row for each figure with its baseline, ratio and goal.

mod json;

use std::fmt;

use json::JsonRow;
pub(crate) use json::compare;

use crate::statistics::{median, percentile};

const HEAD: [&str; 7] = ["what", "measured", "baseline", "compared", "goal", "", "specified"];

/// The rows in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One figure of the report.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: Unit,
    /// The figure of the baseline in the same run.
    pub(crate) baseline: Unit,
    /// What the goal applies to: usually the median of the ratios, which may differ from the ratio of the
    /// medians.
    pub(crate) compared: Unit,
    pub(crate) goal: Goal,
    /// What the specification requires; empty if nothing.
    pub(crate) specified: &'static str,
}

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    PerSecond(f64),
    Micros(f64),
    Millis(f64),
    MillisMore(f64),
    Mebibytes(f64),
    /// A ratio.
    Times(f64),
    /// The median ratio of several rounds, the least and the greatest.
    Ratios(f64, [f64; 2]),
}

/// The goal of a figure, in its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// No goal.
    Unset,
}

// === impl Report ===

impl Report {
    /// The rows as a JSON list, for `cargo xtask bench compare`.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.rows.iter().map(JsonRow::from).collect::<Vec<_>>())
    }
}

impl Extend<Row> for Report {
    fn extend<I: IntoIterator<Item = Row>>(&mut self, rows: I) {
        self.rows.extend(rows);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let lines: Vec<_> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| {
            lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for cells in lines {
            let mut line = format!("{:<1$}", cells[0], widths[0]);
            for (cell, width) in cells.iter().zip(widths).skip(1) {
                line += &format!("  {cell:>width$}");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

// === impl Row ===

impl Row {
    /// A percentile of latencies in nanoseconds, compared with its baseline: the median of the ratios of the rounds, each of which
    /// has samples of both, and the percentile of all samples.
    pub(crate) fn latency<'a>(
        what: String,
        share: f64,
        rounds: impl Iterator<Item = [&'a [u32]; 2]> + Clone,
        goal: Goal,
    ) -> Self {
        let micros = |values: &[u32]| f64::from(percentile(values, share)) / 1000.0;
        let all = |side: usize| {
            micros(&rounds.clone().flat_map(|sides| sides[side]).copied().collect::<Vec<_>>())
        };
        let (measured, baseline) = (Unit::Micros(all(0)), Unit::Micros(all(1)));
        let ratio =
            |[measured, baseline]: [&[u32]; 2]| micros(measured) / micros(baseline).max(0.001);
        let compared = Unit::ratios(rounds.map(ratio));
        Self { what, measured, baseline, compared, goal, specified: "" }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.what.clone(),
            self.measured.to_string(),
            self.baseline.to_string(),
            self.compared.to_string(),
            self.goal.to_string(),
            self.goal.verdict(self.compared.number()).to_owned(),
            self.specified.to_owned(),
        ]
    }
}

// === impl Unit ===

impl Unit {
    /// The ratios of several rounds.
    pub(crate) fn ratios(rounds: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = rounds.into_iter().collect();
        let spread = [
            rounds.iter().copied().fold(f64::INFINITY, f64::min),
            rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ];
        Self::Ratios(median(rounds), spread)
    }

    fn number(self) -> f64 {
        match self {
            Self::PerSecond(number)
            | Self::Micros(number)
            | Self::Millis(number)
            | Self::MillisMore(number)
            | Self::Mebibytes(number)
            | Self::Times(number)
            | Self::Ratios(number, _) => number,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) if *rate < 10.0 => write!(f, "{rate:.2}/s"),
            Self::PerSecond(rate) => write!(f, "{rate:.0}/s"),
            Self::Micros(micros) if *micros < 1.0 => write!(f, "{:.0} ns", micros * 1000.0),
            Self::Micros(micros) => write!(f, "{micros:.1} us"),
            Self::Millis(millis) => write!(f, "{millis:.2} ms"),
            Self::MillisMore(millis) => write!(f, "{millis:+.2} ms"),
            Self::Mebibytes(size) => write!(f, "{size:.0} MiB"),
            Self::Times(times) => write!(f, "{times:.2}"),
            Self::Ratios(median, [least, most]) => write!(f, "{median:.2} [{least:.2}-{most:.2}]"),
        }
    }
}

// === impl Goal ===

impl Goal {
    fn is_met(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtLeast(goal) => Some(ratio >= goal),
            Self::AtMost(goal) => Some(ratio <= goal),
            Self::Unset => None,
        }
    }

    fn verdict(self, ratio: f64) -> &'static str {
        self.is_met(ratio).map_or("", |is_met| if is_met { "met" } else { "MISSED" })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) if *goal >= 1000.0 => write!(f, ">= {goal:.0}"),
            Self::AtLeast(goal) => write!(f, ">= {goal:.2}"),
            Self::AtMost(goal) => write!(f, "<= {goal:.2}"),
            Self::Unset => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, ratio: f64, goal: Goal) -> Row {
        let (measured, baseline) = (Unit::PerSecond(140_000.4), Unit::Micros(4.25));
        let (what, compared) = (what.to_owned(), Unit::Times(ratio));
        Row { what, measured, baseline, compared, goal, specified: "10,000/s" }
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let mut report = Report::default();
        report.extend([row("short", 0.9, Goal::AtLeast(0.85)), row("longer", 2.0, Goal::Unset)]);
        let text = "\
what    measured  baseline  compared     goal       specified
short   140000/s    4.2 us      0.90  >= 0.85  met   10,000/s
longer  140000/s    4.2 us      2.00                 10,000/s
";
        assert_eq!(report.to_string(), text);
    }

    #[test]
    fn goal_is_a_lower_or_an_upper_bound() {
        assert_eq!(Goal::AtLeast(0.85).verdict(0.84), "MISSED");
        assert_eq!(Goal::AtMost(1.5).verdict(1.5), "met");
        assert_eq!(Goal::AtMost(1.5).verdict(f64::NAN), "MISSED");
        assert_eq!(Goal::Unset.verdict(9.0), "");
    }
}
