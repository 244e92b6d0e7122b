//! Small pictures made of letters, for terminals.

/// Parts of a letter's height.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The letters of a bar's parts.
const SHADES: [char; 4] = ['█', '▓', '▒', '░'];

/// The letters of a sparkline.
const WIDTH: usize = 12;

/// The letters of a bar.
const LENGTH: usize = 60;

/// How values spread, from the least to where 99 % are: how many are in each of some equal ranges. `percentiles` rise, at even ranks.
pub fn sparkline(percentiles: &[u64]) -> String {
    let last = (percentiles.len() * 99 / 100).min(percentiles.len().saturating_sub(1));
    let (Some(&low), Some(&high)) = (percentiles.first(), percentiles.get(last)) else {
        return String::new();
    };
    let mut counts = [0_usize; WIDTH];
    for value in &percentiles[..=last] {
        let share = (value - low) as f64 / (high - low).max(1) as f64;
        counts[((share * WIDTH as f64) as usize).min(WIDTH - 1)] += 1;
    }
    let most = counts.into_iter().max().unwrap_or(1).max(1);
    let letter = |count: usize| match count {
        0 => ' ',
        _ => HEIGHTS[(count * HEIGHTS.len()).div_ceil(most) - 1],
    };
    counts.into_iter().map(letter).collect()
}

/// A bar of parts, which are shares that add up to 1.
pub fn bar(shares: &[f64]) -> String {
    let mut text = String::new();
    let mut sum = 0.0;
    for (share, shade) in shares.iter().zip(SHADES.into_iter().cycle()) {
        sum += share;
        let until = (sum * LENGTH as f64).round() as usize;
        let missing = until.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(shade, missing));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_high_where_most_values_are() {
        let mut values = vec![100; 50];
        values.extend(vec![150; 25]);
        values.extend(vec![220; 25]);
        values.push(1_000_000);
        assert_eq!(sparkline(&values), "█    ▄     ▄");
        assert_eq!(sparkline(&[7]), "█           ");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_bar_has_letters_for_each_share() {
        let drawn = bar(&[0.5, 0.25, 0.25]);
        assert_eq!(drawn.chars().count(), LENGTH);
        assert_eq!(drawn.chars().filter(|letter| *letter == '█').count(), 30);
        assert_eq!(bar(&[]), "");
    }
}
