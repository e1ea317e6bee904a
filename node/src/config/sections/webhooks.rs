//! Webhooks.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::section_macro::section;
use crate::config::unit::{days, minutes, ms, secs};
use crate::config::value_checks::{file, webhook_events, webhook_urls};

section! { Webhooks {
    /// Where events are posted, each to all of them: `["https://ops.example/conclave"]`. Empty: nowhere.
    ///
    /// At most 4. `https`, or `http` of this machine alone. Redirects are not followed.
    urls: Vec<String> => webhook_urls;
    /// A file with the secret that signs what is posted: `whsec_` and 24 to 64 random bytes as base64.
    ///
    /// A second line signs, too, while one secret replaces the other. Read again within a second of a change, and on
    /// SIGHUP.
    secret_file: PathBuf => file;
    /// What is posted: `["socket.connected", "socket.disconnected", "room.joined", "room.left", "stream.opened",
    /// "stream.closed", "device.pending"]`. Empty: all of these.
    events: Vec<String> => webhook_events;
    /// PEM file of the authorities whose certificates are believed. Empty: those that this machine believes in.
    ca: PathBuf => file;
    /// Events may be posted to private, loopback, link-local and other addresses that are not of the public internet.
    ///
    /// Looked at is the address that is connected to, whatever a name leads to.
    allow_private: bool;
    /// For one request, from the look-up of the name to the head of the answer.
    timeout: Duration = secs(5), ms(100)..=minutes(1);
    /// For how long events are tried that an endpoint does not take; then they are lost.
    ///
    /// From the first attempt on. Those behind them wait meanwhile.
    retry_for: Duration = minutes(10), secs(1)..=days(1);
    /// How many events may wait for one endpoint; more are lost, and counted.
    ///
    /// An event takes some 300 bytes, one of a device up to 3 KiB.
    queue_events_max: usize = 10_000, 1..=1_000_000;
} }
