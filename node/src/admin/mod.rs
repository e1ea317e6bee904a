//! The admin listener and its client: metrics, health, and who belongs to the cluster.
//!
//! It is a listener of its own, on loopback unless told otherwise, since whoever may call it controls the cluster. Beyond
//! loopback each call shows a token, or comes with a certificate.

mod allowances;
pub mod api_types;
mod audit;
mod backend;
mod body;
pub mod client;
pub mod client_tls;
mod connections;
mod console;
mod description;
mod devices;
mod error;
mod gate;
mod host_header;
mod inventory;
mod log_level;
mod membership;
mod observation;
mod page;
mod query;
mod revocations;
mod server;
mod state;
mod tenants;
mod unread;

pub use connections::CONNECTIONS_MAX;
pub use description::document_of_listener;
pub use gate::{Gate, Token, TokenError};
pub use server::{listen, observe};
pub use state::{AdminState, Phase};
