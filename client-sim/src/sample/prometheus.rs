//! Prometheus' text format, as far as adding up a metric needs it.

/// The sum of a metric's values over all its labels; `None` if it does not occur.
pub fn sum(text: &str, metric: &str) -> Option<f64> {
    text.lines().filter_map(|line| value(line, metric)).reduce(|a, b| a + b)
}

fn value(line: &str, metric: &str) -> Option<f64> {
    let rest = line.strip_prefix(metric)?;
    let rest = match rest.chars().next()? {
        '{' => after_labels(&rest[1..])?,
        ' ' | '\t' => rest,
        _ => return None,
    };
    rest.split_whitespace().next()?.parse().ok()
}

/// What follows the closing brace; one inside a quoted label value does not close.
fn after_labels(labels: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in labels.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(&labels[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP fsyncs_total Syncs.
# TYPE fsyncs_total counter
fsyncs_total{log="a",why="} \"quoted\""} 10
fsyncs_total{log="b"} 2.5e1 1700000000000
fsyncs_total_more 99
plain 7
"#;

    #[test]
    fn a_metric_is_added_up_over_its_labels() {
        assert_eq!(sum(TEXT, "fsyncs_total"), Some(35.0));
        assert_eq!(sum(TEXT, "plain"), Some(7.0));
    }

    #[test]
    fn an_absent_metric_is_not_zero() {
        assert_eq!(sum(TEXT, "fsyncs"), None);
        assert_eq!(sum("", "plain"), None);
    }
}
