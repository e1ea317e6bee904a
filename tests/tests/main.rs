//! One binary of everything that tests whole clusters.

mod simulation;
