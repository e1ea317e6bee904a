//! The one table of routes. The router, methods and `Allow`, what must be shown, allowances, and the names in metrics and
//! logs come from it.
//!
//! A handler is reached only through its row, by [`entry_checks`](super::entry_checks): an unguarded one cannot be written down.

use actix_web::http::Method;
use conclave_cluster::state::allowance::Tier;

use super::description;
use crate::access::Scope;
use crate::transport::http::{
    csp_reports, device_registry, edition_and_health, ice, jobs, nodes, relay, tickets, transfers, web,
    webrtc_sessions,
};
use crate::transport::request::route::{Endpoint, Entry, Kind, Paths, Route, Row};
use crate::transport::sse as events;
use crate::transport::ws::endpoint as socket;

macro_rules! allow {
    (GET $($rest:ident)*) => { concat!("GET, HEAD", $(", ", stringify!($rest),)* ", OPTIONS") };
    ($first:ident $($rest:ident)*) => { concat!(stringify!($first), $(", ", stringify!($rest),)* ", OPTIONS") };
}

macro_rules! paths {
    (files) => {
        Paths::Files
    };
    (configured) => {
        Paths::Configured
    };
    ($($path:literal)+) => {
        Paths::At(&[$($path),+])
    };
}

macro_rules! tier {
    (free) => {
        None
    };
    ($tier:ident) => {
        Some(Tier::$tier)
    };
}

macro_rules! routes {
    ($(
        $name:ident at ($($paths:tt)+) $kind:ident $entry:expr => {
            $($method:ident $tier:ident $shape:ident($handler:path);)+
        }
    )+) => {
        /// The table. Of two rows that a path matches the first is meant.
        pub(super) static ROWS: [Row; Route::COUNT - 1] = [$(
            Row {
                name: Route::$name,
                paths: paths!($($paths)+),
                entry: $entry,
                kind: Kind::$kind,
                endpoints: &[$(
                    Endpoint {
                        method: Method::$method,
                        tier: tier!($tier),
                        handler: |ctx| ctx.$shape($handler),
                    },
                )+],
                allow: allow!($($method)+),
            },
        )+];
    };
}

use Entry::{Checked, Newcomers, Open, Own};

routes! {
    // What is asked for stands in the body.
    Relay at ("/api/relay" "/api/v1/relay") Api Checked(None) => {
        POST Poll with_body(relay::relay);
    }
    Sessions at ("/api/v1/sessions") Api Checked(Some(Scope::Signal)) => {
        POST Create with_body(webrtc_sessions::create);
    }
    Resolve at ("/api/v1/sessions/resolve") Api Checked(Some(Scope::Signal)) => {
        GET Lookup plain(webrtc_sessions::resolve);
    }
    Session at ("/api/v1/sessions/{id}") Api Checked(Some(Scope::Signal)) => {
        DELETE Poll plain(webrtc_sessions::delete);
    }
    Offer at ("/api/v1/sessions/{id}/offer") Api Checked(Some(Scope::Signal)) => {
        GET Poll plain(webrtc_sessions::get_offer);
        POST Signal with_body(webrtc_sessions::put_offer);
    }
    Answer at ("/api/v1/sessions/{id}/answer") Api Checked(Some(Scope::Signal)) => {
        GET Poll plain(webrtc_sessions::get_answer);
        POST Signal with_body(webrtc_sessions::put_answer);
    }
    Transfers at ("/api/v1/transfers") Api Checked(Some(Scope::Relay)) => {
        POST Create with_body(transfers::create);
    }
    Transfer at ("/api/v1/transfers/{id}") Api Checked(Some(Scope::Relay)) => {
        GET Poll plain(transfers::get);
        DELETE Poll plain(transfers::delete);
    }
    Chunk at ("/api/v1/transfers/{id}/chunks/{n}") Api
        Checked(Some(Scope::Relay)) => {
        GET Poll plain(transfers::get_chunk);
        PUT Chunk with_body(transfers::put_chunk);
    }
    TransferAck at ("/api/v1/transfers/{id}/ack") Api Checked(Some(Scope::Relay)) => {
        POST Poll plain(transfers::ack);
    }
    Devices at ("/api/v1/devices") Api Newcomers => {
        POST Create with_body(device_registry::register);
    }
    UserDevices at ("/api/v1/devices/{userId}") Api Checked(Some(Scope::Devices)) => {
        GET Poll plain(device_registry::list);
    }
    Job at ("/api/v1/jobs/{id}") Api Checked(None) => {
        GET Poll plain(jobs::get);
    }
    Tickets at ("/api/v1/tickets") Api Checked(Some(Scope::Socket)) => {
        POST Create plain(tickets::issue);
    }
    Ice at ("/api/v1/ice") Api Checked(Some(Scope::Ice)) => {
        GET Create plain(ice::get);
    }
    Events at ("/api/v1/events") Api Own => {
        GET Poll plain(events::get);
    }
    // At `/` only what asks for a socket; see the router.
    Socket at ("/api/v1/socket" "/ws") Socket Own => {
        GET free with_body(socket::socket);
    }
    // Where the other nodes are is for those who may use them.
    Nodes at ("/api/v1/nodes") Api Checked(None) => {
        GET free plain(nodes::list);
    }
    Edition at ("/api/v1/edition") Api Open => {
        GET free plain(edition_and_health::edition);
    }
    Description at ("/api/v1/openapi.json") Api Open => {
        GET free plain(description::document);
    }
    Reference at ("/docs") Api Open => {
        GET free plain(description::page);
    }
    Reports at ("/api/v1/csp-reports") Report Open => {
        POST free with_body(csp_reports::sink);
    }
    Health at ("/health") Probe Open => {
        GET free plain(edition_and_health::health);
    }
    Livez at ("/livez") Probe Open => {
        GET free plain(edition_and_health::livez);
    }
    Readyz at ("/readyz") Probe Open => {
        GET free plain(edition_and_health::readyz);
    }
    // The page and all that belongs to it count as one.
    Page at (files) Page Open => {
        GET free plain(web::file);
    }
    Echo at (configured) Socket Open => {
        GET free with_body(socket::echo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_own_place() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.name as usize, index);
        }
    }

    #[test]
    fn head_is_allowed_wherever_get_is() {
        for row in &ROWS {
            let gets = row.endpoint(&Method::GET).is_some();
            assert_eq!(row.endpoint(&Method::HEAD).is_some(), gets);
            assert_eq!(row.allow.split(", ").any(|method| method == "HEAD"), gets, "{}", row.allow);
            for endpoint in row.endpoints {
                assert!(row.allow.split(", ").any(|method| method == endpoint.method.as_str()));
            }
        }
    }
}
