//! How messages flow: at once when live, together when many, and no faster than they are taken.

use std::time::Duration;

use plyr_likes::source::{Connection, Dialect, Tuning};
use tokio_tungstenite::tungstenite::Message;

use super::{Setting, quick, soon};
use crate::support::upstream::{Act, Upstream};

#[tokio::test]
async fn a_single_message_is_handed_over_at_once() {
    let upstream =
        Upstream::start(|_| vec![Act::Text("one".into()), Act::WaitForGo, Act::Text("two".into()), Act::Stay]).await;
    let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    // The second does not come before the first was taken.
    assert_eq!(followed.texts(1).await, ["one"]);
    upstream.go();
    assert_eq!(followed.texts(1).await, ["two"]);
    followed.stop().await;
}

#[tokio::test]
async fn what_can_be_read_at_once_is_one_delivery() {
    let upstream = Upstream::start(|_| {
        let messages = (0..100).map(|n| Message::text(n.to_string())).collect();
        vec![Act::Burst(messages), Act::Stay]
    })
    .await;
    let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    let mut texts = Vec::new();
    let mut deliveries = 0;
    while texts.len() < 100 {
        let messages = followed.delivery().await.messages;
        texts.extend(messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()));
        deliveries += 1;
    }
    assert!(deliveries < 10, "{deliveries} deliveries");
    assert_eq!(texts, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    followed.stop().await;
}

#[tokio::test]
async fn a_slow_consumer_makes_the_upstream_wait_and_loses_nothing() {
    const COUNT: usize = 60_000;
    let upstream = Upstream::start(|_| {
        let messages = (0..COUNT).map(|n| Message::text(format!("{n:0>1000}"))).collect();
        vec![Act::Burst(messages), Act::Stay]
    })
    .await;
    // Silence that is our own doing must not look like the upstream's.
    let tuning =
        Tuning { ping_interval: Duration::from_millis(20), silence_max: Duration::from_millis(400), ..quick() };
    let mut followed = Setting { queue: 1, tuning, ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    followed.wait_for(|connection| *connection == Connection::Connected).await;
    // Longer than the silence allowed. 60 MB do not fit into the buffers of two sockets.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(followed.deliveries.len(), 1);
    assert!(!upstream.has_done("burst"), "the upstream has to wait");
    let mut next = 0;
    while next < COUNT {
        let delivery = followed.delivery().await;
        assert!(delivery.messages.len() <= 512, "{}", delivery.messages.len());
        for message in delivery.messages {
            assert_eq!(message, format!("{next:0>1000}").as_bytes());
            next += 1;
        }
    }
    assert_eq!(upstream.requests().len(), 1, "on one connection");
    followed.stop().await;
}

#[tokio::test]
async fn large_messages_close_a_delivery_by_bytes() {
    let upstream = Upstream::start(|_| {
        let messages = (0..20).map(|_| Message::binary(vec![7; 300_000])).collect();
        vec![Act::Burst(messages), Act::Stay]
    })
    .await;
    let mut followed = Setting { queue: 1, ..Setting::of(Dialect::Firehose) }.follow(&upstream);
    let mut count = 0;
    while count < 20 {
        let messages = followed.delivery().await.messages;
        assert!(messages.len() <= 4, "no message is added to more than a megabyte");
        count += messages.len();
    }
    followed.stop().await;
}

#[tokio::test]
async fn pings_are_answered_and_ours_keep_a_quiet_connection_alive() {
    let upstream = Upstream::start(|_| vec![Act::Ping, Act::Stay]).await;
    let tuning =
        Tuning { ping_interval: Duration::from_millis(20), silence_max: Duration::from_millis(300), ..quick() };
    let mut followed = Setting { tuning, ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    // Fifty of our pings take more than three times the silence allowed.
    let pings = |upstream: &Upstream| upstream.done().iter().filter(|(_, name)| name == "pinged").count();
    upstream.wait_until(|upstream| pings(upstream) >= 50).await;
    assert!(upstream.has_done("ping"));
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(followed.wait_for(|_| true).await, Connection::Connected);
    followed.stop().await;
}

#[tokio::test]
async fn cancelling_is_prompt_wherever_it_waits() {
    // `stop` sees to it that each ends within its limit.
    let slow = || Tuning { backoff_min: Duration::from_mins(1), backoff_max: Duration::from_mins(1), ..quick() };

    let upstream = Upstream::start(|_| vec![Act::Stay]).await;
    let mut idle = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    idle.wait_for(|connection| *connection == Connection::Connected).await;
    idle.stop().await;

    let upstream = Upstream::start(|_| vec![Act::HangBeforeUpgrade]).await;
    let connecting = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    upstream.wait_until(|upstream| upstream.has_done("hang")).await;
    connecting.stop().await;

    let upstream = Upstream::start(|_| vec![Act::Close(1011)]).await;
    let mut waiting = Setting { tuning: slow(), ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    waiting.wait_for_reason("1011").await;
    waiting.stop().await;

    let upstream = Upstream::start(|_| {
        let messages = (0..2000).map(|_| Message::text("x")).collect();
        vec![Act::Burst(messages), Act::Close(1000)]
    })
    .await;
    let blocked = Setting { queue: 1, ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    upstream.wait_until(|upstream| upstream.has_done("burst")).await;
    blocked.stop().await;
}

#[tokio::test]
async fn it_ends_when_the_receiver_is_dropped() {
    let upstream = Upstream::start(|_| vec![Act::Text("unwanted".into()), Act::Stay]).await;
    let followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    drop(followed.deliveries);
    soon(followed.task).await.expect("no panic");
}
