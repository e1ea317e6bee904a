//! Paths that clients should leave: told so with every answer (RFC 9745), and from a last day on refused (RFC 8594).

use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, HttpDate, LINK};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// One path, and everything under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deprecation {
    path: String,
    /// Seconds since the Unix epoch.
    since: u64,
    until: Option<u64>,
    successor: Option<String>,
}

/// The text says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is written as \"/v1 since 2027-01-31 until 2027-12-31 for /api/v1\", `until` after `since`")]
pub struct Unreadable;

impl FromStr for Deprecation {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut words = text.split_whitespace();
        let path = words.next().filter(|path| is_path(path)).ok_or(Unreadable)?;
        let (mut since, mut until, mut successor) = (None, None, None);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(Unreadable)?;
            let fresh = match word {
                "since" => since.replace(day(value).ok_or(Unreadable)?).is_none(),
                "until" => until.replace(day(value).ok_or(Unreadable)?).is_none(),
                "for" => successor.replace(value.to_owned()).is_none() && is_path(value),
                _ => false,
            };
            if !fresh {
                return Err(Unreadable);
            }
        }
        let since = since.ok_or(Unreadable)?;
        if until.is_some_and(|until| until <= since) {
            return Err(Unreadable);
        }
        Ok(Self { path: path.to_owned(), since, until, successor })
    }
}

impl Deprecation {
    /// Whether a path in its [normal form](crate::transport::pipeline) is this one or under it. Case makes no difference, as it
    /// makes none to where a path leads.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let Some((start, rest)) = path.split_at_checked(self.path.len()) else { return false };
        start.eq_ignore_ascii_case(&self.path) && (rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether its last day is over.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.until.is_some_and(|until| until * 1000 <= now_ms)
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let date = |seconds| HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        let text = |text: String| HeaderValue::try_from(text).expect("digits, dates and visible characters");
        headers.insert(DEPRECATION, text(format!("@{}", self.since)));
        if let Some(until) = self.until {
            headers.insert(SUNSET, text(date(until)));
        }
        if let Some(successor) = &self.successor {
            headers.append(LINK, text(format!("<{successor}>; rel=\"successor-version\"")));
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"?#".contains(&byte))
}

/// The first second of a day in UTC, of the years 1970 to 9999.
fn day(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (year, month, day): (u64, u64, u64) = (number(year)?, number(month)?, number(day)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let place = usize::try_from(month).ok()?.checked_sub(1)?;
    if year < 1970 || !(1..=*lengths.get(place)?).contains(&day) {
        return None;
    }
    let before = year - 1;
    // Leap days before the year, less those before 1970.
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let days = (year - 1970) * 365 + leap_days + lengths[..place].iter().sum::<u64>() + day - 1;
    Some(days * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-03-01", 1_709_251_200),
            ("2026-11-22", 1_795_305_600),
            ("2100-03-01", 4_107_542_400),
        ] {
            assert_eq!(day(text), Some(seconds), "{text}");
        }
        for bad in
            ["2026-02-29", "2026-13-01", "2026-00-01", "2026-01-32", "1969-12-31", "26-1-1", "+026-01-01"]
        {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_said_is_in_the_headers() {
        let all: Deprecation = "/v1 since 2026-11-22 until 2027-06-30 for /api/v1".parse().unwrap();
        let mut headers = HeaderMap::new();
        all.write(&mut headers);
        assert_eq!(headers.get("deprecation").unwrap(), "@1795305600");
        assert_eq!(headers.get("sunset").unwrap(), "Wed, 30 Jun 2027 00:00:00 GMT");
        assert_eq!(headers.get("link").unwrap(), "</api/v1>; rel=\"successor-version\"");
        assert!(
            all.covers("/v1")
                && all.covers("/V1/relay/")
                && !all.covers("/v")
                && !all.covers("/v10")
                && !all.covers("/api/v1")
        );
        assert!(!all.is_over(1_795_305_600_000) && all.is_over(1_814_313_600_000));
    }

    #[test]
    fn anything_else_is_told() {
        for bad in [
            "",
            "/v1",
            "v1 since 2026-11-22",
            "/v1 since tomorrow",
            "/v1 since 2026-11-22 until 2026-11-22",
            "/v1 since 2026-11-22 since 2026-11-22",
            "/v1 since 2026-11-22 for",
            "/v1 since 2026-11-22 for x>",
        ] {
            assert_eq!(bad.parse::<Deprecation>(), Err(Unreadable), "{bad}");
        }
    }
}
