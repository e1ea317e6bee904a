//! The harness: whole clusters of real processes, and what a test needs to talk to them and to hurt them.
//!
//! Read in this order: [`builder`] says what a cluster should be like, [`cluster`] starts and kills its `conclave serve`
//! processes; [`http`] asks them, [`raw`] says what no client would, [`socket`] keeps a
//! WebSocket, [`sigma`] one that speaks FlatBuffers, [`shipped`] behaves as the published client of that schema does, [`app`]
//! as the shipped app, [`events`] listens to them, [`issuer`] makes the tokens they ask for, [`key_server`] serves keys,
//! [`webhook_receiver`] takes what nodes post, [`metrics`] reads what they count, [`authority`] makes certificates, [`relay`] spells the relay's actions, [`roam`] is a client that follows connection
//! errors and `Retry-After` from node to node, [`proxy`] is nginx or HAProxy in front of them, [`peer`] a stranger at the
//! port of the peers, which spells its [`frames`], [`memory`] what a node takes, [`net`] stands between the nodes' peer
//! ports, and [`shared`] holds the clusters that contract tests have in common.
//!
//! Everything here panics with a readable message instead of returning errors: its only callers are tests.
//!
//! The harness is made for `cargo test`, which runs all tests in one process. Under a runner that gives each test a
//! process of its own, every contract test starts its own cluster: correct, only slower.

pub mod builder;
pub mod cluster;

pub mod app;
pub mod authority;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod events;
pub mod files;
pub mod frames;
pub mod http;
pub mod issuer;
pub mod key_server;
mod leaks;
pub mod memory;
pub mod metrics;
pub mod openapi;
pub mod peer;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod roam;
pub mod shipped;
pub mod sigma;
pub mod socket;
pub mod wait;
pub mod webhook_receiver;

pub mod shared;

pub mod binary;
pub mod scratch;

/// What stands between the nodes' peer ports is what `conclave-sim chaos` uses.
pub use conclave_client_sim::chaos::net;
pub use conclave_supervisor::{Ports, Process};
