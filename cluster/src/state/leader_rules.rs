//! The rules that come with a proposal: what the leader's configuration says and apply must know, so that every
//! replica decides alike whatever its own configuration says.

use serde::{Deserialize, Serialize};

use super::id::Key;
use super::limits::{IDEMPOTENCY_KEYS_MAX, MAILBOXES_MAX, ROOMS_MAX, SHARE_BYTES_MIN};

/// The bounds and ages that hold while one proposal is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// Bound on all that is stored, in bytes.
    pub storage_bytes_max: u64,
    /// How much of it one owner may hold; `None`: as much as there is.
    pub shares: Option<Shares>,
    /// For how long a thing may be renewed.
    pub ages: Ages,
}

/// How much one owner may hold, and what is kept for small things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// One client, or one subject.
    pub client: Share,
    /// All clients of one network.
    pub network: Share,
    /// The last of the stored bytes, kept for small things: transfers, chunks and room messages are refused in it.
    pub reserve_bytes: u64,
    /// What one client, or one network, may hold in small things while only the reserve is left.
    pub reserve_client_bytes: u64,
}

/// How much one owner may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Bytes, as they are weighed.
    pub bytes: u64,
    /// Remembered keys.
    pub keys: u32,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Rooms.
    pub rooms: u32,
}

impl Shares {
    /// These percentages of the whole. Whatever they come to, one full transfer has a place in a share, and a hundredth
    /// of that in the reserve.
    pub fn of(storage_bytes_max: u64, client_percent: u8, network_percent: u8, reserve_percent: u8) -> Self {
        let reserve_bytes = percent(storage_bytes_max, reserve_percent);
        Self {
            client: Share::of(storage_bytes_max, client_percent),
            network: Share::of(storage_bytes_max, network_percent),
            reserve_bytes,
            reserve_client_bytes: percent(reserve_bytes, client_percent).max(SHARE_BYTES_MIN / 100),
        }
    }
}

impl Share {
    pub(super) fn of(storage_bytes_max: u64, share: u8) -> Self {
        let count = |whole: usize| u32::try_from(percent(whole as u64, share)).unwrap_or(u32::MAX).max(1);
        Self {
            bytes: percent(storage_bytes_max, share).max(SHARE_BYTES_MIN),
            keys: count(IDEMPOTENCY_KEYS_MAX),
            mailboxes: count(MAILBOXES_MAX),
            rooms: count(ROOMS_MAX),
        }
    }

    /// What a client may hold of an organisation's share: as much of that as of the whole, so that none takes all of it; of a
    /// small one up to half, as far as that is no more than [`SHARE_BYTES_MIN`].
    pub(super) fn within(&self, tenant: &Self, storage_bytes_max: u64) -> Self {
        let part = |own: u64, of: u64, whole: usize| {
            let part = u128::from(own) * u128::from(of) / (whole as u128).max(1);
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let count = |own: u32, of: u32, whole: usize| {
            u32::try_from(part(own.into(), of.into(), whole)).unwrap_or(u32::MAX).clamp(1, own.max(1))
        };
        let bytes = part(self.bytes, tenant.bytes, storage_bytes_max as usize);
        Self {
            bytes: bytes.max(SHARE_BYTES_MIN.min(tenant.bytes / 2)).min(self.bytes),
            keys: count(self.keys, tenant.keys, IDEMPOTENCY_KEYS_MAX),
            mailboxes: count(self.mailboxes, tenant.mailboxes, MAILBOXES_MAX),
            rooms: count(self.rooms, tenant.rooms, ROOMS_MAX),
        }
    }
}

fn percent(whole: u64, share: u8) -> u64 {
    whole / 100 * u64::from(share) + whole % 100 * u64::from(share) / 100
}

/// How old a thing may become by being renewed, in milliseconds from its beginning; 0: as old as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ages {
    /// A transfer, and an acknowledgement.
    pub transfer_max_ms: u64,
    /// A negotiation, and its pin.
    pub exchange_max_ms: u64,
}

impl Ages {
    /// The instant beyond which what began at `begun_ms` cannot be renewed.
    pub(super) fn end(age_max_ms: u64, begun_ms: u64) -> u64 {
        if age_max_ms == 0 { u64::MAX } else { begun_ms.saturating_add(age_max_ms) }
    }
}

/// On whose account a command stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The client, derived from its address, or its subject where it showed a credential
    /// ([`Domain::Client`](super::id::Domain::Client)).
    pub client: Key,
    /// Whom it belongs to, where those are counted too.
    pub group: Option<Group>,
}

impl Owner {
    /// The keys of all accounts that what it stores is on.
    pub fn accounts(&self) -> impl Iterator<Item = &Key> {
        let group = self.group.as_ref();
        let group = group.map(|group| [group.guest(), group.network(), group.tenant().map(|(key, _)| key)]);
        std::iter::once(&self.client).chain(group.into_iter().flatten().flatten())
    }
}

/// Several clients that have a share together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// The clients of one network.
    Network(Key),
    /// Those of an organisation.
    Tenant {
        /// Which one, derived from its name.
        key: Key,
        /// How much of the whole it may hold, in percent.
        percent: u8,
    },
    /// Those of an organisation, for a client who showed no credential: it is counted as what it is elsewhere, too, or one
    /// client would have a share in each organisation.
    Guests {
        /// Which organisation.
        tenant: Key,
        /// How much of the whole it may hold, in percent.
        percent: u8,
        /// The client, as it is counted outside of organisations.
        client: Key,
        /// Its network, if that is counted.
        network: Option<Key>,
    },
}

impl Group {
    /// The organisation, and how much of the whole it may hold, in percent.
    pub(super) fn tenant(&self) -> Option<(&Key, u8)> {
        match self {
            Self::Network(_) => None,
            Self::Tenant { key: tenant, percent } | Self::Guests { tenant, percent, .. } => {
                Some((tenant, *percent))
            }
        }
    }

    /// The client outside of organisations, if it is counted there, too.
    pub(super) fn guest(&self) -> Option<&Key> {
        match self {
            Self::Guests { client, .. } => Some(client),
            Self::Network(_) | Self::Tenant { .. } => None,
        }
    }

    /// The client's network.
    pub(super) fn network(&self) -> Option<&Key> {
        match self {
            Self::Network(key) => Some(key),
            Self::Guests { network, .. } => network.as_ref(),
            Self::Tenant { .. } => None,
        }
    }
}
