//! The HTTP contract, row by row, through a node that does not lead.

mod allowance;
mod cors;
mod devices;
mod errors;
mod headers;
mod idempotency;
mod jobs;
mod mailbox;
mod openapi;
mod relay;
mod rendezvous;
mod server;
mod sessions;
mod sockets;
mod transfers;
mod ttl;
mod waits;
