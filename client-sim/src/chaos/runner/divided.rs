//! Whether nodes answer what lies in one part of the keys, and refuse the rest.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::Uri;
use tokio::time::Instant;

use super::Runner;
use crate::client::{self, Client, Fault, Reply, Request, Tally, Target, Transfer};

/// So many keys are asked about. That all of them lie in one of two cells happens once in 30,000 times.
const KEYS: u32 = 16;
const TIMEOUT: Duration = Duration::from_secs(5);
const DATA: &[u8] = b"AAAA";
/// The error of a cell that has no leader.
const NO_LEADER: &str = "\"no_leader\"";

/// How a node answered about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Answered,
    Refused,
    Else(String),
}

/// What was said about each key, node by node.
type Answers = Vec<(u64, Vec<Said>)>;

impl Runner<'_> {
    /// Asks those of the nodes that run to write and to read under the same keys, all at once.
    pub(super) async fn refuse_a_part(&mut self, ids: &[u64]) {
        let running = self.cluster.running();
        let nodes = ids.iter().filter(|id| running.contains(id)).filter_map(|id| self.cluster.node(*id).ok());
        let nodes: Vec<(u64, Target)> = nodes.map(|node| (node.id, node.http.clone())).collect();
        let name = self.load_name();
        let asked = nodes.iter().map(|(id, target)| async move {
            let keys = (0..KEYS).map(|key| {
                ask(
                    target,
                    Transfer { pin: format!("divided-{name}-{key}"), password_hash: "none".to_owned() },
                )
            });
            (*id, join_all(keys).await.into_iter().flatten().collect::<Vec<_>>())
        });
        let asked = join_all(asked).await;
        let slowest = |said: Said| {
            let all = asked.iter().flat_map(|(_, all)| all).filter(|(it, _)| *it == said);
            all.map(|(_, took)| took.as_secs_f64() * 1e3).reduce(f64::max)
        };
        let (refused, answered) = (slowest(Said::Refused), slowest(Said::Answered));
        for (figure, slowest) in [("refuse_ms", refused), ("served_ms", answered)] {
            if let Some(slowest) = slowest {
                self.at_most(figure, slowest);
            }
        }
        let answers: Answers = asked
            .into_iter()
            .map(|(id, all)| (id, all.into_iter().map(|(said, _)| said).collect()))
            .collect();
        for what in mistakes(&answers) {
            self.broken(what);
        }
        let ids: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
        self.note(format!(
            "nodes {ids:?} refuse a part of the keys, within {:.0} ms, and answer the others, within {:.0} ms",
            refused.unwrap_or_default(),
            answered.unwrap_or_default()
        ));
    }
}

/// Writes and reads under one key.
async fn ask(target: &Target, transfer: Transfer) -> [(Said, Duration); 2] {
    let options = client::Options { timeout: TIMEOUT, patience: TIMEOUT, ..client::Options::default() };
    let mut client =
        Client::new(std::slice::from_ref(target), options, Tally::default().into(), "divided".to_owned());
    let write = Client::send_request(&transfer, 0, 2, |out| out.extend_from_slice(DATA));
    let Transfer { pin, password_hash } = &transfer;
    let body = format!(r#"{{"action":"ack-status","pin":"{pin}","passwordHash":"{password_hash}"}}"#);
    let read = Request::post(Uri::from_static("/api/relay"), body);
    let mut said = [(Said::Answered, Duration::ZERO), (Said::Answered, Duration::ZERO)];
    for (said, request) in said.iter_mut().zip([write, read]) {
        let began = Instant::now();
        let answer = client.attempt(0, &request).await;
        *said = (heard(answer), began.elapsed());
    }
    said
}

fn heard(answer: Result<Reply, Fault>) -> Said {
    match answer {
        Ok(reply) if reply.status < 500 => Said::Answered,
        Ok(reply) if reply.status == 503 && String::from_utf8_lossy(&reply.body).contains(NO_LEADER) => {
            Said::Refused
        }
        Ok(reply) => Said::Else(format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body))),
        Err(fault) => Said::Else(fault.to_string()),
    }
}

/// What is not as it has to be.
fn mistakes(answers: &Answers) -> Vec<String> {
    let Some((first, expected)) = answers.first() else {
        return vec!["no node runs that could be asked".to_owned()];
    };
    let mut mistakes = Vec::new();
    for (id, said) in answers {
        mistakes.extend(said.iter().filter_map(|said| match said {
            Said::Else(what) => {
                Some(format!("node {id} neither answered nor refused with no_leader: {what}"))
            }
            Said::Answered | Said::Refused => None,
        }));
        for (kind, what) in [(Said::Answered, "answered nothing"), (Said::Refused, "refused nothing")] {
            if !said.contains(&kind) {
                mistakes.push(format!("node {id} {what} of what was asked under {KEYS} keys"));
            }
        }
        let differ = said.iter().zip(expected).enumerate().filter(|(_, (said, expected))| said != expected);
        let differ: Vec<String> = differ
            .map(|(place, (said, expected))| {
                format!("{} of key {}: {expected:?}, {said:?}", ["write", "read"][place % 2], place / 2)
            })
            .collect();
        if !differ.is_empty() {
            mistakes
                .push(format!("nodes {first} and {id} do not refuse the same keys: {}", differ.join("; ")));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_have_to_refuse_the_same_keys_and_not_all() {
        let (yes, no) = (Said::Answered, Said::Refused);
        let of = |answers: &[&[Said]]| mistakes(&(1..).zip(answers.iter().map(|all| all.to_vec())).collect());
        assert!(of(&[&[yes.clone(), no.clone()], &[yes.clone(), no.clone()]]).is_empty());
        assert_eq!(of(&[&[yes.clone(), no.clone()], &[no.clone(), yes.clone()]]).len(), 1);
        assert!(of(&[&[yes.clone(), yes.clone()]])[0].contains("refused nothing"));
        assert!(of(&[&[no.clone(), no.clone()]])[0].contains("answered nothing"));
        assert!(of(&[&[yes, no, Said::Else("500".to_owned())]])[0].contains("500"));
        assert_eq!(of(&[]).len(), 1);
    }

    #[test]
    fn only_no_leader_is_a_refusal() {
        let said = |status, body: &'static str| {
            heard(Ok(Reply { status, headers: Default::default(), body: body.into(), retried: false }))
        };
        assert_eq!(said(200, "{}"), Said::Answered);
        assert_eq!(said(404, "{}"), Said::Answered);
        assert_eq!(said(503, r#"{"error":"no_leader"}"#), Said::Refused);
        assert!(matches!(said(503, r#"{"error":"overloaded"}"#), Said::Else(_)));
        assert!(matches!(said(500, r#"{"error":"no_leader"}"#), Said::Else(_)));
    }
}
