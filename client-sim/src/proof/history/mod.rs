//! What was asked and what came of it: every operation of a run, in memory by key and on disk by line.

mod file;
mod operation;
mod recorder;
mod samples;

pub(crate) use file::VERSION;
pub use file::{BadFile, Header, Writer, read};
pub use operation::{Answer, Operation, Outcome, Side, Wish};
pub use recorder::{Begun, Closed, Recorder};
pub use samples::{Latency, Second};
