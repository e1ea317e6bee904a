use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::duplex;

use super::super::{Frame, Options, Secrets, Service, Tcp};
use super::*;

const DIALER: PeerId = 1;
const ACCEPTOR: PeerId = 2;

/// What a node has bound.
struct Bound(BTreeMap<PeerId, u128>);

impl Service for Bound {
    fn serve(&self, _: PeerId, _: Frame) -> BoxFuture<'static, Outgoing> {
        Box::pin(std::future::ready(Outgoing::default()))
    }

    fn disk_of(&self, peer: PeerId) -> Option<u128> {
        self.0.get(&peer).copied()
    }
}

/// One side. Its disk has ten times the number of its id.
struct End {
    core: Core,
    _bound: Arc<dyn Service>,
}

/// A node with a secret or without, which has bound these disks.
fn end(id: PeerId, secret: bool, bound: &[(PeerId, u128)]) -> End {
    let secrets = secret.then(|| Secrets::from_text("0123456789abcdef0123456789abcdef").unwrap());
    let options = Options { storage: u128::from(id) * 10, secrets, ..Options::new(id, "blue", id) };
    let core = Core::new(options, Arc::new(Tcp));
    let service: Arc<dyn Service> = Arc::new(Bound(bound.iter().copied().collect()));
    core.ask(&service);
    End { core, _bound: service }
}

/// What both sides say to a connection between them: the one that dials, then the other.
async fn meet(dialer: &End, acceptor: &End) -> (Result<Greeted, Fault>, Result<Greeted, Fault>) {
    let (one, other) = duplex(4096);
    let accepting = async {
        let accepted = accept(&acceptor.core, Box::new(other)).await?;
        Ok(welcome(accepted).await?)
    };
    tokio::join!(dial(&dialer.core, Box::new(one), ACCEPTOR, Lane::Bulk), accepting)
}

fn reason(side: Result<Greeted, Fault>) -> Option<Reason> {
    match side {
        Ok(_) => None,
        Err(Fault::Refused(reason)) => Some(reason),
        Err(fault @ (Fault::Io(_) | Fault::Certificate(_))) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn two_nodes_meet_where_nothing_else_is_bound() {
    for secret in [false, true] {
        for bound in [&[][..], &[(DIALER, 10), (ACCEPTOR, 20)]] {
            let (dialer, acceptor) = (end(DIALER, secret, bound), end(ACCEPTOR, secret, bound));
            let (dialed, accepted) = meet(&dialer, &acceptor).await;
            let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
            assert_eq!((dialed.hello.from, accepted.hello.from), (ACCEPTOR, DIALER), "{secret}");
            assert!(dialed.buffer.is_empty() && accepted.buffer.is_empty(), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_dialer_with_another_disk_is_refused_and_told_what_that_means_for_it() {
    for secret in [false, true] {
        let (dialer, acceptor) = (end(DIALER, secret, &[]), end(ACCEPTOR, secret, &[(DIALER, 11)]));
        let (dialed, accepted) = meet(&dialer, &acceptor).await;
        assert_eq!(
            (reason(dialed), reason(accepted)),
            (Some(Reason::Reused), Some(Reason::Disk)),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn an_acceptor_with_another_disk_is_refused_and_hears_of_it_afterwards() {
    for secret in [false, true] {
        let (dialer, acceptor) = (end(DIALER, secret, &[(ACCEPTOR, 21)]), end(ACCEPTOR, secret, &[]));
        let (dialed, accepted) = meet(&dialer, &acceptor).await;
        assert_eq!(reason(dialed), Some(Reason::Disk), "{secret}");
        let Greeted { mut stream, mut buffer, .. } = accepted.unwrap();
        let last = receive(&mut stream, &mut buffer).await.unwrap();
        assert_eq!((last.role, Reason::heard(last.frame.kind)), (Role::Refusal, Reason::Reused));
        assert!(receive(&mut stream, &mut buffer).await.is_err(), "and nothing follows");
    }
}

#[tokio::test]
async fn a_disk_that_was_named_while_nothing_was_bound_is_compared_until_it_is_known() {
    let (dialer, acceptor) = (end(DIALER, false, &[]), end(ACCEPTOR, false, &[]));
    let (dialed, accepted) = meet(&dialer, &acceptor).await;
    for (mut disk, peer, right) in
        [(dialed.unwrap().disk, ACCEPTOR, 20), (accepted.unwrap().disk, DIALER, 10)]
    {
        let knows = |number| end(9, false, &[(peer, number)]);
        assert_eq!(disk.check(&end(9, false, &[]).core), Ok(()));
        assert_eq!(disk.check(&knows(right + 1).core), Err(Reason::Disk));
        assert_eq!(disk.check(&knows(right).core), Ok(()));
        assert_eq!(
            disk.check(&knows(right + 1).core),
            Ok(()),
            "a binding is for ever, and this one was found"
        );
    }
}
