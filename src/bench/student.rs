//! Student's t distribution: how far a mean of few values may be from the truth.

use std::f64::consts::FRAC_PI_2;

use super::statistics::Interval;

/// How finely the density is summed up.
const STEPS: u32 = 200;

/// What a value of the distribution with so many degrees of freedom exceeds with the probability `tail`, above 0 and at most a half.
///
/// With t = sqrt(freedom) * tan(angle) the density becomes a power of the cosine, which is summed up and halved in on.
pub(super) fn quantile(freedom: u32, tail: f64) -> f64 {
    let power = freedom.saturating_sub(1) as i32;
    let beyond = |angle: f64| {
        let step = (FRAC_PI_2 - angle) / f64::from(STEPS);
        let middles = (0..STEPS).map(|at| angle + (f64::from(at) + 0.5) * step);
        middles.map(|at| at.cos().powi(power)).sum::<f64>() * step
    };
    let searched = 2.0 * beyond(0.0) * tail;
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if beyond(middle) > searched {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::from(freedom).sqrt() * low.tan()
}

/// Few values that vary by parts of themselves, as times do: by their logarithms.
pub(super) struct Logarithms {
    /// How many there are.
    pub(super) count: u32,
    /// Their mean.
    pub(super) mean: f64,
    /// The sum of the squares of how far they are from it.
    pub(super) squares: f64,
}

impl Logarithms {
    /// Of values above 0. Of none the mean is no number.
    pub(super) fn of(values: &[f64]) -> Self {
        let logarithms = values.iter().map(|value| value.ln());
        let mean = logarithms.clone().sum::<f64>() / values.len() as f64;
        Self {
            count: values.len() as u32,
            mean,
            squares: logarithms.map(|value| (value - mean).powi(2)).sum(),
        }
    }

    /// Whether it can be told how much they vary.
    pub(super) fn vary(&self) -> bool {
        self.count >= 2
    }

    /// What their geometric mean is of, but for the probability `tail` at each end; `None` of fewer than two.
    pub(super) fn interval(&self, tail: f64) -> Option<Interval> {
        if !self.vary() {
            return None;
        }
        let freedom = self.count - 1;
        let variance = self.squares / f64::from(freedom);
        let far = quantile(freedom, tail) * (variance / f64::from(self.count)).sqrt();
        Some(Interval {
            low: (self.mean - far).exp(),
            high: (self.mean + far).exp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What printed tables of the distribution give.
    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, tail, value) in [
            (1, 0.025, 12.706),
            (2, 0.025, 4.303),
            (4, 0.025, 2.776),
            (4, 0.0005, 8.610),
            (8, 0.005, 3.355),
            (30, 0.0005, 3.646),
            (120, 0.025, 1.980),
            (10, 0.5, 0.0),
        ] {
            let found = quantile(freedom, tail);
            assert!(
                (found - value).abs() < 0.001 * value.max(1.0),
                "{freedom} {tail}: {found}"
            );
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_tables() {
        let values = [-0.2, -0.1, 0.0, 0.1, 0.2].map(f64::exp);
        // The variance is 0.1 / 4, and Student's quantile 2.776.
        let far = 2.776 * (0.1_f64 / 4.0 / 5.0).sqrt();
        let Interval { low, high } = Logarithms::of(&values).interval(0.025).unwrap();
        assert!((low.ln() + far).abs() < 1e-3 && (high.ln() - far).abs() < 1e-3);
        assert_eq!(Logarithms::of(&values[..1]).interval(0.025), None);
        assert_eq!(Logarithms::of(&[]).interval(0.025), None);
    }
}
