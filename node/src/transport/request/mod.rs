//! What the transports share: a request's `Context`, the state of the application, who a request comes
//! from, and the one shape of errors.

pub(crate) mod accept;
pub(crate) mod app_state;
pub(crate) mod arrival;
pub mod authenticate;
pub(crate) mod body;
mod body_decoding;
mod brotli_memory;
pub(crate) mod context;
pub(crate) mod cors;
pub mod deprecation;
pub(crate) mod digest;
pub mod edge_options;
pub mod error;
pub(crate) mod fields;
mod in_flight;
pub mod metrics;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod rate_limit_headers;
pub(crate) mod reply;
pub(crate) mod request_id;
pub(crate) mod route;
pub(crate) mod signed;
pub(crate) mod wait;

pub use app_state::AppState;
pub use edge_options::Options;
pub use error::Error;
