//! Links between nodes, over real sockets, or over pipes where a test needs a paused clock.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod bounds;
mod calls;
mod certificates;
mod disks;
mod faults;
mod logs;
mod meters;
mod pipes;
mod secrets;
mod strangers;
mod support;
