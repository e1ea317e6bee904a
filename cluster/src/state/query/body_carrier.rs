//! The bodies in the answers to queries, which follow a header instead of being in it.

use std::sync::Arc;

use super::super::body::Body;
use super::super::codec::Error;
use super::super::device::Device;
use super::super::id::{Digest, Key};
use super::super::incarnation::Attachment;
use super::super::inventory::Listing;
use super::super::limits::{CHUNK_BYTES_MAX, ENVELOPE_BYTES_MAX, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use super::super::negotiation::{Envelope, Resolved};
use super::super::outcome::{Answer, Refusal};
use super::super::placement::Plan;
use super::super::slot::Slot;
use super::super::{
    Holding, Totals, allowance, audit, mailbox, registration, revocation, room, socket, transfer,
};

/// Takes a promised body and how long it may be.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut Body, usize) -> Result<(), Error>;

/// An answer, or a part of one, that may carry bodies.
pub(super) trait BodyCarrier {
    /// Shows every body, in order.
    fn each<'a>(&'a self, _: &mut dyn FnMut(&'a Body)) {}

    /// Shows every body, in order, with how long it may be, until one is refused.
    fn each_mut(&mut self, _: Fill<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Answers without a body.
macro_rules! plain {
    ($($of:ty),*) => {$(impl BodyCarrier for $of {})*};
}

plain!(
    (),
    bool,
    u64,
    u128,
    usize,
    Key,
    Slot,
    Plan,
    Attachment,
    String,
    Device,
    Digest,
    Resolved,
    Holding,
    Refusal,
    Totals,
    allowance::Balance,
    audit::Head,
    audit::View,
    Listing,
    revocation::View,
    registration::List,
    room::View,
    socket::View,
    transfer::View,
    transfer::Encoding
);

impl<T: BodyCarrier> BodyCarrier for Option<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        self.iter().for_each(|it| it.each(visit));
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        self.iter_mut().try_for_each(|it| it.each_mut(fill))
    }
}

impl<T: BodyCarrier> BodyCarrier for Vec<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        self.iter().for_each(|it| it.each(visit));
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        self.iter_mut().try_for_each(|it| it.each_mut(fill))
    }
}

impl<T: BodyCarrier> BodyCarrier for Arc<T> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        T::each(self, visit);
    }

    /// Nobody else has it: it was decoded just now.
    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        Self::get_mut(self).map_or(Err(Error::Malformed), |it| it.each_mut(fill))
    }
}

impl<A: BodyCarrier, B: BodyCarrier> BodyCarrier for (A, B) {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        self.0.each(visit);
        self.1.each(visit);
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        self.0.each_mut(fill)?;
        self.1.each_mut(fill)
    }
}

/// A chunk.
impl BodyCarrier for (transfer::Encoding, Digest, Body) {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        visit(&self.2);
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        fill(&mut self.2, CHUNK_BYTES_MAX)
    }
}

impl BodyCarrier for Envelope {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        if let Self::Present(envelope) = self {
            visit(envelope);
        }
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        match self {
            Self::Present(envelope) => fill(envelope, ENVELOPE_BYTES_MAX),
            Self::Missing | Self::Expired => Ok(()),
        }
    }
}

impl BodyCarrier for mailbox::Message {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        visit(&self.payload);
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        fill(&mut self.payload, PAYLOAD_BYTES_MAX)
    }
}

impl BodyCarrier for room::Message {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        visit(&self.data);
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        fill(&mut self.data, MESSAGE_BYTES_MAX)
    }
}

impl BodyCarrier for Answer {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        self.each_body(visit);
    }

    fn each_mut(&mut self, fill: Fill<'_>) -> Result<(), Error> {
        self.each_body_mut(fill)
    }
}
