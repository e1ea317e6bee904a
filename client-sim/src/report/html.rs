//! Reports as one self-contained page: no script, no outside asset, light and dark, for wide screens and phones.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axis::Axis;
use super::plot::{Chart, Drawn, HEIGHT, LINES_MAX, Line, Mark, WIDTH};
use super::table::{self, Grid, milliseconds};
use super::template::render;
use super::{Moment, Percentile, Report};

/// How all pages look.
const TEMPLATE: &str = include_str!("page.html");
/// Kinds of operations with a curve of their own, beside that of all.
const CURVES_MAX: usize = 4;

/// A page while it is put together, from top to bottom.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    title: String,
    parts: Vec<Part>,
    /// The size of what charts have within their axes.
    width: f64,
    height: f64,
}

/// What a page consists of.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Part {
    Text { text: String },
    Verdict { ok: bool, text: String },
    Section { heading: String },
    List { class: &'static str, entries: Vec<(String, String)> },
    Charts { charts: Vec<Drawn> },
    Grid { caption: String, grid: Grid, folded: bool },
}

/// The page of one run of a workload.
pub fn page(title: &str, report: &Report, marks: &[Mark]) -> String {
    let mut page = Page::new(title);
    page.text(&format!("{} against {}", report.workload, report.targets.join(", ")));
    page.verdict(report.ok, if report.ok { "everything verified" } else { "not as it should be" });
    page.report(report, marks);
    page.finish()
}

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), parts: Vec::new(), width: WIDTH, height: HEIGHT }
    }

    /// A sentence or two.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(Part::Text { text: text.to_owned() })
    }

    /// How it went, in few words.
    pub fn verdict(&mut self, ok: bool, text: &str) -> &mut Self {
        self.push(Part::Verdict { ok, text: text.to_owned() })
    }

    /// A heading.
    pub fn section(&mut self, heading: &str) -> &mut Self {
        self.push(Part::Section { heading: heading.to_owned() })
    }

    /// The figures that count most, large.
    pub fn tiles(&mut self, tiles: &[(&str, String)]) -> &mut Self {
        self.list("tiles", tiles)
    }

    /// Named sentences.
    pub fn facts(&mut self, facts: &[(&str, String)]) -> &mut Self {
        self.list("facts", facts)
    }

    /// Charts, side by side where there is room.
    pub fn charts(&mut self, charts: &[Chart]) -> &mut Self {
        self.push(Part::Charts { charts: charts.iter().map(Chart::drawn).collect() })
    }

    /// A table.
    pub fn grid(&mut self, caption: &str, grid: &Grid) -> &mut Self {
        self.push(Part::Grid { caption: caption.to_owned(), grid: grid.clone(), folded: false })
    }

    /// A table that is shown when asked for.
    pub fn folded(&mut self, caption: &str, grid: &Grid) -> &mut Self {
        self.push(Part::Grid { caption: caption.to_owned(), grid: grid.clone(), folded: true })
    }

    /// Everything a run of a workload found.
    pub fn report(&mut self, report: &Report, marks: &[Mark]) -> &mut Self {
        let failed: u64 = report.errors.iter().map(|error| error.count).sum();
        self.tiles(&[
            ("operations per second", format!("{:.0}", report.ops_per_s)),
            ("operations", report.operations.to_string()),
            ("p50", format!("{} ms", milliseconds(report.all.p50_us))),
            ("p99", format!("{} ms", milliseconds(report.all.p99_us))),
            ("slowest", format!("{} ms", milliseconds(report.all.max_us))),
            ("failures", failed.to_string()),
        ]);
        self.section("Over time");
        self.charts(&over_time(
            &report.timeline,
            (report.warmup_s, report.warmup_s + report.duration_s),
            marks,
        ));
        self.marks(marks);
        self.section("Latency");
        self.charts(&[curve(report)]);
        self.grid("Rate and latency by operation", &table::latencies(report));
        if !report.steps.is_empty() {
            self.grid("Rate and latency by step", &table::steps(&report.steps));
        }
        self.section("Run");
        let loops = if report.open_loop.is_some() { "open loop, at most {} a second" } else { "closed loop" };
        let pace = loops.replace("{}", &format!("{:.0}", report.rate));
        let mut facts = vec![
            ("window", format!("{:.1} s after {:.1} s of warm-up", report.duration_s, report.warmup_s)),
            ("load", format!("{pace}, {} workers", report.concurrency)),
            (
                "content",
                format!("{} bytes, {} chunks a transfer, seed {}", report.size, report.chunks, report.seed),
            ),
        ];
        facts.extend(table::facts(report));
        self.facts(&facts);
        if let Some(servers) = &report.servers {
            self.section("Servers").grid("Processes of the servers", &table::nodes(servers));
        }
        self.section("Answers");
        match table::errors(&report.errors) {
            Some(errors) => self.grid("Failures", &errors),
            None => self.text("No operation failed."),
        };
        if !report.statuses.is_empty() {
            self.grid("Replies by status, retried ones included", &table::statuses(report));
        }
        self.folded("Every step of the charts in numbers", &moments(&report.timeline))
    }

    /// The list of what happened, numbered as in the charts; nothing if nothing did.
    pub fn marks(&mut self, marks: &[Mark]) -> &mut Self {
        if marks.is_empty() {
            return self;
        }
        let mut grid = Grid::new("number | at | event");
        for (number, mark) in marks.iter().enumerate() {
            grid.rows.push(vec![(number + 1).to_string(), format!("{:.1} s", mark.at_s), mark.text.clone()]);
        }
        self.grid("Events", &grid)
    }

    /// The whole page.
    pub fn finish(&self) -> String {
        render(TEMPLATE, self)
    }

    fn list(&mut self, class: &'static str, items: &[(&str, String)]) -> &mut Self {
        let entries = items.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.push(Part::List { class, entries })
    }

    fn push(&mut self, part: Part) -> &mut Self {
        self.parts.push(part);
        self
    }
}

/// Latency, throughput and, if there are any, failures over time; `window` is what was measured, in seconds.
pub fn over_time(timeline: &[Moment], window: (f64, f64), marks: &[Mark]) -> Vec<Chart> {
    let of = |name: &str, value: fn(&Moment) -> u64| Line {
        name: name.to_owned(),
        // In a step without any operation nothing was fast or slow.
        points: timeline.iter().map(|m| (m.at_s, (m.max_us > 0).then(|| value(m) as f64))).collect(),
    };
    let latency = Chart::new(
        "Latency",
        "By when operations were to start; logarithmic. Gaps: none succeeded.",
        Axis::seconds(),
        Axis::latency("latency"),
        vec![of("p50", |m| m.p50_us), of("p99", |m| m.p99_us), of("max", |m| m.max_us)],
    );
    let throughput = Chart::new(
        "Throughput",
        "Operations completed per second.",
        Axis::seconds(),
        Axis::count("per second"),
        // After the window, what has begun is brought to its end as fast as that goes.
        vec![Line {
            name: "completed".to_owned(),
            points: timeline.iter().map(|m| (m.at_s, (m.at_s < window.1).then_some(m.per_s))).collect(),
        }],
    );
    let mut charts = vec![latency, throughput];
    charts.extend(failures(timeline));
    for chart in &mut charts {
        chart.window = Some(window);
        chart.marks = marks.to_vec();
    }
    charts
}

fn failures(timeline: &[Moment]) -> Option<Chart> {
    let step_s = match timeline {
        [first, second, ..] => second.at_s - first.at_s,
        _ => 1.0,
    };
    let mut totals = BTreeMap::<&str, u64>::new();
    for (code, count) in timeline.iter().flat_map(|moment| &moment.errors) {
        *totals.entry(code).or_default() += count;
    }
    let mut codes: Vec<_> = totals.into_iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let line = |(code, total): &(&str, u64)| {
        let count = |moment: &Moment| moment.errors.get(*code).copied().unwrap_or(0) as f64;
        Line::through(format!("{code} ({total})"), timeline.iter().map(|m| (m.at_s, count(m) / step_s)))
    };
    let text = if codes.len() > LINES_MAX {
        "Failures per second by code; only the most frequent have a line."
    } else {
        "Failures per second by code, with their number in all."
    };
    let lines: Vec<_> = codes.iter().take(LINES_MAX).map(line).collect();
    (!lines.is_empty())
        .then(|| Chart::new("Failures", text, Axis::seconds(), Axis::count("failures per second"), lines))
}

fn curve(report: &Report) -> Chart {
    let line = |name: &str, points: &[Percentile]| {
        Line::through(name, points.iter().map(|point| (point.share, point.us as f64)))
    };
    let mut kinds: Vec<_> = report.kinds.iter().collect();
    kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.operations));
    // One kind alone is the same as all.
    let own = if kinds.len() > 1 { CURVES_MAX } else { 0 };
    let mut lines = vec![line("all", &report.percentiles)];
    lines.extend(kinds.into_iter().take(own).map(|(name, kind)| line(name, &kind.percentiles)));
    Chart::new(
        "Distribution",
        "This share of operations took no longer; each further nine is as wide as the one before.",
        Axis::nines("share of operations"),
        Axis::latency("latency"),
        lines,
    )
}

fn moments(timeline: &[Moment]) -> Grid {
    let mut grid = Grid::new("from s | per s | p50 ms | p99 ms | max ms | failures");
    for moment in timeline {
        let failures: Vec<_> = moment.errors.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        let mut row = vec![format!("{:.2}", moment.at_s), format!("{:.0}", moment.per_s)];
        row.extend([moment.p50_us, moment.p99_us, moment.max_us].map(milliseconds));
        row.push(failures.join(", "));
        grid.rows.push(row);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let mut page = Page::new("<script>1</script>");
        let nasty = "\"><img src=x onerror='1'>&\u{202e}\u{7}".to_owned();
        let mut grid = Grid::new("a");
        grid.rows.push(vec![nasty.clone()]);
        let moment = Moment {
            at_s: 0.0,
            per_s: 0.0,
            p50_us: 0,
            p99_us: 0,
            max_us: 0,
            errors: BTreeMap::from([(nasty.clone(), 1)]),
        };
        page.text(&nasty).verdict(true, &nasty).section(&nasty).tiles(&[(&nasty, nasty.clone())]);
        page.grid(&nasty, &grid).folded(&nasty, &grid).marks(&[Mark { at_s: 1.0, text: nasty.clone() }]);
        page.charts(&over_time(&[moment], (0.0, 1.0), &[Mark { at_s: 1.0, text: nasty.clone() }]));
        let html = page.finish();
        assert!(html.contains("&lt;script&gt;") && html.contains("&quot;&gt;&lt;img"), "{html}");
        for raw in ["<script", "<img", "'1'", "\u{202e}", "\u{7}"] {
            assert!(!html.contains(raw), "{raw:?} in {html}");
        }
    }

    #[test]
    fn nothing_to_draw_is_drawn_as_a_frame() {
        for lines in [vec![], vec![Line { name: "none".to_owned(), points: vec![(1.0, None)] }]] {
            let chart = Chart::new("c", "what \"it\" shows", Axis::seconds(), Axis::count("per s"), lines);
            let mut page = Page::new("t");
            let html = page.charts(&[chart]).finish();
            assert!(html.contains("class=\"axis\"") && html.contains("&quot;it&quot;"), "{html}");
            assert!(!html.contains("NaN"), "{html}");
        }
    }

    #[test]
    fn a_page_loads_nothing() {
        let mut page = Page::new("t");
        page.charts(&over_time(&[], (0.0, 1.0), &[]));
        let html = page.finish();
        for word in ["http://", "https://", "src=", "url(", "@import", "<link"] {
            assert!(!html.contains(word), "{word}");
        }
    }
}
