//! The calls of `/api/v1/sessions`.

use std::time::Duration;

use hyper::{Method, Uri};
use serde::{Deserialize, Serialize};

use super::{Client, Error, Reply, Request};

/// An opaque offer or answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Always 1.
    pub version: u8,
    /// The session it belongs to.
    pub session_id: String,
    /// 12 to 32 characters.
    pub nonce: String,
    /// The ciphertext, 16 to 65,536 characters.
    pub ct: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    session_id: Option<String>,
    envelope: Option<Envelope>,
    status: Option<String>,
    error: Option<String>,
}

fn parse(reply: &Reply) -> Result<Body, Error> {
    let refused = |code: String| Error::Refused { status: reply.status, code };
    match serde_json::from_slice::<Body>(&reply.body) {
        Ok(Body { error: Some(code), .. }) => Err(refused(code)),
        Ok(body) if reply.status == 200 => Ok(body),
        Ok(_) | Err(_) if reply.status != 200 => Err(refused("unnamed".to_owned())),
        Ok(_) | Err(_) => Err(Error::Malformed("not the JSON of the contract")),
    }
}

fn path(path: &str) -> Uri {
    path.parse().expect("ids are checked before they become a path")
}

fn of(session: &str, part: &str) -> Uri {
    path(&format!("/api/v1/sessions/{session}{part}"))
}

fn expect_status(body: &Body, expected: &str) -> Result<(), Error> {
    match body.status.as_deref() {
        Some(status) if status == expected => Ok(()),
        _ => Err(Error::Malformed("another status than the contract's")),
    }
}

fn session_id(body: Body) -> Result<String, Error> {
    let id = body.session_id.ok_or(Error::Malformed("no sessionId"))?;
    // It becomes part of a path, so it must be what the contract says.
    uuid::Uuid::parse_str(&id).map_err(|_| Error::Malformed("sessionId is no UUID"))?;
    Ok(id)
}

impl Client {
    /// Opens a session under a pin. Safe to retry: a pin found taken after a lost reply is our own.
    pub async fn create_session(&mut self, at: usize, pin: &str) -> Result<String, Error> {
        let request = Request::post(Uri::from_static("/api/v1/sessions"), format!(r#"{{"pin":"{pin}"}}"#));
        let reply = self.exchange(at, &request).await?;
        match parse(&reply) {
            Ok(body) => session_id(body),
            Err(Error::Refused { status: 409, code }) if code == "pin_in_use" && reply.retried => {
                self.resolve_session(at, pin).await
            }
            Err(error) => Err(error),
        }
    }

    /// Which session a pin stands for.
    pub async fn resolve_session(&mut self, at: usize, pin: &str) -> Result<String, Error> {
        let request = Request::bare(Method::GET, path(&format!("/api/v1/sessions/resolve?pin={pin}")));
        session_id(parse(&self.exchange(at, &request).await?)?)
    }

    /// Stores an envelope under `offer` or `answer`. Safe to retry: the same envelope takes its own place.
    pub async fn put_envelope(&mut self, at: usize, part: &str, envelope: &Envelope) -> Result<(), Error> {
        let body = serde_json::to_vec(envelope).expect("an envelope of strings serializes");
        let request = Request::post(of(&envelope.session_id, &format!("/{part}")), body);
        expect_status(&parse(&self.exchange(at, &request).await?)?, "ok")
    }

    /// Reads an envelope under `offer` or `answer`, waiting for it where the server can.
    pub async fn envelope(
        &mut self,
        at: usize,
        session: &str,
        part: &str,
        wait: Duration,
    ) -> Result<Envelope, Error> {
        let query = if wait.is_zero() { String::new() } else { format!("?waitMs={}", wait.as_millis()) };
        let mut request = Request::bare(Method::GET, of(session, &format!("/{part}{query}")));
        request.wait = wait;
        let reply = self.exchange(at, &request).await?;
        parse(&reply)?.envelope.ok_or(Error::Malformed("no envelope"))
    }

    /// Ends a session. Safe to retry: one found gone after a lost reply was ended by us.
    pub async fn delete_session(&mut self, at: usize, session: &str) -> Result<(), Error> {
        let reply = self.exchange(at, &Request::bare(Method::DELETE, of(session, ""))).await?;
        match parse(&reply) {
            Ok(body) => expect_status(&body, "deleted"),
            Err(Error::Refused { status: 410, .. }) if reply.retried => Ok(()),
            Err(error) => Err(error),
        }
    }
}
