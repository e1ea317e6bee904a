//! What a socket may touch, for how long, and how it goes on under another token.

use std::time::Duration;

use conclave_cluster::state::leader_rules::Owner;
use tokio::time::Instant;

use super::super::close::{Code as Close, Reason};
use super::super::connections::Encoding;
use super::super::json::Writer;
use super::super::operations::Code;
use super::super::outbound_queue::Frame;
use super::{Context, Session};
use crate::access::auth::Unverified;
use crate::access::{Credential, Scope, Tenants};
use crate::service::security_events::{Event, Fault, Proof, digest};

/// A client is warned so long before its credential is over, or at the last tenth of its time, if that is less.
const WARNED_BEFORE_MS: u64 = 60_000;

/// When a client is warned that its credential will soon be over, in milliseconds since the Unix epoch. `None`: it was, or it
/// need not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Warning(Option<u64>);

impl Warning {
    /// For a credential that is shown now.
    pub(super) fn of(credential: &Credential, now_ms: u64) -> Self {
        Self(credential.expires_ms.map(|expires_ms| {
            let life_ms = expires_ms.saturating_sub(now_ms);
            expires_ms - WARNED_BEFORE_MS.min(life_ms / 10)
        }))
    }
}

impl Context {
    /// A socket may show its credential after it was opened, if a page of its organisation opened it.
    fn show(&mut self, credential: Credential, tenants: &Tenants) -> Result<(), Code> {
        let tenant = tenants.named(credential.tenant.as_deref());
        if self.origin.as_ref().is_some_and(|origin| !tenant.takes_origin(origin)) {
            return Err(Code::OriginNotAllowed);
        }
        if let Some(client) = credential.subject {
            self.caller.owner = tenant.owner(Owner { client, group: None }, true);
        }
        self.caller.tenant = tenant;
        self.credential = credential;
        Ok(())
    }
}

impl Session {
    /// Looks at a token. That it is refused is noted.
    fn verify(&self, token: &str) -> Result<Credential, Unverified> {
        let verified = self.services.auth.verify(token, self.services.now_ms());
        if let Some(fault) = verified.as_ref().err().and_then(|why| Fault::of(*why)) {
            self.services.note(Event::RefusedCredential(fault), Some(self.context.from), None);
        }
        verified
    }

    /// Goes on with what a token grants that is shown first.
    pub(in crate::transport::ws) fn sign_in(&mut self, token: &str) -> Result<(), Code> {
        let credential = self.verify(token)?;
        let about = credential.subject.as_ref().map(digest);
        self.show(credential)?;
        self.services.note(Event::SignIn(Proof::Token), Some(self.context.from), about);
        Ok(())
    }

    /// Goes on with what this credential covers, within the organisation that the socket was opened in.
    fn show(&mut self, credential: Credential) -> Result<(), Code> {
        let opened = self.context.credential.tenant.as_ref();
        let tenant = opened.or(credential.tenant.as_ref()).cloned();
        if credential.tenant.is_some() && credential.tenant != tenant {
            return Err(Code::Forbidden);
        }
        let credential = match (&credential.tenant, tenant) {
            (None, Some(tenant)) => self.services.auth.placed(credential, &tenant)?,
            _ => credential,
        };
        let warning = Warning::of(&credential, self.services.now_ms());
        self.context.show(credential, self.services.auth.tenants())?;
        self.warning = warning;
        Ok(())
    }

    /// Goes on under a newer token of the same subject, if it covers all that the socket has. Else the old one stays.
    pub(in crate::transport::ws) fn renew(&mut self, token: &str) -> Result<(), Code> {
        // As `hello` does where tokens mean nothing.
        if !self.services.auth.is_enabled() {
            return Ok(());
        }
        let credential = self.verify(token)?;
        if credential.subject != self.context.credential.subject || !self.is_covered_by(&credential) {
            return Err(Code::Forbidden);
        }
        self.show(credential)
    }

    /// Whether this credential covers what the socket is and has: its mailbox, its room, what it watches.
    fn is_covered_by(&self, credential: &Credential) -> bool {
        let mailbox = self
            .peer
            .as_ref()
            .is_none_or(|held| credential.may(Scope::Signal) && credential.may_claim(&held.name));
        let room = self.room.as_ref().is_none_or(|room| credential.may_join(&room.name));
        let watches = self.watches.targets().all(|target| credential.may(target.scope()));
        credential.may(Scope::Socket) && mailbox && room && watches
    }

    /// For how long the credential holds; `None`: for ever.
    pub(in crate::transport::ws) fn credential_left_ms(&self) -> Option<u64> {
        Some(self.context.credential.expires_ms?.saturating_sub(self.services.now_ms()))
    }

    /// Whether the credential is still worth something.
    pub(super) fn judge(&mut self) {
        let auth = &self.services.auth;
        if !auth.holds(&self.context.credential, self.services.now_ms()) {
            self.end(Reason::new(Close::POLICY, "the credential is over or revoked"));
        }
    }

    /// Warns the client, or ends the connection.
    pub(super) fn credential_ends(&mut self) {
        let now_ms = self.services.now_ms();
        if self.warning.0.is_some_and(|at_ms| at_ms <= now_ms) {
            self.warning = Warning(None);
            // Clients of the FlatBuffers schema know no such message.
            if let (Some(left_ms), Encoding::Json, Some(_)) =
                (self.credential_left_ms(), self.entry.encoding(), &self.identity)
            {
                let push = Writer::push("token_expiring").value("inMs", left_ms).done();
                self.say(Some(Frame::Text(push)));
            }
        }
        self.judge();
    }

    /// When the credential is to be looked at for its time.
    pub(super) fn expiry(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let at_ms = self.warning.0.or(self.context.credential.expires_ms)?;
        let left_ms = at_ms.saturating_sub(self.services.now_ms());
        Some(Instant::now() + Duration::from_millis(left_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_warned_a_minute_or_a_tenth_of_its_time_before_the_end() {
        let at = |expires_ms, now_ms| {
            let credential = Credential { expires_ms, ..Credential::anonymous() };
            Warning::of(&credential, now_ms).0
        };
        assert_eq!(at(Some(3_600_000), 0), Some(3_540_000));
        assert_eq!(at(Some(600_000), 0), Some(540_000));
        assert_eq!(at(Some(310_000), 300_000), Some(309_000));
        assert_eq!(at(Some(5), 10), Some(5), "it is over already");
        assert_eq!(at(None, 0), None);
    }
}
