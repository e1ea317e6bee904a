//! A server of keys over TLS, as issuers have them, and the keys that it serves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::authority::{Authority, SERVER};
use crate::builder::Builder;
use crate::issuer::Issuer;

/// A key of ES256 with a name.
pub struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    /// A fresh one.
    pub fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("there is randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("it is one");
        Self { kid: kid.to_owned(), pair }
    }

    /// Its public half, as a set holds it.
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y})
    }

    /// A token that is in order and grants this.
    pub fn token(&self, sub: &str, grants: Value) -> String {
        self.token_of(&Issuer::claims(sub, grants))
    }

    /// A token with these claims.
    pub fn token_of(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "kid": self.kid}), claims)
    }

    /// A token with this header, in order or not.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let tag = self.pair.sign(&SystemRandom::new(), text.as_bytes()).expect("there is randomness");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

/// A set of keys as it is served.
pub fn set(keys: &[&SigningKey]) -> Answer {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Answer::Json(json!({ "keys": keys }).to_string())
}

/// What is answered under a path.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 with this body.
    Json(String),
    /// 302 to this place.
    Redirect(String),
    /// This status, with nothing.
    Status(u16),
    /// Nothing, while the connection stays open.
    Silence,
}

#[derive(Default)]
struct Served {
    answers: HashMap<String, Answer>,
    /// Connections are closed before anything is said.
    away: bool,
    connections: usize,
    asked: HashMap<String, usize>,
}

/// The server. It ends when this is dropped.
pub struct KeyServer {
    authority: Authority,
    address: SocketAddr,
    served: Arc<Mutex<Served>>,
    task: JoinHandle<()>,
}

impl KeyServer {
    /// The path of its set.
    pub const KEYS: &str = "/keys.json";

    /// Serves this at [`KeyServer::KEYS`].
    pub async fn start(answer: Answer) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::new(Mutex::new(Served::default()));
        let (acceptor, shared) = (authority.acceptor(), served.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let away = {
                    let mut served = shared.lock().expect("nobody panics while holding it");
                    served.connections += 1;
                    served.away
                };
                if away {
                    continue;
                }
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                // Who does not like the certificate goes away.
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = answer_one(stream, &shared).await;
                    }
                });
            }
        });
        let server = Self { authority, address, served, task };
        server.serve(Self::KEYS, answer);
        server
    }

    /// Answers this under a path from now on.
    pub fn serve(&self, path: &str, answer: Answer) {
        self.served().answers.insert(path.to_owned(), answer);
    }

    /// Goes away, or comes back.
    pub fn away(&self, away: bool) {
        self.served().away = away;
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.served().connections
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.served().asked.get(path).copied().unwrap_or(0)
    }

    /// A path's address.
    pub fn url(&self, path: &str) -> String {
        format!("https://{SERVER}:{}{path}", self.address.port())
    }

    /// Lets the nodes trust whoever signs by its set, and nobody else in.
    pub fn guard(&self, builder: Builder) -> Builder {
        self.believed(builder)
            .set("auth.jwks", &self.url(Self::KEYS))
            .set("auth.jwks_allow_private", "true")
            .set("auth.issuer", Issuer::NAME)
    }

    /// Lets nobody in without a token, and the nodes believe its certificate.
    pub fn believed(&self, builder: Builder) -> Builder {
        self.authority.trusted(builder).set("auth.required", "true").set("auth.audience", Issuer::AUDIENCE)
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().expect("nobody panics while holding it")
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_one(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    served: &Mutex<Served>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut served = served.lock().expect("nobody panics while holding it");
        *served.asked.entry(path.clone()).or_default() += 1;
        served.answers.get(&path).cloned()
    };
    let text = match answer {
        Some(Answer::Json(body)) => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        Some(Answer::Redirect(to)) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Some(Answer::Status(status)) => format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"),
        Some(Answer::Silence) => {
            // Until the other side has had enough.
            let _ = stream.read_u8().await;
            return Ok(());
        }
        None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
