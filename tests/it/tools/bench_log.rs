//! The log that the figures are measured on is what it says: decoded and applied, it is the rows that COPY is given.

use sqlx::Row as _;

use crate::support::{
    history::{Dialect, Message},
    world::World,
};

#[path = "../../../benches/figures/log.rs"]
mod log;

use log::{Shape, did, list_live_likes, track_uri, write_log};

#[test]
fn the_figures_log_has_200_000_events() {
    assert_eq!(Shape::FIGURE.events(), 200_000);
}

#[tokio::test]
async fn the_log_ends_in_the_rows_of_the_copy() {
    let shape = Shape::of_likes(3_000);
    let mut bytes = Vec::new();
    assert_eq!(write_log(&mut bytes, shape).expect("memory"), shape.events());
    let mut again = Vec::new();
    write_log(&mut again, shape).expect("memory");
    assert!(bytes == again, "the log differs from run to run");
    let messages: Vec<Message> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Message {
            host: 0,
            dialect: Dialect::JetstreamV1,
            position: 1,
            bytes: line.to_vec(),
            writes: Vec::new(),
            account_event: None,
            garbage: false,
        })
        .collect();
    let mut world = World::new().await;
    for batch in messages.chunks(1_000) {
        let applied = world.deliver(batch).await;
        assert_eq!((applied.rejected, applied.anomalies), (0, 0));
    }
    let mut expected: Vec<(String, i64, i64, String, i64, Vec<u8>)> = list_live_likes(shape)
        .into_iter()
        .map(|row| {
            (did("liker", row.actor), row.rkey, row.rev, track_uri(row.track), row.created_at_us, row.cid.to_vec())
        })
        .collect();
    expected.sort();
    assert_eq!(expected.len(), 3_000 - 3_000 * 4 / 100);
    let mut found: Vec<(String, i64, i64, String, i64, Vec<u8>)> = sqlx::query(
        "SELECT a.did, l.rkey, l.rev, t.uri, (extract(epoch FROM l.created_at) * 1000000)::bigint, int8send(l.cid)
         FROM likes l JOIN actors a ON a.id = l.actor_id JOIN tracks t ON t.id = l.subject_id",
    )
    .fetch_all(&world.database.pool)
    .await
    .expect("the tables are there")
    .into_iter()
    .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)))
    .collect();
    found.sort();
    assert!(expected == found, "{} rows, {} expected", found.len(), expected.len());
    let hottest: i64 = sqlx::query_scalar("SELECT max(like_count) FROM track_counts")
        .fetch_one(&world.database.pool)
        .await
        .expect("the table is there");
    assert!(hottest > 50, "no track is hot: {hottest}");
}
