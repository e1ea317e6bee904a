//! Every bound of the replicated state, in one place. They are part of the log's meaning: changing one is a
//! change of the format, since all replicas must refuse alike.

/// Chunks in one transfer.
pub const TRANSFER_CHUNKS_MAX: u16 = 2048;
/// Bytes of one chunk.
pub const CHUNK_BYTES_MAX: usize = 49_152;
/// Bytes of one signal's payload.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;
/// Signals waiting in one mailbox.
pub const MAILBOX_SIGNALS_MAX: usize = 512;
/// Payload bytes waiting in one mailbox.
pub const MAILBOX_BYTES_MAX: usize = 4 << 20;
/// Live devices of one user.
pub const DEVICES_PER_USER_MAX: usize = 256;
/// Outcomes remembered under callers' own names.
pub const MEMOS_MAX: usize = 200_000;
/// What one stored thing counts beside its bytes, towards the storage bound.
pub const ENTRY_BYTES: u64 = 256;
/// Things expired within one proposal; the rest waits for the next, hidden from readers meanwhile.
pub const EXPIRED_PER_PROPOSAL_MAX: usize = 4096;
/// For how long the outcomes of an origin that fell silent are kept, in milliseconds.
pub const ORIGIN_SILENT_MS_MAX: u64 = 120_000;
