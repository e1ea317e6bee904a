//! Bearer tokens: JSON Web Tokens (RFC 7519) signed by keys that the operator configured.
//!
//! The key decides which algorithm is used; what the token says about algorithms and keys is only ever compared.
//! [`Auth::verify`] takes the time as an argument, so that the cluster's clock decides and not this machine's.

mod request_signing_key;
mod revoked;
mod signature_backend;
mod token;
mod token_key;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch as channel;

pub use request_signing_key::{SigningSource, SigningSourceError};
pub use revoked::RevokedError;
pub use token_key::{Algorithm, KeyError, Source};

use super::credential_rights::{self, Credential};
use super::signature::{Message, Signed};
use super::watch;
use request_signing_key::SigningKey;
use revoked::Revoked;
use token::Rules;
use token_key::Key;

/// How tokens are judged.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a credential is needed at all.
    pub required: bool,
    /// The keys that sign tokens. None: tokens mean nothing here.
    pub keys: Vec<Source>,
    /// The keys that sign requests.
    pub signing: Vec<SigningSource>,
    /// Who must have issued a token; `None`: anybody with the key.
    pub issuer: Option<String>,
    /// For whom a token must be meant. `None`: for nobody in particular, and one that names somebody is refused.
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// A file that lists what was revoked.
    pub revoked: Option<PathBuf>,
}

/// The token proves nothing. Why is nobody's business: it would tell a forger how near it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("credential is missing, malformed, untrusted, expired or revoked")]
pub struct Unauthorized;

/// Why the configured files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// Counts how often the files changed.
    changes: channel::Sender<u64>,
}

/// What the files held when they were last read.
#[derive(Debug, Default)]
struct Files {
    keys: Vec<Key>,
    signing: Vec<SigningKey>,
    revoked: Revoked,
}

impl Files {
    fn read(options: &Options) -> Result<Self, Error> {
        let keys = options.keys.iter().map(Key::read).collect::<Result<_, _>>()?;
        let signing = options.signing.iter().map(SigningSource::read).collect::<Result<_, _>>()?;
        let revoked = options.revoked.as_deref().map(Revoked::read).transpose()?.unwrap_or_default();
        Ok(Self { keys, signing, revoked })
    }
}

impl Auth {
    /// Reads the keys.
    ///
    /// # Errors
    /// If a file cannot be read or holds something else.
    pub fn new(options: Options) -> Result<Self, Error> {
        signature_backend::install();
        let files = Files::read(&options)?;
        let rules = Rules {
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            leeway_ms: u64::try_from(options.leeway.as_millis()).unwrap_or(u64::MAX),
        };
        let changes = channel::Sender::new(0);
        Ok(Self(Arc::new(Inner { options, rules, files: ArcSwap::from_pointee(files), changes })))
    }

    /// Whether a credential is needed.
    pub fn is_required(&self) -> bool {
        self.0.options.required
    }

    /// Whether tokens mean anything here.
    pub fn is_enabled(&self) -> bool {
        !self.0.options.keys.is_empty()
    }

    /// Makes a credential of a token. `now_ms` is the cluster's clock.
    ///
    /// # Errors
    /// If the token is anything but in order.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Credential, Unauthorized> {
        let files = self.0.files.load();
        let credential = token::verify(token, &files.keys, &self.0.rules, now_ms)?;
        if files.revoked.covers(&credential) { Err(Unauthorized) } else { Ok(credential) }
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
    ) -> Result<Credential, Unauthorized> {
        let files = self.0.files.load();
        let key = files.signing.iter().find(|key| key.id == signed.key).ok_or(Unauthorized)?;
        signed.verify(message, &key.key, now_ms)?;
        let subject = Some(credential_rights::subject(&format!("key:{}", key.id)));
        let credential = Credential { subject, ..Credential::anonymous() };
        if files.revoked.covers(&credential) { Err(Unauthorized) } else { Ok(credential) }
    }

    /// Whether a credential that was in order is still worth something. Ask again whenever [`Auth::changes`] says so,
    /// and when `expires_ms` comes.
    pub fn holds(&self, credential: &Credential, now_ms: u64) -> bool {
        !credential.is_expired(now_ms) && !self.0.files.load().revoked.covers(credential)
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
        self.0.files.store(Arc::new(files));
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Reads the files anew whenever one of them changes or `asked` does. Runs until it is dropped.
    pub async fn keep_current(self, asked: channel::Receiver<u64>) {
        watch::whenever_changed(self.paths(), asked, || self.clone().read_again()).await;
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
            .map(Into::into)
            .collect()
    }
}

#[cfg(test)]
mod tests;
