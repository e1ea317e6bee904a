//! What `serve` would stumble over, found without starting a node: files, the data directory, addresses.

use std::net::TcpListener;
use std::path::Path;

use super::{Error, data_dir, options};
use crate::admission::Shares;
use crate::config::{Config, Environment};

/// Everything that would keep a node from starting with this configuration, as this user, at this moment. Addresses are
/// tried only if `binding`: those of a node that runs are taken.
pub(crate) fn preflight(config: &Config, environment: &Environment, binding: bool) -> Vec<Error> {
    let mut problems = Vec::new();
    // Certificates, keys and secrets are read, and keys compared with their certificates.
    problems.extend(options::access(config).err().map(Error::from));
    problems.extend(options::public_tls(config, Shares::default().handshakes).err().map(Error::from));
    let listen = match options::cluster(config, String::new(), String::new()) {
        Ok(options) => Some(options.listen),
        Err(error) => {
            problems.push(error);
            None
        }
    };
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
    problems
}

/// Whether files can be made in a directory, or the directory itself where it does not exist yet.
fn writable(path: &Path) -> Result<(), Error> {
    let error = |error| Error::Unwritable { path: path.to_owned(), error };
    let present = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !present.is_dir() {
        return Err(error(std::io::ErrorKind::NotADirectory.into()));
    }
    tempfile::tempdir_in(present).and_then(tempfile::TempDir::close).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(config: &Config, binding: bool) -> Vec<String> {
        preflight(config, &Environment::default(), binding).iter().map(ToString::to_string).collect()
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
        config.auth.keys = vec![format!("HS256:{}", home.path().join("absent.secret").display())];
        let told = complaints(&config, false).join("\n");
        for part in ["absent.pem", "absent.secret", "node.data_dir"] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}
