//! The published clients of the SigmaSockets schema, with what is peculiar to them, over three nodes.

use std::time::Duration;

use conclave_tests::relay::word;
use conclave_tests::shared;
use conclave_tests::shipped::Page;

const COUNT: usize = 500;

fn texts(page: &conclave_tests::shipped::Told) -> Vec<&str> {
    page.messages.iter().map(|(text, _)| text.as_str()).collect()
}

#[tokio::test]
async fn an_idle_page_stays_connected_and_both_are_quiet() {
    let cluster = shared::standard().await;
    let page = Page::open(&cluster.follower().await, &word("room"), &word("session")).await;
    // Shorter than the time after which it is sent one unasked.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = page.told();
    assert!(told.errors.is_empty(), "{told:?}");
    // Its two frames, the answer to the heartbeat, and its answer to that.
    assert_eq!((told.sent, told.received), (3, 1), "{told:?}");
    page.close().await;
}

#[tokio::test]
async fn pages_talk_over_three_nodes_are_reloaded_and_come_back_elsewhere_with_nothing_missing() {
    let cluster = shared::standard().await;
    let apis = cluster.apis();
    let (room, session) = (word("room"), word("session"));
    let mut one = Page::open(&apis[0], &room, &session).await;
    let mut other = Page::open_newer(&apis[1], &room, &word("session")).await;
    let third = Page::open(&apis[2], &room, &word("session")).await;
    // Whoever is told a message of another is in the room.
    one.say("are you there 0");
    for turn in 1.. {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if !other.told().messages.is_empty() && !third.told().messages.is_empty() {
            break;
        }
        one.say(&format!("are you there {turn}"));
    }

    // Faster than it may send: it is slowed down, and refused nothing.
    let words: Vec<String> = (0..COUNT).map(|number| format!("word {number}")).collect();
    words.iter().for_each(|word| one.say(word));
    for page in [&other, &third] {
        let told = page.hears_text(words.last().expect("there are some")).await;
        let heard: Vec<&str> = texts(&told).into_iter().filter(|text| text.starts_with("word")).collect();
        assert_eq!(heard, words, "all of them, in their order, each once");
        assert!(told.messages.is_sorted_by_key(|(_, offset)| *offset));
    }

    // Reloaded, it counts from 1 again under the same session id, and is heard.
    one.close().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut one = Page::open(&apis[1], &room, &session).await;
    let reloaded: Vec<String> = (0..30).map(|number| format!("reloaded {number}")).collect();
    reloaded.iter().for_each(|text| one.say(text));
    let told = third.hears_text("reloaded 29").await;
    assert!(texts(&told).ends_with(&reloaded.iter().map(String::as_str).collect::<Vec<_>>()), "{told:?}");

    // Another one has said a little, loses its connection, and comes back on another node with its own session id and its
    // own counter.
    (0..7).for_each(|number| other.say(&format!("other {number}")));
    third.hears_text("other 6").await;
    (0..30).for_each(|number| one.say(&format!("before {number}")));
    third.hears_text("before 29").await;
    other.come_back(&apis[2]).await;
    (0..30).for_each(|number| one.say(&format!("after {number}")));
    let told = other.hears_text("after 29").await;
    for kind in ["reloaded", "before", "after"] {
        for text in (0..30).map(|number| format!("{kind} {number}")) {
            assert!(texts(&told).contains(&text.as_str()), "{text} is missing: {told:?}");
        }
    }
}
