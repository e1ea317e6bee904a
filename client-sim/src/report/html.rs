//! Reports as one self-contained page: no script, no outside asset, light and dark, for wide screens and phones.

use std::collections::BTreeMap;

use super::axis::Axis;
use super::plot::{Chart, LINES_MAX, Line, Mark};
use super::table::{self, Grid, milliseconds};
use super::{Moment, Percentile, Report};

/// The look of all pages.
const STYLE: &str = include_str!("page.css");
/// Kinds of operations with a curve of their own, beside that of all.
const CURVES_MAX: usize = 4;

/// A page while it is put together, from top to bottom.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
    charts: usize,
}

/// Text as it may stand between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Neither belongs into a page, and the second could reorder what stands beside it.
            control if control.is_control() || ('\u{202a}'..='\u{202e}').contains(&control) => {
                out.push('\u{fffd}')
            }
            other => out.push(other),
        }
    }
    out
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
        Self { title: title.to_owned(), body: format!("<h1>{}</h1>", escape(title)), charts: 0 }
    }

    /// A sentence or two.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(&format!("<p class=\"dim\">{}</p>", escape(text)))
    }

    /// How it went, in few words.
    pub fn verdict(&mut self, ok: bool, text: &str) -> &mut Self {
        let (class, sign) = if ok { ("good", "✓") } else { ("bad", "✗") };
        self.push(&format!("<p class=\"verdict {class}\">{sign} {}</p>", escape(text)))
    }

    /// A heading.
    pub fn section(&mut self, heading: &str) -> &mut Self {
        self.push(&format!("<h2>{}</h2>", escape(heading)))
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
        self.body.push_str("<div class=\"charts\">");
        for chart in charts {
            self.charts += 1;
            let mut legend = String::new();
            for (number, line) in chart.lines.iter().take(LINES_MAX).enumerate() {
                legend += &format!(
                    "<li><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path class=\"line l{number}\" d=\"M1 5H29\"/></svg>{}</li>",
                    escape(&line.name)
                );
            }
            let svg = chart.svg(&format!("chart{}", self.charts));
            self.push(&format!(
                "<figure><figcaption><h3>{}</h3><p>{}</p><ul class=\"legend\">{legend}</ul></figcaption>{svg}</figure>",
                escape(&chart.title),
                escape(&chart.text)
            ));
        }
        self.push("</div>")
    }

    /// A table.
    pub fn grid(&mut self, caption: &str, grid: &Grid) -> &mut Self {
        let cells =
            |row: &[String]| row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect::<String>();
        let header: String =
            grid.header.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
        let rows: String = grid.rows.iter().map(|row| format!("<tr>{}</tr>", cells(row))).collect();
        // Focusable, so that who has no pointer can scroll it.
        self.push(&format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>",
            caption = escape(caption)
        ))
    }

    /// A table that is shown when asked for.
    pub fn folded(&mut self, caption: &str, grid: &Grid) -> &mut Self {
        self.push(&format!("<details><summary>{}</summary>", escape(caption)));
        self.grid(caption, grid);
        self.push("</details>")
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
        let mut grid = Grid::new(["number", "at", "event"]);
        for (number, mark) in marks.iter().enumerate() {
            grid.rows.push(vec![(number + 1).to_string(), format!("{:.1} s", mark.at_s), mark.text.clone()]);
        }
        self.grid("Events", &grid)
    }

    /// The whole page.
    pub fn finish(&self) -> String {
        // Should an escape ever be missing, the policy leaves it nothing to load or run.
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{}</title><style>\n{STYLE}</style></head><body><main>{}</main></body></html>\n",
            escape(&self.title),
            self.body
        )
    }

    fn list(&mut self, class: &str, items: &[(&str, String)]) -> &mut Self {
        let item = |(name, value): &(&str, String)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
        };
        let items: String = items.iter().map(item).collect();
        self.push(&format!("<dl class=\"{class}\">{items}</dl>"))
    }

    fn push(&mut self, html: &str) -> &mut Self {
        self.body.push_str(html);
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
    let mut grid = Grid::new(["from s", "per s", "p50 ms", "p99 ms", "max ms", "failures"]);
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
        let mut grid = Grid::new(["a"]);
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
        assert!(html.contains("&lt;script&gt;") && html.contains("&quot;&gt;&lt;img"));
        for raw in ["<script", "<img", "'1'", "\u{202e}", "\u{7}"] {
            assert!(!html.contains(raw), "{raw:?} in {html}");
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
