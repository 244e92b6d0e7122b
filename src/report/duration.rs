//! Times as people read them.

/// A time with three digits that matter and its unit: `850 ns`, `5.21 us`, `1.20 ms`, `12.0 s`.
#[must_use]
pub fn duration(nanoseconds: f64) -> String {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    // 999.5 rounds up to 1000, which reads better in the next unit.
    let (unit, scale) = units
        .into_iter()
        .find(|(_, scale)| nanoseconds / scale < 999.5)
        .unwrap_or(units[3]);
    let value = nanoseconds / scale;
    let digits = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_that_fits() {
        for (nanoseconds, text) in [
            (0.0, "0.00 ns"),
            (0.834, "0.83 ns"),
            (56.25, "56.2 ns"),
            (850.0, "850 ns"),
            (999.7, "1.00 us"),
            (5_214.0, "5.21 us"),
            (9_996.0, "10.0 us"),
            (1_200_000.0, "1.20 ms"),
            (99_960_000.0, "100 ms"),
            (12_000_000_000.0, "12.0 s"),
            (5_000_000_000_000.0, "5000 s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
