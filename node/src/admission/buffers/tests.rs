use super::super::share::Refused;
use super::*;

const ONE: Client = Client::V4(1);
const OTHER: Client = Client::V4(2);

fn of(all: usize, client: usize) -> Buffers {
    Buffers::new(Bounds { all, client, site: usize::MAX })
}

fn part(buffers: &Buffers, client: Client) -> Part {
    buffers.part(Some(client))
}

#[test]
fn what_connections_hold_is_summed_and_given_back() {
    let buffers = of(100, 100);
    let (one, other) = (part(&buffers, ONE), part(&buffers, OTHER));
    one.set_waiting(40);
    assert_eq!(other.set_body(OTHER, 50), Ok(()));
    assert_eq!((buffers.bytes(), buffers.pressure()), (90, Pressure::Low));
    one.set_waiting(10);
    assert_eq!(buffers.bytes(), 60);
    drop(other);
    assert_eq!(buffers.bytes(), 10);
    drop(one);
    assert!(buffers.tallies().is_empty(), "nothing is kept of whoever left");
}

#[test]
fn at_the_bound_no_body_grows_and_each_may_shrink() {
    let buffers = of(100, usize::MAX);
    let (one, other) = (part(&buffers, ONE), part(&buffers, OTHER));
    assert_eq!(one.set_body(ONE, 60), Ok(()));
    other.set_waiting(40);
    assert_eq!(buffers.pressure(), Pressure::High);
    assert_eq!([one.set_body(ONE, 61), other.set_body(OTHER, 1)], [Err(Refused::All); 2]);
    assert_eq!(buffers.bytes(), 100, "a refusal takes nothing");
    other.set_waiting(90);
    assert_eq!(buffers.pressure(), Pressure::Critical);
    assert_eq!(one.set_body(ONE, 0), Ok(()));
    assert_eq!(buffers.pressure(), Pressure::Low);
}

#[test]
fn beyond_its_own_bound_a_client_is_refused_alone() {
    let buffers = of(100, 20);
    let (one, again, other) = (part(&buffers, ONE), part(&buffers, ONE), part(&buffers, OTHER));
    assert_eq!(one.set_body(ONE, 20), Ok(()));
    assert_eq!(again.set_body(ONE, 1), Err(Refused::Client));
    assert_eq!((again.pressure(), other.pressure()), (Pressure::High, Pressure::Low));
    assert_eq!(other.set_body(OTHER, 15), Ok(()));
    again.set_waiting(10);
    assert_eq!((again.pressure(), other.pressure()), (Pressure::Critical, Pressure::Low));
    one.clear_body();
    assert_eq!(again.set_body(ONE, 5), Ok(()));
}

#[test]
fn a_proxys_connection_is_nobodys_and_its_bodies_are_their_clients() {
    let buffers = of(100, 20);
    let (proxy, another) = (buffers.part(None), buffers.part(None));
    proxy.set_waiting(50);
    assert_eq!(proxy.pressure(), Pressure::Low);
    assert_eq!(proxy.set_body(ONE, 20), Ok(()));
    assert_eq!(another.set_body(ONE, 1), Err(Refused::Client));
    assert_eq!(another.set_body(OTHER, 1), Ok(()));
    assert_eq!(proxy.set_body(OTHER, 2), Ok(()), "the request after it is another client's");
    assert_eq!(buffers.bytes(), 53);
}

#[test]
fn a_site_has_a_bound_as_well() {
    let buffers = Buffers::new(Bounds { all: 100, client: 20, site: 30 });
    let networks = [Client::V6(0x1_0001), Client::V6(0x1_0002), Client::V6(0x1_0003)];
    let parts = networks.map(|client| (client, part(&buffers, client)));
    for (client, part) in &parts[..2] {
        assert_eq!(part.set_body(*client, 15), Ok(()));
    }
    assert_eq!(parts[2].1.set_body(networks[2], 1), Err(Refused::Client));
    assert_eq!(part(&buffers, Client::V6(0x2_0001)).set_body(Client::V6(0x2_0001), 1), Ok(()));
}

#[test]
fn what_many_wait_for_is_counted_once_until_the_last_has_it() {
    let buffers = of(100, 20);
    let kept = buffers.keep(Bytes::from_static(b"message"));
    let clones = [kept.clone(), kept.slice(2..)];
    drop(kept);
    assert_eq!((buffers.bytes(), &clones[1][..]), (7, &b"ssage"[..]));
    let held = buffers.account(Some(ONE)).hold();
    held.set_each(0, 20);
    assert_eq!((buffers.bytes(), held.account().pressure()), (7, Pressure::High));
    drop(clones);
    assert_eq!(buffers.bytes(), 0);
}
