//! Breaks a cluster on purpose while load runs, and says what came of it.
//!
//! Read in this order: a [`schedule`] says what is to happen and what has to hold; [`cluster`] runs real `conclave
//! serve` processes, or takes those that run already; [`net`] stands between their peer ports and [`disk`] under their
//! data; the [`runner`] carries the schedule out, step by step, with the proof's load running all the while, a
//! observer counting leaders and a patient client that should never notice anything; [`report`] holds what was measured
//! against what was promised. What a schedule needs of other people's [`tools`] is looked up when it is run.

mod canary;
pub mod cluster;
mod damage;
pub mod disk;
pub mod error;
mod flood;
pub mod net;
mod observer;
pub mod report;
pub mod runner;
pub mod schedule;
mod sockets;
pub mod tools;

pub use error::Error;
pub use report::{Outcome, Report};
pub use runner::{Audience, Options, direct};
pub use schedule::Schedule;
