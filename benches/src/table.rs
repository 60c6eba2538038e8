//! The table that is printed: a row for each figure, with its limit, its ratio and its goal.

use std::fmt;

const HEAD: [&str; 7] = ["what", "measured", "limit", "compared", "goal", "", "specified"];

/// All rows, in order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: Unit,
    /// The figure that it is to be compared with, measured in the same run.
    pub(crate) limit: Unit,
    /// What the goal is for: as a rule the median of the ratios, which need not be the ratio of the
    /// medians.
    pub(crate) compared: Unit,
    pub(crate) goal: Goal,
    /// What the specification asks for, where it says anything.
    pub(crate) specified: &'static str,
}

/// A figure, as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    PerSecond(f64),
    Micros(f64),
    Millis(f64),
    MillisMore(f64),
    /// As many times another figure.
    Times(f64),
}

/// What a figure should be, in the figure's own unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is only to be known.
    Told,
}

// === impl Table ===

impl Extend<Row> for Table {
    fn extend<I: IntoIterator<Item = Row>>(&mut self, rows: I) {
        self.rows.extend(rows);
    }
}

impl fmt::Display for Table {
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
    fn cells(&self) -> [String; 7] {
        [
            self.what.clone(),
            self.measured.to_string(),
            self.limit.to_string(),
            self.compared.to_string(),
            self.goal.to_string(),
            self.goal.verdict(self.compared.number()).to_owned(),
            self.specified.to_owned(),
        ]
    }
}

// === impl Unit ===

impl Unit {
    fn number(self) -> f64 {
        match self {
            Self::PerSecond(number)
            | Self::Micros(number)
            | Self::Millis(number)
            | Self::MillisMore(number)
            | Self::Times(number) => number,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => write!(f, "{rate:.0}/s"),
            Self::Micros(micros) => write!(f, "{micros:.1} us"),
            Self::Millis(millis) => write!(f, "{millis:.2} ms"),
            Self::MillisMore(millis) => write!(f, "{millis:+.2} ms"),
            Self::Times(times) => write!(f, "{times:.2}"),
        }
    }
}

// === impl Goal ===

impl Goal {
    fn verdict(self, ratio: f64) -> &'static str {
        let met = match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
            Self::Told => return "",
        };
        if met { "met" } else { "MISSED" }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) if *goal >= 1000.0 => write!(f, ">= {goal:.0}"),
            Self::AtLeast(goal) => write!(f, ">= {goal:.2}"),
            Self::AtMost(goal) => write!(f, "<= {goal:.2}"),
            Self::Told => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, ratio: f64, goal: Goal) -> Row {
        let (measured, limit) = (Unit::PerSecond(140_000.4), Unit::Micros(4.25));
        let (what, compared) = (what.to_owned(), Unit::Times(ratio));
        Row { what, measured, limit, compared, goal, specified: "10,000/s" }
    }

    #[test]
    fn the_columns_are_as_wide_as_their_longest_cell() {
        let mut table = Table::default();
        table.extend([row("short", 0.9, Goal::AtLeast(0.85)), row("longer", 2.0, Goal::Told)]);
        let text = "\
what    measured   limit  compared     goal       specified
short   140000/s  4.2 us      0.90  >= 0.85  met   10,000/s
longer  140000/s  4.2 us      2.00                 10,000/s
";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn a_goal_is_met_or_missed_on_its_own_side() {
        assert_eq!(Goal::AtLeast(0.85).verdict(0.84), "MISSED");
        assert_eq!(Goal::AtMost(1.5).verdict(1.5), "met");
        assert_eq!(Goal::AtMost(1.5).verdict(f64::NAN), "MISSED");
        assert_eq!(Goal::Told.verdict(9.0), "");
    }
}
