//! H6: an actor with many likes. What is kept of such an actor, and the places of tracks whose counts one statement moves, are what a recount
//! says, whatever is written.

use plyr_likes::{
    clock::Clock,
    maintenance::{check_counts, follow_accounts},
};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{
    api::Api,
    crowd::{MANY, like_many},
    dump::miscounted,
};

const LIKER: &str = "did:plc:liker";

async fn run(pool: &PgPool, statement: &str) {
    let statement = statement.replace("LIKER", "(SELECT id FROM actors WHERE did = 'did:plc:liker')");
    sqlx::query(AssertSqlSafe(statement.clone()))
        .execute(pool)
        .await
        .unwrap_or_else(|why| panic!("{why}: {statement}"));
}

async fn number(pool: &PgPool, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(pool)
        .await
        .unwrap_or_else(|why| panic!("{why}: {query}"))
}

#[tokio::test]
async fn h6_the_likes_of_an_actor_with_many_are_counted() {
    let api = Api::start().await;
    like_many(api.pool(), [LIKER, "did:plc:artist"]).await;
    let kept = "SELECT coalesce(max(like_count), 0) FROM many_likers";
    assert_eq!(number(api.pool(), kept).await, MANY, "of twenty thousand likes none was in the sample");
    let path = format!("/users/{LIKER}/likes?limit=1");
    assert_eq!(api.ok(&path).await["count"], MANY);
    // Records come again, go, and move, one and many at a time, with others of their pair or without.
    for statement in [
        "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT LIKER, rkey + 1000000, 2, now(), subject_id, now() FROM likes WHERE rkey <= 300",
        "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT LIKER, 3000000 + n, 2, now(), 1, now() FROM generate_series(1, 500) AS n",
        "UPDATE likes SET subject_id = NULL, sort_at = NULL, rev = rev + 5 WHERE rkey <= 600",
        "UPDATE likes SET subject_id = 1, rev = rev + 1 WHERE rkey BETWEEN 601 AND 650",
        "UPDATE likes SET subject_id = NULL, sort_at = NULL WHERE subject_id = 1 AND rkey > 3000000",
        "DELETE FROM likes WHERE rkey BETWEEN 5000 AND 7000",
        "UPDATE likes SET subject_id = rkey, sort_at = now(), rev = 9 WHERE rkey <= 20",
        "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at) SELECT LIKER, 6000, 2, now(), 6000, now()",
    ] {
        run(api.pool(), statement).await;
        assert_eq!(miscounted(api.pool()).await, Vec::<String>::new(), "{statement}");
        let counted = number(api.pool(), "SELECT count(DISTINCT subject_id) FROM likes").await;
        assert_eq!(api.ok(&path).await["count"], counted, "{statement}");
    }
    let mut connection = api.pool().acquire().await.unwrap();
    run(api.pool(), "UPDATE many_likers SET like_count = 5").await;
    assert_eq!(check_counts(&mut connection, None, 1, &Clock::system()).await.unwrap(), 1);
    follow_accounts(&mut connection, None).await.unwrap();
    assert_eq!(miscounted(api.pool()).await, Vec::<String>::new());
}

#[tokio::test]
async fn h6_places_follow_counts_that_one_statement_moves() {
    let api = Api::start().await;
    like_many(api.pool(), [LIKER, "did:plc:artist"]).await;
    let (pending, placed) =
        ("SELECT count(*) FROM unranked_tracks", "SELECT count(*) FROM popular_tracks WHERE like_count = 1");
    assert_eq!((number(api.pool(), pending).await, number(api.pool(), placed).await), (MANY, 0));
    // What moves one count has its place at once.
    run(
        api.pool(),
        "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
        SELECT id, 1, 1, now(), 777, now() FROM actors WHERE did = 'did:plc:artist'",
    )
    .await;
    let page = api.ok("/tracks/?sort=popular&limit=2").await;
    assert_eq!((&page["tracks"][0]["id"], &page["tracks"][0]["like_count"]), (&777.into(), &2.into()));
    let mut connection = api.pool().acquire().await.unwrap();
    follow_accounts(&mut connection, None).await.unwrap();
    assert_eq!((number(api.pool(), pending).await, number(api.pool(), placed).await), (0, MANY - 1));
    assert_eq!(miscounted(api.pool()).await, Vec::<String>::new());
}
