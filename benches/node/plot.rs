//! Lines over powers of ten, as SVG that stands for itself.
//!
//! The page of a load test has plots of its own, with even axes and in the style of the page: what stands here would
//! only be carried about in the program.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 45.0;

pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) color: &'a str,
    /// None is zero or less.
    pub(crate) points: Vec<(f64, f64)>,
}

pub(crate) fn draw(lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Axis::of(points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
    let y = Axis::of(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    // Writing to a string does not fail.
    for power in x.powers() {
        let (at, bottom) = (x.at(power), HEIGHT - BOTTOM);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{power}</text>",
            bottom + 18.0
        );
    }
    for power in y.powers() {
        let (at, right) = (y.at(power), WIDTH - RIGHT);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{power}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let Line {
            name,
            color,
            points,
        } = line;
        let places = points
            .iter()
            .map(|(left, up)| format!("{:.1},{:.1}", x.at(*left), y.at(*up)));
        let places: Vec<_> = places.collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"{color}\">{name}</text>",
            14.0 + 16.0 * index as f64
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">listeners</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    );
    svg
}

/// From one power of ten to another.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::MIN_POSITIVE, f64::max);
        let first = least.log10().floor() as i32;
        Self {
            first,
            last: (most.log10().ceil() as i32).max(first + 1),
            from,
            to,
        }
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.first..=self.last).map(|power| 10f64.powi(power))
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + share * (self.to - self.from)
    }
}
