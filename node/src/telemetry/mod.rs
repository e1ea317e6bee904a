//! What a node tells about itself: log lines on standard error, and metrics.

mod known;
pub mod log;
pub mod metrics;
mod process;
mod writer;
