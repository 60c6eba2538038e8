//! Percentiles and medians.

/// The value below which this share of the values lies; 0 if there are no values.
pub(crate) fn percentile(values: &[u32], share: f64) -> u32 {
    let mut sorted = values.to_vec();
    let Some(last) = sorted.len().checked_sub(1) else { return 0 };
    let index = (last as f64 * share).round() as usize;
    *sorted.select_nth_unstable(index.min(last)).1
}

/// The median; NaN if there are no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_values() {
        let values: Vec<u32> = (1..=101).rev().collect();
        assert_eq!(percentile(&values, 0.0), 1);
        assert_eq!(percentile(&values, 0.5), 51);
        assert_eq!(percentile(&values, 0.99), 100);
        assert_eq!(percentile(&values, 1.0), 101);
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn outlier_does_not_change_the_median() {
        assert_eq!(median([1.0, 1000.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 1000.0]), 3.0);
        assert!(median([]).is_nan());
    }
}
