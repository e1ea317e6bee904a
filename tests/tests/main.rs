//! Contract, failure and simulation tests of whole clusters, in one binary.

mod arrows;
mod contract;
mod failure;
mod simulation;
