//! A client of event streams.

use std::collections::VecDeque;
use std::time::Duration;

use conclave_client::http::Connection;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

/// For an event to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Where the next stream would go on.
    pub id: Option<String>,
    /// What it says.
    pub data: Value,
}

/// An open stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
    ready: VecDeque<Event>,
    connection: Connection,
}

impl Events {
    pub(crate) fn new(body: Incoming, connection: Connection) -> Self {
        Self { body, text: String::new(), ready: VecDeque::new(), connection }
    }

    /// The next event; `None` if the server ended the stream.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.read()).await.expect("an event comes in time")
    }

    /// The next event, which has this name.
    pub async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.connection.drive(self.body.frame()).await.ok()??.ok()?;
            let bytes = frame.into_data().unwrap_or_default();
            self.text.push_str(std::str::from_utf8(&bytes).expect("streams are UTF-8"));
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                self.ready.extend(parse(&block));
            }
        }
    }
}

/// An event, unless the block is a comment or a setting.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.map(str::to_owned).reduce(|all, line| format!("{all}\n{line}"))
    };
    let data = field("data")?;
    let data = serde_json::from_str(&data).expect("data is JSON");
    Some(Event { name: field("event").expect("events are named"), id: field("id"), data })
}
