//! Names that are gone, because the field has a term for what they meant. A file or an item must not be called so again.

use std::collections::BTreeSet;

use super::{is_in, sources_below};

/// Where, what is not called so any more, and what it is called.
const FILES: &[(&str, &str, &str)] = &[
    ("cluster/src", "crate::state::ground", "context"),
    ("cluster/src", "crate::state::memo", "idempotency"),
    ("cluster/src", "crate::state::tether", "connection_lease"),
    ("cluster/src", "crate::state::host", "incarnation"),
    ("cluster/src", "crate::state::exchange", "negotiation"),
    ("cluster/src", "crate::state::member", "disk_binding"),
    ("cluster/src", "crate::state::bodies", "blob_store"),
    ("cluster/src", "crate::state::bits", "bitset"),
    ("cluster/src", "crate::cluster", "handle"),
    ("cluster/src", "crate::handle::cast", "datagram"),
    ("cluster/src", "crate::handle::led", "leader_wait"),
    ("cluster/src", "crate::handle::entrance", "bootstrap"),
    ("cluster/src", "crate::handle::spend", "read_charges"),
    ("cluster/src", "crate::handle::reads", "read_index"),
    ("cluster/src", "crate::raft::network", "rpc_client"),
    ("cluster/src", "crate::raft::peer", "rpc_server"),
    ("cluster/src", "crate::raft::machine", "state_machine"),
    ("cluster/src", "crate::raft::files::torn", "tail_recovery"),
    ("cluster/src", "crate::raft::files::disposal", "deferred_delete"),
    ("cluster/src", "crate::raft::files::pages", "page_cache"),
    ("cluster/src", "crate::wire::meters", "metrics"),
    ("cluster/src", "crate::wire::warnings", "log_dedup"),
    ("node/src", "crate::transport::request::call", "context"),
    ("node/src", "crate::transport::pipeline::guard", "middleware"),
    ("node/src", "crate::transport::request::entrance", "authenticate"),
    ("node/src", "crate::transport::request::intake", "admission::large_body"),
    ("node/src", "crate::transport::request::strain", "admission::controller"),
    ("node/src", "crate::transport::pipeline::brief", "admission::large_body"),
    ("node/src", "crate::transport::http::lease", "touch"),
    ("node/src", "crate::transport::request::notes", "rate_limit_headers"),
    ("node/src", "crate::transport::request::shared", "app_state"),
    ("node/src", "crate::actors::desk", "key_actor"),
    ("node/src", "crate::actors::front", "key_actor"),
    ("node/src", "crate::actors::line", "idle_check"),
    ("node/src", "crate::actors::room::note", "event"),
    ("node/src", "crate::actors::room::cast", "datagram"),
    ("node/src", "crate::listener::tap", "body_gate"),
    ("node/src", "crate::listener::turn", "body_gate"),
    ("node/src", "crate::listener::heads", "request_framing"),
    ("node/src", "crate::listener::gate", "connection_gate"),
    ("node/src", "crate::transport::ws::seats", "connections"),
    ("node/src", "crate::transport::ws::host", "node_lease"),
    ("node/src", "crate::transport::ws::inlet", "inbound_queue"),
    ("node/src", "crate::transport::ws::outbox", "outbound_queue"),
    ("node/src", "crate::transport::ws::dialogue", "json_session"),
    ("node/src", "crate::transport::ws::syntax", "rfc6455"),
    ("node/src", "crate::admin::door", "state"),
    ("node/src", "crate::dev::lifeline", "parent_watch"),
    ("client-sim/src", "crate::chaos::patient", "canary"),
    ("client-sim/src", "crate::chaos::witness", "observer"),
    ("client-sim/src", "crate::chaos::director", "runner"),
    ("client-sim/src", "crate::proof::check::judge", "linearizability"),
    ("client-sim/src", "crate::overload::lane", "connection"),
    ("client-sim/src", "crate::overload::volley", "burst"),
    ("client-sim/src", "crate::fleet", "cluster_status"),
    ("client-sim/src", "crate::siege::line", "client"),
    ("client-sim/src", "crate::chaos::net::door", "proxy"),
    ("client-sim/src", "crate::pace", "schedule"),
];

/// In which module below which folder, with all below it, no item may be called so.
const ITEMS: &[(&str, &str, &[&str])] = &[
    (
        "cluster/src",
        "crate",
        &[
            "Ask",
            "Verb",
            "Ground",
            "Agenda",
            "Thing",
            "Memo",
            "Memos",
            "Tether",
            "Host",
            "Hosts",
            "Bodies",
            "Bits",
            "Caster",
            "Spending",
            "Gate",
            "Word",
            "Parcel",
            "Door",
            "Turn",
            "Pass",
            "Note",
            "lapse",
            "relieves",
            "cast",
            "casts",
            "while_led",
            "glance",
            "inspect",
            "look",
            "try_look",
            "patience",
            "OPEN_CALM",
            "INTERREGNUM",
            "PATIENCE",
        ],
    ),
    (
        "node/src",
        "crate",
        &[
            "Place", "Door", "Turn", "Turns", "Pass", "Call", "Note", "Notes", "Judge", "Dress", "Taken",
            "Intake", "Strain", "Brief", "Shared", "Manner", "Tap", "Heads", "Desk", "Front", "Carry",
            "Bell", "Seat", "Seats", "Keeper", "Guest", "Inlet", "Outbox", "Dialogue", "Tongue", "Ear",
            "disown", "put_on",
        ],
    ),
    ("client-sim/src", "crate::chaos", &["Patient", "Witness", "Director"]),
    ("client-sim/src", "crate::chaos::net", &["Door"]),
    ("client-sim/src", "crate::chaos::schedule", &["Place"]),
    ("client-sim/src", "crate::siege", &["Line"]),
    ("client-sim/src", "crate::proof::workload", &["Place"]),
    ("client-sim/client/src", "crate", &["Place", "Line", "Lane"]),
    ("client-sim/src", "crate::proof::check", &["Judge"]),
    ("client-sim/src", "crate::overload", &["Lane", "Volley"]),
    ("tests/tests", "crate", &["Wish", "Ask", "Verb", "Memo"]),
];

#[test]
fn no_old_name_comes_back() {
    let mut back = Vec::new();
    let named = FILES.iter().map(|(folder, ..)| *folder).chain(ITEMS.iter().map(|(folder, ..)| *folder));
    for folder in named.collect::<BTreeSet<_>>() {
        for source in sources_below(folder) {
            for (_, module, now) in FILES.iter().filter(|(of, ..)| *of == folder) {
                if is_in(&source.module, module) {
                    back.push(format!("{} is called {now}", source.file));
                }
            }
            for (_, module, names) in ITEMS.iter().filter(|(of, ..)| *of == folder) {
                let names = names
                    .iter()
                    .filter(|name| is_in(&source.module, module) && source.items.contains(**name));
                back.extend(names.map(|name| format!("{} defines {name}", source.file)));
            }
        }
    }
    assert_eq!(back, [""; 0]);
}
