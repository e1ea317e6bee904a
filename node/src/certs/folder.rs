//! The folder in which an authority and its certificates are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_supervisor::write_private;
use serde::{Deserialize, Serialize};

use super::{AUTHORITY_DAYS, DAY, Error, Pems, Purpose, authority, ends, signed};

const AUTHORITY: &str = "authority";
const LIST: &str = "certificates.json";

/// A certificate on the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// What it is for.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// For how many days it was made.
    pub days: u32,
    /// When it ends, in seconds since the Unix epoch.
    pub until: u64,
}

impl Listed {
    /// How many days are left of it; none if it has ended.
    pub fn days_left(&self, now: Duration) -> Option<u64> {
        days_left(self.until, now)
    }
}

fn days_left(until: u64, now: Duration) -> Option<u64> {
    until.checked_sub(now.as_secs()).filter(|left| *left > 0).map(|left| left / DAY.as_secs())
}

/// The files that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// A folder, there or not.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.0.join(format!("{AUTHORITY}.pem"))
    }

    /// How many days are left of the authority; none if it has ended.
    ///
    /// # Errors
    /// See [`Error`]; if its certificate is not there.
    pub fn authority_days_left(&self, now: Duration) -> Result<Option<u64>, Error> {
        self.authority_until().map(|until| days_left(until, now))
    }

    fn authority_until(&self) -> Result<u64, Error> {
        let path = self.authority();
        match fs::read(&path) {
            Ok(bytes) => ends(&bytes).ok_or(Error::Unreadable(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NoAuthority(self.0.clone()))
            }
            Err(error) => Err(Error::File { path, error }),
        }
    }

    /// The authority's end, which is to come.
    fn in_force_until(&self, now: Duration) -> Result<Duration, Error> {
        let until = Duration::from_secs(self.authority_until()?);
        if until > now { Ok(until) } else { Err(Error::Ended(self.authority())) }
    }

    /// Makes an authority.
    ///
    /// # Errors
    /// See [`Error`]; if there is one already.
    pub fn init(&self) -> Result<Written, Error> {
        let key = self.files(AUTHORITY).key;
        if key.exists() {
            return Err(Error::HasAuthority(self.0.clone()));
        }
        fs::create_dir_all(&self.0).map_err(|error| Error::File { path: self.0.clone(), error })?;
        self.write(AUTHORITY, &authority(now())?)
    }

    /// Whether a certificate for `purpose` takes the place of none for another one.
    ///
    /// # Errors
    /// See [`Error`]; if there is one.
    pub fn has_room_for(&self, purpose: &Purpose) -> Result<(), Error> {
        let stem = purpose.stem();
        let path = self.files(&stem).certificate;
        let listed = self.list()?.into_iter().find(|listed| listed.purpose.stem() == stem);
        let other = match listed {
            Some(listed) if listed.purpose == *purpose => return Ok(()),
            Some(listed) => format!("the certificate of {}", listed.purpose),
            None if path.exists() => "a certificate that is not on the list".to_owned(),
            None => return Ok(()),
        };
        Err(Error::Taken { path, other })
    }

    /// Makes a certificate, in place of the one of the same name. It ends with the authority at the latest: nobody believes it
    /// longer.
    ///
    /// # Errors
    /// See [`Error`]; if the authority has ended.
    pub fn sign(&self, purpose: Purpose, days: u32) -> Result<Written, Error> {
        let days = days.min(AUTHORITY_DAYS);
        let authority = self.files(AUTHORITY).key;
        let key = fs::read_to_string(authority).map_err(|_| Error::NoAuthority(self.0.clone()))?;
        let (mut list, now) = (self.list()?, now());
        let until = (now + DAY * days).min(self.in_force_until(now)?);
        let pems = signed(&purpose, &key, now, until)?;
        let stem = purpose.stem();
        let written = self.write(&stem, &pems)?;
        list.retain(|listed| listed.purpose.stem() != stem);
        list.push(Listed { purpose, days, until: until.as_secs() });
        list.sort_by_key(|listed| listed.purpose.stem());
        let text = serde_json::to_string_pretty(&list).unwrap_or_default() + "\n";
        self.put(&self.0.join(LIST), &text)?;
        Ok(written)
    }

    /// Makes those anew that end within so many days.
    ///
    /// # Errors
    /// See [`Error`]; if the authority has ended.
    pub fn renew(&self, within_days: u32) -> Result<Vec<(Listed, Written)>, Error> {
        let authority = self.in_force_until(now())?.as_secs();
        // What ends with the authority already would be made anew for nothing.
        let is_due = |listed: &Listed| {
            listed.until < authority && listed.days_left(now()).is_none_or(|days| days < within_days.into())
        };
        let due = self.list()?.into_iter().filter(is_due);
        due.map(|listed| Ok((listed.clone(), self.sign(listed.purpose, listed.days)?))).collect()
    }

    /// Whether it is one of an authority.
    ///
    /// # Errors
    /// If there is nothing of one.
    pub fn exists(&self) -> Result<(), Error> {
        let there = self.authority().exists() || self.0.join(LIST).exists();
        if there { Ok(()) } else { Err(Error::NoAuthority(self.0.clone())) }
    }

    /// What was signed.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let path = self.0.join(LIST);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Error::List(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::File { path, error }),
        }
    }

    fn files(&self, stem: &str) -> Written {
        let file = |ending: &str| self.0.join(format!("{stem}.{ending}"));
        Written { certificate: file("pem"), key: file("key") }
    }

    /// The key first: a certificate without its key is of no use to whoever reads in between.
    fn write(&self, stem: &str, pems: &Pems) -> Result<Written, Error> {
        let files = self.files(stem);
        self.put(&files.key, &pems.key)?;
        self.put(&files.certificate, &pems.certificate)?;
        Ok(files)
    }

    /// Puts a file in place whole, so that nobody reads half of it.
    fn put(&self, path: &Path, text: &str) -> Result<(), Error> {
        let failed = |error| Error::File { path: path.to_owned(), error };
        let fresh = path.with_extension("new");
        let _ = fs::remove_file(&fresh);
        write_private(&fresh, text).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use conclave_cluster::wire::Tls;

    use super::*;

    fn node(id: u64) -> Purpose {
        Purpose::Node { id, cluster: "blue".to_owned() }
    }

    #[test]
    fn a_node_takes_what_was_made_for_it_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().join("certs"));
        assert!(matches!(folder.sign(node(1), 30), Err(Error::NoAuthority(_))));
        folder.init().unwrap();
        assert!(matches!(folder.init(), Err(Error::HasAuthority(_))));
        let Written { certificate, key } = folder.sign(node(1), 30).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let usable = |cluster: &str, id| {
            let tls = Tls::from_files(&folder.authority(), &certificate, &key).unwrap();
            tls.check(cluster, id, SystemTime::now()).is_ok()
        };
        assert!(usable("blue", 1));
        assert!(!usable("blue", 2) && !usable("red", 1));
    }

    #[test]
    fn one_for_something_else_is_in_nobody_s_way_unnoticed() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().join("certs"));
        assert!(matches!(folder.exists(), Err(Error::NoAuthority(_))));
        folder.init().unwrap();
        folder.exists().unwrap();
        folder.has_room_for(&node(1)).unwrap();
        folder.sign(node(1), 30).unwrap();
        folder.has_room_for(&node(1)).unwrap();
        folder.has_room_for(&node(2)).unwrap();
        let other = Purpose::Node { id: 1, cluster: "staging".to_owned() };
        let told = folder.has_room_for(&other).unwrap_err().to_string();
        assert!(told.contains("node-1.pem: that is the certificate of node 1 of cluster blue"), "{told}");
        fs::remove_file(folder.0.join(LIST)).unwrap();
        assert!(matches!(folder.has_room_for(&node(1)), Err(Error::Taken { .. })));
    }

    /// An authority that was made so many days ago.
    fn aged(home: &Path, days: u32) -> Folder {
        let folder = Folder::new(home.to_owned());
        folder.write(AUTHORITY, &authority(now() - DAY * days).unwrap()).unwrap();
        folder
    }

    #[test]
    fn nothing_that_an_authority_signs_outlives_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = aged(home.path(), AUTHORITY_DAYS - 20);
        let Written { certificate, .. } = folder.sign(node(1), 365).unwrap();
        let until = ends(&fs::read(certificate).unwrap()).unwrap();
        assert_eq!((until, folder.list().unwrap()[0].until), (folder.authority_until().unwrap(), until));
        let later = now() + DAY / 2;
        assert_eq!(folder.list().unwrap()[0].days_left(later), Some(19));
        assert_eq!(folder.authority_days_left(later).unwrap(), Some(19));
    }

    #[test]
    fn an_authority_that_has_ended_signs_nothing() {
        let home = tempfile::tempdir().unwrap();
        aged(home.path(), 10).sign(node(1), 1).unwrap();
        let folder = aged(home.path(), AUTHORITY_DAYS + 1);
        assert_eq!(folder.authority_days_left(now()).unwrap(), None);
        assert!(matches!(folder.renew(30), Err(Error::Ended(_))));
        assert!(matches!(folder.sign(node(2), 1), Err(Error::Ended(_))));
        assert_eq!(folder.list().unwrap()[0].days_left(now() + DAY * 2), None);
    }

    #[test]
    fn what_ends_soon_is_made_anew_under_the_same_names() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().to_owned());
        folder.init().unwrap();
        let names = vec!["api.example".to_owned(), "192.0.2.1".to_owned()];
        folder.sign(Purpose::Server { names: names.clone() }, 10).unwrap();
        let client = Purpose::Client { names: vec!["urn://phone.example".to_owned()] };
        let before = folder.sign(client.clone(), 400).unwrap();
        let old = fs::read_to_string(&before.certificate).unwrap();
        let renewed = folder.renew(30).unwrap();
        assert_eq!(renewed.len(), 1);
        assert_eq!(renewed[0].0.purpose, Purpose::Server { names });
        assert_eq!(fs::read_to_string(&before.certificate).unwrap(), old, "it is good for long");
        assert_eq!(folder.list().unwrap().len(), 2);
        assert_eq!(client.stem(), "client-urn___phone.example");
        let wrong = Purpose::Server { names: vec!["a b".to_owned()] };
        assert!(matches!(folder.sign(wrong, 1), Err(Error::Name(_))));
    }
}
