//! Results in Prometheus' text format, for the textfile collector of its node exporter.
//!
//! Only gauges: each run replaces the file, so nothing counts up.

use std::fmt::Write as _;

/// Metrics in the making.
#[derive(Debug, Default)]
pub struct Prometheus {
    text: String,
}

impl Prometheus {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A metric with all its samples, each with its labels. The name gets `iommu_tool_` before it; a unit is its last word
    /// (`_seconds`, `_bytes`, `_ratio`). A metric without samples is left out.
    pub fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let out = &mut self.text;
        // A string takes all that is written to it.
        let _ = writeln!(out, "# HELP iommu_tool_{name} {help}");
        let _ = writeln!(out, "# TYPE iommu_tool_{name} gauge");
        for (labels, value) in samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
                .collect();
            let _ = if labels.is_empty() {
                writeln!(out, "iommu_tool_{name} {}", number(value))
            } else {
                writeln!(
                    out,
                    "iommu_tool_{name}{{{}}} {}",
                    labels.join(","),
                    number(value)
                )
            };
        }
    }

    /// The file's contents.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_lines_with_escaped_labels() {
        let mut metrics = Prometheus::new();
        metrics.gauge("good", "Whether all\nis well.", [(vec![], 1.0)]);
        metrics.gauge(
            "check",
            "How a check ended.",
            [
                (
                    vec![("device", "0000:01:00.0"), ("id", "a\\b \"c\"\nd")],
                    0.25,
                ),
                (vec![("device", "0000:01:00.1"), ("id", "x")], f64::INFINITY),
            ],
        );
        metrics.gauge("nothing", "Not there.", []);

        assert_eq!(
            metrics.finish(),
            "# HELP iommu_tool_good Whether all\\nis well.\n\
             # TYPE iommu_tool_good gauge\n\
             iommu_tool_good 1\n\
             # HELP iommu_tool_check How a check ended.\n\
             # TYPE iommu_tool_check gauge\n\
             iommu_tool_check{device=\"0000:01:00.0\",id=\"a\\\\b \\\"c\\\"\\nd\"} 0.25\n\
             iommu_tool_check{device=\"0000:01:00.1\",id=\"x\"} +Inf\n"
        );
    }
}
