//! Who asks, how much they may ask, and what they may touch.
//!
//! [`client`] and [`network`] tell addresses apart, [`allowance`] says how much each may ask, [`guessing`] what a wrong guess costs. [`auth`] makes a
//! [`Credential`] of a token, which [`bearer`] found in a request, [`certificate`] of a client's certificate; [`ice`] makes credentials for TURN servers.

pub mod allowance;
pub mod auth;
pub mod bearer;
pub mod certificate;
pub mod client;
pub mod credential;
pub(crate) mod files;
pub mod forwarded;
pub mod grant;
pub mod guessing;
pub mod ice;
pub mod network;
pub mod signature;
pub(crate) mod watch;

pub use crate::admission::streams as admission;
pub use allowance::{Rule, Tiers};
pub use auth::Auth;
pub use credential::{Credential, Scope};
pub use grant::Grant;
pub use guessing::Guesses;
pub use ice::Ice;
pub use network::Network;

/// Who may come in, and with what. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Access {
    /// Judges tokens.
    pub auth: Auth,
    /// Lets long-lived connections in.
    pub door: admission::Door,
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
impl Default for Access {
    fn default() -> Self {
        let auth = Auth::new(auth::Options::default()).expect("there is no file to read");
        Self { auth, door: admission::Door::new(admission::Rules::default()), ice: Ice::default() }
    }
}
