//! What the table of routes says: the names of the routes, and what a row has.

use actix_web::HttpResponse;
use actix_web::http::Method;
use conclave_cluster::state::allowance::Tier;
use futures_util::future::LocalBoxFuture;

use super::context::Context;
use super::error::Error;
use crate::access::Scope;

macro_rules! names {
    ($($name:ident $template:literal;)+) => {
        /// A route's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Route {
            $($name,)+
            /// There is nothing.
            Other,
        }

        impl Route {
            /// How many there are.
            pub(crate) const COUNT: usize = Self::Other as usize + 1;

            /// The path with its parameters named, for labels and spans.
            pub(crate) fn template(self) -> &'static str {
                match self {
                    $(Self::$name => $template,)+
                    Self::Other => "other",
                }
            }
        }
    };
}

names! {
    Relay "/api/relay";
    Sessions "/api/v1/sessions";
    Resolve "/api/v1/sessions/resolve";
    Session "/api/v1/sessions/{id}";
    Offer "/api/v1/sessions/{id}/offer";
    Answer "/api/v1/sessions/{id}/answer";
    Transfers "/api/v1/transfers";
    Transfer "/api/v1/transfers/{id}";
    Chunk "/api/v1/transfers/{id}/chunks/{n}";
    TransferAck "/api/v1/transfers/{id}/ack";
    Devices "/api/v1/devices";
    UserDevices "/api/v1/devices/{userId}";
    Job "/api/v1/jobs/{id}";
    Tickets "/api/v1/tickets";
    Ice "/api/v1/ice";
    Events "/api/v1/events";
    Socket "/api/v1/socket";
    Nodes "/api/v1/nodes";
    Edition "/api/v1/edition";
    Description "/api/v1/openapi.json";
    Reference "/docs";
    Reports "/api/v1/csp-reports";
    Health "/health";
    Livez "/livez";
    Readyz "/readyz";
    Page "/";
    Echo "echo";
}

/// What answers a request that was let in.
pub(crate) type Handler = fn(Context) -> Answer;

/// How it does.
pub(crate) type Answer = LocalBoxFuture<'static, Result<HttpResponse, Error>>;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: Route,
    pub(crate) paths: Paths,
    pub(crate) entry: Entry,
    pub(crate) kind: Kind,
    pub(crate) endpoints: &'static [Endpoint],
    /// The value of `Allow`.
    pub(crate) allow: &'static str,
}

/// Where a row is found.
pub(crate) enum Paths {
    /// At these templates. What is under `/api/v1/` is also under `/v1/`.
    At(&'static [&'static str]),
    /// At the paths of the page's files, where they are served.
    Files,
    /// Where the configuration says.
    Configured,
}

/// What a method does.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    /// The allowance that a request is charged to; where its body decides, the one that it is charged to before that is
    /// known. `None`: nothing is charged.
    pub(crate) tier: Option<Tier>,
    pub(crate) handler: Handler,
}

/// How a route is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// By anybody.
    Open,
    /// With a token, looked at before the handler; a credential must be for things of this kind.
    Checked(Option<Scope>),
    /// The same for things of devices, by those whose own need not be let in yet.
    Newcomers,
    /// The handler looks itself: it takes tickets, too, which only the cluster can redeem.
    Own,
}

/// What a route is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
    pub(crate) fn outlives_drain(self) -> bool {
        matches!(self, Self::Probe)
    }
}

impl Row {
    /// What a method does here. `HEAD` is answered as `GET` is (RFC 9110, section 9.3.2).
    pub(crate) fn endpoint(&self, method: &Method) -> Option<&'static Endpoint> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.endpoints.iter().find(|endpoint| endpoint.method == *method)
    }
}
