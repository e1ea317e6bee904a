//! When the certificates in use end: in a gauge, and in the log once a day from fourteen days before.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use conclave_cluster::wire::{self, Date, Validity};
use metrics::Gauge;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::access::bounded_file;
use crate::config::Config;
use crate::listener;

/// When a certificate ends, in seconds since 1970, by the label `certificate`.
const EXPIRY: &str = "conclave_certificate_expiry_timestamp_seconds";
/// How often they are looked at, since they are read again when their files change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often one that ends soon is spoken of.
const REMIND_EVERY: Duration = Duration::from_secs(86_400);

/// Longer files of authorities are refused elsewhere.
const AUTHORITIES_BYTES_MAX: u64 = 1 << 20;

/// A certificate in use.
pub(super) struct Certificate {
    label: &'static str,
    key: &'static str,
    path: PathBuf,
    tls: Tls,
}

/// What it is used for.
enum Tls {
    /// Clients, or operators.
    Public(listener::Tls),
    Peers(wire::Tls),
}

/// Those of this configuration, as far as there are any.
pub(super) fn in_use(
    config: &Config,
    [public, admin]: [Option<&listener::Tls>; 2],
    peers: Option<&wire::Tls>,
) -> Vec<Certificate> {
    let public = public.map(|tls| Certificate {
        label: "http",
        key: "http.tls.cert",
        path: config.http.tls.cert.clone(),
        tls: Tls::Public(tls.clone()),
    });
    let admin = admin.map(|tls| Certificate {
        label: "admin",
        key: "admin.tls.cert",
        path: config.admin.tls.cert.clone(),
        tls: Tls::Public(tls.clone()),
    });
    let peers = peers.map(|tls| Certificate {
        label: "cluster",
        key: "cluster.tls.cert",
        path: config.cluster.tls.cert.clone(),
        tls: Tls::Peers(tls.clone()),
    });
    public.into_iter().chain(admin).chain(peers).collect()
}

/// The authorities that this node believes others by, as far as all of a file end soon: what is said of them.
pub(super) fn ending_authorities(config: &Config, now: SystemTime) -> Vec<String> {
    let authorities = [
        ("http.tls.client_ca", &config.http.tls.client_ca),
        ("admin.tls.client_ca", &config.admin.tls.client_ca),
        ("cluster.tls.ca", &config.cluster.tls.ca),
    ];
    let ending = |(key, path): (&str, &PathBuf)| {
        let bytes = bounded_file::read(path, AUTHORITIES_BYTES_MAX).ok()?;
        let found =
            CertificateDer::pem_slice_iter(&bytes).filter_map(|found| Validity::of(&found.ok()?).ok());
        let last = found.max_by_key(Validity::until).filter(|last| last.ends_soon(now))?;
        let (path, until) = (path.display(), last.until());
        Some(format!("{key}: {path}: the authority is valid until {until}: replace it, and what it signed"))
    };
    authorities.into_iter().filter_map(ending).collect()
}

impl Certificate {
    fn validity(&self) -> Validity {
        match &self.tls {
            Tls::Public(tls) => tls.validity(),
            Tls::Peers(tls) => tls.validity(),
        }
    }

    /// What is to be said of it at `now`, if it ends soon or has ended.
    pub(super) fn warning(&self, now: SystemTime) -> Option<Warning<'_>> {
        let validity = self.validity();
        validity.ends_soon(now).then(|| Warning { certificate: self, until: validity.until() })
    }
}

/// That a certificate should be replaced.
#[derive(Clone, Copy)]
pub(super) struct Warning<'a> {
    certificate: &'a Certificate,
    until: Date,
}

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { key, path, .. } = self.certificate;
        write!(f, "{key}: {}: the certificate is valid until {}: replace it", path.display(), self.until)
    }
}

/// Keeps the gauge and speaks of those that end soon. Runs until it is dropped. Install the metrics recorder before.
pub(super) async fn watch(certificates: Vec<Certificate>) {
    metrics::describe_gauge!(EXPIRY, "when a certificate in use ends, in seconds since 1970");
    let mut watched: Vec<_> = certificates.iter().map(Watched::new).collect();
    loop {
        for watched in &mut watched {
            watched.look(SystemTime::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Watched<'a> {
    certificate: &'a Certificate,
    gauge: Gauge,
    /// What was said last, and when.
    said: Option<(Date, SystemTime)>,
}

impl<'a> Watched<'a> {
    fn new(certificate: &'a Certificate) -> Self {
        let gauge = metrics::gauge!(EXPIRY, "certificate" => certificate.label);
        Self { certificate, gauge, said: None }
    }

    fn look(&mut self, now: SystemTime) {
        self.gauge.set(self.certificate.validity().until().unix_seconds() as f64);
        let Some(warning) = self.certificate.warning(now) else { return };
        if !self.was_said(warning.until, now) {
            self.said = Some((warning.until, now));
            let Certificate { key, path, .. } = self.certificate;
            let (path, until) = (path.display(), warning.until);
            tracing::warn!(key, %path, %until, "a certificate ends within fourteen days or has ended: replace it");
        }
    }

    fn was_said(&self, until: Date, now: SystemTime) -> bool {
        let within_a_day = |at| now.duration_since(at).is_ok_and(|passed| passed < REMIND_EVERY);
        self.said.is_some_and(|(of, at)| of == until && within_a_day(at))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::admission::Shares;
    use crate::serve::options;

    /// A node with a public certificate that ends in so many days.
    fn config(home: &Path, days: u32) -> Config {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let until = SystemTime::now() + days * REMIND_EVERY;
        params.not_after = until.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut config = Config::default();
        (config.http.tls.cert, config.http.tls.key) = (home.join("cert.pem"), home.join("key.pem"));
        std::fs::write(&config.http.tls.cert, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&config.http.tls.key, key.serialize_pem()).unwrap();
        config
    }

    #[test]
    fn one_that_ends_soon_is_spoken_of_once_a_day_and_a_new_one_at_once() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path(), 20);
        let tls = options::public_tls(&config, Shares::default().handshakes).unwrap().unwrap();
        let certificates = in_use(&config, [Some(&tls), None], None);
        let mut watched = Watched::new(&certificates[0]);
        let mut said = |after_hours: u64| {
            let before = watched.said;
            watched.look(SystemTime::now() + Duration::from_secs(after_hours * 3600));
            watched.said != before
        };
        assert!(!said(0) && !said(5 * 24));
        let hours: Vec<_> = (6 * 24..9 * 24).filter(|hour| said(*hour)).collect();
        assert_eq!(hours.len(), 3, "{hours:?}");
        assert!(said(30 * 24), "one that has ended is spoken of");

        super::tests::config(home.path(), 3);
        tls.reload().unwrap();
        assert!(said(0) && !said(1));
    }

    #[test]
    fn an_authority_is_warned_of_when_all_of_its_file_end_soon() {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.cluster.tls.ca = home.path().join("ca.pem");
        let told = |days: &[u32]| {
            let pems = days.iter().map(|days| {
                std::fs::read_to_string(super::tests::config(home.path(), *days).http.tls.cert).unwrap()
            });
            std::fs::write(&config.cluster.tls.ca, pems.collect::<String>()).unwrap();
            ending_authorities(&config, SystemTime::now())
        };
        assert_eq!(told(&[20]), [""; 0]);
        assert_eq!(told(&[3, 400]), [""; 0], "one takes the place of the other");
        let told = told(&[3, 5]);
        assert!(told.len() == 1 && told[0].starts_with("cluster.tls.ca: "), "{told:?}");
        assert!(told[0].contains("ca.pem: the authority is valid until "), "{told:?}");
    }

    #[test]
    fn the_warning_names_key_and_file_and_end() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path(), 3);
        let tls = options::public_tls(&config, Shares::default().handshakes).unwrap().unwrap();
        let certificates = in_use(&config, [Some(&tls), None], None);
        let warning = certificates[0].warning(SystemTime::now()).unwrap().to_string();
        let parts = ["http.tls.cert: ", "cert.pem: ", &tls.validity().until().to_string()];
        assert!(parts.iter().all(|part| warning.contains(part)), "{warning}");
    }
}
