//! Every bound, in one place.

/// Longest session id, of letters, digits, `-` and `_`; at least one.
pub const SESSION_ID_BYTES_MAX: usize = 128;
/// Longest client version, in characters.
pub const CLIENT_VERSION_CHARS_MAX: usize = 64;
/// Longest reason to disconnect, in characters.
pub const REASON_CHARS_MAX: usize = 256;
/// Longest text of an error, in characters.
pub const ERROR_CHARS_MAX: usize = 256;

/// Tables inside one another: the root and what it holds.
pub(crate) const DEPTH_MAX: usize = 2;
/// Tables in all: the root and what it holds.
pub(crate) const TABLES_MAX: usize = 2;
/// What the verifier may count beyond a frame's own length. A table and its neighbour may share bytes (both builders and
/// attackers make them do so), and each use counts.
pub(crate) const SHARED_BYTES_MAX: usize = 1024;

/// How large frames may be; the shorter fields' bounds are the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A whole frame.
    pub frame_bytes_max: usize,
    /// The payload in it.
    pub payload_bytes_max: usize,
}

impl Limits {
    /// What a client may send.
    pub const FROM_CLIENT: Self = Self { frame_bytes_max: 64 << 10, payload_bytes_max: 32 << 10 };
    /// What a server may send: members that speak JSON may publish twice as much as those that speak this.
    pub const FROM_SERVER: Self = Self { frame_bytes_max: 65 << 10, payload_bytes_max: 64 << 10 };
}
