//! A key set that somebody else serves: fetched, kept for a while, fetched again.
//!
//! What is in force is the last good set, until it is older than `stale_max`. Tokens are judged by what is there; none
//! waits for a fetch.

mod fetch;
mod source;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use tokio::sync::{Notify, watch as channel};
use tokio::time::Instant;

use super::jwk_set::{Origin, Set, SetError};
use super::token_key::Key;
use crate::access::outbound::{AuthoritiesError, HttpUrl, UrlError};
use fetch::{FetchError, Fetcher};
pub use source::{Issuer, KeySetSource};

/// A set is fetched again after this time at the earliest, however short it is said to be fresh, and at the latest.
const REFRESH_MIN: Duration = Duration::from_secs(60);
const REFRESH_MAX: Duration = Duration::from_secs(3600);
/// After this time where nothing is said.
const REFRESH_UNSAID: Duration = Duration::from_secs(600);
/// A token that names an unknown key has the set fetched sooner, but this long after the last fetch at the earliest.
const SOONER_MIN: Duration = Duration::from_secs(30);
/// After a fetch that failed the next one comes after this time, which doubles.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);

const FETCHES: &str = "conclave_auth_key_set_fetches_total";
const KEYS: &str = "conclave_auth_key_set_keys";

/// How a set is fetched.
#[derive(Debug, Clone)]
pub struct Options {
    /// A PEM file of authorities whose certificates are believed; `None`: the machine's.
    pub authorities: Option<PathBuf>,
    /// Whether it may be asked for at addresses that are not of the public internet.
    pub allow_private: bool,
    /// For how long the last good set is used while no other one can be had.
    pub stale_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { authorities: None, allow_private: false, stale_max: Duration::from_secs(24 * 3600) }
    }
}

/// Why a set was not fetched.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}: {1}")]
    Fetch(HttpUrl, FetchError),
    #[error("{0}: {1}")]
    Set(HttpUrl, SetError),
    #[error("{0}: not the configuration of an OpenID provider, with `issuer` and `jwks_uri`")]
    Configuration(HttpUrl),
    #[error("{0}: its `issuer` is not letter by letter auth.oidc_issuer")]
    Issuer(HttpUrl),
    #[error("{0}: its `jwks_uri`: {1}")]
    Uri(HttpUrl, UrlError),
}

/// A set as it came.
struct Fetched {
    set: Set,
    fresh: Option<Duration>,
}

/// What a token comes to whose key is not in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// There is no such key, as far as is known.
    Unknown,
    /// It cannot be said now.
    Unsure,
}

/// The set. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(super) struct KeySet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: KeySetSource,
    fetcher: Fetcher,
    stale_max: Duration,
    current: ArcSwapOption<Current>,
    /// Nothing awaits while it is held.
    pace: Mutex<Pace>,
    /// A token named an unknown key.
    sooner: Notify,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) keys: Vec<Key>,
    fetched: Instant,
}

/// When the set is fetched.
#[derive(Debug)]
struct Pace {
    /// A fetch is under way, or about to be.
    under_way: bool,
    failed: bool,
    /// From when on a token may have it fetched.
    sooner_from: Instant,
}

/// What was last said of the set, so that it is said once.
#[derive(Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Good(Vec<Option<String>>, Vec<String>),
    Bad(String, bool),
}

impl KeySet {
    /// A set that is not fetched yet. `place` is no file.
    pub(super) fn new(place: KeySetSource, options: Options) -> Result<Self, AuthoritiesError> {
        let fetcher = Fetcher::new(options.authorities, options.allow_private)?;
        let pace = Pace { under_way: true, failed: false, sooner_from: Instant::now() };
        Ok(Self(Arc::new(Inner {
            place,
            fetcher,
            stale_max: options.stale_max,
            current: ArcSwapOption::empty(),
            pace: Mutex::new(pace),
            sooner: Notify::new(),
        })))
    }

    /// What is in force.
    pub(super) fn current(&self) -> Option<Arc<Current>> {
        self.0.current.load_full().filter(|current| current.fetched.elapsed() < self.0.stale_max)
    }

    /// A token's key is not there. One that is named has the set fetched, if it is time for that.
    pub(super) fn misses(&self, named: bool) -> Absent {
        if self.current().is_none() {
            return Absent::Unsure;
        }
        if !named {
            return Absent::Unknown;
        }
        let mut pace = self.pace();
        if !pace.under_way && Instant::now() >= pace.sooner_from {
            pace.under_way = true;
            self.0.sooner.notify_one();
        }
        if pace.under_way || pace.failed { Absent::Unsure } else { Absent::Unknown }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.pace.lock().expect("nobody panics while holding it")
    }

    /// Fetches the set, and again whenever it is time or `asked` changes. Runs until it is dropped.
    pub(super) async fn keep_current(self, asked: channel::Receiver<u64>) {
        self.keep(asked, || self.fetch()).await;
    }

    async fn keep<F: Future<Output = Result<Fetched, Fault>>>(
        &self,
        mut asked: channel::Receiver<u64>,
        fetch: impl Fn() -> F,
    ) {
        let mut failures = 0;
        let mut said = Said::default();
        loop {
            self.pace().under_way = true;
            let (pause, now) = match fetch().await {
                Ok(fetched) => {
                    failures = 0;
                    (self.pause(fetched.fresh), self.put(fetched.set))
                }
                Err(fault) => {
                    failures += 1;
                    metrics::counter!(FETCHES, "result" => "failed").increment(1);
                    let current = self.current();
                    metrics::gauge!(KEYS)
                        .set(current.as_ref().map_or(0, |current| current.keys.len()) as f64);
                    (again(failures), Said::Bad(fault.to_string(), current.is_none()))
                }
            };
            self.landed(failures > 0);
            if now != said {
                now.tell();
                said = now;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.sooner.notified() => {}
                Ok(()) = asked.changed() => {}
            }
        }
    }

    fn put(&self, set: Set) -> Said {
        metrics::counter!(FETCHES, "result" => "done").increment(1);
        let kids = set.keys.iter().map(|key| key.kid.clone()).collect();
        let unusable = set.unusable.iter().map(ToString::to_string).collect();
        // Before tokens are accepted by it, so that whoever sees one accepted sees the gauge, too.
        metrics::gauge!(KEYS).set(set.keys.len() as f64);
        self.0.current.store(Some(Arc::new(Current { keys: set.keys, fetched: Instant::now() })));
        Said::Good(kids, unusable)
    }

    fn landed(&self, failed: bool) {
        *self.pace() = Pace { under_way: false, failed, sooner_from: Instant::now() + SOONER_MIN };
    }

    /// When a set that is fresh for so long is fetched again: well before it is too old to be used.
    fn pause(&self, fresh: Option<Duration>) -> Duration {
        let fresh = fresh.unwrap_or(REFRESH_UNSAID).clamp(REFRESH_MIN, REFRESH_MAX);
        fresh.min(self.0.stale_max / 2)
    }

    async fn fetch(&self) -> Result<Fetched, Fault> {
        match &self.0.place {
            KeySetSource::Url(url) => self.fetch_set(url, None).await,
            KeySetSource::Issuer(issuer) => {
                let url = self.discover(issuer).await?;
                self.fetch_set(&url, Some(issuer.name.as_str().into())).await
            }
            KeySetSource::File(_) => unreachable!("a file is read with the other files"),
        }
    }

    async fn fetch_set(&self, url: &HttpUrl, issuer: Option<Arc<str>>) -> Result<Fetched, Fault> {
        let document = self.0.fetcher.get(url).await.map_err(|why| Fault::Fetch(url.clone(), why))?;
        let set = Set::parse(&document.bytes, Origin::Network);
        let mut set = set.map_err(|why| Fault::Set(url.clone(), why))?;
        for key in &mut set.keys {
            key.issuer.clone_from(&issuer);
        }
        Ok(Fetched { set, fresh: document.fresh })
    }

    /// Where the issuer's keys are (OpenID Connect Discovery 1.0, section 4.3).
    async fn discover(&self, issuer: &Issuer) -> Result<HttpUrl, Fault> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let at = &issuer.configuration;
        let document = self.0.fetcher.get(at).await.map_err(|why| Fault::Fetch(at.clone(), why))?;
        let said = serde_json::from_slice::<Configuration>(&document.bytes);
        let said = said.map_err(|_| Fault::Configuration(at.clone()))?;
        if said.issuer != issuer.name {
            return Err(Fault::Issuer(at.clone()));
        }
        let url = said.jwks_uri.parse::<HttpUrl>().map_err(|why| Fault::Uri(at.clone(), why))?;
        // An issuer elsewhere names no service of this machine.
        if at.secure && !url.secure { Err(Fault::Uri(at.clone(), UrlError::Plain)) } else { Ok(url) }
    }
}

/// For how long the next fetch waits after so many that failed.
fn again(failures: u32) -> Duration {
    AGAIN_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(AGAIN_MAX)
}

impl Said {
    fn tell(&self) {
        match self {
            Self::Nothing => {}
            Self::Good(kids, unusable) => {
                tracing::info!(keys = kids.len(), unusable = unusable.len(), "fetched the key set");
                for why in unusable {
                    tracing::warn!("the key set: {why}");
                }
            }
            Self::Bad(why, false) => tracing::warn!(why, "the key set was not fetched; the last one is used"),
            Self::Bad(why, true) => {
                tracing::error!(why, "the key set was not fetched; its tokens cannot be checked");
            }
        }
    }
}

#[cfg(test)]
mod tests;
