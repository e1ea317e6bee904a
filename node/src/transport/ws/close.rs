//! How a connection ends.

use bytestring::ByteString;

/// The code of a close frame (RFC 6455, section 7.4, and the range 4000–4999 for our own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u16);

impl Code {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The client fell silent.
    pub const AWAY: Self = Self(1001);
    /// The client broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// Text that is no text.
    pub const INVALID: Self = Self(1007);
    /// Too many messages, too many violations, too late, or no longer welcome.
    pub const POLICY: Self = Self(1008);
    /// A frame or message beyond the bound.
    pub const TOO_BIG: Self = Self(1009);
    /// Something went wrong on our side.
    pub const INTERNAL: Self = Self(1011);
    /// This node is going away; another one is waiting.
    pub const RESTART: Self = Self(1012);
    /// Try again, best elsewhere: the cluster cannot answer at the moment.
    pub const LATER: Self = Self(1013);
    /// The client reads more slowly than there is to read.
    pub const SLOW: Self = Self(4008);
    /// Another connection took the session over.
    pub const REPLACED: Self = Self(4009);

    /// Whether a client may say this (RFC 6455, section 7.4, and the registry it founded).
    fn may_be_said(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code as a label; what a client invents has none of its own.
    pub(super) fn label(self) -> &'static str {
        match self.0 {
            1000 => "1000",
            1001 => "1001",
            1002 => "1002",
            1003 => "1003",
            1007 => "1007",
            1008 => "1008",
            1009 => "1009",
            1011 => "1011",
            1012 => "1012",
            1013 => "1013",
            4008 => "4008",
            4009 => "4009",
            _ => "other",
        }
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Why.
    pub code: Code,
    /// In words, for people. At most 123 bytes.
    pub text: ByteString,
}

impl Reason {
    /// A reason of ours.
    pub fn new(code: Code, text: &'static str) -> Self {
        Self { code, text: ByteString::from_static(text) }
    }

    /// Reads a close frame's payload (RFC 6455, section 5.5.1), or says with which code the connection must fail.
    pub(super) fn parse(payload: &[u8]) -> Result<Option<Self>, Code> {
        match payload {
            [] => Ok(None),
            [_] => Err(Code::PROTOCOL),
            [high, low, text @ ..] => {
                let code = Code(u16::from_be_bytes([*high, *low]));
                if !code.may_be_said() {
                    return Err(Code::PROTOCOL);
                }
                let text = std::str::from_utf8(text).map_err(|_| Code::INVALID)?;
                Ok(Some(Self { code, text: text.into() }))
            }
        }
    }
}

impl From<Code> for Reason {
    fn from(code: Code) -> Self {
        Self { code, text: ByteString::new() }
    }
}
