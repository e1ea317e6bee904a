//! Framed bytes between nodes.
