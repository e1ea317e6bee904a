//! Line charts: where everything lies. How it looks stands in the template of pages, so that a viewer needs neither a
//! script nor the network.

use serde::Serialize;

use super::axis::Axis;

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

/// What lies between the axes.
pub(super) const WIDTH: f64 = 406.0;
pub(super) const HEIGHT: f64 = 204.0;
/// Marks' numbers that are nearer to one another would lie one on the other.
const MARK_GAP: f64 = 14.0;
/// More marks than this are drawn without their texts, which the table below has.
const MARK_TEXTS_MAX: usize = 200;

/// A chart in the units of its picture, whose origin is the upper left.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Drawn {
    title: String,
    text: String,
    x_label: &'static str,
    /// Where what was not measured begins, and how wide it is.
    unmeasured: Vec<(f64, f64)>,
    rows: Vec<(f64, String)>,
    columns: Vec<(f64, String)>,
    bound: Option<f64>,
    /// Where, what, and the number beside it if there is room.
    marks: Vec<(f64, String, Option<usize>)>,
    /// Names and paths.
    lines: Vec<(String, String)>,
}

impl Chart {
    /// Without marks, window or bound.
    pub fn new(title: &str, text: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Self {
        let (title, text) = (title.to_owned(), text.to_owned());
        Self { title, text, x, y, lines, marks: Vec::new(), window: None, bound: None }
    }

    /// Where everything lies.
    pub(super) fn drawn(&self) -> Drawn {
        let lines = &self.lines[..self.lines.len().min(LINES_MAX)];
        let points = || lines.iter().flat_map(|line| &line.points);
        let across = self.x.range(points().map(|(x, _)| *x));
        let up = self.y.range(points().filter_map(|(_, y)| *y).chain(self.bound));
        let x = |value: f64| tenth(WIDTH * across.place(value));
        let y = |value: f64| tenth(HEIGHT * (1.0 - up.place(value)));
        let beside = self.window.map(|(from, to)| [(0.0, x(from)), (x(to), tenth(WIDTH - x(to)))]);
        let mut labelled = f64::NEG_INFINITY;
        let mark = |(number, mark): (usize, &Mark)| {
            let at = x(mark.at_s);
            let text = if self.marks.len() <= MARK_TEXTS_MAX { mark.text.clone() } else { String::new() };
            let has_room = at - labelled >= MARK_GAP;
            labelled = if has_room { at } else { labelled };
            (at, text, has_room.then_some(number + 1))
        };
        let drawn = |line: &Line| {
            let points = line.points.iter().map(|(at, value)| value.map(|value| (x(*at), y(value))));
            (line.name.clone(), path(points))
        };
        Drawn {
            title: self.title.clone(),
            text: self.text.clone(),
            x_label: self.x.label,
            unmeasured: beside.into_iter().flatten().filter(|(_, wide)| *wide >= 1.0).collect(),
            rows: up.ticks().into_iter().map(|(value, label)| (y(value), label)).collect(),
            columns: across.ticks().into_iter().map(|(value, label)| (x(value), label)).collect(),
            bound: self.bound.map(y),
            marks: self.marks.iter().enumerate().map(mark).collect(),
            lines: lines.iter().map(drawn).collect(),
        }
    }
}

/// More digits say nothing on a screen.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Moves to the first point after each gap and draws to the others. A point alone becomes a dot: round ends make one
/// of a line without length.
fn path(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let mut out = String::new();
    let mut drawing = false;
    for point in points {
        if let Some((x, y)) = point {
            let (word, dot) = if drawing { ("L", "") } else { ("M", "h0") };
            out += &format!("{word}{x:.1} {y:.1}{dot}");
        }
        drawing = point.is_some();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_line_and_a_point_alone_is_a_dot() {
        let points = [Some((1.0, 2.0)), Some((2.0, 3.0)), None, Some((4.0, 5.0)), None];
        assert_eq!(path(points.into_iter()), "M1.0 2.0h0L2.0 3.0M4.0 5.0h0");
    }

    #[test]
    fn points_lie_within_the_frame() {
        let line = Line::through("one", [(0.0, 0.0), (10.0, 500.0)]);
        let mut chart = Chart::new("a", "b", Axis::seconds(), Axis::count("per s"), vec![line]);
        chart.marks.push(Mark { at_s: 5.0, text: "kill".to_owned() });
        let drawn = chart.drawn();
        assert_eq!(drawn.lines[0].1, format!("M0.0 {HEIGHT:.1}h0L{WIDTH:.1} 0.0"));
        assert_eq!(drawn.marks, [(WIDTH / 2.0, "kill".to_owned(), Some(1))]);
    }
}
