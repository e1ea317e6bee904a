//! The clients that load, chaos, sieges, proofs and tests have in common.
//!
//! Both know the contract and nothing of a server's insides. [`http`] asks one thing at a time, as cheaply as a generator
//! needs it, or says every byte itself; [`socket`] keeps a session of the realtime endpoint over its connections.

pub mod http;
pub mod socket;
