//! Lines through measured points, for times that grow with what is mapped.

use super::statistics::{Interval, median};

/// A measured time, and what it depends on; the first factor is 1, for what does not grow.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// As many as there are coefficients.
    pub factors: Vec<f64>,
    /// The time.
    pub time: f64,
}

/// `time = sum of coefficient * factor`, by least squares of relative errors: a call of 5 us counts as much as one of 5 s.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// One for each factor.
    pub coefficients: Vec<f64>,
    /// How far the points are from the line, as a part of their time: the median.
    pub error: f64,
    /// The inverse of the normal equations' matrix, and the variance of a point's relative error: what an estimate's own error is made of.
    inverse: Vec<Vec<f64>>,
    variance: f64,
}

impl Line {
    /// The line through these points; `None` if they do not tell its coefficients apart, or are no more than those.
    #[must_use]
    pub fn through(points: &[Point]) -> Option<Self> {
        let count = points.first()?.factors.len();
        let usable: Vec<&Point> = points.iter().filter(|point| point.time > 0.0).collect();
        if usable.len() <= count {
            return None;
        }
        let mut matrix = vec![vec![0.0; count]; count];
        let mut right = vec![0.0; count];
        for point in &usable {
            // Divided by the time, so that each point's error is relative.
            let scaled: Vec<f64> = point.factors.iter().map(|f| f / point.time).collect();
            for row in 0..count {
                for column in 0..count {
                    matrix[row][column] += scaled[row] * scaled[column];
                }
                right[row] += scaled[row];
            }
        }
        let inverse = inverse(&matrix)?;
        let coefficients: Vec<f64> = inverse.iter().map(|row| dot(row, &right)).collect();
        let errors: Vec<f64> = usable
            .iter()
            .map(|point| dot(&coefficients, &point.factors) / point.time - 1.0)
            .collect();
        let squares: f64 = errors.iter().map(|error| error * error).sum();
        Some(Self {
            coefficients,
            error: median(errors.into_iter().map(f64::abs).collect())?,
            inverse,
            variance: squares / (usable.len() - count) as f64,
        })
    }

    /// The time at these factors, and where it lies with 95 % confidence if the points are independent of each other: those of one launch are.
    /// That times go on to grow in a line is taken for granted.
    #[must_use]
    pub fn at(&self, factors: &[f64]) -> (f64, Interval) {
        let time = dot(&self.coefficients, factors);
        let spread: Vec<f64> = self.inverse.iter().map(|row| dot(row, factors)).collect();
        // Two standard errors hold 95 % of a normal distribution.
        let error = 2.0 * (self.variance * dot(&spread, factors)).max(0.0).sqrt();
        let low = (time - error).max(0.0);
        (
            time,
            Interval {
                low,
                high: time + error,
            },
        )
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// By Gauss and Jordan, rows and columns brought to the same scale first; `None` if the matrix is as good as singular.
fn inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let count = matrix.len();
    let scale: Vec<f64> = (0..count).map(|at| matrix[at][at].sqrt()).collect();
    if scale.contains(&0.0) {
        return None;
    }
    let mut left: Vec<Vec<f64>> = (0..count)
        .map(|row| {
            (0..count)
                .map(|column| matrix[row][column] / scale[row] / scale[column])
                .collect()
        })
        .collect();
    let mut right: Vec<Vec<f64>> = (0..count)
        .map(|row| {
            (0..count)
                .map(|column| f64::from(u8::from(row == column)))
                .collect()
        })
        .collect();
    for pivot in 0..count {
        let largest = (pivot..count).max_by(|one, other| {
            left[*one][pivot]
                .abs()
                .total_cmp(&left[*other][pivot].abs())
        })?;
        left.swap(pivot, largest);
        right.swap(pivot, largest);
        let value = left[pivot][pivot];
        // Scaled, the diagonal is 1: what is left of it after elimination is what sets this factor apart from the others.
        if value.abs() < 1e-6 {
            return None;
        }
        for column in 0..count {
            left[pivot][column] /= value;
            right[pivot][column] /= value;
        }
        for row in (0..count).filter(|row| *row != pivot) {
            let part = left[row][pivot];
            for column in 0..count {
                left[row][column] -= part * left[pivot][column];
                right[row][column] -= part * right[pivot][column];
            }
        }
    }
    for row in 0..count {
        for column in 0..count {
            right[row][column] /= scale[row] * scale[column];
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(pages: f64, runs: f64, time: f64) -> Point {
        Point {
            factors: vec![1.0, pages, runs],
            time,
        }
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6 * other.abs()
    }

    #[test]
    fn a_line_is_found_again_however_far_apart_its_points_are() {
        let time = |pages: f64, runs: f64| 600.0 + 3.0 * pages + 325.0 * runs;
        let points: Vec<Point> = [
            (1.0, 1.0),
            (16.0, 9.0),
            (512.0, 1.0),
            (512.0, 300.0),
            (1e6, 2e3),
        ]
        .map(|(pages, runs)| point(pages, runs, time(pages, runs)))
        .to_vec();

        let line = Line::through(&points).unwrap();

        for (found, truth) in line.coefficients.iter().zip([600.0, 3.0, 325.0]) {
            assert!(close(*found, truth), "{found} is not {truth}");
        }
        assert!(line.error < 1e-9);
        let (at, interval) = line.at(&[1.0, 1e7, 1e4]);
        assert!(close(at, time(1e7, 1e4)));
        assert!(interval.low <= at && at <= interval.high);
    }

    #[test]
    fn factors_that_go_together_are_not_told_apart() {
        let points: Vec<Point> = [1.0, 16.0, 512.0, 4096.0]
            .map(|pages| point(pages, pages, 5.0 * pages + 100.0))
            .to_vec();
        assert_eq!(Line::through(&points), None);
        assert_eq!(Line::through(&points[..3]), None);
        assert_eq!(Line::through(&[]), None);
    }

    #[test]
    fn scatter_widens_the_interval() {
        let points = |scatter: f64| -> Vec<Point> {
            (1..=20)
                .map(|n| {
                    let pages = f64::from(n) * 100.0;
                    let off = if n % 2 == 0 {
                        1.0 + scatter
                    } else {
                        1.0 - scatter
                    };
                    Point {
                        factors: vec![1.0, pages],
                        time: (50.0 + 2.0 * pages) * off,
                    }
                })
                .collect()
        };
        let width = |scatter: f64| {
            let line = Line::through(&points(scatter)).unwrap();
            let (at, interval) = line.at(&[1.0, 1e5]);
            assert!(interval.low < at && at < interval.high);
            (interval.high - interval.low) / at
        };
        assert!(width(0.02) < 0.1);
        assert!(width(0.1) > 3.0 * width(0.02));
    }
}
