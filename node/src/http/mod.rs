//! The HTTP edge: requests become drafts for the cluster, answers become responses.
//!
//! Read `routes` first, the table of everything that is served; then `router` (from a path to a row of it), `gate` (what
//! stands before every handler), `guard` (what happens to every request), `call` (what a handler works with), and one of
//! the handlers. The contract they keep is the HTTP API; errors have one shape, in [`error`].

mod accept;
mod app;
mod body;
mod brief;
mod call;
mod coding;
mod cors;
pub mod deprecation;
mod devices;
mod digest;
pub mod entrance;
pub mod error;
mod events;
mod gate;
mod guard;
mod ice;
mod in_flight;
mod intake;
mod jobs;
mod lease;
pub mod metrics;
mod nodes;
mod notes;
pub mod options;
mod path;
mod query;
pub(crate) mod relay;
mod reply;
mod reports;
mod request_id;
mod router;
mod routes;
mod server;
mod sessions;
mod shared;
mod signed;
mod socket;
mod strain;
mod tickets;
mod transfers;
mod wait;
mod waiting;
mod web;

pub use app::app;
pub use error::Error;
pub use options::Options;
pub use shared::Shared;
pub use waiting::waiting;
