//! What was tried: credentials, peers and admin calls that were refused, sockets that somebody signed in to, and what a backend
//! said. It goes to an audit log of its own, summed up, in nobody's way.
//!
//! [`SecurityEvents::note`] only counts. Each kind of event gets an entry at most once a minute and node, with how many there
//! were and the first few of them; the fuller the log is, the less often, so that a flood fills no more than its share of what
//! all audit logs of a cell hold together. What cannot be written is dropped and counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_cluster::state::id::Key;
use conclave_cluster::state::limits::AUDIT_ENTRIES_MAX;
use conclave_cluster::wire;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Services;
use super::audit::{self, Log};
use crate::access::auth::Unverified;

/// For how long an entry is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries of the log: a fifth of what all logs of a cell hold.
const ENTRIES_MAX: u64 = AUDIT_ENTRIES_MAX as u64 / 5;
/// How often it is looked what there is to write.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries that a node writes in a minute, whatever they are about.
const ENTRIES_PER_MINUTE_MAX: usize = 12;
const MINUTE: Duration = Duration::from_secs(60);
/// Of the events that an entry sums up, those that are told apart.
const SAMPLES_MAX: usize = 4;
/// An entry that is not written by then is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a subject's key that stand for it.
const DIGEST_BYTES: usize = 16;

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A token that is malformed, not signed by a key that is known, or meant for somebody else; or two credentials at once.
    Token,
    /// A ticket that was used, is over, or was never issued.
    Ticket,
    /// A signature that is not right, or a nonce that was used.
    Signature,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
    /// It is of another organisation than the host that was asked.
    Tenant,
    /// Its device is not let in.
    Device,
}

impl Fault {
    /// Why it was refused; `None`: it was not judged.
    pub fn of(why: Unverified) -> Option<Self> {
        match why {
            Unverified::Unauthorized(_) => Some(Self::Token),
            Unverified::Expired(_) => Some(Self::Expired),
            Unverified::Revoked(_) => Some(Self::Revoked),
            Unverified::DeviceNotApproved => Some(Self::Device),
            Unverified::Tenant => Some(Self::Tenant),
            Unverified::KeysUnavailable => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Token => "bad_token",
            Self::Ticket => "bad_ticket",
            Self::Signature => "bad_signature",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Tenant => "wrong_tenant",
            Self::Device => "device_not_approved",
        }
    }
}

/// By what somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// A token.
    Token,
    /// A ticket.
    Ticket,
    /// The signature of the request.
    Signature,
    /// A client certificate.
    Certificate,
}

/// What happened. There are so many kinds, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A credential was refused.
    RefusedCredential(Fault),
    /// A call of the admin API did not show what it has to.
    RefusedAdminCall,
    /// Another node, or a stranger at the port of the peers, was refused, for a reason of [`wire::refusals`].
    RefusedPeer(&'static str),
    /// A socket was opened by somebody who said who he is.
    SignIn(Proof),
    /// A backend said something in a room.
    Publish,
    /// A backend sent a signal.
    Signal,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::RefusedCredential(_) => "refused_credentials",
            Self::RefusedAdminCall => "refused_admin_calls",
            Self::RefusedPeer(_) => "refused_peers",
            Self::SignIn(_) => "sign_ins",
            Self::Publish => "backend_publishes",
            Self::Signal => "backend_signals",
        }
    }

    fn kind(self) -> Option<&'static str> {
        match self {
            Self::RefusedCredential(fault) => Some(fault.name()),
            Self::RefusedPeer(reason) => Some(reason),
            Self::SignIn(Proof::Token) => Some("token"),
            Self::SignIn(Proof::Ticket) => Some("ticket"),
            Self::SignIn(Proof::Signature) => Some("signature"),
            Self::SignIn(Proof::Certificate) => Some("certificate"),
            Self::RefusedAdminCall | Self::Publish | Self::Signal => None,
        }
    }

    /// Whether it is written down though nobody asked for more than changes.
    fn is_a_change(self) -> bool {
        matches!(self, Self::Publish | Self::Signal)
    }
}

/// What stands for a subject in an entry: the beginning of its key.
pub fn digest(subject: &Key) -> String {
    subject.as_bytes().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// One of the events that an entry sums up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sample {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
}

/// Events of one kind that no entry tells yet.
#[derive(Debug, Default)]
struct Pending {
    count: u64,
    since_ms: u64,
    samples: Vec<Sample>,
    written: Option<Instant>,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    node: u64,
    count: u64,
    since_ms: u64,
    first: Vec<Sample>,
}

/// What is counted. It grows with the kinds of events alone.
#[derive(Debug, Default)]
struct Tally {
    pending: BTreeMap<Event, Pending>,
    /// When entries were written, within the last minute.
    written: VecDeque<Instant>,
    /// How many peers were refused for which reason when that was looked at last.
    peers: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn note(&mut self, event: Event, count: u64, sample: Option<Sample>, now_ms: u64) {
        let pending = self.pending.entry(event).or_default();
        if pending.count == 0 {
            pending.since_ms = now_ms;
        }
        pending.count += count;
        let fresh = sample.filter(|sample| !pending.samples.contains(sample));
        if pending.samples.len() < SAMPLES_MAX {
            pending.samples.extend(fresh);
        }
    }

    /// Notes how many peers were refused by now.
    fn note_peers(&mut self, refused: impl Iterator<Item = (&'static str, u64)>, now_ms: u64) {
        for (reason, count) in refused {
            let before = self.peers.insert(reason, count).unwrap_or(0);
            if count > before {
                self.note(Event::RefusedPeer(reason), count - before, None, now_ms);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.pending.values().all(|pending| pending.count == 0)
    }

    /// Takes what is to be written now, of each kind no sooner than `rest` after its last entry.
    fn due(&mut self, node: u64, rest: Duration, now: Instant) -> Vec<Summary> {
        self.written.retain(|at| now.duration_since(*at) < MINUTE);
        let room = ENTRIES_PER_MINUTE_MAX - self.written.len();
        let is_due = |pending: &Pending| {
            pending.count > 0 && pending.written.is_none_or(|at| now.duration_since(at) >= rest)
        };
        let mut due: Vec<_> = self.pending.iter_mut().filter(|(_, pending)| is_due(pending)).collect();
        // Who waits longest comes first.
        due.sort_by_key(|(_, pending)| {
            Reverse(pending.written.map(|at| now.duration_since(at)).unwrap_or(KEPT))
        });
        let taken = due.into_iter().take(room).map(|(event, pending)| {
            let (count, since_ms) = (std::mem::take(&mut pending.count), pending.since_ms);
            pending.written = Some(now);
            let first = std::mem::take(&mut pending.samples);
            Summary { event: event.name(), kind: event.kind(), node, count, since_ms, first }
        });
        let taken: Vec<Summary> = taken.collect();
        self.written.extend(taken.iter().map(|_| now));
        taken
    }
}

/// How long a kind rests after an entry, in a log that holds so many; `None`: it is as full as it may be.
fn rest(held: u64) -> Option<Duration> {
    match held {
        _ if held < ENTRIES_MAX / 2 => Some(MINUTE),
        _ if held < ENTRIES_MAX * 3 / 4 => Some(10 * MINUTE),
        _ if held < ENTRIES_MAX => Some(60 * MINUTE),
        _ => None,
    }
}

/// What was tried at this node. Clones are the same.
#[derive(Debug, Clone)]
pub struct SecurityEvents {
    /// Whether more than changes is written down.
    all: bool,
    // A std mutex: nothing is awaited while it is held.
    tally: Arc<Mutex<Tally>>,
}

impl SecurityEvents {
    /// Nothing yet; but for changes nothing ever, unless `all` is asked for.
    pub fn new(all: bool) -> Self {
        Self { all, tally: Arc::default() }
    }

    /// Counts an event, from where it came and whom it was about.
    pub fn note(&self, event: Event, from: Option<IpAddr>, about: Option<String>, now_ms: u64) {
        if !self.all && !event.is_a_change() {
            return;
        }
        let sample = (from.is_some() || about.is_some())
            .then(|| Sample { from: from.map(|from| from.to_canonical().to_string()), about });
        self.lock().note(event, 1, sample, now_ms);
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services {
    /// Counts an event; see [`SecurityEvents::note`].
    pub fn note(&self, event: Event, from: Option<IpAddr>, about: Option<String>) {
        self.security_events.note(event, from, about, self.now_ms());
    }
}

/// Writes down what was tried. Runs until it is dropped.
pub async fn write(services: Arc<Services>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = &services.security_events;
    loop {
        ticks.tick().await;
        if events.all {
            events.lock().note_peers(wire::refusals(), services.now_ms());
        }
        if events.lock().is_empty() {
            continue;
        }
        // As long as it is not known how full the log is, everything waits, and goes on being counted.
        let Ok(held) = audit::held(&services, Log::Security).await else { continue };
        let Some(rest) = rest(held) else { continue };
        let due = events.lock().due(services.cluster.node_id(), rest, Instant::now());
        for summary in due {
            let added = timeout(PATIENCE, audit::add(&services, Log::Security, &summary, KEPT)).await;
            if !matches!(added, Ok(Ok(_))) {
                tracing::debug!(
                    event = summary.event,
                    count = summary.count,
                    "security events are not written down"
                );
                metrics::counter!("conclave_security_events_dropped_total").increment(summary.count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
