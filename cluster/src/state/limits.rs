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
pub const IDEMPOTENCY_KEYS_MAX: usize = 200_000;
/// Mailboxes of which one owner has a share.
pub const MAILBOXES_MAX: usize = 1 << 20;
/// Rooms of which one owner has a share.
pub const ROOMS_MAX: usize = 1 << 17;
/// The least that a share of the stored bytes is: one full transfer as it is weighed, and a mebibyte for what goes with it.
pub const SHARE_BYTES_MIN: u64 = 100 << 20;
/// Of the storage bound, what open windows may take: one part of so many. No fewer than [`WINDOWS_MIN`] are admitted.
pub const WINDOWS_FRACTION: u64 = 8;
/// Windows that are admitted however small the storage bound is.
pub const WINDOWS_MIN: u64 = 1024;
/// Things expired within one proposal; the rest waits for the next, hidden from readers meanwhile.
pub const EXPIRED_PER_PROPOSAL_MAX: usize = 4096;
/// For how long the outcomes of an origin that fell silent are kept, in milliseconds.
pub const ORIGIN_SILENT_MS_MAX: u64 = 120_000;
/// Bytes of one envelope as JSON text: 65,536 characters of at most four bytes, and the fields around them.
pub const ENVELOPE_BYTES_MAX: usize = 4 * 65_536 + 1024;
/// Bytes of one name that is kept as it came (a peer id, a device id, an address): 256 characters of four bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Clients' open windows; at the bound a client not seen before waits until one closes.
pub const WINDOWS_MAX: usize = 1 << 20;
/// Nodes that are known to have leased of one window; beyond, a node leases without being known.
pub const HOLDERS_MAX: usize = 64;
/// What a client refused at [`WINDOWS_MAX`] is told to wait, in milliseconds.
pub const WINDOWS_FULL_RETRY_MS: u64 = 1000;
/// For how long a mailbox's numbering is kept after its last signal expired, in milliseconds.
pub const MAILBOX_HEAD_MS: u64 = 600_000;
/// Runs of nodes that hold sockets.
pub const INCARNATIONS_MAX: usize = 4096;
/// Generations of what went that are remembered: some three hundred bytes each, counted by nobody. Beyond, what goes leaves
/// none.
pub const DEPARTURES_MAX: usize = 1 << 16;
/// For how long, in milliseconds: longer than a command may be under way, at its node and at a leader.
pub const DEPARTURE_MS: u32 = 60_000;
/// Members of one room.
pub const ROOM_MEMBERS_MAX: usize = 10_000;
/// Messages in one room's history, whatever is asked for.
pub const ROOM_MESSAGES_MAX: usize = 10_000;
/// Their bytes.
pub const ROOM_BYTES_MAX: usize = 16 << 20;
/// Bytes of one message: 64 KiB and a byte that says what they are.
pub const MESSAGE_BYTES_MAX: usize = 65_536 + 1;
/// For how long a room's numbering is kept after the last of its members and messages, in milliseconds.
pub const ROOM_HEAD_MS: u64 = 600_000;
/// Bytes of what a ticket grants, in the edge's own words.
pub const GRANT_BYTES_MAX: usize = 4096;
/// Bytes of one part of a slot on its way to another cell.
pub const SLOT_PART_BYTES_MAX: usize = 512 << 10;
/// Parts of one slot: as many as 4 GiB take.
pub const SLOT_PARTS_MAX: u32 = 8192;
/// Nodes of the cluster that sit in no cell: with the largest cell there are 64 nodes.
pub const FRONTS_MAX: usize = 59;
/// Cells: as many as 64 nodes make, three each.
pub const CELLS_MAX: usize = 21;
/// Nodes that sit in one cell, learners included.
pub const SEATS_MAX: usize = 64;
/// What is revoked at one time, on all lists of a cell.
pub const REVOCATIONS_MAX: usize = 10_000;
/// Registered devices, on all lists of a cell.
pub const REGISTRATIONS_MAX: usize = 50_000;
/// Of one subject.
pub const REGISTRATIONS_PER_SUBJECT_MAX: usize = 100;
/// Entries of all audit logs of a cell.
pub const AUDIT_ENTRIES_MAX: usize = 10_000;
/// Things of a list that are told at a time.
pub const LISTED_MAX: usize = 500;
/// Things that are looked at for that: a filter may pass over many.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Commands in one proposal.
pub const COMMANDS_PER_PROPOSAL_MAX: usize = 8192;
/// Origins whose floors one proposal raises.
pub const FLOORS_PER_PROPOSAL_MAX: usize = 1024;
/// Bytes of an encoded proposal or list of answers, bodies apart.
pub const HEADER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one record of a snapshot; the largest is the remembered answer that drained a full mailbox.
pub const RECORD_BYTES_MAX: usize = 8 << 20;
