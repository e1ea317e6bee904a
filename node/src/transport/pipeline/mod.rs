//! What every request passes, whichever transport it is for.
//!
//! Start with `routes`, the table of everything that is served. Then `router` (path to row), `entry_checks` (before every
//! handler) and `middleware` (what happens to every request).

mod app;
mod description;
mod entry_checks;
mod middleware;
mod not_ready;
mod router;
mod routes;

pub use app::{Edge, Pipeline, app};
pub use description::document_of_api;
