//! Where values lie on an axis, and which of them are written beside it.

/// What an axis counts, and how.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// What it counts.
    pub label: &'static str,
    scale: Scale,
    write: fn(f64) -> String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// From zero, ticks on round numbers.
    Linear,
    /// From zero, ticks on round times.
    Time,
    /// Near its values, not from zero.
    Near,
    /// Powers of ten.
    Log,
    /// Shares, each nine as long as the one before.
    Nines,
}

/// An axis with its ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranged {
    axis: Axis,
    low: f64,
    high: f64,
}

/// Round times in seconds.
const TIMES: [f64; 22] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
];
/// Ticks on an axis, about.
const TICKS: f64 = 5.0;

impl Axis {
    /// Time since the run began.
    pub const fn seconds() -> Self {
        Self { label: "time since the run began", scale: Scale::Time, write: time }
    }

    /// Microseconds, over many powers of ten.
    pub const fn latency(label: &'static str) -> Self {
        Self { label, scale: Scale::Log, write: latency }
    }

    /// A number, from zero.
    pub const fn count(label: &'static str) -> Self {
        Self { label, scale: Scale::Linear, write: number }
    }

    /// A number that changes little.
    pub const fn near(label: &'static str) -> Self {
        Self { label, scale: Scale::Near, write: number }
    }

    /// Bytes that change little.
    pub const fn bytes(label: &'static str) -> Self {
        Self { label, scale: Scale::Near, write: bytes }
    }

    /// Shares from 0 to 1.
    pub const fn nines(label: &'static str) -> Self {
        Self { label, scale: Scale::Nines, write: percent }
    }

    /// The ends that hold all values.
    pub(super) fn range(self, values: impl Iterator<Item = f64>) -> Ranged {
        let positive = self.scale == Scale::Log;
        let fold = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let usable = values.filter(|value| value.is_finite() && (!positive || *value > 0.0));
        let (low, high) =
            usable.map(|value| self.scaled(value)).fold((f64::INFINITY, f64::NEG_INFINITY), fold);
        let (low, high) = match self.scale {
            // No value at all: any ends do.
            _ if low > high => (0.0, 1.0),
            Scale::Linear | Scale::Time | Scale::Nines if high > 0.0 => (0.0, high),
            Scale::Near if high > low => (low - (high - low) / 10.0, high + (high - low) / 10.0),
            Scale::Log => (low.floor(), high.ceil().max(low.floor() + 1.0)),
            Scale::Linear | Scale::Time | Scale::Near | Scale::Nines => (low - 1.0, high + 1.0),
        };
        Ranged { axis: self, low, high }
    }

    fn scaled(self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear | Scale::Time | Scale::Near => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - value.min(0.999_999_9)).log10(),
        }
    }
}

impl Ranged {
    /// 0 at the low end, 1 at the high one, never beyond.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((self.axis.scaled(value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Values worth a tick, with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let wide = self.high - self.low;
        let values: Vec<f64> = match self.axis.scale {
            Scale::Linear | Scale::Near => self.multiples(round_step(wide / TICKS)),
            Scale::Time => {
                let step = TIMES.into_iter().find(|step| *step >= wide / TICKS);
                self.multiples(step.unwrap_or_else(|| round_step(wide / TICKS)))
            }
            Scale::Log => (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power)).collect(),
            Scale::Nines => {
                let nines = (1..=6).map(|nines| 1.0 - 10f64.powi(-nines));
                [0.5].into_iter().chain(nines).filter(|share| self.axis.scaled(*share) <= self.high).collect()
            }
        };
        values.into_iter().map(|value| (value, (self.axis.write)(value))).collect()
    }

    fn multiples(&self, step: f64) -> Vec<f64> {
        let first = (self.low / step).ceil() as i64;
        (first..).map(|n| n as f64 * step).take_while(|value| *value <= self.high * (1.0 + 1e-9)).collect()
    }
}

/// The next of 1, 2, 5, 10, …, of whatever power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

/// As few digits as tell neighbours apart.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => short(value / 1e6) + " M",
        v if v >= 1e4 => short(value / 1e3) + " k",
        _ => short(value),
    }
}

pub(super) fn bytes(value: f64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| value.abs() >= *size as f64);
    unit.map_or_else(
        || format!("{value:.0} B"),
        |(size, unit)| format!("{} {unit}", tenths(value / size as f64)),
    )
}

fn tenths(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn latency(micros: f64) -> String {
    match micros {
        us if us >= 1e6 => short(us / 1e6) + " s",
        us if us >= 1e3 => short(us / 1e3) + " ms",
        us => short(us) + " µs",
    }
}

fn time(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    match seconds {
        s if s >= 3600.0 => format!("{}:{:02} h", whole / 3600, whole % 3600 / 60),
        s if s >= 60.0 => format!("{}:{:02}", whole / 60, whole % 60),
        s => short(s) + " s",
    }
}

fn percent(share: f64) -> String {
    format!("{} %", short_share(share * 100.0))
}

fn short_share(percent: f64) -> String {
    let text = format!("{percent:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis, values: &[f64]) -> Vec<String> {
        axis.range(values.iter().copied()).ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(Axis::count(""), &[3.0, 47.0]), ["0", "10", "20", "30", "40"]);
        assert_eq!(texts(Axis::count(""), &[23_456.0]), ["0", "5000", "10 k", "15 k", "20 k"]);
        assert_eq!(texts(Axis::seconds(), &[0.0, 130.0]), ["0 s", "30 s", "1:00", "1:30", "2:00"]);
        assert_eq!(texts(Axis::seconds(), &[7200.0]), ["0 s", "30:00", "1:00 h", "1:30 h", "2:00 h"]);
        assert_eq!(texts(Axis::latency(""), &[0.0, 800.0, 20_000.0]), ["100 µs", "1 ms", "10 ms", "100 ms"]);
        assert_eq!(texts(Axis::nines(""), &[0.0, 0.5, 0.999]), ["50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn every_value_lies_on_its_axis() {
        for axis in [Axis::count(""), Axis::near(""), Axis::latency(""), Axis::nines(""), Axis::seconds()] {
            for values in [vec![], vec![0.0], vec![0.5], vec![0.25, 0.5, 0.999]] {
                let ranged = axis.range(values.iter().copied());
                assert!(values.iter().all(|value| (0.0..=1.0).contains(&ranged.place(*value))));
                assert!(ranged.ticks().len() <= 12, "{axis:?} {values:?}");
            }
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!([0.0, 2048.0, 5e6, 3e9].map(bytes), ["0 B", "2.0 KiB", "4.8 MiB", "2.8 GiB"]);
    }
}
