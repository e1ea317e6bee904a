//! Raft: the only place that names openraft.
