//! The test of the test: wrong imports are found, however they are written, and right ones are not.

use super::imports::Source;
use super::{breaches, circle, folders};

fn planted(crate_folder: &str, module: &str, text: &str) -> Vec<String> {
    breaches(crate_folder, &[Source::parse("planted.rs", module, text)])
}

#[test]
fn each_planted_import_is_found() {
    let wrong = [
        ("cluster", "crate::state::room", "use crate::wire::Links;"),
        ("cluster", "crate::state", "use std::{collections::{BTreeMap, HashMap as Map}, sync::Arc};"),
        (
            "cluster",
            "crate::state::expiry",
            "fn now() -> u64 { std::time::Instant::now().elapsed().as_secs() }",
        ),
        ("cluster", "crate::wire::link", "use super::super::state::State;"),
        ("cluster", "crate::raft::node", "fn of(cluster: &crate::Cluster) {}"),
        ("cluster", "crate::handle::admin", "fn raft() { let _ = openraft::Config::default(); }"),
        ("node", "crate::service::signaling", "use crate::{actors, transport::http::Error};"),
        ("node", "crate::actors::room", "fn settle() { println!(\"{:?}\", crate::service::Error::Busy) }"),
        ("node", "crate::admission::body", "use super::super::listener::BodyGate;"),
        ("node", "crate::listener::stream", "mod inner { use super::super::super::transport::AppState; }"),
        ("node", "crate::transport::ws::session", "impl From<crate::transport::http::Error> for Code {}"),
        ("node", "crate::actors::room", "fn look(state: &conclave_cluster::state::State) {}"),
        ("node", "crate::transport::http::relay::chunks", "use super::super::super::ws::Sockets;"),
        ("node", "crate::transport::http", "use crate::transport::{request::Error, sse};"),
        ("node", "crate::transport::sse::mail", "fn of() { crate::transport::http::nodes::origins() }"),
        ("node", "crate::transport::ws::endpoint", "use super::super::pipeline::gate;"),
        ("node", "crate::transport::request::context", "use super::super::http::relay;"),
        ("node", "crate::transport::request", "fn of(_: crate::transport::pipeline::Pipeline) {}"),
        ("node", "crate::transport::sse", "use crate::serve::Error;"),
        ("node", "crate::service::tickets", "use actix_web::HttpRequest;"),
        ("node", "crate::service", "use super::listener::Closed;"),
        ("node", "crate::admission", "use crate::service::Caller;"),
        ("client-sim", "crate::chaos", "use conclave_node::serve;"),
    ];
    for (crate_folder, module, text) in wrong {
        assert!(!planted(crate_folder, module, text).is_empty(), "{module}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    let right = [
        ("cluster", "crate::raft::log", "use openraft::Entry; use crate::state::State;"),
        ("cluster", "crate::state::room", "use super::id::Key; // crate::wire is far away"),
        ("cluster", "crate::state::room", "#[cfg(test)] mod tests { use std::time::Instant; }"),
        ("node", "crate::service", "/// See [`crate::transport`].\nuse crate::actors::Registry;"),
        ("node", "crate::actors::room", "use conclave_cluster::state::query::Query;"),
        ("node", "crate::listener", "use actix_web::http::Method; fn http() {}"),
        (
            "node",
            "crate::transport::request::context",
            "use crate::{admission::large_body::Admitted, service};",
        ),
    ];
    for (crate_folder, module, text) in right {
        assert_eq!(planted(crate_folder, module, text), [""; 0], "{module}: {text}");
    }
}

#[test]
fn a_circle_of_folders_is_found() {
    let named = |of: &str, modules: &[(&str, &str)]| {
        let sources: Vec<_> =
            modules.iter().map(|(module, text)| Source::parse("planted.rs", module, text)).collect();
        circle(&folders(of, &sources))
    };
    let (service, http) = (
        ("crate::service", "use crate::actors::Registry;"),
        ("crate::transport::a", "use super::super::service;"),
    );
    assert_eq!(named("crate", &[service, http, ("crate::actors", "")]), None);
    assert!(
        named("crate", &[service, http, ("crate::actors", "fn f() { crate::transport::a::g() }")]).is_some()
    );
    let (http, request) = (
        ("crate::transport::http", "use super::request::Error;"),
        ("crate::transport::request", "use super::http::relay;"),
    );
    assert_eq!(named("crate::transport", &[http, ("crate::transport::request", "")]), None);
    assert!(named("crate::transport", &[http, request]).is_some());
}
