//! How the public reaches a node: requests over HTTP, streams of server-sent events, and WebSockets.
//!
//! [`pipeline`] is what every request passes, and the one table of routes. [`http`], [`sse`] and [`ws`] are the transports,
//! which do not know one another: each decodes, calls a [`service`](crate::service), and encodes. [`request`] is what they
//! share, and knows none of them.

pub mod http;
pub mod pipeline;
pub mod request;
pub mod sse;
pub mod ws;

pub use pipeline::{Edge, Pipeline, app, document_of_api};
pub use request::{AppState, Options};
