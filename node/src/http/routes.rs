//! The one table of routes. The router, methods and `Allow`, what must be shown, allowances, and the names in metrics and
//! logs come from it.
//!
//! A handler is reached only through its row, by [`gate`](super::gate): an unguarded one cannot be written down.

use actix_web::http::Method;
use conclave_cluster::state::allowance::Tier;

use super::router::Handler;
use super::{
    devices, events, ice, jobs, nodes, relay, reports, server, sessions, socket, tickets, transfers, web,
};
use crate::access::Scope;

/// One row of the table.
pub(super) struct Row {
    pub(super) name: Route,
    pub(super) paths: Paths,
    pub(super) entry: Entry,
    pub(super) kind: Kind,
    pub(super) endpoints: &'static [Endpoint],
    /// The value of `Allow`.
    pub(super) allow: &'static str,
}

/// Where a row is found.
pub(super) enum Paths {
    /// At these templates. What is under `/api/v1/` is also under `/v1/`.
    At(&'static [&'static str]),
    /// At the paths of the page's files, where they are served.
    Files,
    /// Where the configuration says.
    Configured,
}

/// What a method does.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// The allowance that a request is charged to; where its body decides, the one that it is charged to before that is
    /// known. `None`: nothing is charged.
    pub(super) tier: Option<Tier>,
    pub(super) handler: Handler,
}

/// How a route is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// By anybody.
    Open,
    /// With a token, looked at before the handler; a credential must be for things of this kind.
    Checked(Option<Scope>),
    /// The handler looks itself: it takes tickets, too, which only the cluster can redeem.
    Own,
}

/// What a route is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// How the node is, told to whoever looks after it on the node's own network.
    Probe,
    /// Reports that browsers send from wherever our pages are shown.
    Report,
    /// What clients come for.
    Api,
    /// A connection that becomes a socket.
    Socket,
    /// The page.
    Page,
}

impl Kind {
    /// Whether it is answered while the node drains: it says how the node is, and costs nothing.
    pub(super) fn outlives_drain(self) -> bool {
        matches!(self, Self::Probe)
    }
}

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
        $name:ident $template:literal at ($($paths:tt)+) $kind:ident $entry:expr => {
            $($method:ident $tier:ident $shape:ident($handler:path);)+
        }
    )+) => {
        /// A route's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Route {
            $($name,)+
            /// There is nothing.
            Other,
        }

        impl Route {
            /// How many there are.
            pub(super) const COUNT: usize = Self::Other as usize + 1;

            /// The path with its parameters named, for labels and spans.
            pub(super) fn template(self) -> &'static str {
                match self {
                    $(Self::$name => $template,)+
                    Self::Other => "other",
                }
            }
        }

        /// The table. Of two rows that a path matches the first is meant.
        pub(super) static ROWS: [Row; Route::Other as usize] = [$(
            Row {
                name: Route::$name,
                paths: paths!($($paths)+),
                entry: $entry,
                kind: Kind::$kind,
                endpoints: &[$(
                    Endpoint {
                        method: Method::$method,
                        tier: tier!($tier),
                        handler: |incoming| incoming.$shape($handler),
                    },
                )+],
                allow: allow!($($method)+),
            },
        )+];
    };
}

use Entry::{Checked, Open, Own};

routes! {
    // What is asked for stands in the body.
    Relay "/api/relay" at ("/api/relay" "/api/v1/relay") Api Checked(None) => {
        POST Poll with_body(relay::relay);
    }
    Sessions "/api/v1/sessions" at ("/api/v1/sessions") Api Checked(Some(Scope::Signal)) => {
        POST Create with_body(sessions::create);
    }
    Resolve "/api/v1/sessions/resolve" at ("/api/v1/sessions/resolve") Api Checked(Some(Scope::Signal)) => {
        GET Lookup plain(sessions::resolve);
    }
    Session "/api/v1/sessions/{id}" at ("/api/v1/sessions/{id}") Api Checked(Some(Scope::Signal)) => {
        DELETE Poll plain(sessions::delete);
    }
    Offer "/api/v1/sessions/{id}/offer" at ("/api/v1/sessions/{id}/offer") Api Checked(Some(Scope::Signal)) => {
        GET Poll plain(sessions::get_offer);
        POST Signal with_body(sessions::put_offer);
    }
    Answer "/api/v1/sessions/{id}/answer" at ("/api/v1/sessions/{id}/answer") Api Checked(Some(Scope::Signal)) => {
        GET Poll plain(sessions::get_answer);
        POST Signal with_body(sessions::put_answer);
    }
    Transfers "/api/v1/transfers" at ("/api/v1/transfers") Api Checked(Some(Scope::Relay)) => {
        POST Create with_body(transfers::create);
    }
    Transfer "/api/v1/transfers/{id}" at ("/api/v1/transfers/{id}") Api Checked(Some(Scope::Relay)) => {
        GET Poll plain(transfers::get);
        DELETE Poll plain(transfers::delete);
    }
    Chunk "/api/v1/transfers/{id}/chunks/{n}" at ("/api/v1/transfers/{id}/chunks/{n}") Api
        Checked(Some(Scope::Relay)) => {
        GET Poll plain(transfers::get_chunk);
        PUT Chunk with_body(transfers::put_chunk);
    }
    TransferAck "/api/v1/transfers/{id}/ack" at ("/api/v1/transfers/{id}/ack") Api Checked(Some(Scope::Relay)) => {
        POST Poll plain(transfers::ack);
    }
    Devices "/api/v1/devices" at ("/api/v1/devices") Api Checked(Some(Scope::Devices)) => {
        POST Create with_body(devices::register);
    }
    UserDevices "/api/v1/devices/{userId}" at ("/api/v1/devices/{userId}") Api Checked(Some(Scope::Devices)) => {
        GET Poll plain(devices::list);
    }
    Job "/api/v1/jobs/{id}" at ("/api/v1/jobs/{id}") Api Checked(None) => {
        GET Poll plain(jobs::get);
    }
    Tickets "/api/v1/tickets" at ("/api/v1/tickets") Api Checked(Some(Scope::Socket)) => {
        POST Create plain(tickets::issue);
    }
    Ice "/api/v1/ice" at ("/api/v1/ice") Api Checked(Some(Scope::Ice)) => {
        GET Create plain(ice::get);
    }
    Events "/api/v1/events" at ("/api/v1/events") Api Own => {
        GET Poll plain(events::get);
    }
    // At `/` only what asks for a socket; see the router.
    Socket "/api/v1/socket" at ("/api/v1/socket" "/ws") Socket Own => {
        GET free with_body(socket::socket);
    }
    // Where the other nodes are is for those who may use them.
    Nodes "/api/v1/nodes" at ("/api/v1/nodes") Api Checked(None) => {
        GET free plain(nodes::list);
    }
    Edition "/api/v1/edition" at ("/api/v1/edition") Api Open => {
        GET free plain(server::edition);
    }
    Reports "/api/v1/csp-reports" at ("/api/v1/csp-reports") Report Open => {
        POST free with_body(reports::sink);
    }
    Health "/health" at ("/health") Probe Open => {
        GET free plain(server::health);
    }
    Livez "/livez" at ("/livez") Probe Open => {
        GET free plain(server::livez);
    }
    Readyz "/readyz" at ("/readyz") Probe Open => {
        GET free plain(server::readyz);
    }
    // The page and all that belongs to it count as one.
    Page "/" at (files) Page Open => {
        GET free plain(web::file);
    }
    Echo "echo" at (configured) Socket Open => {
        GET free with_body(socket::echo);
    }
}

impl Row {
    /// What a method does here. `HEAD` is answered as `GET` is (RFC 9110, section 9.3.2).
    pub(super) fn endpoint(&self, method: &Method) -> Option<&'static Endpoint> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.endpoints.iter().find(|endpoint| endpoint.method == *method)
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
    fn every_route_and_method_is_in_the_openapi_document_and_no_other() {
        let document = include_str!("../../../docs/openapi.yaml");
        let shape = |path: &str| {
            let part = |part: &'_ str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
            path.split('/').map(part).collect::<Vec<_>>().join("/")
        };
        let mut documented = Vec::new();
        let mut path = String::new();
        for line in document.lines() {
            if let Some(found) = line.strip_prefix("  /").and_then(|line| line.strip_suffix(':')) {
                path = shape(&format!("/{found}"));
            } else if let Some(method) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(':'))
                && ["get", "post", "put", "delete"].contains(&method)
            {
                documented.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        let mut routed = Vec::new();
        // The page and the echo are no part of the API.
        for row in ROWS.iter().filter(|row| matches!(row.paths, Paths::At(_))) {
            routed.extend(
                row.endpoints.iter().map(|one| format!("{} {}", one.method, shape(row.name.template()))),
            );
        }
        documented.sort();
        routed.sort();
        assert_eq!(routed, documented);
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
