//! What the server does, without a word of how it is asked: the transports decode a request, have it done here, and encode
//! what came of it.
//!
//! [`signaling`] and [`claim`] are what peers do with one another: invite codes, signals, and who holds a peer id. [`keys`] is how
//! the words of requests become storage keys, [`limits`] how long they may be. [`settle`] tells what concerns every command
//! alike from what only one kind of command can come to. [`Services`] is what all of them need.

pub mod claim;
mod error;
pub mod keys;
pub mod limits;
mod services;
pub mod signaling;

pub use error::{Error, settle};
pub use services::{Services, Terms, Ttl};
