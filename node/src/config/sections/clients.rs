//! Clients: who they are, what one of them may take, and what they are granted.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::section_macro::section;
use crate::config::unit::{Bytes, days, gib, hours, kib, mib, minutes, ms, secs};
use crate::config::value_checks::{
    file, jwks, oidc_issuer, signing_sources, sources, stun, tenant_hosts, tenant_policies, turn,
};

section! { Shares {
    /// false: one client may take everything, as a benchmark does.
    enabled: bool = true;
    /// What one client, or one subject, may hold of the stored bytes, remembered keys, mailboxes and rooms; of the bytes
    /// never less than one full transfer. One address, of a node's connections, handshakes, long polls, jobs and
    /// `http.buffers_bytes_max`.
    ///
    /// There are 200,000 remembered keys, 1,048,576 mailboxes and 131,072 rooms. A full transfer and what goes with it
    /// are 100 MiB.
    client_percent: u8 = 20, 1..=100;
    /// What all clients of one IPv6 /48 may hold together.
    ///
    /// At least `shares.client_percent`.
    network_percent: u8 = 40, 1..=100;
    /// What all clients of one organisation may hold together, unless `tenants.policies` says otherwise.
    tenant_percent: u8 = 40, 1..=100;
    /// Of storage.bytes_max, what is kept for small things: chunks and room messages are refused before the rest is full.
    ///
    /// So are transfers; sessions, signals, registrations, tickets and acknowledgements are not. While only the reserve
    /// is left, one client may hold `shares.client_percent` of it in small things, and at least 1 MiB.
    reserve_percent: u8 = 10, ..=50;
    /// Requests a second of one client that no allowance counts, such as 404, 401 and the page; beyond, it gets 429.
    ///
    /// On each node: also JSON that is none, `OPTIONS`, reports, `edition`, `nodes`. Beyond the burst it gets 429 until
    /// it is paid off, for everything but probes. Off where `shares.enabled` or `allowance.enabled` is `false`.
    free_per_second: u32 = 500, 1..;
    /// How many of them at once.
    free_burst: u32 = 5_000, 1..;
    /// Bytes a second that all sockets of one client may send to a node; beyond, they are read more slowly.
    ///
    /// As much at once. A message counts as 4 KiB at least, and one that is too long as what comes of it. Beyond it none is
    /// refused: each socket is read after 5 s at the latest. Off where `shares.enabled` or `allowance.enabled` is `false`.
    socket_bytes_per_second: Bytes = mib(4), kib(64)..=gib(1024);
} }

section! { Allowance {
    /// false: nobody is ever refused for asking too often.
    enabled: bool = true;
} within {
    /// Of each kind of request.
    tiers: Tiers;
} }

section! { Tiers {} within {
    /// Whatever makes something new: registrations, sessions, transfers, devices.
    create: Rule = a_minute(1_200);
    /// Guessable names: invite codes and pins.
    lookup: Rule = a_minute(3_000);
    /// Chunk uploads.
    chunk: Rule = a_minute(120_000);
    /// Signals, offers and answers.
    signal: Rule = a_minute(30_000);
    /// All other reads, `receive`, `ack` and `poll`.
    poll: Rule = a_minute(120_000);
    /// What sockets publish, join and claim.
    socket: Rule = a_minute(30_000);
} }

section! { Rule {
    /// Requests a window admits.
    limit: u32, 1.., "allowance.enabled = false switches all of them off";
    /// How long a window stays open, from a client's first request on.
    window: Duration, ms(100)..=days(1);
} }

fn a_minute(limit: u32) -> Rule {
    Rule { limit, window: minutes(1) }
}

section! { Auth {
    /// Nobody gets in without a token or a ticket, but for health, edition and the page.
    required: bool;
    /// Keys that sign tokens: `"kid=ES256:/path/key.pem"`, or `"HS256:/path/secret"` for tokens without kid. Also RS256,
    /// EdDSA.
    ///
    /// `HS256` takes a file with a secret of 32 bytes or more; `RS256` (2048 bits or more), `ES256` and `EdDSA` a public
    /// key as PEM, in a file or in place of the path. Several keys may have one name while one replaces the other.
    keys: Vec<String> => sources;
    /// A JWK Set (RFC 7517) whose keys sign tokens, too: a file, or a URL with https. Empty: none.
    ///
    /// Of the set, keys of ES256, RS256 and EdDSA (Ed25519) that are for signatures; of a file secrets (`oct`, HS256), too.
    /// Where there are several, each needs a `kid`. At most 64 KiB and 64 keys. A URL is asked again after what its
    /// `Cache-Control: max-age` says, between a minute and an hour, and sooner, every 30 s at most, when a token names a
    /// key that it had not ([key sets](security.md#key-sets)).
    jwks: String => jwks;
    /// An issuer that says by OpenID Connect Discovery where its JWK Set is; `iss` of its tokens must be this. Empty: none.
    ///
    /// Letter by letter as the issuer writes it. In place of `auth.jwks`. `auth.issuer` is for tokens by other keys.
    oidc_issuer: String => oidc_issuer;
    /// PEM file of the authorities of `auth.jwks` and `auth.oidc_issuer`. Empty: those that this machine believes in.
    jwks_ca: PathBuf => file;
    /// Keys may be fetched from private, loopback, link-local and other addresses that are not of the public internet.
    ///
    /// Looked at is the address that is connected to, whatever a name leads to.
    jwks_allow_private: bool;
    /// For how long the last good set is used while its source is away; then its tokens are refused with 503.
    ///
    /// A set is fetched again after half of it at the latest.
    jwks_stale_max: Duration = hours(24), secs(10)..=days(30);
    /// Secrets of trusted servers that sign their requests: `"keyid=/path/secret"`. They may do everything.
    ///
    /// 32 bytes or more ([signed requests](protocol.md#signed-requests)).
    signing_keys: Vec<String> => signing_sources;
    /// The `iss` that tokens must have. Empty: any.
    issuer: String;
    /// The `aud` that tokens must have. Empty: tokens must have none.
    ///
    /// Alone or among others.
    audience: String;
    /// By how much the issuer's clock may differ from the cluster's.
    leeway: Duration = secs(30), ..=minutes(1);
    /// A file of lines `jti ID` and `sub NAME`, read again when it changes. Empty: none.
    ///
    /// `#` begins a comment. At most 8 MiB. The same on all nodes.
    revoked: PathBuf;
    /// The claim of a token that names the organisation it is of, such as `"org"`. Empty: tokens are of none.
    tenant_claim: String;
    /// Tokens are worth something only on devices that somebody let in ([devices](security.md#devices)).
    ///
    /// Such tokens have the claim `device`. Needs `auth.required`. Requests of another device get 403
    /// `device_not_approved`, its sockets are closed with 1008. Signed requests and client certificates are not asked.
    require_approved_device: bool;
} }

section! { Tenants {
    /// Host names that mean an organisation: `["acme.example=acme"]`.
    ///
    /// What is sent to such a host without a credential is within it; a token of another one gets 403, and with
    /// `auth.tenant_claim` so does a credential that names none. A signed request has to cover `@authority` or
    /// `@target-uri`. A name has 1 to 63 lowercase letters, digits and hyphens.
    hosts: Vec<String> => tenant_hosts;
    /// What an organisation may have, where that is not what all may:
    /// `["acme: storage_percent=30 allowance_percent=200 ttl_seconds=60..600 origin=https://acme.example require_approved_device"]`.
    ///
    /// `storage_percent`: its share of what is stored, in place of `shares.tenant_percent`. `allowance_percent`: what each of
    /// its clients may ask, of `allowance.tiers`. `ttl_seconds`: for how long what they store lives at the least and at the
    /// most, whatever `ttl` and their devices ask for. `origin`, perhaps several times: pages of other origins get 403 with its
    /// tokens and at its hosts; they must be among `http.allowed_origins` as well.
    policies: Vec<String> => tenant_policies;
} }

section! { Admission {
    /// How many this node holds; more are refused with 503.
    connections_max: usize = 20_000, 1..;
    /// How many one client holds on this node; more are refused with 429.
    per_client_max: usize = 1_000, 1..;
    /// How many one client may open within admission.window.
    ///
    /// All at once if it likes; after that, one more every `window / opens`.
    opens: u32 = 1_200, 1..;
    /// See admission.opens.
    window: Duration = minutes(1), ms(100)..=hours(1);
    /// Clients whose pace is remembered; then the half not heard of for longest is forgotten.
    ///
    /// Who is forgotten starts afresh.
    clients_max: usize = 100_000, 1..;
} }

section! { Ice {
    /// STUN servers: `["stun:turn.example:3478"]`.
    ///
    /// At most 16.
    stun: Vec<String> => stun;
    /// TURN servers: `["turn:turn.example:3478?transport=udp"]`.
    ///
    /// Also `"turns:turn.example:5349"`. At most 16.
    turn: Vec<String> => turn;
    /// Files with the secrets that the TURN servers have, too; the first signs. To exchange it, put the new one first.
    ///
    /// In coturn `use-auth-secret` and `static-auth-secret`; 16 bytes or more. Let the TURN servers know both, put the
    /// new one first here, restart node by node, and drop the old one everywhere after `ice.ttl`.
    secrets: Vec<String>;
    /// For how long a TURN credential holds.
    ttl: Duration = hours(1), minutes(1)..=days(1);
} }

section! { Ttl {
    /// A transfer, from its last touch; also for how long an acknowledgement is remembered.
    chunk: Duration = secs(60), ms(100)..=days(1);
    /// A signal that nobody polled.
    signal: Duration = secs(30), ms(100)..=days(1);
    /// The registration of an invite code.
    register: Duration = secs(30), ms(100)..=days(1);
    /// A WebRTC session with its offer and answer.
    session: Duration = minutes(3), ms(100)..=days(1);
    /// A device's lease where its caller names none.
    device: Duration = minutes(3), secs(30)..=days(1);
    /// For how long the answer to an Idempotency-Key is remembered.
    memo: Duration = minutes(2), ms(100)..=days(1);
} }
