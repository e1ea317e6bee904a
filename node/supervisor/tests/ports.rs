//! Ports are given once and are free.
//!
//! Alone in its process: a child that another test starts has the descriptors of this process until it becomes another
//! program, and with them a port that was let go in between.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use conclave_supervisor::Ports;

#[test]
fn no_port_is_given_twice_and_each_is_free() {
    // In the block that is the next to be taken.
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, Ports::default().take().unwrap())).unwrap();
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let mut takers = [Ports::default(), Ports::of(elsewhere.into())];
    let ports: BTreeSet<u16> = (0..80).map(|turn| takers[turn % 2].take().unwrap()).collect();
    assert!(ports.len() == 80 && !ports.contains(&held.local_addr().unwrap().port()));
    for port in ports {
        // Below what Linux gives to outgoing connections.
        assert!(port < 32_768);
        let _both = [Ipv4Addr::LOCALHOST, elsewhere].map(|host| TcpListener::bind((host, port)).unwrap());
    }
}

#[test]
fn an_address_of_another_machine_is_refused_with_what_the_system_says() {
    // Of the block for documentation, which nobody has.
    let error = Ports::of(Ipv4Addr::new(192, 0, 2, 1).into()).take().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    let text = error.to_string();
    assert!(
        text.starts_with("no free port at 192.0.2.1 ") && text.contains("assign requested address"),
        "{text}"
    );
}
