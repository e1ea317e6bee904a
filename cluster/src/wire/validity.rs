//! From when to when a certificate is valid, as it says itself (RFC 5280, section 4.1.2.5).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// How long before its end a certificate is warned of.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// From when to when, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    from: Date,
    until: Date,
}

/// Why a certificate is not valid at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Its end is past.
    #[error("the certificate expired at {0}")]
    Expired(Date),
    /// Its begin is not reached, or the clock is wrong.
    #[error("the certificate is not valid before {begins}, and this machine's clock says {now}")]
    Early {
        /// When it begins.
        begins: Date,
        /// What was taken for now.
        now: Date,
    },
    /// It says nothing that can be read.
    #[error("the certificate's dates cannot be read")]
    Unreadable,
}

impl Validity {
    /// Reads what a certificate says.
    ///
    /// # Errors
    /// [`Invalid::Unreadable`].
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Invalid> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| Invalid::Unreadable)?;
        let validity = parsed.validity();
        let date = |time: ASN1Time| Date(time.timestamp());
        Ok(Self { from: date(validity.not_before), until: date(validity.not_after) })
    }

    /// Whether it is valid at `now`.
    ///
    /// # Errors
    /// If it is not yet, or no more.
    pub fn check(&self, now: SystemTime) -> Result<(), Invalid> {
        let now = Date::from(now);
        if now > self.until {
            return Err(Invalid::Expired(self.until));
        }
        if now < self.from {
            return Err(Invalid::Early { begins: self.from, now });
        }
        Ok(())
    }

    /// Whether it ends within fourteen days of `now`, or has ended.
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        Date::from(now + NOTICE) > self.until
    }

    /// Its last second.
    pub fn until(&self) -> Date {
        self.until
    }
}

/// A second, counted from the beginning of 1970 and written as a date with its time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(i64);

impl Date {
    /// Seconds since the beginning of 1970.
    pub fn unix_seconds(self) -> i64 {
        self.0
    }
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(seconds(since)),
            Err(before) => Self(-seconds(before.duration())),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = ASN1Time::from_timestamp(self.0) else { return write!(f, "second {}", self.0) };
        let time = time.to_datetime();
        let (hour, minute, second) = time.to_hms();
        write!(f, "{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Valid through March 2030.
    fn march() -> Validity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2030, 3, 1), date_time_ymd(2030, 3, 31));
        Validity::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    fn at(year: i32, month: u8, day: u8) -> SystemTime {
        date_time_ymd(year, month, day).into()
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_to_its_last_second() {
        let second = Duration::from_secs(1);
        assert_eq!(march().check(at(2030, 3, 1)), Ok(()));
        assert_eq!(march().check(at(2030, 3, 31)), Ok(()));
        let early = march().check(at(2030, 3, 1) - second).unwrap_err().to_string();
        assert_eq!(
            early,
            "the certificate is not valid before 2030-03-01 00:00:00 UTC, and this machine's clock says \
             2030-02-28 23:59:59 UTC"
        );
        let late = march().check(at(2030, 3, 31) + second).unwrap_err().to_string();
        assert_eq!(late, "the certificate expired at 2030-03-31 00:00:00 UTC");
    }

    #[test]
    fn its_end_is_near_fourteen_days_before() {
        assert!(!march().ends_soon(at(2030, 3, 17)));
        assert!(march().ends_soon(at(2030, 3, 18)));
        assert!(march().ends_soon(at(2031, 3, 18)));
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        assert_eq!(Validity::of(&CertificateDer::from(vec![0; 64])), Err(Invalid::Unreadable));
    }
}
