//! Questions and replies as bytes, for the links between nodes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::codec::{CONFIG, Encoded, Error, at_most, fill};
use super::body_carrier::BodyCarrier as _;
use super::{Question, Reply};

/// Lists of questions in one frame, and questions in one list.
pub(crate) const QUESTIONS_MAX: usize = 256;

/// Questions that one node has another one answer, each list in one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Whether the answers must be linearizable; else they are what the replica says.
    pub(crate) linearizably: bool,
    /// The lists.
    #[serde(deserialize_with = "at_most::<_, _, { QUESTIONS_MAX }>")]
    pub(crate) looks: Vec<Look>,
}

/// Questions that are answered in one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look(
    #[serde(deserialize_with = "at_most::<_, _, { QUESTIONS_MAX }>")] pub(crate) Vec<Question>,
);

/// What was said to as many of the lists, from the first on, as one frame holds: a reply to each question.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    encoded: Encoded,
    body_bytes: usize,
}

impl Replies {
    /// Adds what was said to the next list.
    pub(crate) fn push(&mut self, said: &[Reply]) {
        let Encoded { header, bodies } = &mut self.encoded;
        for reply in said {
            reply.each(&mut |body| {
                self.body_bytes += body.len();
                bodies.push(body.bytes().clone());
            });
        }
        bincode::serde::encode_into_std_write(said, header, CONFIG)
            .expect("replies are plain data, and a vector takes all that is written");
    }

    /// How many bytes there are by now.
    pub(crate) fn len(&self) -> usize {
        self.encoded.header.len() + self.body_bytes
    }

    /// The replies as bytes.
    pub(crate) fn encode(self) -> Encoded {
        self.encoded
    }
}

/// The replies that were encoded, for `looks_max` lists at most. The bodies become slices of `payload`.
pub(crate) fn decode_replies(
    mut header: &[u8],
    mut payload: Bytes,
    looks_max: usize,
) -> Result<Vec<Vec<Reply>>, Error> {
    let mut looks = Vec::new();
    while !header.is_empty() {
        let (Said(mut said), read): (Said, usize) =
            bincode::serde::decode_from_slice(header, CONFIG).map_err(|_| Error::Malformed)?;
        header = &header[read..];
        for reply in &mut said {
            reply.each_mut(&mut |body, len_max| fill(body, len_max, &mut payload))?;
        }
        looks.push(said);
        if looks.len() > looks_max {
            return Err(Error::Limit);
        }
    }
    if payload.is_empty() { Ok(looks) } else { Err(Error::Trailing) }
}

#[derive(Deserialize)]
struct Said(#[serde(deserialize_with = "at_most::<_, _, { QUESTIONS_MAX }>")] Vec<Reply>);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::*;
    use super::*;
    use crate::state::id::Domain;

    fn key(name: u8) -> Key {
        Key::derive(Domain::Room, &[&[name]])
    }

    fn message(offset: u64, data: &'static [u8]) -> Arc<room::Message> {
        let data = Body::new(Bytes::from_static(data));
        Arc::new(room::Message { offset, member: key(1), message_id: None, data, at_ms: 1, expires_ms: 2 })
    }

    fn envelope(text: &'static [u8]) -> Reply {
        Reply::Envelope(negotiation::Envelope::Present(Body::new(Bytes::from_static(text))))
    }

    fn encoded(looks: &[Vec<Reply>]) -> Encoded {
        let mut replies = Replies::default();
        looks.iter().for_each(|look| replies.push(look));
        replies.encode()
    }

    #[test]
    fn replies_come_out_as_they_went_in_with_their_bodies() {
        let messages = Reply::RoomMessages(vec![message(1, b"one"), message(2, b"")]);
        let chunk = (transfer::Encoding::Text, Digest::of(b"c"), Body::new(Bytes::from_static(b"chunk")));
        let looks =
            vec![vec![messages, envelope(b"{}")], vec![], vec![Reply::Chunk(Some(chunk)), Reply::Now(7)]];
        let Encoded { header, bodies } = encoded(&looks);
        let payload: Bytes = bodies.concat().into();
        assert_eq!(decode_replies(&header, payload.clone(), 3), Ok(looks));
        assert_eq!(decode_replies(&header, payload, 2), Err(Error::Limit), "fewer were asked for");
    }

    #[test]
    fn bodies_that_are_too_few_too_many_or_too_long_are_refused() {
        let Encoded { header, .. } = encoded(&[vec![envelope(b"{}")]]);
        let decoded = |header: &[u8], payload| decode_replies(header, Bytes::from_static(payload), 1);
        assert_eq!(decoded(&header, b"{"), Err(Error::Short));
        assert_eq!(decoded(&header, b"{}}"), Err(Error::Trailing));
        assert_eq!(decoded(&header[..header.len() - 1], b"{}"), Err(Error::Malformed));
        let long = Body::new(vec![0; super::super::super::limits::ENVELOPE_BYTES_MAX + 1].into());
        let encoded = encoded(&[vec![Reply::Envelope(negotiation::Envelope::Present(long))]]);
        assert_eq!(decode_replies(&encoded.header, encoded.payload(), 1), Err(Error::Limit));
    }

    #[test]
    fn a_query_hears_what_it_asked_and_nothing_else() {
        let query = UnlessRemembered(Some(key(1)), (Room(key(2)), Now));
        let mut asked = Vec::new();
        query.ask(&mut asked);
        let expected =
            [Question::Remembered(Remembered(key(1))), Question::Room(Room(key(2))), Question::Now(Now)];
        assert_eq!(asked, expected);
        let state = State::default();
        let replies: Vec<_> = asked.iter().map(|question| question.answer(&state, 5)).collect();
        assert_eq!(query.hear(&mut replies.iter().cloned()), Some(query.answer(&state, 5)));
        assert_eq!(query.hear(&mut replies[..2].iter().cloned()), None, "one is missing");
        assert_eq!(query.hear(&mut replies[1..].iter().cloned()), None, "another order");
    }
}
