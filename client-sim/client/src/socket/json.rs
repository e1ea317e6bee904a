//! Text frames.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, Position, Reply};
use crate::http::Error;

/// Every field that any frame has; most are absent in each.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    #[serde(borrow)]
    push: Option<Cow<'a, str>>,
    id: Option<u64>,
    #[serde(default)]
    ok: bool,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
    recovered: Option<bool>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    offset: Option<u64>,
    seq: Option<u64>,
    #[serde(borrow)]
    from: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// Reads a text frame.
pub(super) fn read(text: &Bytes) -> Result<Event, Error> {
    let frame: Frame<'_> =
        serde_json::from_slice(text).map_err(|_| Error::Malformed("a frame is not the JSON it should be"))?;
    let lacking = || Error::Malformed("a frame lacks a field");
    let slice = |raw: &RawValue| text.slice_ref(raw.get().as_bytes());
    if let Some(error) = frame.error {
        return Ok(Event::Refused { id: frame.id, status: 0, code: error.code.into_owned() });
    }
    if frame.ok {
        let position = frame.epoch.zip(frame.offset);
        return Ok(Event::Done(Reply {
            id: frame.id,
            session: frame.session.map(Cow::into_owned),
            recovered: frame.recovered,
            room: frame.room.map(Cow::into_owned),
            position: position.map(|(epoch, offset)| Position { epoch: epoch.get().into(), offset }),
        }));
    }
    match frame.push.as_deref() {
        Some("message") => {
            let data = slice(frame.data.ok_or_else(lacking)?);
            let string = data.len() >= 2 && data.starts_with(b"\"");
            Ok(Event::Message {
                offset: frame.offset,
                epoch: frame.epoch.map(|epoch| epoch.get().into()),
                payload: if string { data.slice(1..data.len() - 1) } else { data },
            })
        }
        Some("signal") => Ok(Event::Signal {
            seq: frame.seq.ok_or_else(lacking)?,
            from: frame.from.ok_or_else(lacking)?.into_owned(),
            kind: frame.r#type.ok_or_else(lacking)?.into_owned(),
            payload: slice(frame.payload.ok_or_else(lacking)?),
        }),
        Some("drain") => {
            Ok(Event::Drain { after: Duration::from_millis(frame.retry_after_ms.unwrap_or_default()) })
        }
        Some(_) => Ok(Event::Other),
        None => Err(lacking()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_str(text: &'static str) -> Event {
        read(&Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn answers_and_refusals_carry_the_number_of_their_operation() {
        let position = Some(Position { epoch: "7".into(), offset: 9 });
        let reply = Reply { id: Some(3), position, ..Reply::default() };
        assert_eq!(read_str(r#"{"id":3,"ok":true,"epoch":7,"offset":9,"unknown":[]}"#), Event::Done(reply));
        let refused = Event::Refused { id: Some(3), status: 0, code: "not_in_room".to_owned() };
        assert_eq!(read_str(r#"{"id":3,"error":{"code":"not_in_room","message":"No."}}"#), refused);
    }

    #[test]
    fn a_message_is_the_inside_of_its_string() {
        let text = r#"{"push":"message","room":"r","epoch":"e","offset":4,"from":"f","data":"abc","at":1}"#;
        let payload = Bytes::from_static(b"abc");
        assert_eq!(
            read_str(text),
            Event::Message { offset: Some(4), epoch: Some("\"e\"".into()), payload: payload.clone() }
        );
        let text = r#"{"push":"message","room":"r","volatile":true,"data":"abc"}"#;
        assert_eq!(read_str(text), Event::Message { offset: None, epoch: None, payload });
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for text in ["", "[]", "{}", r#"{"push":"signal","seq":1}"#, r#"{"push":"message"}"#] {
            assert!(read(&Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
        assert_eq!(read_str(r#"{"push":"join","room":"r","member":"m"}"#), Event::Other);
    }
}
