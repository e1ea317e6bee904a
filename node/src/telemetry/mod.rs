//! What a node tells about itself: log lines on standard error, and metrics.

pub mod log;
pub mod metrics;
mod predeclared;
mod process;
mod writer;
