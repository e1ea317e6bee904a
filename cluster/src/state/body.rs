//! Opaque bytes in state, in the log and on the wire.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes the server never looks into: a chunk, an envelope, a signal's payload.
///
/// In an encoded header a body is only its length; the bytes themselves follow the header, so that they are
/// never copied by the codec. Between decoding the header and [`Body::fill`] a body is a promise of bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    Whole(Bytes),
    Promised(u32),
}

impl Body {
    /// A body of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(Inner::Whole(bytes))
    }

    /// The bytes; empty while they are only promised.
    pub fn bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match &self.0 {
            Inner::Whole(bytes) => bytes,
            Inner::Promised(_) => &NONE,
        }
    }

    /// How many bytes this is, promised or here.
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Whole(bytes) => bytes.len(),
            Inner::Promised(len) => *len as usize,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a promise with the next bytes of `payload`; false if there are too few.
    pub fn fill(&mut self, payload: &mut Bytes) -> bool {
        let len = self.len();
        if payload.len() < len {
            return false;
        }
        self.0 = Inner::Whole(payload.split_to(len));
        true
    }

    /// The same bytes in an allocation of their own, so that keeping them keeps no larger buffer alive.
    pub fn detached(&self) -> Self {
        Self::new(Bytes::copy_from_slice(self.bytes()))
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.len() as u32)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(|len| Self(Inner::Promised(len)))
    }
}

/// Shows the length only.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
