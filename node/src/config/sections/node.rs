//! The process itself.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::section_macro::section;
use crate::config::unit::{hours, minutes, secs};
use crate::config::value_checks::log_level;
use crate::edition;

section! { Node {
    /// The node's number, from 1, never used twice: a node whose disk was lost joins under a fresh one.
    ///
    /// It is bound to the disk for ever.
    id: u64 = 1, 1..;
    /// A name for people, shown in metrics and logs. Empty: `node-<id>`.
    name: String;
    /// Where the log and the snapshots are kept. Empty: conclave/ under XDG_DATA_HOME or ~/.local/share.
    data_dir: PathBuf;
} }

section! { Edition {
    /// consumer or enterprise.
    name: edition::Edition;
    /// Enterprise starts only with true here: you know that you host it yourself.
    acknowledged: bool;
    /// Lets enterprise start on a managed platform (not recommended).
    allow_managed: bool;
    /// Lets anybody in to enterprise without a credential, though credentials mean something (not recommended).
    ///
    /// Else `auth.required` is true there as soon as keys, key sets, signing keys or an authority of clients are configured.
    allow_anonymous: bool;
} }

section! { Limits {
    /// Transfers, exchanges, mailboxes and rooms that somebody on this node waits for at once.
    sessions_max: usize = 200_000, 1..;
    /// Long polls that wait on this node at once.
    waits_max: usize = 20_000, 1..;
} }

section! { Shutdown {
    /// For how long after SIGTERM the node serves everything as before while /readyz says 503, so that load balancers
    /// turn away first.
    ///
    /// Leadership is handed over at its beginning. After Ctrl-C, and under `conclave dev`, it is left out.
    lame_duck: Duration = secs(5), ..=minutes(5);
    /// For how long running requests may finish after that.
    ///
    /// New ones get 503 meanwhile; likewise after Ctrl-C. A second signal ends the process at once.
    grace: Duration = secs(20), ..=hours(1);
} }

section! { Log {
    /// json, pretty, or auto: pretty on a terminal, else json.
    format: LogFormat = LogFormat::Auto;
    /// error, warn, info, debug or trace; also per module: `"info,conclave_cluster=debug"`.
    ///
    /// The web server's words about its threads are left out unless `actix_server` is named.
    level: String = "info".to_owned() => log_level;
    /// One line of level info for each request: its id, its trace if it is of one, route, method, status and duration.
    ///
    /// No address and nothing that a client wrote but those two ids.
    requests: bool;
} }

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
