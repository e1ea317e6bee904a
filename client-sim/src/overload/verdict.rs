//! Whether an overload did no worse than it may.

use serde::Serialize;

use super::{Bounds, Memory, Phase};
use crate::report::Moment;

/// One demand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What was demanded.
    pub what: String,
    /// What was found.
    pub found: String,
    /// Whether that will do.
    pub ok: bool,
}

/// Of what is planned in a step, so much must be done for the step to be well.
const DONE_MIN: f64 = 0.8;

/// When p99 is back to twice the normal: the end of the first step that is well and followed by another, or by none.
pub(super) fn recovery_s(moments: &[Moment], normal_p99_us: u64, planned_per_s: f64) -> Option<f64> {
    let step_s = match moments {
        [first, second, ..] => second.at_s - first.at_s,
        _ => return None,
    };
    let well = |moment: &Moment| {
        moment.max_us > 0 && moment.p99_us <= 2 * normal_p99_us && moment.per_s >= DONE_MIN * planned_per_s
    };
    let at = moments.windows(2).position(|pair| well(&pair[0]) && well(&pair[1]))?;
    Some(moments[at].at_s + step_s)
}

/// Of what was to be offered, so much must have been: who does not come can't be turned away.
const OFFERED_MIN: f64 = 0.9;

/// `recovery` is what was found of it, if it came to that.
pub(super) fn verdicts(
    bounds: &Bounds,
    overload: Option<&Phase>,
    (factor, offered): (f64, Option<f64>),
    goodput: Option<f64>,
    recovery: Option<Option<f64>>,
    servers: &[Memory],
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if let (Some(offered), Some(overload)) = (offered, overload) {
        let planned = factor * OFFERED_MIN;
        verdicts.push(Verdict {
            what: format!("{planned:.2} times the capacity could be offered"),
            found: format!("{offered:.2} times, {} requests not", overload.not_offered),
            ok: offered >= planned,
        });
    }
    if let (Some(goodput), Some(overload)) = (goodput, overload) {
        verdicts.push(Verdict {
            what: format!("goodput of {:.0} % of capacity", bounds.goodput_min * 100.0),
            found: format!("{:.1} %", goodput * 100.0),
            ok: goodput >= bounds.goodput_min,
        });
        let refused = &overload.turned_away;
        let p99_ms = refused.p99_us as f64 / 1e3;
        verdicts.push(Verdict {
            what: format!("429 and 503 within {:.0} ms at p99", bounds.refusal_p99_max_ms),
            found: match refused.count {
                0 => "none was refused".to_owned(),
                count => format!("{p99_ms:.1} ms, of {count}"),
            },
            ok: p99_ms <= bounds.refusal_p99_max_ms,
        });
        let other: u64 = overload
            .refused
            .iter()
            .filter(|(status, _)| !matches!(status, 429 | 503))
            .map(|(_, latency)| latency.count)
            .chain(overload.failed.values().copied())
            .sum();
        verdicts.push(Verdict {
            what: "no other answer than stored, 429 or 503".to_owned(),
            found: format!("{other} others"),
            ok: other == 0,
        });
    }
    if let Some(recovery_s) = recovery {
        verdicts.push(Verdict {
            what: format!("p99 back to twice the normal within {:.1} s", bounds.recovery_max_s),
            found: recovery_s.map_or("never".to_owned(), |s| format!("{s:.2} s")),
            ok: recovery_s.is_some_and(|s| s <= bounds.recovery_max_s),
        });
    }
    if let Some(bound) = bounds.rss_max_bytes {
        let peak = servers.iter().filter_map(|memory| memory.overload_bytes).max();
        verdicts.push(Verdict {
            what: format!("no process above {} MiB", bound >> 20),
            found: peak.map_or("no process was seen".to_owned(), |peak| format!("{} MiB", peak >> 20)),
            ok: peak.is_some_and(|peak| peak <= bound),
        });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn moments(p99s_ms: &[u64]) -> Vec<Moment> {
        let moment = |(at, ms): (usize, &u64)| Moment {
            at_s: at as f64 * 0.25,
            per_s: 100.0,
            p50_us: *ms,
            p99_us: ms * 1000,
            max_us: ms * 1000,
            errors: BTreeMap::new(),
        };
        p99s_ms.iter().enumerate().map(moment).collect()
    }

    #[test]
    fn recovery_ends_with_the_first_good_step_that_stays_good() {
        assert_eq!(recovery_s(&moments(&[9, 9, 9]), 10_000, 100.0), Some(0.25));
        assert_eq!(recovery_s(&moments(&[900, 20, 90, 20, 9, 90]), 10_000, 100.0), Some(1.0));
        assert_eq!(recovery_s(&moments(&[900, 20, 90, 21, 9]), 10_000, 100.0), None);
    }

    #[test]
    fn a_step_in_which_little_was_done_is_not_well() {
        let mut slow = moments(&[9, 9, 9]);
        slow[0].per_s = 70.0;
        assert_eq!(recovery_s(&slow, 10_000, 100.0), Some(0.5));
        slow[1].max_us = 0;
        assert_eq!(recovery_s(&slow, 10_000, 100.0), None);
    }
}
