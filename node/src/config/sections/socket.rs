//! WebSockets.

use std::time::Duration;

use conclave_cluster::state::limits::{ROOM_BYTES_MAX, ROOM_MESSAGES_MAX};

use crate::config::section_macro::section;
use crate::config::unit::{Bytes, days, gib, hours, kib, mib, minutes, ms, secs};
use crate::config::value_checks::path;

section! { Socket {
    /// Bytes of one frame from a client; a message with a longer one is discarded and answered with an error.
    ///
    /// It is discarded while it arrives and answered with `payload_too_large` (FlatBuffers: Error 400); after 4 MiB of
    /// it the connection is closed with 1009.
    frame_bytes_max: Bytes = kib(80), kib(1)..=mib(64);
    /// Bytes of one message from a client, however many frames it comes in; a longer one is discarded likewise.
    ///
    /// At least `socket.frame_bytes_max`. With the default, a payload of 64 KiB and its envelope fit.
    message_bytes_max: Bytes = kib(80), kib(1)..=mib(64);
    /// Messages a second that one socket may send; as many at once.
    ///
    /// Ten times as many frames. Beyond, JSON: `rate_limited` with the request's `id`, and 1008 when two seconds' worth
    /// was refused. FlatBuffers: the socket is read more slowly.
    messages_per_second: u32 = 100, 1..;
    /// Their bytes.
    bytes_per_second: Bytes = mib(1), kib(1)..=gib(4);
    /// Messages that may wait to be read by one client; beyond, it is closed with 4008 and catches up later.
    ///
    /// It catches up from history.
    queue_messages_max: usize = 256, 128..;
    /// Their bytes.
    queue_bytes_max: Bytes = mib(1), mib(1)..=mib(64), "half of it takes what is read of a history at a time";
    /// A client that says nothing for so long after it connected is closed with 1008.
    hello_timeout: Duration = secs(10), ms(100)..=minutes(1);
    /// How often a bad connection is pinged. Three missed answers end it.
    ///
    /// Also how soon an unanswered ping is repeated. A connection ends when three pings in a row had no answer and
    /// nothing was heard for the longest interval and three of these: 40 s, so that a process that slept for half a
    /// minute goes on.
    ping_interval_min: Duration = secs(5), ms(50)..=hours(1);
    /// How often a good one is.
    ///
    /// At least `socket.ping_interval_min`.
    ping_interval_max: Duration = secs(25), ms(50)..=hours(1);
    /// For how long a session can be resumed after its connection was lost.
    lease: Duration = minutes(5), secs(1)..=days(1);
    /// Messages that a room remembers for those who missed them.
    history_messages_max: u32 = 1000, 64..=ROOM_MESSAGES_MAX as u32, "live messages pass through it";
    /// Their bytes.
    history_bytes_max: Bytes = mib(1), kib(128)..=Bytes(ROOM_BYTES_MAX as u64), "live messages pass through it";
    /// Their age.
    history_age_max: Duration = minutes(5), secs(1)..=days(1);
    /// Sockets a second that a node sends elsewhere when it goes away.
    ///
    /// More if the grace time would not be enough.
    drain_per_second: u32 = 500, 1..;
    /// A path such as `"/echo"` that gives messages back as they came, to test conformance. Empty: none.
    echo: String => path;
} }
