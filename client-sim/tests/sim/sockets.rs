//! `load` over sockets.

use std::sync::atomic::Ordering;

use super::realtime::{Manner, Realtime};
use super::{Ran, sim};

const ENCODINGS: [&str; 2] = ["json", "flatbuffers"];

async fn load(server: &Realtime, more: &str) -> Ran {
    let targets = server.nodes.urls.join(",");
    let mut args = vec!["load", "--target", &targets, "--json", "--warmup", "0s", "--duration", "400ms"];
    args.extend(["--size", "300"]);
    for (name, value) in [("--concurrency", "4"), ("--patience", "5s")] {
        if !more.contains(name) {
            args.extend([name, value]);
        }
    }
    args.extend(more.split_whitespace());
    sim(&args).await
}

#[tokio::test]
async fn every_message_reaches_the_other_side_verified() {
    for encoding in ENCODINGS {
        let server = Realtime::start(3, Manner::Faultless).await;
        let ran = load(&server, &format!("--workload socket --encoding {encoding}")).await;
        assert_eq!(ran.code, Some(0), "{encoding}: {}", ran.report);
        let published = ran.number("/sockets/published");
        assert!(published > 100.0, "{encoding}: {}", ran.report);
        assert_eq!(ran.number("/bytes/verified"), published * 300.0, "{encoding}: {}", ran.report);
        assert_eq!(ran.number("/sockets/opened"), 8.0);
        assert!(ran.number("/kinds/deliver/per_s") > 0.0);
    }
}

#[tokio::test]
async fn every_member_of_a_room_receives_every_message() {
    for encoding in ENCODINGS {
        let server = Realtime::start(3, Manner::Faultless).await;
        let more = format!("--workload room --encoding {encoding} --concurrency 2 --members 5 --rate 200");
        let ran = load(&server, &more).await;
        assert_eq!(ran.code, Some(0), "{encoding}: {}", ran.report);
        let published = ran.number("/sockets/published");
        assert!((20.0..=80.0).contains(&published), "{encoding}: {}", ran.report);
        assert_eq!(ran.number("/bytes/verified"), published * 5.0 * 300.0, "{encoding}: {}", ran.report);
        assert_eq!(ran.number("/sockets/opened"), 12.0);
    }
}

#[tokio::test]
async fn volatile_messages_are_told_apart_and_their_loss_is_counted() {
    let server = Realtime::start(1, Manner::Faultless).await;
    let ran = load(&server, "--workload socket --volatile").await;
    assert_eq!((ran.code, ran.number("/sockets/lost_volatile")), (Some(0), 0.0), "{}", ran.report);
    let server = Realtime::start(1, Manner::LoseOne).await;
    let ran = load(&server, "--workload socket --volatile").await;
    assert_eq!((ran.code, ran.number("/sockets/lost_volatile")), (Some(0), 1.0), "{}", ran.report);
}

#[tokio::test]
async fn a_message_lost_doubled_or_changed_fails_the_run() {
    let manners = [
        (Manner::LoseOne, "wrong: a message before this one is missing"),
        (Manner::DoubleOne, "wrong: a message came twice or out of order"),
        (Manner::CorruptOne, "mismatch"),
        (Manner::SkipAnOffset, "wrong: an offset was skipped"),
    ];
    for (manner, code) in manners {
        let server = Realtime::start(1, manner).await;
        let more = "--workload room --members 1 --concurrency 1 --patience 1s";
        let ran = load(&server, more).await;
        assert_eq!(ran.code, Some(1), "{manner:?}: {}", ran.report);
        assert!(ran.codes().contains(&code), "{manner:?}: {}", ran.report);
    }
}

#[tokio::test]
async fn a_lost_connection_is_resumed_at_another_node_and_nothing_is_missing() {
    for encoding in ENCODINGS {
        for workload in ["socket", "room"] {
            let server = Realtime::start(2, Manner::CloseEvery(20)).await;
            let ran = load(&server, &format!("--workload {workload} --encoding {encoding}")).await;
            assert_eq!(ran.code, Some(0), "{workload} {encoding}: {}", ran.report);
            assert!(ran.number("/sockets/resumed") > 0.0, "{workload} {encoding}: {}", ran.report);
            assert!(ran.number("/sockets/lost/1012") > 0.0, "{workload} {encoding}: {}", ran.report);
        }
    }
}

#[tokio::test]
async fn a_session_that_was_forgotten_fails_the_run() {
    for encoding in ENCODINGS {
        let server = Realtime::start(2, Manner::CloseAndForget(20)).await;
        let ran = load(&server, &format!("--workload socket --encoding {encoding} --patience 1s")).await;
        assert_eq!(ran.code, Some(1), "{encoding}: {}", ran.report);
        assert!(ran.codes().contains(&"wrong: the session was not recovered"), "{encoding}: {}", ran.report);
    }
}

#[tokio::test]
async fn signals_are_pushed_once_each_and_acknowledged() {
    let server = Realtime::start(3, Manner::Faultless).await;
    let ran = load(&server, "--workload mailbox --rate 400").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/kinds/push/operations") > 50.0, "{}", ran.report);
    assert!(ran.number("/kinds/push/latency/max_us") > 0.0);
    assert!(server.state.acks.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn signals_lost_doubled_or_changed_fail_the_run() {
    let manners = [
        (Manner::LoseOne, "wrong: a signal before this one is missing"),
        (Manner::DoubleOne, "wrong: a signal came again, or out of order"),
        (Manner::CorruptOne, "mismatch"),
    ];
    for (manner, code) in manners {
        let server = Realtime::start(1, manner).await;
        let more = "--workload mailbox --concurrency 1 --patience 1s";
        let ran = load(&server, more).await;
        assert_eq!(ran.code, Some(1), "{manner:?}: {}", ran.report);
        assert!(ran.codes().contains(&code), "{manner:?}: {}", ran.report);
    }
}

#[tokio::test]
async fn unacknowledged_signals_may_come_again_after_a_resume() {
    let server = Realtime::start(2, Manner::CloseEvery(10)).await;
    let ran = load(&server, "--workload mailbox").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/sockets/resumed") > 0.0, "{}", ran.report);
}

#[tokio::test]
async fn idle_sockets_are_opened_held_and_weighed() {
    for encoding in ENCODINGS {
        let server = Realtime::start(2, Manner::FullOnce).await;
        let pid = std::process::id().to_string();
        let more = format!("--workload idle --encoding {encoding} --concurrency 200 --rate 2000 --pid {pid}");
        let ran = load(&server, &more).await;
        assert_eq!(ran.code, Some(0), "{encoding}: {}", ran.report);
        for count in
            ["/sockets/idle/held", "/sockets/idle/left", "/sockets/opened", "/kinds/connect/operations"]
        {
            assert_eq!(ran.number(count), 200.0, "{encoding} {count}: {}", ran.report);
        }
        assert_eq!(server.state.upgrades.load(Ordering::SeqCst), 201);
        // The server is this process, in which other tests run, too: its memory may shrink meanwhile. What is computed
        // from two readings is tested beside the computation.
        for weight in ["/sockets/idle/rss_bytes_per_socket", "/sockets/idle/rss_bytes_per_socket_after"] {
            assert!(ran.number(weight).is_finite(), "{encoding} {weight}: {}", ran.report);
        }
    }
}
