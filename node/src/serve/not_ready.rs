//! The public port before the node serves: every request is answered at once.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::rt;

use super::{LINGER_SECONDS, options as of_config};
use crate::config::Config;
use crate::listener::{self, LoadShedder, Tls};
use crate::transport::{self, Options};

/// Connections at once; whoever asks here gets one short answer.
const CONNECTIONS_MAX: usize = 256;

/// A server that answers on the public port until [`Waiting::end`].
pub(super) struct Waiting(ServerHandle);

impl Waiting {
    /// Answers on a copy of `listener`, so that the port never closes when the node begins to serve.
    pub(super) fn begin(
        config: &Config,
        connections_max: usize,
        tls: Option<Tls>,
        listener: &TcpListener,
        options: Options,
    ) -> std::io::Result<Self> {
        let why = why(config);
        let settings = listener::Options {
            workers: 1,
            connections_max: CONNECTIONS_MAX.min(connections_max),
            keep_alive: config.http.keep_alive,
            patience: config.http.request_timeout,
            shutdown_seconds: LINGER_SECONDS,
            tls,
            shedder: Arc::new(Unpressed),
            shares: options.shares.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            proxy_protocol: of_config::networks(&config.http.proxy_protocol),
        };
        let app = move || transport::waiting(&options, why);
        let server = listener::serve(settings, listener.try_clone()?, app)?;
        let handle = server.handle();
        rt::spawn(server);
        Ok(Self(handle))
    }

    /// Takes no more connections. Those that are there get their answer; nobody waits for that.
    pub(super) fn end(self) {
        rt::spawn(self.0.stop(true));
    }
}

/// The check that `/readyz` names as failing.
fn why(config: &Config) -> &'static str {
    if config.cluster.join {
        "waiting_to_be_added"
    } else if config.cluster.members.len() > 1 {
        "waiting_for_members"
    } else {
        "starting"
    }
}

/// Large bodies are answered with 503 as everything is.
struct Unpressed;

impl LoadShedder for Unpressed {
    fn is_overloaded(&self) -> bool {
        false
    }
}
