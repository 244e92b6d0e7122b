//! Pictures of measurements, as SVG.

use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Write as _;
use std::ops::Range;

/// The colours as they are drawn; the page's style sheet gives each its colour for light and for dark.
pub(super) const COLORS: [RGBColor; 8] = [
    RGBColor(0x0b, 0x66, 0xb8),
    RGBColor(0xc8, 0x5a, 0x00),
    RGBColor(0x00, 0x83, 0x5f),
    RGBColor(0xa0, 0x40, 0x8a),
    RGBColor(0x7a, 0x6a, 0x00),
    RGBColor(0x4b, 0x3f, 0xb5),
    RGBColor(0xb3, 0x26, 0x3e),
    RGBColor(0x4f, 0x5b, 0x66),
];
const RULE: RGBColor = RGBColor(0xd8, 0xdd, 0xe3);
const INK: RGBColor = RGBColor(0x1c, 0x1f, 0x23);
const FONT: (&str, u32) = ("sans-serif", 17);
/// About as wide as a letter of the font is.
const LETTER: u32 = 9;

/// The rules of a style sheet that turn the drawn colours into the page's own.
pub(super) fn color_rules() -> String {
    let named = (0..)
        .zip(COLORS)
        .map(|(at, color)| (format!("c{at}"), color))
        .chain([("rule".to_owned(), RULE), ("ink".to_owned(), INK)]);
    named.fold(String::new(), |mut rules, (name, RGBColor(r, g, b))| {
        let color = format!("#{r:02X}{g:02X}{b:02X}");
        let _ = writeln!(
            rules,
            "svg [fill=\"{color}\"] {{ fill: var(--{name}); }} svg [stroke=\"{color}\"] {{ stroke: var(--{name}); }}"
        );
        rules
    })
}

fn color(at: usize) -> RGBColor {
    COLORS[at % COLORS.len()]
}

/// How values lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// In proportion, from 0.
    Linear,
    /// By their logarithm, marked at powers of ten.
    Decades,
    /// By their logarithm, marked at powers of two.
    Doublings,
}

/// An axis of a chart.
pub struct Axis {
    /// What it shows, with the unit if the labels have none.
    pub title: &'static str,
    /// How values lie along it.
    pub scale: Scale,
    /// How a value is written beside its mark.
    pub label: fn(f64) -> String,
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// Lines over two axes. What a logarithmic axis cannot show, 0 and less, is left out.
pub struct LineChart {
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The lines; their colours go by their order.
    pub lines: Vec<Line>,
    /// Whether each point is marked.
    pub marks: bool,
}

/// The part of an axis that is shown, in its scale's own coordinates, and where its marks are.
struct Span {
    range: Range<f64>,
    marks: Vec<f64>,
    scale: Scale,
    label: fn(f64) -> String,
}

impl Axis {
    fn can_show(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Decades => value.log10(),
            Scale::Doublings => value.log2(),
        }
    }

    /// The span that shows these values; `None` if there are none.
    fn span(&self, values: impl Iterator<Item = f64>) -> Option<Span> {
        let places = values
            .filter(|value| self.can_show(*value))
            .map(|v| self.place(v));
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        if low > high {
            return None;
        }
        let (range, marks) = match self.scale {
            Scale::Linear => {
                let step = round_step(high.max(f64::MIN_POSITIVE) / 5.0);
                let end = (high / step).ceil().max(1.0) * step;
                let count = (end / step).round() as u32;
                (
                    0.0..end,
                    (0..=count).map(|at| f64::from(at) * step).collect(),
                )
            }
            Scale::Decades => {
                let (first, last) = (low.floor() as i32, high.ceil() as i32);
                let last = last.max(first + 1);
                let marks: Vec<f64> = if last - first <= 2 {
                    let within = |decade: i32| {
                        [1.0_f64, 2.0, 5.0].map(|digit| f64::from(decade) + digit.log10())
                    };
                    (first..last)
                        .flat_map(within)
                        .chain([f64::from(last)])
                        .collect()
                } else {
                    (first..=last).map(f64::from).collect()
                };
                (f64::from(first)..f64::from(last), marks)
            }
            Scale::Doublings => {
                let (first, last) = (low.floor() as i32, high.ceil() as i32);
                let last = last.max(first + 1);
                let step = ((last - first) / 10 + 1) as usize;
                let marks = (first..=last).step_by(step).map(f64::from).collect();
                // A little room, so that the outermost points are not on the frame.
                (f64::from(first) - 0.3..f64::from(last) + 0.3, marks)
            }
        };
        Some(Span {
            range,
            marks,
            scale: self.scale,
            label: self.label,
        })
    }
}

/// 1, 2 or 5 times a power of ten, not less than `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|round| *round >= step * 0.999)
        .unwrap_or(10.0 * power)
}

impl Ranged for Span {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Span {
    fn format_ext(&self, place: &f64) -> String {
        (self.label)(match self.scale {
            Scale::Linear => *place,
            Scale::Decades => 10_f64.powf(*place),
            Scale::Doublings => place.exp2(),
        })
    }
}

/// Drawing into a string cannot fail.
const DRAWS: &str = "an SVG is drawn in memory";

impl LineChart {
    /// The picture; `None` if there is no point to show.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        let points = || {
            let all = self.lines.iter().flat_map(|line| &line.points);
            all.filter(|(x, y)| self.x.can_show(*x) && self.y.can_show(*y))
        };
        let x = self.x.span(points().map(|point| point.0))?;
        let y = self.y.span(points().map(|point| point.1))?;
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (640, 420)).into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .margin_right(24)
                .x_label_area_size(52)
                .y_label_area_size(84)
                .build_cartesian_2d(x, y)
                .expect(DRAWS);
            chart
                .configure_mesh()
                .x_desc(self.x.title)
                .y_desc(self.y.title)
                .bold_line_style(RULE)
                .axis_style(RULE)
                .label_style(FONT.into_font().color(&INK))
                .axis_desc_style(FONT.into_font().color(&INK))
                .draw()
                .expect(DRAWS);
            for (at, line) in self.lines.iter().enumerate() {
                let shown: Vec<(f64, f64)> = line
                    .points
                    .iter()
                    .filter(|(x, y)| self.x.can_show(*x) && self.y.can_show(*y))
                    .map(|(x, y)| (self.x.place(*x), self.y.place(*y)))
                    .collect();
                let path = LineSeries::new(shown.clone(), color(at).stroke_width(2));
                chart.draw_series(path).expect(DRAWS);
                if self.marks {
                    let dots = shown
                        .iter()
                        .map(|point| Circle::new(*point, 3, color(at).filled()));
                    chart.draw_series(dots).expect(DRAWS);
                }
            }
            area.present().expect(DRAWS);
        }
        Some(svg)
    }
}

/// One bar, of parts that follow each other.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it shows.
    pub name: String,
    /// The length of each part; 0 if it has none of it.
    pub parts: Vec<f64>,
    /// What is written behind it.
    pub label: String,
}

/// Bars from left to right, one below the other.
pub struct BarChart {
    /// Along the bars, from 0.
    pub axis: Axis,
    /// The bars, from top to bottom; the colours of their parts go by their order.
    pub bars: Vec<Bar>,
}

impl BarChart {
    /// The picture; `None` if there is no bar.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        const WIDTH: u32 = 1000;
        let lengths = self.bars.iter().map(|bar| bar.parts.iter().sum());
        let x = self.axis.span(lengths)?;
        let count = self.bars.len();
        let last = count.checked_sub(1)?;
        let width = |text: fn(&Bar) -> &str| {
            let letters = self.bars.iter().map(|bar| text(bar).chars().count());
            24 + LETTER * letters.max().unwrap_or(0).min(40) as u32
        };
        let mut svg = String::new();
        {
            let height = 88 + 36 * count as u32;
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                // The labels of bars stand behind them.
                .margin_right(width(|bar| &bar.label))
                .x_label_area_size(52)
                .y_label_area_size(width(|bar| &bar.name))
                .build_cartesian_2d(x, (0..last).into_segmented())
                .expect(DRAWS);
            let name = |place: &SegmentValue<usize>| match place {
                SegmentValue::CenterOf(at) => {
                    // The first bar is drawn at the top.
                    let bar = last.checked_sub(*at).and_then(|at| self.bars.get(at));
                    bar.map_or_else(String::new, |bar| bar.name.clone())
                }
                _ => String::new(),
            };
            chart
                .configure_mesh()
                .x_desc(self.axis.title)
                .y_labels(count)
                .y_label_formatter(&name)
                .disable_y_mesh()
                .bold_line_style(RULE)
                .axis_style(RULE)
                .label_style(FONT.into_font().color(&INK))
                .axis_desc_style(FONT.into_font().color(&INK))
                .draw()
                .expect(DRAWS);
            for (at, bar) in self.bars.iter().rev().enumerate() {
                let mut begin = 0.0;
                for (part, length) in bar.parts.iter().enumerate() {
                    let end = begin + length;
                    let corners = [
                        (begin, SegmentValue::Exact(at)),
                        (end, SegmentValue::Exact(at + 1)),
                    ];
                    let mut rectangle = Rectangle::new(corners, color(part).filled());
                    rectangle.set_margin(5, 5, 0, 0);
                    chart.draw_series([rectangle]).expect(DRAWS);
                    begin = end;
                }
                let (x, y) = chart.backend_coord(&(begin, SegmentValue::CenterOf(at)));
                let style = FONT
                    .into_font()
                    .color(&INK)
                    .pos(Pos::new(HPos::Left, VPos::Center));
                area.draw_text(&bar.label, &style, (x + 8, y)).expect(DRAWS);
            }
            area.present().expect(DRAWS);
        }
        Some(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis {
            title: "size",
            scale,
            label: |value| format!("<{value:.0}>"),
        }
    }

    fn marks(scale: Scale, values: &[f64]) -> Vec<String> {
        let span = axis(scale).span(values.iter().copied()).unwrap();
        let places = span.marks.iter().map(|place| span.format_ext(place));
        places.collect()
    }

    #[test]
    fn axes_are_marked_at_round_values() {
        assert_eq!(
            marks(Scale::Linear, &[3.0, 47.0]),
            ["<0>", "<10>", "<20>", "<30>", "<40>", "<50>"]
        );
        assert_eq!(marks(Scale::Linear, &[0.0]).first().unwrap(), "<0>");
        assert_eq!(
            marks(Scale::Decades, &[150.0, 90_000.0]),
            ["<100>", "<1000>", "<10000>", "<100000>"]
        );
        assert_eq!(marks(Scale::Decades, &[3.0]), ["<1>", "<2>", "<5>", "<10>"]);
        assert_eq!(
            marks(Scale::Doublings, &[4096.0, 16384.0]),
            ["<4096>", "<8192>", "<16384>"]
        );
    }

    #[test]
    fn what_a_logarithm_cannot_show_is_left_out() {
        let chart = |points| LineChart {
            x: axis(Scale::Doublings),
            y: axis(Scale::Decades),
            lines: vec![Line {
                name: "a".into(),
                points,
            }],
            marks: true,
        };
        assert!(chart(vec![(4096.0, 0.0), (0.0, 5.0)]).svg().is_none());
        let svg = chart(vec![(4096.0, 0.0), (4096.0, 5.0)]).svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 1);
        // Texts are escaped.
        assert!(svg.contains("&lt;4096&gt;") && !svg.contains("<4096>"));
    }

    #[test]
    fn bars_lie_in_their_order_and_every_part_has_its_color() {
        let bar = |name: &str, parts: [f64; 2]| Bar {
            name: name.into(),
            parts: parts.to_vec(),
            label: format!("{name} label"),
        };
        let chart = BarChart {
            axis: axis(Scale::Linear),
            bars: vec![bar("one", [1.0, 2.0]), bar("two", [0.5, 0.0])],
        };
        let svg = chart.svg().unwrap();
        let place = |name: &str| {
            let text = svg.find(&format!("\n{name}\n")).unwrap();
            let tag = &svg[svg[..text].rfind("<text").unwrap()..text];
            let y = tag.split(" y=\"").nth(1).unwrap();
            y.split('"').next().unwrap().parse::<i32>().unwrap()
        };
        assert!(place("one") < place("two"));
        assert!((place("one") - place("one label")).abs() < 10);
        assert!(svg.contains("#0B66B8") && svg.contains("#C85A00"));
        let bars = vec![];
        assert!(BarChart { bars, ..chart }.svg().is_none());
    }
}
