//! What `serve` would stumble over, found without starting a node: files, the data directory, addresses.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::SystemTime;

use super::{Error, certificates, data_dir, options};
use crate::admission::Shares;
use crate::config::{Config, Environment};

/// What is written into the data directory for a moment.
const TRIAL_BYTES: usize = 16 * 1024;

/// What was found.
pub(crate) struct Preflight {
    /// Everything that would keep a node from starting.
    pub(crate) problems: Vec<Error>,
    /// What keeps it from starting before long, unless somebody does something, and what it is told to do and never does.
    pub(crate) warnings: Vec<String>,
}

/// Everything that would keep a node from starting with this configuration, as this user, at this moment. Addresses are
/// tried only if `binding`: those of a node that runs are taken.
pub(crate) fn preflight(config: &Config, environment: &Environment, binding: bool) -> Preflight {
    let mut problems = Vec::new();
    // Certificates, keys and secrets are read, keys compared with their certificates, and those with date and name.
    problems.extend(options::access(config).err().map(Error::from));
    problems.extend(options::webhooks(config).err().map(Error::from));
    problems.extend(options::traces(config).err().map(Error::from));
    let public = options::public_tls(config, Shares::default().handshakes).unwrap_or_else(|error| {
        problems.push(error.into());
        None
    });
    let admin = options::admin_tls(config).unwrap_or_else(|error| {
        problems.push(error.into());
        None
    });
    let (listen, peers) = match options::cluster(config, String::new(), String::new()) {
        Ok(options) => (Some(options.listen), options.tls),
        Err(error) => {
            problems.push(error);
            (None, None)
        }
    };
    let now = SystemTime::now();
    let warnings = certificates::in_use(config, [public.as_ref(), admin.as_ref()], peers.as_ref())
        .iter()
        .filter_map(|certificate| Some(certificate.warning(now)?.to_string()))
        .chain(certificates::ending_authorities(config, now))
        .chain(options::never_reached(config))
        .chain(options::never_opened(config))
        .collect();
    match data_dir(config, environment) {
        Ok(path) => problems.extend(writable(&path).err()),
        Err(error) => problems.push(error),
    }
    if binding {
        let own = [
            (Some(config.http.listen.to_string()), "http.listen"),
            (Some(config.admin.listen.to_string()), "admin.listen"),
            (config.telemetry.listen.map(|address| address.to_string()), "telemetry.listen"),
            (listen, "cluster.listen"),
        ];
        // Held until all were tried, so that two of them that are the same are found, too.
        let mut bound = Vec::new();
        for (address, key) in own {
            let Some(address) = address else { continue };
            match TcpListener::bind(&address) {
                Ok(listener) => bound.push(listener),
                Err(error) => problems.push(Error::Bind { address, key, error }),
            }
        }
    }
    Preflight { problems, warnings }
}

/// Whether files can be made in a directory and hold something, or the directory itself where it does not exist yet.
fn writable(path: &Path) -> Result<(), Error> {
    // The last ancestor of a relative path has no name.
    let named = path.ancestors().map(|path| if path == Path::new("") { Path::new(".") } else { path });
    // A link is there, also where what it leads to is not.
    let present = named.into_iter().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    tried(present).map_err(|error| Error::Unwritable { path: path.to_owned(), error })
}

/// Tries a directory, and leaves nothing behind.
fn tried(directory: &Path) -> io::Result<()> {
    match (directory.metadata(), directory.read_link()) {
        (Ok(metadata), _) if metadata.is_dir() => {}
        (Ok(_), _) => return Err(io::ErrorKind::NotADirectory.into()),
        (Err(error), Ok(to)) if error.kind() == io::ErrorKind::NotFound => {
            let why = format!("{} is a link to {}, which is not there", directory.display(), to.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        (Err(error), _) => return Err(error),
    }
    let trial = tempfile::tempdir_in(directory)?;
    // An empty file takes no room on a full disk.
    let mut file = std::fs::File::create(trial.path().join("trial"))?;
    file.write_all(&[0xa5; TRIAL_BYTES])?;
    file.sync_all()?;
    trial.close()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::exit::Exit;

    fn complaints(config: &Config, binding: bool) -> Vec<String> {
        let found = preflight(config, &Environment::default(), binding);
        found.problems.iter().map(ToString::to_string).collect()
    }

    fn config(home: &Path) -> Config {
        let mut config = Config::default();
        config.node.data_dir = home.join("not/yet/there");
        for address in [&mut config.http.listen, &mut config.admin.listen] {
            address.set_port(0);
        }
        config
    }

    #[test]
    fn what_can_start_is_not_complained_of_and_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(complaints(&config(home.path()), true), [""; 0]);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_taken_address_is_told_with_its_key_unless_a_node_may_run() {
        let home = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(home.path());
        config.telemetry.listen = Some(taken.local_addr().unwrap());
        let told = complaints(&config, true);
        assert!(told.len() == 1 && told[0].contains("(telemetry.listen)"), "{told:?}");
        assert_eq!(complaints(&config, false), [""; 0]);
    }

    #[test]
    fn every_file_is_read_and_the_directory_tried() {
        let home = tempfile::tempdir().unwrap();
        let mut config = config(home.path());
        std::fs::write(home.path().join("file"), "").unwrap();
        config.node.data_dir = home.path().join("file/below");
        config.http.tls.cert = home.path().join("absent.pem");
        config.http.tls.key = home.path().join("absent.key");
        config.admin.tls.cert = home.path().join("absent-admin.pem");
        config.admin.tls.key = home.path().join("absent-admin.key");
        config.auth.keys = vec![format!("HS256:{}", home.path().join("absent.secret").display())];
        config.webhooks.urls = vec!["https://ops.example".to_owned()];
        config.webhooks.secret_file = home.path().join("absent.webhooks");
        let told = complaints(&config, false).join("\n");
        for part in [
            "http.tls.cert: ",
            "absent.pem",
            "admin.tls.cert: ",
            "absent-admin.pem",
            "absent.secret",
            "absent.webhooks",
            "node.data_dir",
        ] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }

    #[test]
    fn a_link_to_a_directory_that_is_not_there_is_no_place_for_data() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path().join("gone"), &link).unwrap();
        for data_dir in [link.clone(), link.join("below")] {
            let mut config = config(home.path());
            config.node.data_dir = data_dir;
            let told = complaints(&config, false);
            assert!(told.len() == 1 && told[0].contains("(node.data_dir): "), "{told:?}");
            let why = format!("link is a link to {}, which is not there", home.path().join("gone").display());
            assert!(told[0].ends_with(&why), "{told:?}");
        }
        std::fs::create_dir(home.path().join("gone")).unwrap();
        let mut config = config(home.path());
        config.node.data_dir = link;
        assert_eq!(complaints(&config, false), [""; 0]);
    }

    #[test]
    fn a_relative_directory_is_tried_where_this_process_is() {
        assert!(writable(Path::new("not-there-yet")).is_ok());
        assert!(!Path::new("not-there-yet").exists());
    }

    #[test]
    fn what_is_never_asked_is_warned_of() {
        let home = tempfile::tempdir().unwrap();
        let mut config = config(home.path());
        config.webhooks.urls = vec!["http://127.0.0.1:9/secret".to_owned(), "https://ops.example".to_owned()];
        config.auth.jwks = "https://10.0.0.1/keys".to_owned();
        let warnings = |config: &Config| preflight(config, &Environment::default(), false).warnings;
        let told = warnings(&config);
        assert!(told.len() == 2 && told[0].starts_with("auth.jwks: https://10.0.0.1 is"), "{told:?}");
        assert!(told[1].starts_with("webhooks.urls: http://127.0.0.1:9 is not of the public"), "{told:?}");
        config.webhooks.allow_private = true;
        config.auth.jwks_allow_private = true;
        assert_eq!(warnings(&config), [""; 0]);
    }

    const DAY: Duration = Duration::from_secs(86_400);

    /// Has node 1 use a certificate of `name`, valid from `from` until `until`, for the public or for its peers.
    fn certify(
        config: &mut Config,
        home: &Path,
        public: bool,
        name: &str,
        from: SystemTime,
        until: SystemTime,
    ) {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap().pem();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from.into(), until.into());
        let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
        let write = |name: &str, text: &str| {
            std::fs::write(home.join(name), text).unwrap();
            home.join(name)
        };
        let files = (write("cert.pem", &certificate), write("key.pem", &key.serialize_pem()));
        if public {
            (config.http.tls.cert, config.http.tls.key) = files;
        } else {
            (config.cluster.tls.cert, config.cluster.tls.key) = files;
            config.cluster.tls.ca = write("ca.pem", &authority);
        }
    }

    #[test]
    fn a_certificate_that_others_would_refuse_is_a_mistake_of_the_configuration() {
        let home = tempfile::tempdir().unwrap();
        let (now, own) = (SystemTime::now(), "node-1.conclave");
        for (public, name, from, until, wrong) in [
            (true, "localhost", now - 2 * DAY, now - DAY, "the certificate expired at "),
            (true, "localhost", now + DAY, now + 99 * DAY, "the certificate is not valid before "),
            (false, own, now - 2 * DAY, now - DAY, "the certificate expired at "),
            (false, own, now + DAY, now + 99 * DAY, "the certificate is not valid before "),
            (false, "node-2.conclave", now - DAY, now + 99 * DAY, "node-2.conclave"),
        ] {
            let mut config = config(home.path());
            certify(&mut config, home.path(), public, name, from, until);
            let found = preflight(&config, &Environment::default(), false);
            let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
            assert_eq!(problem.exit(), Exit::Usage);
            let (told, key) =
                (problem.to_string(), if public { "http.tls.cert: " } else { "cluster.tls.cert: " });
            assert!(told.starts_with(key) && told.contains("cert.pem: ") && told.contains(wrong), "{told}");
        }
    }

    #[test]
    fn a_certificate_that_ends_within_fourteen_days_is_warned_of() {
        let home = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (public, name) in [(true, "localhost"), (false, "node-1.conclave")] {
            let found = [13, 15].map(|days| {
                let mut config = config(home.path());
                certify(&mut config, home.path(), public, name, now - DAY, now + days * DAY);
                preflight(&config, &Environment::default(), false)
            });
            assert!(found.iter().all(|found| found.problems.is_empty()));
            assert_eq!(found.map(|found| found.warnings.len()), [1, 0]);
        }
    }
}
