//! Bearer tokens: JSON Web Tokens (RFC 7519) signed by keys that the operator configured.
//!
//! The key decides which algorithm is used; what the token says about algorithms and keys is only ever compared.
//! [`Auth::verify`] takes the time as an argument, so that the cluster's clock decides and not this machine's.

mod approvals;
mod jwk_set;
mod key_set;
mod request_signing_key;
mod revoked;
mod signature_backend;
mod token;
mod token_key;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch as channel;

pub use approvals::Devices;
pub use jwk_set::SetError;
pub use key_set::{Issuer, KeySetSource, Options as FetchOptions};
pub use request_signing_key::{SigningSource, SigningSourceError};
pub use revoked::RevokedError;
pub use token_key::{Algorithm, KeyError, Source};

use super::bounded_file;
use super::credential_rights::{self, Credential};
use super::name_pattern::Grant;
use super::outbound::AuthoritiesError;
use super::signature::{Message, Signed};
use super::tenant::Tenants;
use super::watch;
use jwk_set::{Origin, SET_BYTES_MAX, Set};
use key_set::{Absent, KeySet};
use request_signing_key::SigningKey;
use revoked::Revoked;
use token::{Fault, Rules};
use token_key::Key;

/// How tokens are judged.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a credential is needed at all.
    pub required: bool,
    /// The keys that sign tokens. None: tokens mean nothing here.
    pub keys: Vec<Source>,
    /// A set of such keys.
    pub set: Option<KeySetSource>,
    /// How the set is fetched, unless it is a file.
    pub fetch: FetchOptions,
    /// The keys that sign requests.
    pub signing: Vec<SigningSource>,
    /// Whether clients may show certificates.
    pub certificates: bool,
    /// Who must have issued a token; `None`: anybody with the key.
    pub issuer: Option<String>,
    /// For whom a token must be meant. `None`: for nobody in particular, and one that names somebody is refused.
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// A file that lists what was revoked.
    pub revoked: Option<PathBuf>,
    /// The claim of a token that names the organisation; `None`: tokens are of none.
    pub tenant_claim: Option<String>,
    /// Whether a token is worth something only while its device is let in.
    pub require_approved_device: bool,
    /// How organisations are told apart.
    pub tenants: Tenants,
}

/// The token proves nothing. Why is nobody's business: it would tell a forger how near it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("credential is missing, malformed, untrusted, expired or revoked")]
pub struct Unauthorized;

/// Why a token is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// It proves nothing.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// It was in order, and its time is over. Who shows it is told no more than that it is worth nothing.
    #[error(transparent)]
    Expired(Unauthorized),
    /// It is in order, and was revoked. The same is said of it.
    #[error(transparent)]
    Revoked(Unauthorized),
    /// It proves who asks, whose device is not let in.
    #[error("the credential's device is not approved")]
    DeviceNotApproved,
    /// It proves who asks, who is of no organisation and has no business in one.
    #[error("the credential is of no organisation")]
    Tenant,
    /// It may prove something: the keys that tell, or the list of what is revoked, are not there now. Ask again.
    #[error("what tells whether the credential is in order cannot be had now")]
    KeysUnavailable,
}

/// Why the configured files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a key set.
    #[error("auth.jwks: {path}: {error}")]
    SetUnreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// What it holds.
    #[error("auth.jwks: {path}: {error}")]
    Set {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: SetError,
    },
    /// Whose certificates are believed when a set is fetched.
    #[error("auth.jwks_ca: {0}")]
    Authorities(#[from] AuthoritiesError),
    /// A key.
    #[error("auth.keys: {0}")]
    Key(#[from] KeyError),
    /// The list of what was revoked.
    #[error("auth.revoked: {0}")]
    Revoked(#[from] RevokedError),
}

/// Judges tokens. Cheap to clone; all clones share keys and revocations.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    rules: Rules,
    files: ArcSwap<Files>,
    /// The set that is fetched.
    fetched: Option<KeySet>,
    /// What is revoked in the cluster; none before it was read for the first time.
    revoked: ArcSwapOption<Revoked>,
    /// The devices that are registered; none before they were read for the first time.
    devices: ArcSwapOption<Devices>,
    /// Counts how often the files, or what is revoked, changed.
    changes: channel::Sender<u64>,
}

/// What the files held when they were last read.
#[derive(Debug, Default)]
struct Files {
    keys: Vec<Key>,
    /// What of a set is left out.
    unusable: Vec<String>,
    signing: Vec<SigningKey>,
    revoked: Revoked,
}

impl Files {
    fn read(options: &Options) -> Result<Self, Error> {
        let mut keys = options.keys.iter().map(Key::read).collect::<Result<Vec<_>, _>>()?;
        let set = match &options.set {
            Some(KeySetSource::File(path)) => read_set(path)?,
            Some(KeySetSource::Url(_) | KeySetSource::Issuer(_)) | None => Set::default(),
        };
        keys.extend(set.keys);
        let unusable = set.unusable.iter().map(ToString::to_string).collect();
        let signing = options.signing.iter().map(SigningSource::read).collect::<Result<_, _>>()?;
        let revoked = options.revoked.as_deref().map(Revoked::read).transpose()?.unwrap_or_default();
        Ok(Self { keys, unusable, signing, revoked })
    }

    /// Tells what is left out, unless it was told before.
    fn tell(&self, before: &[String]) {
        for why in self.unusable.iter().filter(|why| !before.contains(why)) {
            tracing::warn!("auth.jwks: {why}");
        }
    }
}

fn read_set(path: &Path) -> Result<Set, Error> {
    let bytes = bounded_file::read(path, SET_BYTES_MAX as u64)
        .map_err(|error| Error::SetUnreadable { path: path.to_owned(), error })?;
    Set::parse(&bytes, Origin::File).map_err(|error| Error::Set { path: path.to_owned(), error })
}

impl Auth {
    /// Reads the keys.
    ///
    /// # Errors
    /// If a file cannot be read or holds something else.
    pub fn new(options: Options) -> Result<Self, Error> {
        signature_backend::install();
        let files = Files::read(&options)?;
        files.tell(&[]);
        let fetched = match &options.set {
            Some(place @ (KeySetSource::Url(_) | KeySetSource::Issuer(_))) => {
                Some(KeySet::new(place.clone(), options.fetch.clone())?)
            }
            Some(KeySetSource::File(_)) | None => None,
        };
        let rules = Rules {
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            leeway_ms: u64::try_from(options.leeway.as_millis()).unwrap_or(u64::MAX),
            tenant_claim: options.tenant_claim.clone(),
        };
        let changes = channel::Sender::new(0);
        let (files, revoked, devices) =
            (ArcSwap::from_pointee(files), ArcSwapOption::empty(), ArcSwapOption::empty());
        Ok(Self(Arc::new(Inner { options, rules, files, fetched, revoked, devices, changes })))
    }

    /// Whether a credential is needed.
    pub fn is_required(&self) -> bool {
        self.0.options.required
    }

    /// Whether tokens mean anything here.
    pub fn is_enabled(&self) -> bool {
        !self.0.options.keys.is_empty() || self.0.options.set.is_some()
    }

    /// Makes a credential of a token. `now_ms` is the cluster's clock.
    ///
    /// # Errors
    /// If the token is anything but in order, or names a key that cannot be had now.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Credential, Unverified> {
        let credential = self.verify_newcomer(token, now_ms)?;
        self.judge(&credential, now_ms)?;
        Ok(credential)
    }

    /// The same for whoever registers a device: it need not be let in yet.
    ///
    /// # Errors
    /// As [`Auth::verify`].
    pub fn verify_newcomer(&self, token: &str, now_ms: u64) -> Result<Credential, Unverified> {
        let files = self.0.files.load();
        let current = self.0.fetched.as_ref().and_then(KeySet::current);
        let fetched = current.as_ref().map_or(&[][..], |current| &current.keys);
        let mut credential = match token::verify(token, [&files.keys, fetched], &self.0.rules, now_ms) {
            Ok(credential) => credential,
            Err(Fault::Unauthorized) => return Err(Unauthorized.into()),
            Err(Fault::Expired) => return Err(Unverified::Expired(Unauthorized)),
            Err(Fault::KeyUnknown { named }) => {
                return Err(match self.0.fetched.as_ref().map(|set| set.misses(named)) {
                    Some(Absent::Unsure) => Unverified::KeysUnavailable,
                    Some(Absent::Unknown) | None => Unauthorized.into(),
                });
            }
        };
        credential.needs_device = self.needs_device(&credential);
        self.judge_newcomer(&credential, now_ms)?;
        Ok(credential)
    }

    /// How organisations are told apart.
    pub fn tenants(&self) -> &Tenants {
        &self.0.options.tenants
    }

    /// Whether signed requests mean anything here.
    pub fn takes_signatures(&self) -> bool {
        !self.0.options.signing.is_empty()
    }

    /// Makes a credential of a signature. Whose key it is may do everything: it is a server that is trusted. The nonce
    /// is not looked at.
    ///
    /// # Errors
    /// If the signature is anything but in order.
    pub fn signed(
        &self,
        signed: &Signed<'_>,
        message: &Message<'_>,
        now_ms: u64,
    ) -> Result<Credential, Unverified> {
        let files = self.0.files.load();
        let key = files.signing.iter().find(|key| key.id == signed.key).ok_or(Unauthorized)?;
        signed.verify(message, &key.key, now_ms)?;
        let subject = Some(credential_rights::subject(&format!("key:{}", key.id)));
        let credential = Credential { subject, peers: Grant::of_server(), ..Credential::anonymous() };
        self.judge(&credential, now_ms)?;
        Ok(credential)
    }

    /// Whether a credential that is in order is worth something: its time is not over, it is not revoked, and its device is
    /// let in where that matters.
    ///
    /// # Errors
    /// If it is not, or if it is not known yet what is revoked, or who is let in.
    pub fn judge(&self, credential: &Credential, now_ms: u64) -> Result<(), Unverified> {
        self.judge_newcomer(credential, now_ms)?;
        self.judge_device(credential)
    }

    /// The same, but for the device.
    fn judge_newcomer(&self, credential: &Credential, now_ms: u64) -> Result<(), Unverified> {
        if credential.is_expired(now_ms) {
            return Err(Unverified::Expired(Unauthorized));
        }
        if self.0.files.load().revoked.covers(credential, now_ms) {
            return Err(Unverified::Revoked(Unauthorized));
        }
        match &*self.0.revoked.load() {
            Some(revoked) if revoked.covers(credential, now_ms) => Err(Unverified::Revoked(Unauthorized)),
            // Nobody in particular cannot be revoked.
            None if !credential.is_anonymous() => Err(Unverified::KeysUnavailable),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a credential that was in order is still worth something. Ask again whenever [`Auth::changes`] says so,
    /// and when `expires_ms` comes.
    pub fn holds(&self, credential: &Credential, now_ms: u64) -> bool {
        self.judge(credential, now_ms).is_ok()
    }

    /// Changes whenever keys or revocations were read anew.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Reads the files anew; what cannot be read leaves everything as it was.
    ///
    /// # Errors
    /// If a file cannot be read or holds something else.
    pub fn reload(&self) -> Result<(), Error> {
        let files = Files::read(&self.0.options)?;
        files.tell(&self.0.files.load().unusable);
        self.0.files.store(Arc::new(files));
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Reads the files anew whenever one of them changes or `asked` does. Runs until it is dropped.
    pub async fn keep_current(self, asked: channel::Receiver<u64>) {
        watch::whenever_changed(self.paths(), asked, || self.clone().read_again()).await;
    }

    /// Fetches the key set, if there is one to fetch, whenever it is time or `asked` changes. Runs until it is dropped.
    pub async fn keep_fetched(self, asked: channel::Receiver<u64>) {
        match self.0.fetched.clone() {
            Some(set) => set.keep_current(asked).await,
            None => std::future::pending().await,
        }
    }

    async fn read_again(self) {
        match tokio::task::spawn_blocking(move || self.reload()).await {
            Ok(Ok(())) => tracing::debug!("read the keys and revocations"),
            Ok(Err(error)) => {
                tracing::error!(%error, "reload failed; keeping the previous keys and revocations")
            }
            Err(_) => tracing::error!("reading the keys and revocations failed"),
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let options = &self.0.options;
        options
            .keys
            .iter()
            .filter_map(Source::path)
            .chain(options.signing.iter().map(SigningSource::path))
            .chain(options.revoked.as_deref())
            .chain(options.set.as_ref().and_then(KeySetSource::file))
            .map(Into::into)
            .collect()
    }
}

#[cfg(test)]
mod tests;
