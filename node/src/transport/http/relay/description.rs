//! Relay's requests and answers, as the OpenAPI document describes them. Requests are made of the fields that [`Request`] reads
//! and of what [`Action::fields`] says of them; answers are written by hand in [`response`](super::response), since chunks are
//! most of the traffic, and tests read them as these types.

use serde::Serialize;
use utoipa::openapi::schema::{AnyOfBuilder, Discriminator, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{Action, Request};
use crate::service::signaling::KINDS;
use crate::transport::request::fields::{ChunkIndex, PeerId, TotalChunks};

/// What relay takes: one of its actions.
pub(crate) struct RelayRequest;

impl PartialSchema for RelayRequest {
    fn schema() -> RefOr<Schema> {
        let mut actions = OneOfBuilder::new().description(Some("`action` selects; other fields are ignored"));
        let mut mapping = Vec::new();
        for action in Action::ALL {
            let object = Ref::from_schema_name(action.schema_name());
            mapping.push((action.name(), object.ref_location.clone()));
            actions = actions.item(object);
        }
        actions.discriminator(Some(Discriminator::with_mapping("action", mapping))).into()
    }
}

impl ToSchema for RelayRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for action in Action::ALL {
            schemas.push((action.schema_name(), object(*action)));
        }
        Request::schemas(schemas);
    }
}

/// The object of one action.
fn object(action: Action) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(all)) = Request::schema() else { unreachable!("a struct is an object") };
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([action.name()]));
    let mut object =
        ObjectBuilder::new().schema_type(Type::Object).property("action", word).required("action");
    let (must, may) = action.fields();
    for name in must {
        object = object.required(*name);
    }
    for name in must.iter().chain(may) {
        object = object.property(*name, all.properties[*name].clone());
    }
    object.into()
}

/// What kind of signal it is.
pub(super) struct SignalType;

impl PartialSchema for SignalType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(KINDS)).into()
    }
}

impl ToSchema for SignalType {}

/// Any JSON.
pub(crate) struct Payload;

impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let what = "Any JSON value of at most 65,536 bytes; it comes back byte for byte";
        ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
            .description(Some(what))
            .into()
    }
}

impl ToSchema for Payload {}

/// What relay answers.
pub(crate) struct RelayAnswer;

macro_rules! answers {
    ($($name:ident)+) => {
        impl PartialSchema for RelayAnswer {
            fn schema() -> RefOr<Schema> {
                AnyOfBuilder::new()$(.item(Ref::from_schema_name(<$name as ToSchema>::name())))+.into()
            }
        }

        impl ToSchema for RelayAnswer {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(
                    schemas.push((<$name as ToSchema>::name().into_owned(), $name::schema()));
                    $name::schemas(schemas);
                )+
            }
        }
    };
}

answers! { Waiting ChunkRefused ChunkAvailable Outcome Acknowledged Acknowledgement Registered PeerFound Messages }

/// A chunk was sent, or there is nothing yet to receive.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct Waiting {
    #[schema(inline)]
    pub(super) status: WaitingWord,
    /// That this very chunk was stored before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) duplicate: Option<bool>,
}

/// `waiting`
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "lowercase")]
pub(super) enum WaitingWord {
    Waiting,
}

/// A chunk was sent and refused, which existing clients expect as a success.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "camelCase")]
pub(super) struct ChunkRefused {
    #[schema(inline)]
    pub(super) status: WaitingWord,
    /// `invalid_chunk`, `duplicate_chunk` or `totalChunks_mismatch`.
    pub(super) error: String,
    /// For people; may change.
    pub(super) message: String,
    pub(super) request_id: String,
}

/// The lowest chunk that was not delivered.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct ChunkAvailable {
    #[schema(inline)]
    pub(super) status: AvailableWord,
    pub(super) chunk: Chunk,
}

/// `chunkAvailable`
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "camelCase")]
pub(super) enum AvailableWord {
    ChunkAvailable,
}

/// A chunk.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk {
    #[schema(value_type = ChunkIndex)]
    pub(super) chunk_index: u16,
    #[schema(value_type = TotalChunks)]
    pub(super) total_chunks: u16,
    /// As it was sent; empty if a chunk of no bytes was put.
    pub(super) data: String,
}

/// All was delivered, or nothing lives there, or the signal waits.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct Outcome {
    #[schema(inline)]
    pub(super) status: OutcomeWord,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "lowercase")]
pub(super) enum OutcomeWord {
    Done,
    Expired,
    Queued,
}

/// That the receiver has everything is remembered; the chunks of a complete transfer are freed.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(crate) struct Acknowledged {
    /// Always true.
    pub(crate) ok: bool,
}

/// Whether the receiver said that it has everything.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct Acknowledgement {
    pub(super) acknowledged: bool,
}

/// The code leads to the peer.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "camelCase")]
pub(super) struct Registered {
    #[schema(inline)]
    pub(super) status: RegisteredWord,
    /// For how many seconds.
    pub(super) ttl_sec: u64,
}

/// `registered`
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "lowercase")]
pub(super) enum RegisteredWord {
    Registered,
}

/// The peer of a code.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerFound {
    #[schema(value_type = PeerId)]
    pub(super) peer_id: String,
}

/// Signals, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct Messages {
    /// At most 512; what is left comes with the next answer.
    pub(super) messages: Vec<Message>,
}

/// A signal.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
pub(super) struct Message {
    #[schema(value_type = PeerId)]
    pub(super) from: String,
    #[serde(rename = "type")]
    #[schema(value_type = SignalType)]
    pub(super) kind: String,
    #[schema(value_type = Payload)]
    pub(super) payload: serde_json::Value,
    /// When it came, in milliseconds since the Unix epoch.
    pub(super) timestamp: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_described_by_the_fields_that_it_reads() {
        let described: Vec<_> = {
            let mut schemas = Vec::new();
            RelayRequest::schemas(&mut schemas);
            schemas.into_iter().take(Action::ALL.len()).collect()
        };
        for (action, (name, schema)) in Action::ALL.iter().zip(described) {
            assert_eq!(name, action.schema_name());
            let schema = serde_json::to_value(schema).unwrap();
            assert_eq!(schema["properties"]["action"]["enum"][0], action.name());
            let required = schema["required"].as_array().unwrap().len();
            assert_eq!(required, action.fields().0.len() + 1, "{name}");
        }
    }
}
