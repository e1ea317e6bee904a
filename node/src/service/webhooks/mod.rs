//! Webhooks: events of this node, posted to endpoints that the operator configured
//! ([adr/0036](../../../../docs/adr/0036-webhooks-are-emitted-where-it-happens.md)).
//!
//! Emitting never waits: an event goes to a bounded queue for each endpoint, or is counted as lost. What was queued is
//! delivered at least once, in order, unless its endpoint refuses it or is unavailable for too long, or the node dies.

mod announced;
mod backoff;
mod endpoint;
mod event;
mod metrics;
mod presence;
mod queue;
mod signature;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use conclave_cluster::state::id::{Domain, Key};
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;

use crate::access::outbound::{AuthoritiesError, Client, HttpUrl, Settings};
use crate::access::{credential_rights, tenant, watch};
use crate::service::inventory::Id;
use announced::Announced;
use endpoint::Endpoint;
use event::{About, Digits, Spelled};
use metrics::Loss;
use queue::{Queue, Refused};
use signature::Secrets;

pub use event::{Kind, UnknownKind};
pub use presence::{Connected, Joined, OpenStream};
pub use signature::SecretError;

const SETTINGS: Settings = Settings { authorities: "webhooks.ca", allow_private: "webhooks.allow_private" };

/// Which events are posted, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node that posts them.
    pub node: u64,
    /// Where events are posted.
    pub urls: Vec<HttpUrl>,
    /// The file with the secrets that sign messages.
    pub secret_file: PathBuf,
    /// The kinds that are posted.
    pub kinds: Vec<Kind>,
    /// A PEM file of authorities whose certificates are believed; `None`: the machine's.
    pub authorities: Option<PathBuf>,
    /// Whether addresses that are not of the public internet may be asked.
    pub allow_private: bool,
    /// For one request.
    pub timeout: Duration,
    /// How long delivery of a message is tried.
    pub retry_for: Duration,
    /// How many events may wait for one endpoint.
    pub queue_events_max: usize,
}

/// Why webhooks cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The secrets.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The authorities.
    #[error("webhooks.ca: {0}")]
    Authorities(#[from] AuthoritiesError),
}

/// The webhooks of a node. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Webhooks(Option<Arc<Inner>>);

struct Inner {
    node: u64,
    kinds: Vec<Kind>,
    endpoints: Vec<Arc<Endpoint>>,
    secret_file: PathBuf,
    secrets: Arc<ArcSwap<Secrets>>,
    announced: Announced,
    closing: channel::Sender<bool>,
    // A std mutex: nothing is awaited while it is held.
    deliveries: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.0.iter().flat_map(|inner| &inner.endpoints);
        f.debug_list().entries(endpoints.map(|endpoint| endpoint.url.origin())).finish()
    }
}

impl Webhooks {
    /// Reads secrets and authorities. Nothing is delivered before [`Webhooks::start`].
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        if options.urls.is_empty() {
            return Ok(Self::default());
        }
        let secrets = Arc::new(ArcSwap::from_pointee(Secrets::read(&options.secret_file)?));
        let client = Client::new(SETTINGS, options.authorities, options.allow_private)?;
        let endpoint = |url| {
            Arc::new(Endpoint {
                url,
                queue: Queue::new(options.queue_events_max),
                client: client.clone(),
                secrets: secrets.clone(),
                timeout: options.timeout,
                retry_for: options.retry_for,
            })
        };
        Ok(Self(Some(Arc::new(Inner {
            node: options.node,
            kinds: options.kinds,
            endpoints: options.urls.into_iter().map(endpoint).collect(),
            secret_file: options.secret_file,
            secrets,
            announced: Announced::default(),
            closing: channel::Sender::new(false),
            deliveries: Mutex::default(),
        }))))
    }

    /// Starts to deliver, on the runtime that this is called on.
    pub fn start(&self) {
        let Some(inner) = &self.0 else { return };
        let run = |endpoint: &Arc<Endpoint>| tokio::spawn(endpoint.clone().run(inner.closing.subscribe()));
        let running = inner.endpoints.iter().map(run).collect();
        *inner.deliveries.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// Reads the secrets again whenever their file or `asked` changes. A file that cannot be used changes nothing. Runs until it
    /// is dropped.
    pub async fn keep_current(self, asked: channel::Receiver<u64>) {
        let Some(inner) = &self.0 else { return };
        watch::whenever_changed(vec![inner.secret_file.clone()], asked, || inner.read_again()).await;
    }

    /// A device waits for approval. That is posted once, however often the device registers, unless it shows another key.
    /// One that no endpoint had room for is posted when it registers again. `subject` is qualified by its organisation.
    pub fn device_pending(&self, subject: &str, device: &str, public_key: &str) {
        let Some(inner) = &self.0 else { return };
        if !inner.kinds.contains(&Kind::DevicePending) {
            return;
        }
        let named = credential_rights::device(subject, device);
        let shown: [&[u8]; 3] = [b"shown", named.as_bytes(), public_key.as_bytes()];
        let (organisation, name) = tenant::split(subject);
        let subject_id = Some(Digits::Key(Id::of(&credential_rights::subject(subject))));
        let device = Some(device);
        let about = About { subject_id, organisation, subject: Some(name), device, ..About::default() };
        let key = Key::derive(Domain::Client, &shown);
        inner.announced.once(key, || self.emit(Kind::DevicePending, about));
    }

    /// Whether there are any endpoints.
    fn are_any(&self) -> bool {
        self.0.is_some()
    }

    /// Queues an event for every endpoint; whether one of them has it now.
    fn emit(&self, kind: Kind, about: About<'_>) -> bool {
        let Some(inner) = &self.0 else { return false };
        if !inner.kinds.contains(&kind) {
            return false;
        }
        let event = Spelled::new(kind, inner.node, about);
        let mut is_queued = false;
        for endpoint in &inner.endpoints {
            // Counted before it can be delivered.
            metrics::waits();
            let loss = match endpoint.queue.push(event.clone()) {
                Ok(()) => {
                    is_queued = true;
                    continue;
                }
                Err(Refused::Full) => Loss::QueueFull,
                Err(Refused::Closed) => Loss::Shutdown,
            };
            metrics::gone(1);
            metrics::lost(loss, 1);
        }
        is_queued
    }

    /// Accepts no more events and delivers those that wait. What is not delivered within this time is lost.
    pub async fn flush(&self, within: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.closing.send_replace(true);
        inner.endpoints.iter().for_each(|endpoint| endpoint.queue.close());
        let running = std::mem::take(&mut *inner.deliveries.lock().unwrap_or_else(PoisonError::into_inner));
        let stop: Vec<_> = running.iter().map(JoinHandle::abort_handle).collect();
        let all = futures_util::future::join_all(running);
        if tokio::time::timeout(within, all).await.is_ok() {
            return;
        }
        stop.iter().for_each(tokio::task::AbortHandle::abort);
        let left: usize = inner.endpoints.iter().map(|endpoint| endpoint.queue.clear()).sum();
        metrics::gone(left);
        metrics::lost(Loss::Shutdown, left);
        tracing::warn!(left, "shutdown timed out: what waited for webhooks is lost, and what was on its way");
    }
}

impl Inner {
    async fn read_again(&self) {
        let path = self.secret_file.clone();
        match tokio::task::spawn_blocking(move || Secrets::read(&path)).await {
            Ok(Ok(secrets)) => self.secrets.store(Arc::new(secrets)),
            Ok(Err(error)) => tracing::error!(%error, "the secrets of webhooks stay as they were"),
            Err(_) => tracing::error!("reading the secrets of webhooks failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(secret_file: PathBuf) -> Options {
        Options {
            node: 1,
            urls: vec!["http://127.0.0.1:9/".parse().unwrap()],
            secret_file,
            kinds: Kind::ALL.to_vec(),
            authorities: None,
            allow_private: true,
            timeout: Duration::from_secs(1),
            retry_for: Duration::from_secs(60),
            queue_events_max: 2,
        }
    }

    fn with_secret() -> (tempfile::NamedTempFile, Options) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let options = options(file.path().to_owned());
        (file, options)
    }

    async fn waiting(webhooks: &Webhooks) -> Vec<String> {
        let queue = &webhooks.0.as_ref().unwrap().endpoints[0].queue;
        queue.close();
        let mut texts = Vec::new();
        while let Some(batch) = queue.batch().await {
            texts.extend(batch.iter().map(|event| String::from_utf8(event.json.to_vec()).unwrap()));
        }
        texts
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let absent = Webhooks::new(options("/there/is/none".into())).unwrap_err().to_string();
        assert!(absent.starts_with("webhooks.secret_file: /there/is/none: "), "{absent}");
        let (secret, options) = with_secret();
        let authorities = Some(secret.path().to_owned());
        let error = Webhooks::new(Options { authorities, ..options }).unwrap_err().to_string();
        assert!(error.starts_with("webhooks.ca: ") && error.contains("no certificate"), "{error}");
    }

    #[tokio::test]
    async fn a_new_secret_signs_without_a_restart_and_a_wrong_one_changes_nothing() {
        let (file, options) = with_secret();
        let webhooks = Webhooks::new(options).unwrap();
        let inner = webhooks.0.as_ref().unwrap();
        let sign = || inner.secrets.load().sign("msg_1", 1, b"{}");
        let first = sign();
        std::fs::write(file.path(), "whsec_c2hvcnQ=").unwrap();
        inner.read_again().await;
        assert_eq!(sign(), first);
        std::fs::write(file.path(), "whsec_bmV3c2VjcmV0bmV3c2VjcmV0bmV3c2VjcmV0").unwrap();
        inner.read_again().await;
        assert_ne!(sign(), first);
    }

    #[tokio::test]
    async fn a_device_is_told_of_once_by_its_name_and_not_by_its_key() {
        let (_secret, options) = with_secret();
        let webhooks = Webhooks::new(options).unwrap();
        for _ in 0..3 {
            webhooks.device_pending("acme\nalice", "phone", "the key");
        }
        webhooks.device_pending("acme\nalice", "phone", "another key");
        let texts = waiting(&webhooks).await;
        let [one, _] = &texts[..] else { panic!("{texts:?}") };
        for part in [r#""organisation":"acme""#, r#""subject":"alice""#, r#""device":"phone""#] {
            assert!(one.contains(part), "{part}: {one}");
        }
        assert!(!texts.join("").contains("key"), "{texts:?}");
    }

    #[tokio::test]
    async fn a_device_that_finds_the_queue_full_is_told_of_when_it_comes_again() {
        let (_secret, options) = with_secret();
        let webhooks = Webhooks::new(options).unwrap();
        let queue = &webhooks.0.as_ref().unwrap().endpoints[0].queue;
        while webhooks.emit(Kind::RoomLeft, About::default()) {}
        webhooks.device_pending("alice", "phone", "key");
        assert_eq!(queue.batch().await.unwrap().len(), 2);
        for _ in 0..3 {
            webhooks.device_pending("alice", "phone", "key");
        }
        let texts = waiting(&webhooks).await;
        assert!(texts.len() == 1 && texts[0].contains("device.pending"), "{texts:?}");
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_told_and_no_more_than_there_is_room_for() {
        let (_secret, options) = with_secret();
        let webhooks = Webhooks::new(Options { kinds: vec![Kind::RoomLeft], ..options }).unwrap();
        webhooks.emit(Kind::RoomJoined, About::default());
        webhooks.device_pending("alice", "phone", "key");
        for _ in 0..5 {
            webhooks.emit(Kind::RoomLeft, About::default());
        }
        let texts = waiting(&webhooks).await;
        assert_eq!(texts.len(), 2);
        assert!(texts.iter().all(|text| text.contains("room.left")), "{texts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_ends_in_time_though_nobody_takes_anything() {
        let (_secret, options) = with_secret();
        // Nobody listens there.
        let webhooks = Webhooks::new(options).unwrap();
        webhooks.start();
        webhooks.emit(Kind::RoomLeft, About::default());
        webhooks.flush(Duration::from_secs(3)).await;
        assert!(webhooks.0.as_ref().unwrap().deliveries.lock().unwrap().is_empty());
        webhooks.emit(Kind::RoomLeft, About::default());
        assert_eq!(waiting(&webhooks).await, [""; 0], "nothing is taken any more");
    }
}
