//! Line charts as inline SVG, drawn without a library: a viewer needs neither a script nor the network.
//!
//! Colours are classes that the page's style sheet fills in, for light and for dark. Lines differ by their dashes too,
//! so that nobody has to tell colours apart.

use std::fmt::Write as _;

use super::axis::Axis;
use super::html::escape;

/// Something that happened at one instant, such as a node that was killed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Seconds after the run's origin, on the time axis of its report.
    pub at_s: f64,
    /// What happened.
    pub text: String,
}

/// A line; where it has no value there is a gap.
#[derive(Debug, Clone)]
pub struct Line {
    /// As in the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, Option<f64>)>,
}

impl Line {
    /// A line through points that all have a value.
    pub fn through(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| (x, Some(y))).collect();
        Self { name: name.into(), points }
    }
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// What it shows, for who can't see it.
    pub text: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// [`LINES_MAX`] at most are drawn.
    pub lines: Vec<Line>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
    /// The part of a time axis that was measured; the rest is shaded.
    pub window: Option<(f64, f64)>,
    /// A horizontal line that must not be crossed.
    pub bound: Option<f64>,
}

/// As many kinds of lines as the style sheet tells apart.
pub const LINES_MAX: usize = 9;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 468.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 226.0;
/// Marks' numbers that are nearer to one another would lie one on the other.
const MARK_GAP: f64 = 14.0;
/// More marks than this are drawn without their texts, which the table below has.
const MARK_TEXTS_MAX: usize = 200;

impl Chart {
    /// Without marks, window or bound.
    pub fn new(title: &str, text: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Self {
        let (title, text) = (title.to_owned(), text.to_owned());
        Self { title, text, x, y, lines, marks: Vec::new(), window: None, bound: None }
    }

    /// The chart as an `svg` element; `id` must be its own on the page.
    pub fn svg(&self, id: &str) -> String {
        let lines = &self.lines[..self.lines.len().min(LINES_MAX)];
        let points = || lines.iter().flat_map(|line| &line.points);
        let across = self.x.range(points().map(|(x, _)| *x));
        let up = self.y.range(points().filter_map(|(_, y)| *y).chain(self.bound));
        let x = |value: f64| LEFT + (RIGHT - LEFT) * across.place(value);
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * up.place(value);

        let mut out = format!(
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>"#,
            escape(&self.title),
            escape(&self.text)
        );
        if let Some((from, to)) = self.window {
            for (begin, end) in [(LEFT, x(from)), (x(to), RIGHT)] {
                let (width, height) = (end - begin, BOTTOM - TOP);
                if width >= 1.0 {
                    write(
                        &mut out,
                        format_args!(
                            r#"<rect class="warm" x="{begin:.1}" y="{TOP}" width="{width:.1}" height="{height:.1}"><title>not measured</title></rect>"#
                        ),
                    );
                }
            }
        }
        for (value, label) in up.ticks() {
            let at = y(value);
            write(
                &mut out,
                format_args!(
                    r#"<path class="grid" d="M{LEFT} {at:.1}H{RIGHT}"/><text class="end" x="{:.0}" y="{:.1}">{}</text>"#,
                    LEFT - 7.0,
                    at + 4.0,
                    escape(&label)
                ),
            );
        }
        for (value, label) in across.ticks() {
            let at = x(value);
            write(
                &mut out,
                format_args!(
                    r#"<path class="grid" d="M{at:.1} {TOP}V{BOTTOM}"/><text class="mid" x="{at:.1}" y="{:.0}">{}</text>"#,
                    BOTTOM + 17.0,
                    escape(&label)
                ),
            );
        }
        write(&mut out, format_args!(r#"<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>"#));
        write(
            &mut out,
            format_args!(
                r#"<text class="mid" x="{:.0}" y="{:.0}">{}</text>"#,
                (LEFT + RIGHT) / 2.0,
                HEIGHT - 8.0,
                escape(self.x.label)
            ),
        );
        if let Some(bound) = self.bound {
            write(&mut out, format_args!(r#"<path class="bound" d="M{LEFT} {:.1}H{RIGHT}"/>"#, y(bound)));
        }
        let mut labelled = f64::NEG_INFINITY;
        for (number, mark) in self.marks.iter().enumerate() {
            let at = x(mark.at_s);
            let text = if self.marks.len() <= MARK_TEXTS_MAX { escape(&mark.text) } else { String::new() };
            write(
                &mut out,
                format_args!(
                    r#"<path class="mark" d="M{at:.1} {TOP}V{BOTTOM}"><title>{text}</title></path>"#
                ),
            );
            if at - labelled >= MARK_GAP {
                labelled = at;
                write(
                    &mut out,
                    format_args!(
                        r#"<text class="mid" x="{at:.1}" y="{:.0}">{}</text>"#,
                        TOP - 6.0,
                        number + 1
                    ),
                );
            }
        }
        for (number, line) in lines.iter().enumerate() {
            let path = path(line.points.iter().map(|(at, value)| value.map(|value| (x(*at), y(value)))));
            write(
                &mut out,
                format_args!(
                    r#"<path class="line l{number}" d="{path}"><title>{}</title></path>"#,
                    escape(&line.name)
                ),
            );
        }
        out + "</svg>"
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

/// Moves to the first point after each gap and draws to the others. A point alone becomes a dot: round ends make one
/// of a line without length.
fn path(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let mut out = String::new();
    let mut drawing = false;
    for point in points {
        if let Some((x, y)) = point {
            let (word, dot) = if drawing { ("L", "") } else { ("M", "h0") };
            write(&mut out, format_args!("{word}{x:.1} {y:.1}{dot}"));
        }
        drawing = point.is_some();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>) -> Chart {
        Chart::new("a < b", "what \"it\" shows", Axis::seconds(), Axis::count("per s"), lines)
    }

    #[test]
    fn a_gap_is_no_line_and_a_point_alone_is_a_dot() {
        let points = [Some((1.0, 2.0)), Some((2.0, 3.0)), None, Some((4.0, 5.0)), None];
        assert_eq!(path(points.into_iter()), "M1.0 2.0h0L2.0 3.0M4.0 5.0h0");
    }

    #[test]
    fn points_lie_within_the_frame() {
        let mut chart = chart(vec![Line::through("one", [(0.0, 0.0), (10.0, 500.0)])]);
        chart.marks.push(Mark { at_s: 5.0, text: "<kill>".to_owned() });
        let svg = chart.svg("c");
        assert!(svg.contains(&format!("M{LEFT:.1} {BOTTOM:.1}h0L{RIGHT:.1} {TOP:.1}")), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("&lt;kill&gt;") && svg.contains("&quot;it&quot;"));
    }

    #[test]
    fn nothing_to_draw_is_drawn_as_a_frame() {
        for lines in [vec![], vec![Line { name: "none".to_owned(), points: vec![(1.0, None)] }]] {
            let svg = chart(lines).svg("c");
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }
}
