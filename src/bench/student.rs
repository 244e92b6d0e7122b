//! Student's t distribution: how far a mean of few values may be from the truth.

use std::f64::consts::FRAC_PI_2;

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
}
