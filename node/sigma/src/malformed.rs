//! Why bytes are no frame.

/// Why bytes are no frame. Says which rule was broken and nothing of what the bytes hold, so that it may be logged,
/// counted and sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// More bytes than a frame may have; none of them was looked at.
    #[error("the frame is too large")]
    TooLarge,
    /// An offset or a length points outside the frame, or between the words it must point to.
    #[error("the frame is not a FlatBuffers message")]
    Broken,
    /// More tables, or more deeply nested ones, than any message has.
    #[error("the frame has too many parts")]
    TooComplex,
    /// A text is not UTF-8.
    #[error("a text in the frame is not UTF-8")]
    NotUtf8,
    /// The message has a type and nothing else.
    #[error("the frame holds no message")]
    Empty,
    /// A type of message that the schema does not have.
    #[error("the type of the message is unknown")]
    UnknownType,
    /// The two places that tell the type of a message contradict each other.
    #[error("the message is not of the type it says")]
    TypeMismatch,
    /// Absent, empty, too long, or of other letters than a session id has.
    #[error("the session id is not valid")]
    SessionId,
    /// Too long.
    #[error("the client version is too long")]
    ClientVersion,
    /// Too long.
    #[error("the reason is too long")]
    Reason,
    /// Too long.
    #[error("the payload is too large")]
    Payload,
    /// Too long.
    #[error("the error's text is too long")]
    ErrorText,
}

impl Malformed {
    /// A word for labels and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::TooComplex => "too_complex",
            Self::NotUtf8 => "not_utf8",
            Self::Empty => "empty",
            Self::UnknownType => "unknown_type",
            Self::TypeMismatch => "type_mismatch",
            Self::SessionId => "session_id",
            Self::ClientVersion => "client_version",
            Self::Reason => "reason",
            Self::Payload => "payload",
            Self::ErrorText => "error_text",
        }
    }
}
