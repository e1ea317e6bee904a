//! Binary frames of Conclave's sockets: the SigmaSockets schema, verified before it is read.
//!
//! It takes bytes and gives frames, or frames and gives bytes; no sockets, no clocks. Read [`Frame`] first, then
//! [`decode`] and [`encode`]; every bound is in [`limits`], every reason to refuse in [`Malformed`].
//!
//! The schema is `schema/sigma_sockets.fbs`, which also says how the generated code is made. That code reads memory
//! at offsets it finds in the bytes and is the only place in the project that may be `unsafe`; it is private here, and
//! only ever gets bytes that the FlatBuffers verifier has passed.

pub mod frame;

mod decode;
mod encode;
mod malformed;

pub mod limits;

// The compiler's output as it is, without a word of ours in it.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    dead_code,
    deprecated,
    mismatched_lifetime_syntaxes,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unsafe_op_in_unsafe_fn
)]
#[rustfmt::skip]
mod sigma_sockets_generated;

pub use decode::{decode, decode_within};
pub use encode::encode;
pub use frame::Frame;
pub use limits::Limits;
pub use malformed::Malformed;
