//! Contract, failure and simulation tests of whole clusters, in one binary.

mod arrows;
mod contract;
mod deploy;
mod failure;
mod simulation;
