//! The names of the routes, for labels and spans, and how each is entered. A label never carries what a client
//! wrote.

use crate::access::Scope;

macro_rules! routes {
    ($($variant:ident $template:literal;)*) => {
        /// A route's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Route { $($variant),* }

        impl Route {
            /// How many there are.
            pub(super) const COUNT: usize = [$(Self::$variant),*].len();

            /// All of them.
            #[cfg(test)]
            pub(super) const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];

            /// The path with its parameters named.
            pub(super) fn template(self) -> &'static str {
                match self { $(Self::$variant => $template),* }
            }
        }
    };
}

routes! {
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
    Edition "/api/v1/edition";
    Nodes "/api/v1/nodes";
    Reports "/api/v1/csp-reports";
    Health "/health";
    Livez "/livez";
    Readyz "/readyz";
    Page "/";
    Other "other";
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

impl Route {
    /// Which route a path belongs to.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/api/relay" => return Self::Relay,
            "/health" => return Self::Health,
            "/livez" => return Self::Livez,
            "/ws" => return Self::Socket,
            "/readyz" => return Self::Readyz,
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/v1/")) else {
            // The page and all that belongs to it count as one.
            return if super::web::paths().any(|file| file == path) { Self::Page } else { Self::Other };
        };
        let mut parts = rest.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("relay"), None, ..) => Self::Relay,
            (Some("sessions"), None, ..) => Self::Sessions,
            (Some("sessions"), Some("resolve"), None, ..) => Self::Resolve,
            (Some("sessions"), Some(_), None, ..) => Self::Session,
            (Some("sessions"), Some(_), Some("offer"), None, _) => Self::Offer,
            (Some("sessions"), Some(_), Some("answer"), None, _) => Self::Answer,
            (Some("transfers"), None, ..) => Self::Transfers,
            (Some("transfers"), Some(_), None, ..) => Self::Transfer,
            (Some("transfers"), Some(_), Some("ack"), None, _) => Self::TransferAck,
            (Some("transfers"), Some(_), Some("chunks"), Some(_), None) => Self::Chunk,
            (Some("devices"), None, ..) => Self::Devices,
            (Some("devices"), Some(_), None, ..) => Self::UserDevices,
            (Some("jobs"), Some(_), None, ..) => Self::Job,
            (Some("tickets"), None, ..) => Self::Tickets,
            (Some("ice"), None, ..) => Self::Ice,
            (Some("events"), None, ..) => Self::Events,
            (Some("socket"), None, ..) => Self::Socket,
            (Some("edition"), None, ..) => Self::Edition,
            (Some("nodes"), None, ..) => Self::Nodes,
            (Some("csp-reports"), None, ..) => Self::Reports,
            _ => Self::Other,
        }
    }

    /// What must have been shown where a credential is required.
    pub(super) fn entry(self) -> Entry {
        match self {
            // What is asked for stands in the body.
            Self::Relay | Self::Job => Entry::Checked(None),
            // Where the other nodes are is for those who may use them.
            Self::Nodes => Entry::Checked(None),
            Self::Sessions | Self::Resolve | Self::Session | Self::Offer | Self::Answer => {
                Entry::Checked(Some(Scope::Signal))
            }
            Self::Transfers | Self::Transfer | Self::Chunk | Self::TransferAck => {
                Entry::Checked(Some(Scope::Relay))
            }
            Self::Devices | Self::UserDevices => Entry::Checked(Some(Scope::Devices)),
            Self::Tickets => Entry::Checked(Some(Scope::Socket)),
            Self::Ice => Entry::Checked(Some(Scope::Ice)),
            Self::Events | Self::Socket => Entry::Own,
            Self::Edition
            | Self::Reports
            | Self::Health
            | Self::Livez
            | Self::Readyz
            | Self::Page
            | Self::Other => Entry::Open,
        }
    }

    /// Whether this says how the node is, to whoever looks after it on the node's own network.
    pub(super) fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Livez | Self::Readyz)
    }

    /// Whether the route is answered while the node drains: these say how the node is, and cost nothing.
    pub(super) fn outlives_drain(self) -> bool {
        matches!(self, Self::Health | Self::Livez | Self::Readyz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_the_template_that_names_it() {
        for (path, template) in [
            ("/api/relay", "/api/relay"),
            ("/v1/relay", "/api/relay"),
            ("/v1/sessions", "/api/v1/sessions"),
            ("/api/v1/sessions/resolve", "/api/v1/sessions/resolve"),
            ("/api/v1/sessions/1", "/api/v1/sessions/{id}"),
            ("/v1/sessions/1/offer", "/api/v1/sessions/{id}/offer"),
            ("/api/v1/transfers/x/chunks/7", "/api/v1/transfers/{id}/chunks/{n}"),
            ("/api/v1/transfers/x/ack", "/api/v1/transfers/{id}/ack"),
            ("/api/v1/devices/bob", "/api/v1/devices/{userId}"),
            ("/api/v1/tickets", "/api/v1/tickets"),
            ("/v1/events", "/api/v1/events"),
            ("/v1/ice", "/api/v1/ice"),
            ("/readyz", "/readyz"),
            ("/v1/nodes", "/api/v1/nodes"),
            ("/conclave.js", "/"),
        ] {
            assert_eq!(Route::of(path).template(), template, "{path}");
        }
    }

    #[test]
    fn every_route_is_in_the_openapi_document() {
        let document = include_str!("../../../docs/openapi.yaml");
        let shape = |path: &str| {
            let part = |part: &'_ str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
            path.split('/').map(part).collect::<Vec<_>>().join("/")
        };
        let paths = document.lines().filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':'));
        let documented: Vec<String> = paths.map(|path| shape(&format!("/{path}"))).collect();
        // The page is no part of the API.
        for route in Route::ALL.into_iter().filter(|route| !matches!(route, Route::Other | Route::Page)) {
            assert!(documented.contains(&shape(route.template())), "{}", route.template());
        }
    }

    #[test]
    fn what_a_client_invents_has_no_label_of_its_own() {
        for path in ["/api/v1/secret", "/api/v1/sessions/1/offer/2", "/v2/sessions", "/api/relay/x"] {
            assert_eq!(Route::of(path), Route::Other, "{path}");
        }
    }
}
