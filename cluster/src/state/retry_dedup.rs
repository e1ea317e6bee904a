//! Replay: every command is carried out once, however often it is retried.
//!
//! The edge names each command by its origin (a random number drawn once per run of a node) and its place in
//! that run. The answer is remembered under that name, so that a retry, after whatever failure, finds it and
//! changes nothing. Remembering is by sessions and not by time: with each proposal every origin's **floor** comes
//! along, the lowest number that its node still waits for. Answers below the floor are forgotten, and a command
//! that arrives from below it is refused as stale, since its node has given up on it or has its answer already.
//! So the table holds what is in flight and no more; the node bounds that.
//!
//! An origin that was not heard from for [`ORIGIN_SILENT_MS_MAX`] of log time is dropped whole: its node stopped
//! or was cut off. That is safe because a node fails a command to its caller after a deadline of seconds and
//! never sends it again after, and because a run that goes on is heard from with each proposal that names its
//! floor. A command that a node still retries is therefore always younger than the silence that would forget it.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::RequestId;
use super::limits::ORIGIN_SILENT_MS_MAX;
use super::outcome::Answer;
use super::table::Life as _;

/// All origins heard from of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay {
    origins: OrdMap<u64, Origin>,
    outcomes: usize,
}

/// One run of a node.
#[derive(Debug, Clone)]
struct Origin {
    head: Head,
    answers: OrdMap<u64, Arc<Answer>>,
}

/// What is known of an origin beside its answers. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    floor: u64,
    lease: Lease,
}

/// What is known of a command.
pub(super) enum Known {
    /// Nothing: it is to be carried out.
    New,
    /// It was carried out, with this answer.
    Answered(Arc<Answer>),
    /// It is over, and its answer is forgotten.
    Stale,
}

impl Replay {
    pub(super) fn look_up(&self, id: &RequestId) -> Known {
        match self.origins.get(&id.origin) {
            Some(origin) if id.seq < origin.head.floor => Known::Stale,
            Some(origin) => origin.answers.get(&id.seq).cloned().map_or(Known::New, Known::Answered),
            None => Known::New,
        }
    }

    pub(super) fn is_over(&self, id: &RequestId) -> bool {
        !matches!(self.look_up(id), Known::New)
    }

    pub(super) fn remember(&mut self, id: RequestId, answer: Arc<Answer>, ctx: &mut ApplyContext) {
        if self.heard(id.origin, ctx).answers.insert(id.seq, answer).is_none() {
            self.outcomes += 1;
        }
    }

    /// Forgets an origin's answers below `floor`. A floor never falls.
    pub(super) fn raise(&mut self, origin: u64, floor: u64, ctx: &mut ApplyContext) {
        let origin = self.heard(origin, ctx);
        origin.head.floor = origin.head.floor.max(floor);
        let mut forgotten = 0;
        while let Some(&(seq, _)) = origin.answers.get_min()
            && seq < floor
        {
            origin.answers.remove(&seq);
            forgotten += 1;
        }
        self.outcomes -= forgotten;
    }

    fn heard(&mut self, number: u64, ctx: &mut ApplyContext) -> &mut Origin {
        let (expires_ms, expiry_key) =
            (ctx.now_ms.saturating_add(ORIGIN_SILENT_MS_MAX), ExpiryKey::Origin(number));
        let origin = self.origins.entry(number).or_insert_with(|| {
            let lease = Lease::begin(expires_ms, expiry_key, ctx);
            Origin { head: Head { floor: 0, lease }, answers: OrdMap::new() }
        });
        origin.head.lease.renew(expires_ms, expiry_key, ctx);
        origin
    }

    /// The expiry queue says that an origin may have fallen silent; returns how many things were looked at.
    pub(super) fn on_expiry(&mut self, number: u64, ctx: &mut ApplyContext) -> usize {
        let alive = self
            .origins
            .get_mut(&number)
            .is_some_and(|origin| origin.head.lease.on_expiry(ExpiryKey::Origin(number), ctx));
        if alive {
            return 1;
        }
        let answers = self.origins.remove(&number).map_or(0, |origin| origin.answers.len());
        self.outcomes -= answers;
        1 + answers
    }

    pub(super) fn outcomes(&self) -> usize {
        self.outcomes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &Head)> {
        self.origins.iter().map(|(number, origin)| (number, &origin.head))
    }

    pub(super) fn iter_answers(&self) -> impl Iterator<Item = (RequestId, &Arc<Answer>)> {
        self.origins.iter().flat_map(|(&number, origin)| {
            origin.answers.iter().map(move |(&seq, answer)| (RequestId { origin: number, seq }, answer))
        })
    }

    /// Takes an origin as a snapshot has it, before its answers; false if that cannot be.
    pub(super) fn restore(&mut self, number: u64, head: Head, ctx: &mut ApplyContext) -> bool {
        head.lease.restore(ExpiryKey::Origin(number), ctx)
            && self.origins.insert(number, Origin { head, answers: OrdMap::new() }).is_none()
    }

    /// Takes an answer as a snapshot has it; false if that cannot be.
    pub(super) fn restore_answer(&mut self, id: RequestId, answer: Answer) -> bool {
        let Some(origin) = self.origins.get_mut(&id.origin) else { return false };
        self.outcomes += 1;
        id.seq >= origin.head.floor && origin.answers.insert(id.seq, Arc::new(answer)).is_none()
    }
}
