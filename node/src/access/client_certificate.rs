//! Client certificates that were verified when their connection was opened.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::credential_rights::{self, Credential, Scopes};
use super::name_pattern::Grant;

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 16;

/// Whom a client's certificate names. It was signed by an authority of `http.tls.client_ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    names: Vec<String>,
}

impl Certificate {
    /// Reads the names of a verified certificate: URIs, then DNS names (RFC 5280, section 4.2.1.6). `None` if there is
    /// none: it proves something, but not who this is.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        let all = parsed.valid_uri_names().chain(parsed.valid_dns_names());
        // A name with a star would be a pattern here, and says nothing about who somebody is.
        let fit = all.filter(|name| (1..=256).contains(&name.len()) && !name.contains('*'));
        let names: Vec<_> = fit.take(NAMES_MAX).map(str::to_owned).collect();
        (!names.is_empty()).then_some(Self { names })
    }

    /// What the client may touch: everything in its own name, and any room. It is another subject than a token's of
    /// the same name.
    pub fn credential(&self) -> Option<Credential> {
        let first = self.names.first()?;
        Some(Credential {
            subject: Some(credential_rights::subject(&format!("certificate:{first}"))),
            token: None,
            device: None,
            tenant: None,
            needs_device: false,
            peers: Grant::of(&self.names).ok()?,
            rooms: Grant::all(),
            scope: Scopes::own(),
            expires_ms: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Option<Certificate> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::of(made.cert.der())
    }

    #[test]
    fn a_certificate_is_a_credential_for_its_own_names() {
        let credential = named(&["phone.example", "desk.example"]).unwrap().credential().unwrap();
        assert!(credential.may_claim("phone.example") && credential.may_claim("desk.example"));
        assert!(!credential.may_claim("phone.example.evil") && !credential.may_claim("other"));
        assert!(!credential.is_anonymous());
        assert_ne!(
            credential.subject,
            Some(credential_rights::subject("phone.example")),
            "no token's subject"
        );
    }

    #[test]
    fn a_certificate_without_a_name_is_nobodys() {
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["*.example"]), None);
    }
}
