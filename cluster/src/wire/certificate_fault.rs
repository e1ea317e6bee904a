//! What is wrong with a certificate, in words: as rustls finds it, and as an alert says it that the other side sent.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::Reason;
use super::handshake::Fault;
use super::tls::CA;
use super::validity::Date;

/// Of what rustls says.
const WORDS_CHARS_MAX: usize = 500;

/// Tells a refused certificate, with the reason, and a stranger's bytes from a broken connection.
pub(super) fn explain(error: io::Error) -> Fault {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.into();
    };
    match tls {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Fault::Certificate(words(tls))
        }
        rustls::Error::AlertReceived(alert) => match refusal(*alert) {
            Some(why) => Fault::Certificate(format!("the peer refuses this node's: {why}")),
            None => Reason::Garbage.into(),
        },
        _ => Reason::Garbage.into(),
    }
}

/// What rustls finds wrong with a certificate.
pub(super) fn words(error: &rustls::Error) -> String {
    let date = |time: &UnixTime| Date::from(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            format!("the certificate expired at {}", date(not_after))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            format!("the certificate is not valid before {}", date(not_before))
        }
        // The latter where another authority has the same name.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            format!("unknown issuer: no authority in {CA} signed the certificate")
        }
        // Some name everything that a certificate has, which may be a stranger's.
        error => error.to_string().chars().take(WORDS_CHARS_MAX).collect(),
    }
}

/// What the other side finds wrong with this node's certificate, as far as an alert says it (RFC 8446, section 6.2). `None`
/// if it is about something else.
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match alert {
        Alert::CertificateExpired => "expired or not valid yet, by the peer's clock",
        Alert::UnknownCA => "unknown issuer: no authority in the peer's cluster.tls.ca signed it",
        Alert::BadCertificate => "it does not carry this node's name, or is malformed",
        Alert::UnsupportedCertificate => "its extended key usages are not both serverAuth and clientAuth",
        Alert::CertificateRequired => "there is none",
        Alert::CertificateRevoked => "revoked",
        Alert::CertificateUnknown | Alert::AccessDenied => "not accepted",
        Alert::DecryptError => "unknown issuer: its signature is not one of the peer's authority",
        _ => return None,
    })
}
