//! What the fields of requests may be. One rule each: by it a value is judged, and the OpenAPI document describes it.

use std::ops::RangeInclusive;

use conclave_cluster::state::limits::{CHUNK_BYTES_MAX, TRANSFER_CHUNKS_MAX};
use utoipa::openapi::schema::{Schema, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::json_field::chars;
use crate::service::name_lengths::{
    PASSWORD_HASH_CHARS_MAX, PEER_CHARS_MAX, ROOM_CHARS_MAX, SESSION_PIN_CHARS_MAX, TRANSFER_PIN_CHARS_MAX,
};
use crate::service::storage_keys::is_invite_code;

fn described(kind: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).description(Some(description.trim()))
}

/// Texts that are judged by how many characters they have.
macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident $chars:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl $name {
            const CHARS: RangeInclusive<usize> = $chars;

            /// Whether a text is one.
            pub(crate) fn fits(text: &str) -> bool {
                Self::CHARS.contains(&chars(text))
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                described(Type::String, concat!($($doc),+))
                    .min_length(Some(*Self::CHARS.start()).filter(|least| *least > 0))
                    .max_length(Some(*Self::CHARS.end()))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

texts! {
    /// The pin of a transfer.
    TransferPin 1..=TRANSFER_PIN_CHARS_MAX;
    /// What the password of a transfer was made into, by a slow function.
    PasswordHash 1..=PASSWORD_HASH_CHARS_MAX;
    /// The pin of a session; empty counts as absent.
    SessionPin 0..=SESSION_PIN_CHARS_MAX;
    /// A peer id: whoever knows it may read its mailbox.
    PeerId 1..=PEER_CHARS_MAX;
    /// The name of a room.
    RoomName 1..=ROOM_CHARS_MAX;
    /// Whose device it is: the subject of the token, where one is shown.
    UserId 1..=256;
    /// The name of a device, unique with its user.
    DeviceId 1..=256;
    /// The nonce that an envelope was sealed with.
    Nonce 12..=32;
    /// What was sealed.
    Ciphertext 16..=65_536;
}

/// Texts that are judged letter by letter.
macro_rules! patterns {
    ($($(#[doc = $doc:literal])+ $name:ident $pattern:literal $fits:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl $name {
            /// Whether a text is one.
            pub(crate) fn fits(text: &str) -> bool {
                $fits(text)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                described(Type::String, concat!($($doc),+)).pattern(Some($pattern)).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

patterns! {
    /// An invite code.
    InviteCode "^[A-Za-z0-9]{8,16}$" is_invite_code;
    /// The address of an onion service.
    Onion "^[a-z2-7]{16,56}\\.onion$" |text: &str| {
        text.strip_suffix(".onion").is_some_and(|name| {
            (16..=56).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        })
    };
    /// A public key, as the device spells it: base64, hexadecimal digits, or a JWK.
    PublicKey "^[ -~]{1,512}$" |text: &str| {
        (1..=512).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    /// A name of the client's own for one request.
    IdempotencyKey "^[!-~]{1,128}$" |text: &str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
}

/// A chunk as text.
pub(crate) struct Data;

impl Data {
    /// Whether a text is one. Counted are its bytes as UTF-8, which are no fewer than its characters.
    pub(crate) fn fits(text: &str) -> bool {
        (1..=CHUNK_BYTES_MAX).contains(&text.len())
    }
}

impl PartialSchema for Data {
    fn schema() -> RefOr<Schema> {
        let bounds = "A chunk of at most 49,152 bytes as UTF-8. Canonical base64 is kept a quarter smaller.";
        described(Type::String, bounds).min_length(Some(1)).max_length(Some(CHUNK_BYTES_MAX)).into()
    }
}

impl ToSchema for Data {}

/// Whole numbers within a range.
macro_rules! numbers {
    ($($(#[doc = $doc:literal])+ $name:ident $type:ty, $range:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl $name {
            const RANGE: RangeInclusive<$type> = $range;

            /// The number, if it is one.
            pub(crate) fn of(number: i64) -> Option<$type> {
                <$type>::try_from(number).ok().filter(|number| Self::RANGE.contains(number))
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                described(Type::Integer, concat!($($doc),+))
                    .minimum(Some(*Self::RANGE.start()))
                    .maximum(Some(*Self::RANGE.end()))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

numbers! {
    /// The place of a chunk, from 0.
    ChunkIndex u16, 0..=TRANSFER_CHUNKS_MAX - 1;
    /// How many chunks a transfer has.
    TotalChunks u16, 1..=TRANSFER_CHUNKS_MAX;
    /// A port of TCP.
    Port u16, 1..=65_535;
    /// For how long to wait if there is nothing yet, in milliseconds.
    WaitMs u32, 0..=25_000;
}

/// The only version of envelopes that there is.
pub(crate) struct EnvelopeVersion;

impl EnvelopeVersion {
    /// What it is.
    pub(crate) const IS: i64 = 1;
}

impl PartialSchema for EnvelopeVersion {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([Self::IS])).into()
    }
}

impl ToSchema for EnvelopeVersion {}

/// A UUID in its usual spelling.
pub(crate) struct Id;

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::Custom("uuid".to_owned());
        described(Type::String, "A UUID").format(Some(format)).into()
    }
}

impl ToSchema for Id {}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: RefOr<Schema>) -> serde_json::Value {
        serde_json::to_value(schema).unwrap()
    }

    #[test]
    fn a_text_is_described_by_the_bounds_that_it_is_judged_by() {
        let schema = said(TransferPin::schema());
        let (least, most) = (schema["minLength"].as_u64().unwrap(), schema["maxLength"].as_u64().unwrap());
        let sized = |chars: u64| TransferPin::fits(&"ä".repeat(chars as usize));
        assert!(sized(least) && sized(most) && !sized(least - 1) && !sized(most + 1));
        assert!(SessionPin::fits("") && said(SessionPin::schema())["minLength"].is_null());
    }

    #[test]
    fn a_number_is_described_by_the_bounds_that_it_is_judged_by() {
        let schema = said(TotalChunks::schema());
        let (least, most) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
        assert_eq!(TotalChunks::of(least), Some(1));
        assert_eq!((TotalChunks::of(most), TotalChunks::of(most + 1)), (Some(2048), None));
        assert_eq!((TotalChunks::of(least - 1), TotalChunks::of(-1)), (None, None));
        assert_eq!((Port::of(65_535), Port::of(65_536), Port::of(0)), (Some(65_535), None, None));
    }

    #[test]
    fn onions_are_onions() {
        let onion = "abcdefghij234567.onion";
        assert!(Onion::fits(onion));
        assert!(Onion::fits(&format!("{}.onion", "a".repeat(56))));
        let long = format!("{}.onion", "a".repeat(57));
        for bad in
            ["abc.onion", "ABCDEFGHIJ234567.onion", "abcdefghij234561.onion", "abcdefghij234567", &long]
        {
            assert!(!Onion::fits(bad), "{bad}");
        }
    }
}
