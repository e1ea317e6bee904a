//! Requests over HTTP: one file a family of routes. A handler decodes a request, calls a service, and encodes what came of it.

pub(crate) mod answers;
pub(crate) mod csp_reports;
pub(crate) mod device_registry;
pub(crate) mod edition_and_health;
pub(crate) mod ice;
pub(crate) mod jobs;
pub(crate) mod nodes;
pub(crate) mod relay;
pub(crate) mod tickets;
pub(crate) mod transfers;
pub(crate) mod web;
pub(crate) mod webrtc_sessions;
