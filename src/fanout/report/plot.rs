//! Plots as SVG.

use std::fmt::Write as _;

/// The drawing, in units of the viewer's choice.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Where its axes are.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Marks on an axis, about.
const MARKS: f64 = 5.0;

/// One line of a plot: its class in the page's style, its name, and its points.
pub(super) struct Line<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over time in seconds. `show` writes a value of the vertical axis.
pub(super) fn lines(lines: &[Line<'_>], show: impl Fn(f64) -> String) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let mut axes = Axes::new(right, top);
    axes.mark_heights(&show);
    for seconds in marks(axes.right) {
        let x = axes.x(seconds);
        axes.mark_below(x, &format!("{} s", trimmed(seconds)));
    }
    for line in lines {
        let mut path = String::new();
        for (x, y) in &line.points {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            // Writing to a string does not fail.
            let _ = write!(path, "{pen}{:.1} {:.1}", axes.x(*x), axes.y(*y));
        }
        let (class, name) = (line.class, line.name);
        axes.put(&format!(
            r#"<path class="{class}" d="{path}"><title>{name}</title></path>"#
        ));
    }
    axes.finish()
}

/// A bar for each value, with what stands below some of them.
pub(super) fn bars(bars: &[(String, f64)], show: impl Fn(f64) -> String) -> String {
    let top = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let mut axes = Axes::new(bars.len().max(1) as f64, top);
    axes.mark_heights(&show);
    let step = bars.len().div_ceil(8).max(1);
    for (index, (label, value)) in bars.iter().enumerate() {
        let (x, next, y) = (
            axes.x(index as f64),
            axes.x(index as f64 + 1.0),
            axes.y(*value),
        );
        let (width, height) = (next - x - 1.0, axes.y(0.0) - y);
        let shown = show(*value);
        axes.put(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>up to {label}: {shown}</title></rect>"#
        ));
        if index % step == 0 {
            axes.mark_below(next, label);
        }
    }
    axes.finish()
}

struct Axes {
    svg: String,
    right: f64,
    top: f64,
}

impl Axes {
    fn new(right: f64, top: f64) -> Self {
        // An axis of no length would divide by nothing.
        let at_least = |value: f64| if value > 0.0 { value } else { 1.0 };
        let mut axes = Self {
            svg: format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#),
            right: at_least(right),
            top: at_least(top),
        };
        let (left, bottom) = (axes.x(0.0), axes.y(0.0));
        let (right, top) = (axes.x(axes.right), axes.y(axes.top));
        axes.put(&format!(
            r#"<path class="axis" d="M{left} {top}V{bottom}H{right}"/>"#
        ));
        axes
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.right * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn mark_heights(&mut self, show: &impl Fn(f64) -> String) {
        for value in marks(self.top) {
            let (x, y, right) = (LEFT - 6.0, self.y(value), self.x(self.right));
            let shown = show(value);
            self.put(&format!(
                r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#
            ));
            self.put(&format!(
                r#"<text x="{x}" y="{y:.1}" text-anchor="end" dominant-baseline="middle">{shown}</text>"#
            ));
        }
    }

    fn mark_below(&mut self, x: f64, label: &str) {
        let y = HEIGHT - BOTTOM + 18.0;
        self.put(&format!(
            r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
        ));
    }

    fn put(&mut self, element: &str) {
        self.svg.push_str(element);
        self.svg.push('\n');
    }

    fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// Round values from zero to `most`.
fn marks(most: f64) -> Vec<f64> {
    let raw = most / MARKS;
    let power = 10f64.powf(raw.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = round.into_iter().find(|step| *step >= raw).unwrap_or(raw);
    let count = (most / step * (1.0 + 1e-9)) as u32;
    (0..=count).map(|mark| f64::from(mark) * step).collect()
}

/// Without the dust of binary fractions.
fn trimmed(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        assert_eq!(marks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let tenths: Vec<_> = marks(0.7).into_iter().map(trimmed).collect();
        assert_eq!(tenths, [0.0, 0.2, 0.4, 0.6]);
        assert_eq!(marks(1234.0), [0.0, 500.0, 1000.0]);
    }

    #[test]
    fn an_empty_plot_is_one_too() {
        let empty = Line {
            class: "a",
            name: "b",
            points: Vec::new(),
        };
        let svg = lines(&[empty], |value| value.to_string());
        assert!(svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        let svg = bars(&[], |value| value.to_string());
        assert!(svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
    }
}
