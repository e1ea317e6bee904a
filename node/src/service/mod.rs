//! What the server does, without a word of how it is asked: the transports decode a request, have it done here, and encode
//! what came of it.
//!
//! [`Services`] is what all of them need, [`Caller`] who asks, `charging` what that costs and how a change is carried out,
//! and [`Error`] why it was not. [`signaling`] and [`peer_claim`] are what peers do with one another: invite codes,
//! signals, and who holds a peer id; [`room_format`] is what a room's members are called, [`transfer_keep_alive`] how a
//! transfer lives on while it is polled, [`tickets`] stand for credentials, [`revocations`] are what credentials are worth
//! nothing any more, [`registrations`] are devices and whether they are let in, [`inventory`] is what is stored as
//! operators may see it, [`audit`] tells who changed what, and [`webhooks`] tell others what happens. `full_shares` keeps
//! refusals for want of room out of the log. [`storage_keys`] is how the words of requests become storage keys,
//! [`name_lengths`] how long they may be. [`node_lease`], [`endings`], [`nodes`] and [`readiness`] are about this
//! node among the others.

pub mod allowances;
pub mod audit;
pub mod backend;
mod caller;
mod charging;
pub mod endings;
mod error;
mod full_shares;
pub mod inventory;
pub mod name_lengths;
pub mod node_lease;
pub mod nodes;
pub mod peer_claim;
pub mod readiness;
pub mod registrations;
pub mod revocations;
pub mod room_format;
pub mod security_events;
mod services;
pub mod signaling;
pub mod storage_keys;
pub mod tenants;
pub mod tickets;
pub mod transfer_keep_alive;
pub mod webhooks;

pub use caller::Caller;
pub use error::{Error, settle};
pub use services::{Services, Terms, Ttl};
