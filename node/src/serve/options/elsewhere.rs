//! Servers elsewhere that this node tells something.

use super::given;
use crate::access::outbound::HttpUrl;
use crate::config::Config;
use crate::otlp::{self, Traces};
use crate::service::webhooks::{self, Kind, Webhooks};

/// Who is told what happens here. Reads secrets and authorities.
pub(in crate::serve) fn webhooks(config: &Config) -> Result<Webhooks, webhooks::Error> {
    let webhooks = &config.webhooks;
    let kinds = webhooks.events.iter().map(|kind| kind.parse().expect("the events were validated"));
    let kinds = if webhooks.events.is_empty() { Kind::ALL.to_vec() } else { kinds.collect() };
    Webhooks::new(webhooks::Options {
        node: config.node.id,
        urls: webhooks.urls.iter().map(|url| url.parse().expect("the URLs were validated")).collect(),
        secret_file: webhooks.secret_file.clone(),
        kinds,
        authorities: Some(webhooks.ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        allow_private: webhooks.allow_private,
        timeout: webhooks.timeout,
        retry_for: webhooks.retry_for,
        queue_events_max: webhooks.queue_events_max,
    })
}

/// Which of them are never reached, since their addresses are not of the public internet and nothing allows others.
pub(in crate::serve) fn never_reached(config: &Config) -> Vec<String> {
    let Config { auth, webhooks, telemetry, .. } = config;
    let keys = [("auth.jwks", &auth.jwks), ("auth.oidc_issuer", &auth.oidc_issuer)];
    let keys = keys.map(|(key, url)| (key, url, "auth.jwks_allow_private", auth.jwks_allow_private));
    let hooks = webhooks
        .urls
        .iter()
        .map(|url| ("webhooks.urls", url, "webhooks.allow_private", webhooks.allow_private));
    let (traces, allowed) = (&telemetry.otlp_endpoint, telemetry.otlp_allow_private);
    let traces = ("telemetry.otlp_endpoint", traces, "telemetry.otlp_allow_private", allowed);
    keys.into_iter()
        .chain(hooks)
        .chain([traces])
        .filter(|(_, _, _, allowed)| !allowed)
        .filter_map(|(key, url, allow, _)| {
            let url: HttpUrl = url.parse().ok()?;
            let origin = url.is_private().then(|| url.origin())?;
            Some(format!(
                "{key}: {origin} is not of the public internet, and is never asked: {allow} = true allows it"
            ))
        })
        .collect()
}

/// Where spans of requests go. Reads authorities.
pub(in crate::serve) fn traces(config: &Config) -> Result<Traces, otlp::Error> {
    let telemetry = &config.telemetry;
    Traces::new(given(&telemetry.otlp_endpoint).map(|url| otlp::Options {
        url: url.parse().expect("the URL was validated"),
        authorities: Some(telemetry.otlp_ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        allow_private: telemetry.otlp_allow_private,
        node: config.node.id,
    }))
}
