//! Who asks, how much they may ask, and what they may touch.
//!
//! [`client`] and [`network`] tell addresses apart, [`origin`] the pages that ask, [`tier_limits`] says how much each may ask, [`guessing`] what a wrong
//! guess costs. [`auth`] makes a [`Credential`] of a token, which [`bearer`] found in a request, [`client_certificate`] of a
//! client's certificate; [`tenant`] is the organisation that somebody belongs to; [`ice`] makes credentials for TURN servers;
//! [`outbound`] asks servers elsewhere, and not those that only this machine or its network reaches.

pub mod auth;
pub mod bearer;
pub(crate) mod bounded_file;
pub mod client;
pub mod client_certificate;
pub mod credential_rights;
pub mod forwarded_header;
pub(crate) mod global_address;
pub mod guessing;
pub mod ice;
pub mod name_pattern;
pub mod network;
pub mod origin;
pub mod outbound;
pub mod signature;
pub mod tenant;
pub mod tier_limits;
pub(crate) mod watch;

pub use crate::admission::connection_limiter as admission;
pub use auth::Auth;
pub use credential_rights::{Credential, Scope};
pub use guessing::Guesses;
pub use ice::Ice;
pub use name_pattern::Grant;
pub use network::Network;
pub use origin::Origin;
pub use tenant::{Tenant, Tenants};
pub use tier_limits::{Rule, Tiers};

/// Who may come in, and with what. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Access {
    /// Judges tokens.
    pub auth: Auth,
    /// Lets long-lived connections in.
    pub limiter: admission::ConnectionLimiter,
    /// Makes credentials for TURN servers.
    pub ice: Ice,
}

/// Why the configured files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or revocations.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// Secrets of TURN servers.
    #[error(transparent)]
    Ice(#[from] ice::Error),
}

/// Everybody may come in.
#[cfg(test)]
impl Default for Access {
    fn default() -> Self {
        let auth = Auth::new(auth::Options::default()).expect("there is no file to read");
        let (most, window) = (1 << 20, std::time::Duration::from_secs(60));
        let rules = admission::Rules {
            connections_max: most,
            per_client_max: most,
            opens: 1 << 20,
            window,
            clients_max: most,
        };
        Self { auth, limiter: admission::ConnectionLimiter::new(rules), ice: Ice::default() }
    }
}
