//! Arguments of the command that compares measurements.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Series are compared by their medians in each launch of a run: what is slower beyond the noise differs more between the \
                  records than launches differ within them. As many series are compared at once, the intervals are widened (Bonferroni), so \
                  that all of them together hold the truth in 99 of 100 comparisons.\n\n\
                  Exit status:\n  \
                  1  with --fail-above: a series takes longer than it may, beyond the noise\n  \
                  2  a file is no record\n  \
                  4  the records have no series in common that both measured in two launches or more"
)]
pub struct CompareArgs {
    /// What was measured first, as 'iommu-tool --json bench' printed it
    #[arg(value_name = "BEFORE", value_hint = ValueHint::FilePath)]
    pub before: PathBuf,

    /// What was measured later
    #[arg(value_name = "AFTER", value_hint = ValueHint::FilePath)]
    pub after: PathBuf,

    /// Fail if a series takes more than RATIO times as long as before, and is slower beyond the noise: 1.05 allows for 5 %
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub fail_above: Option<f64>,

    /// Show the series that did not change too
    #[arg(long)]
    pub all: bool,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (1.0..1e6).contains(&ratio) => Ok(ratio),
        _ => Err("a ratio is a number from 1, as 1.05".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_numbers_from_1() {
        assert_eq!(ratio("1.05"), Ok(1.05));
        assert_eq!(ratio("1"), Ok(1.0));
        for wrong in ["0.9", "5%", "", "NaN", "inf", "-1"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
