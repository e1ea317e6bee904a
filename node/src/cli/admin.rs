//! What all commands that ask a running node have in common.

use std::path::PathBuf;
use std::time::Duration;

use crate::access::bounded_file;
use crate::admin::client::{Client, Error};
use crate::admin::client_tls::ClientTls;
use crate::config::unit::parse_span;
use crate::exit::Exit;
use crate::terminal::{complain, print};

/// What `admin.listen` is unless it is set.
const DEFAULT_URL: &str = "http://127.0.0.1:9400";

/// The longest token, and some space around it.
const TOKEN_FILE_BYTES_MAX: u64 = 1024;

/// The token itself, in place of its file.
const TOKEN: &str = "CONCLAVE_ADMIN_TOKEN";

/// Which node is asked, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// A node's admin listener
    #[arg(
        long,
        value_name = "ADMIN_URL",
        global = true,
        env = "CONCLAVE_ADMIN_URL",
        default_value = DEFAULT_URL
    )]
    url: String,
    /// The file with the token that the listener asks for (admin.token_file); or the token itself in CONCLAVE_ADMIN_TOKEN
    #[arg(long, value_name = "FILE", global = true, env = "CONCLAVE_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that a listener with TLS is believed by, as PEM; the machine's if it is left out
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// The certificate that is shown to a listener that asks for one (admin.tls.client_ca), as PEM
    #[arg(long, value_name = "FILE", global = true, requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", global = true, requires = "cert")]
    key: Option<PathBuf>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", global = true, default_value = "60s", value_parser = parse_span)]
    timeout: Duration,
}

impl Admin {
    /// Asks, and prints what comes of it.
    pub(super) fn ask<F: Future<Output = Result<String, Error>>>(
        &self,
        question: impl FnOnce(Client) -> F,
    ) -> Exit {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(error, Exit::Failed),
        };
        let url = if self.url.is_empty() { DEFAULT_URL } else { &self.url };
        let token = match self.token() {
            Ok(token) => token,
            Err(why) => return complain(why, Exit::Usage),
        };
        let client = Client::new(url, self.timeout).map(|client| client.with_token(token));
        let client = client.and_then(|client| self.with_tls(client));
        let answer = client.and_then(|client| runtime.block_on(question(client)));
        match answer {
            Ok(answer) => print(&answer),
            Err(error) => {
                let exit = exit(&error);
                complain(error, exit)
            }
        }
    }
}

impl Admin {
    fn with_tls(&self, client: Client) -> Result<Client, Error> {
        let identity = self.cert.as_deref().zip(self.key.as_deref());
        if self.ca.is_none() && identity.is_none() {
            return Ok(client);
        }
        Ok(client.with_tls(ClientTls::new(self.ca.as_deref(), identity)?))
    }

    fn token(&self) -> Result<Option<String>, String> {
        let unfit = || "the admin token is one line of visible ASCII characters".to_owned();
        let text = match self.token_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => {
                let bytes = bounded_file::read(path, TOKEN_FILE_BYTES_MAX);
                let bytes = bytes.map_err(|error| format!("--token-file: {}: {error}", path.display()))?;
                String::from_utf8(bytes).map_err(|_| unfit())?
            }
            None => std::env::var(TOKEN).unwrap_or_default(),
        };
        let token = text.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unfit());
        }
        Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
    }
}

fn exit(error: &Error) -> Exit {
    match error {
        Error::Url(_) | Error::Public(_) | Error::Secure(_) | Error::Files(_) => Exit::Usage,
        Error::Refused { status, .. } if status.is_client_error() => Exit::Refused,
        Error::Refused { .. }
        | Error::Connect { .. }
        | Error::Tls { .. }
        | Error::Broken { .. }
        | Error::TimedOut { .. }
        | Error::Stranger(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use hyper::StatusCode;

    use super::*;

    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        admin: Admin,
    }

    #[test]
    fn a_token_file_is_bounded_and_holds_one_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = |content: &[u8]| {
            std::fs::write(file.path(), content).unwrap();
            let path = file.path().display().to_string();
            Arguments::parse_from(["conclave", "--token-file", &path]).admin.token()
        };
        assert_eq!(token(b"secret\r\n"), Ok(Some("secret".to_owned())));
        assert_eq!(token(&[b'a'; 512]).map(|token| token.map(|token| token.len())), Ok(Some(512)));
        for wrong in [&b"two words"[..], b"\xff\xff", &[b'a'; 2000], &[b' '; 2000]] {
            assert!(token(wrong).unwrap_err().contains("token"), "{}", wrong.len());
        }
        let endless = Arguments::parse_from(["conclave", "--token-file", "/dev/zero"]).admin.token();
        assert!(endless.unwrap_err().contains("longer than"), "it is not read for ever");
    }

    #[test]
    fn refusals_and_failures_have_their_own_codes() {
        let refused = |status| Error::Refused { status, code: String::new(), message: String::new() };
        assert_eq!(exit(&refused(StatusCode::CONFLICT)), Exit::Refused);
        assert_eq!(exit(&refused(StatusCode::SERVICE_UNAVAILABLE)), Exit::Failed);
        assert_eq!(exit(&Error::Url(String::new())), Exit::Usage);
        assert_eq!(exit(&Error::Stranger(String::new())), Exit::Failed);
    }
}
