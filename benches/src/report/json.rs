//! The report as JSON, and the comparison of two such reports.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Goal, Row, Unit};

/// A row of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JsonRow {
    pub(crate) what: String,
    measured: Figure,
    baseline: Figure,
    compared: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// A figure in its unit: `per_second`, `microseconds`, `milliseconds`, `mebibytes` or `ratio`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figure {
    value: f64,
    unit: String,
    /// The least and the greatest of the rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spread: Option<[f64; 2]>,
}

/// Compares two reports row by row: what the goals apply to, and whether the second is beyond the spread of the first.
pub(crate) fn compare(before: &Path, after: &Path) -> Result<String> {
    let (before, after) = (read(before)?, read(after)?);
    let mut text = String::new();
    for row in &after {
        let former = before.iter().find(|former| former.what == row.what);
        writeln!(text, "{}", former.map_or_else(|| row.alone("new"), |former| row.since(former)))?;
    }
    for former in before.iter().filter(|former| !after.iter().any(|row| row.what == former.what)) {
        writeln!(text, "{}", former.alone("not measured again"))?;
    }
    Ok(text)
}

fn read(file: &Path) -> Result<Vec<JsonRow>> {
    let open =
        || Ok::<_, anyhow::Error>(serde_json::from_reader(BufReader::new(File::open(file)?))?);
    open().with_context(|| format!("{} is no report in JSON", file.display()))
}

// === impl JsonRow ===

impl JsonRow {
    fn since(&self, former: &Self) -> String {
        let (now, then) = (&self.compared, &former.compared);
        let change = (now.value / then.value - 1.0) * 100.0;
        let is_noise = then.spread.is_none_or(|[least, most]| (least..=most).contains(&now.value));
        let note = if is_noise { "within the spread" } else { "beyond the spread" };
        format!(
            "{}: {:.2} -> {:.2} {} ({change:+.0} %, {note})",
            self.what, then.value, now.value, now.unit
        )
    }

    fn alone(&self, note: &str) -> String {
        format!("{}: {:.2} {} ({note})", self.what, self.compared.value, self.compared.unit)
    }
}

impl From<&Row> for JsonRow {
    fn from(row: &Row) -> Self {
        let (at_least, at_most) = match row.goal {
            Goal::AtLeast(goal) => (Some(goal), None),
            Goal::AtMost(goal) => (None, Some(goal)),
            Goal::Unset => (None, None),
        };
        let met = row.goal.is_met(row.compared.number());
        let figure = Figure::from;
        Self {
            what: row.what.trim().to_owned(),
            measured: figure(row.measured),
            baseline: figure(row.baseline),
            compared: figure(row.compared),
            at_least,
            at_most,
            met,
        }
    }
}

impl From<Unit> for Figure {
    fn from(unit: Unit) -> Self {
        let (name, spread) = match unit {
            Unit::PerSecond(_) => ("per_second", None),
            Unit::Micros(_) => ("microseconds", None),
            Unit::Millis(_) | Unit::MillisMore(_) => ("milliseconds", None),
            Unit::Mebibytes(_) => ("mebibytes", None),
            Unit::Times(_) => ("ratio", None),
            Unit::Ratios(_, spread) => ("ratio", Some(spread)),
        };
        Self { value: unit.number(), unit: name.to_owned(), spread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(directory: &Path, name: &str, ratio: f64) -> std::path::PathBuf {
        let file = directory.join(name);
        let row = Row {
            what: "lookup".to_owned(),
            measured: Unit::Micros(10.0),
            baseline: Unit::Micros(5.0),
            compared: Unit::ratios([ratio, ratio + 0.5]),
            goal: Goal::AtMost(2.0),
            specified: "",
        };
        std::fs::write(&file, serde_json::to_vec(&[JsonRow::from(&row)]).unwrap()).unwrap();
        file
    }

    #[test]
    fn reports_are_compared_row_by_row_and_with_the_spread() {
        let directory = tempfile::tempdir().unwrap();
        let [first, same, slower] = [("a", 2.0), ("b", 2.1), ("c", 4.0)]
            .map(|(name, ratio)| report(directory.path(), name, ratio));
        assert_eq!(
            compare(&first, &same).unwrap(),
            "lookup: 2.25 -> 2.35 ratio (+4 %, within the spread)\n"
        );
        assert_eq!(
            compare(&first, &slower).unwrap(),
            "lookup: 2.25 -> 4.25 ratio (+89 %, beyond the spread)\n"
        );
        let empty = directory.path().join("empty");
        std::fs::write(&empty, "[]").unwrap();
        assert_eq!(compare(&first, &empty).unwrap(), "lookup: 2.25 ratio (not measured again)\n");
        assert!(compare(&first, directory.path()).unwrap_err().to_string().contains("no report"));
    }
}
