//! TLS of the listeners.

use std::time::Duration;

use crate::admission::fair_semaphore::FairSemaphore;
use crate::admission::share::Bounds;
use crate::config::{self, Config};
use crate::listener;

/// How long a handshake of an operator may take.
const ADMIN_HANDSHAKE: Duration = Duration::from_secs(5);

/// TLS for the public, if this node speaks it. Reads certificate and key.
pub(in crate::serve) fn public_tls(
    config: &Config,
    handshakes: FairSemaphore,
) -> Result<Option<listener::Tls>, listener::tls::Error> {
    let config::PublicTls { cert, key, client_ca, minimum, handshake_timeout, .. } = &config.http.tls;
    if !config.http.tls.is_on() {
        warn_of_plain_http(&config.http);
        return Ok(None);
    }
    let options = listener::tls::Options {
        whose: listener::tls::Whose::Public,
        certificate: cert.clone(),
        key: key.clone(),
        client_authority: Some(client_ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        minimum: *minimum,
        handshake: *handshake_timeout,
    };
    listener::Tls::new(options, handshakes).map(Some)
}

fn warn_of_plain_http(config::Http { listen, behind_tls, insecure, .. }: &config::Http) {
    if !listen.ip().to_canonical().is_loopback() && !behind_tls && !insecure {
        tracing::warn!(
            %listen,
            "clients reach this node without TLS (http.listen): whoever can read along reads their tokens, pins and peer ids; set \
             http.tls.cert, or http.behind_tls where a proxy speaks TLS, or say --insecure if that is meant"
        );
    }
}

/// TLS towards operators. Reads the files.
pub(in crate::serve) fn admin_tls(config: &Config) -> Result<Option<listener::Tls>, listener::tls::Error> {
    let config::AdminTls { cert, key, client_ca } = &config.admin.tls;
    if !config.admin.tls.is_on() {
        return Ok(None);
    }
    let options = listener::tls::Options {
        whose: listener::tls::Whose::Admin,
        certificate: cert.clone(),
        key: key.clone(),
        client_authority: Some(client_ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        minimum: listener::tls::Minimum::default(),
        handshake: ADMIN_HANDSHAKE,
    };
    let all = crate::admin::CONNECTIONS_MAX;
    let handshakes = FairSemaphore::new(Bounds { all, client: all, site: all });
    listener::Tls::new(options, handshakes).map(Some)
}
