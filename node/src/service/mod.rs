//! What the server does, without a word of how it is asked: the transports decode a request, have it done here, and encode
//! what came of it.
//!
//! So far: [`keys`], how the words of requests become storage keys; [`limits`], how long they may be; [`signaling`], what
//! signals are called; and [`settle`], which tells what concerns every command alike from what only one kind of command can
//! come to.

mod error;
pub mod keys;
pub mod limits;
pub mod signaling;

pub use error::{Error, settle};
