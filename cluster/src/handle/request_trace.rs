//! Which client's request a command came from, for the log lines of whoever leads.
//!
//! A trace is no part of the command: the log and the state know nothing of it. It travels in front of a forwarded
//! batch and ends in a line at debug level.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::raft::message::{self, Malformed};
use crate::state::command::Command;

/// Bytes of one trace.
const BYTES_MAX: usize = 128;
/// Bytes of all traces that go with one batch; those of later commands stay behind.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// The id of a client's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace(Arc<str>);

impl Trace {
    /// An id of letters, digits, dots, hyphens and underscores, 1 to 128 of them; nothing else gets into a line.
    pub fn new(id: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(plain)).then(|| Self(id.into()))
    }
}

/// The traces of a batch, by the place of their commands in it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traces(Vec<(u32, Trace)>);

impl Traces {
    pub(super) fn of<'a>(traces: impl Iterator<Item = Option<&'a Trace>>) -> Self {
        let mut bytes = 0;
        let placed = (0..).zip(traces).filter_map(|(place, trace)| Some((place, trace?.clone())));
        let fitting = placed.take_while(|(_, trace)| {
            bytes += trace.0.len() + 8;
            bytes <= BATCH_BYTES_MAX
        });
        Self(fitting.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them in front of a batch's header.
    pub(super) fn before(&self, header: &[u8]) -> Vec<u8> {
        let own = message::encode(self);
        let len = u32::try_from(own.len()).expect("a batch's traces are bounded").to_be_bytes();
        [&len[..], &own, header].concat()
    }

    /// The traces, and the batch's header behind them.
    pub(super) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Malformed)?;
        let (own, header) = rest.split_at_checked(len).ok_or(Malformed)?;
        let traces: Self = message::decode(own)?;
        // What a peer sends gets into lines no sooner than what a client sends.
        let fit = traces.0.iter().all(|(_, trace)| Trace::new(&trace.0).is_some());
        if fit { Ok((traces, header)) } else { Err(Malformed) }
    }

    /// Says which request each command of a proposal came from, if anybody listens.
    pub(super) fn tell(&self, commands: &[Command]) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        for (place, trace) in &self.0 {
            let Some(command) = usize::try_from(*place).ok().and_then(|place| commands.get(place)) else {
                return;
            };
            let (origin, seq) = (command.id.origin, command.id.seq);
            tracing::debug!(request_id = &*trace.0, origin, seq, "a request's command is proposed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_travel_in_front_of_a_batch() {
        let (one, two) = (Trace::new("one").unwrap(), Trace::new("t.w_o-2").unwrap());
        let traces = Traces::of([None, Some(&one), None, Some(&two)].into_iter());
        let bytes = traces.before(b"header");
        let (read, header) = Traces::split(&bytes).unwrap();
        assert_eq!((read.0.as_slice(), header), (&[(1, one), (3, two)][..], &b"header"[..]));
        assert!(Traces::of([None, None].into_iter()).is_empty());
    }

    #[test]
    fn no_bytes_of_a_peer_get_into_a_line_unseen() {
        for id in ["", "a b", "a\nb", "a\"b", &"x".repeat(129)] {
            assert_eq!(Trace::new(id), None, "{id:?}");
            let forged = Traces(vec![(0, Trace(id.into()))]).before(b"");
            assert!(Traces::split(&forged).is_err(), "{id:?}");
        }
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x09abc", b"\xff\xff\xff\xffabc"] {
            assert!(Traces::split(bytes).is_err());
        }
    }

    #[test]
    fn the_traces_of_a_batch_are_bounded() {
        let long = Trace::new(&"x".repeat(BYTES_MAX)).unwrap();
        let traces = Traces::of(std::iter::repeat_n(Some(&long), 2048));
        assert!(traces.before(b"").len() <= BATCH_BYTES_MAX && traces.0.len() > 400);
    }
}
