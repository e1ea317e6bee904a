//! The HTTP contract, row by row, through a node that does not lead.

mod admission;
mod allowance;
mod cors;
mod credentials;
mod devices;
mod entrance;
mod errors;
mod events;
mod headers;
mod ice;
mod idempotency;
mod jobs;
mod mailbox;
mod openapi;
mod page;
mod relay;
mod rendezvous;
mod server;
mod sessions;
mod sigma_sockets;
mod sockets;
mod tickets;
mod transfers;
mod ttl;
mod waits;
