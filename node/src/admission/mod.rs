//! What one client may take of a node, and what all clients together may.
//!
//! One file for each thing that is shared out. Each decides without a clock and without a socket: the time is passed in.

pub mod buffers;
