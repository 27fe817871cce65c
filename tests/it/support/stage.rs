//! A few accounts with likes, lists and tracks, of whom something is said, and everything that is shown of them.

use std::{collections::BTreeSet, time::Duration};

use plyr_likes::{
    apply::{Answer, Answered, Decision, act_on_answer},
    atproto::Timestamp,
    clock::Clock,
    maintenance::follow_accounts,
    store::actors::account_checks::{self, AccountCheck},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{
    api::{settings, start},
    dump,
    history::{START_US, did, key, tid, track_uri},
    http::client,
    wire::{Commit, Operation, like, list, some_cid, time_text, track},
    world::World,
};

/// When everything was created that says so.
pub const AT: &str = "2025-01-01T00:00:00Z";

/// The rev of a commit in that second of the stage's time.
pub fn rev(second: i64) -> i64 {
    tid(START_US + second * 1_000_000, 17)
}

/// That second.
pub fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(START_US + second * 1_000_000).expect("a moment")
}

/// What a Jetstream says of an account.
pub fn account_message(did: &str, (active, status): (bool, Option<&str>), second: i64) -> Vec<u8> {
    let at = START_US + second * 1_000_000;
    let mut account = json!({"active": active, "did": did, "seq": second, "time": time_text(at)});
    if let Some(status) = status {
        account["status"] = status.into();
    }
    json!({"did": did, "time_us": at, "kind": "account", "account": account}).to_string().into_bytes()
}

/// An artist (0) with a track, a listener (1) who likes two tracks and has a list, and another (2) with a track and a like.
pub struct Stage {
    pub world: World,
    pub url: String,
    pub client: reqwest::Client,
    stop: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Stage {
    pub async fn new() -> Self {
        let mut world = World::new().await;
        let (url, stop) = start(world.database.pool.clone(), settings()).await;
        let items = [(track_uri(0, 0), some_cid("a track"))];
        world
            .commit(&[
                Commit::new(&did(0), rev(1), vec![Operation::track(&key(3, 0), track("Of the artist", AT))]),
                Commit::new(&did(2), rev(2), vec![Operation::track(&key(3, 0), track("Of another", AT))]),
                Commit::new(
                    &did(1),
                    rev(3),
                    vec![
                        Operation::like(&key(1, 0), like(&track_uri(0, 0), AT)),
                        Operation::like(&key(1, 1), like(&track_uri(2, 0), AT)),
                        Operation::list(&key(2, 0), list(&items, Some("Mine"), Some("playlist"), (AT, None))),
                    ],
                ),
                Commit::new(&did(2), rev(4), vec![Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))]),
            ])
            .await;
        Self { world, url, client: client(Duration::from_secs(30)), stop }
    }

    pub async fn say(&mut self, who: usize, word: (bool, Option<&str>), second: i64) {
        self.world.raw(account_message(&did(who), word, second), Vec::new()).await;
    }

    pub async fn ask(&self, method: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/xrpc/fm.plyr.{method}", self.url);
        let answer = self.client.get(url).query(parameters).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("JSON")
    }

    /// Who likes a track, by what is shown; the count must be theirs.
    pub async fn likers(&self, uri: &str) -> BTreeSet<String> {
        let answer = self.ask("feed.getTrackLikes", &[("uri", uri)]).await;
        let likes = answer["likes"].as_array().expect("likes");
        let dids: BTreeSet<String> =
            likes.iter().map(|like| like["actor"]["did"].as_str().expect("a DID").to_owned()).collect();
        assert_eq!(answer["count"], dids.len(), "{answer}");
        let card = self.ask("feed.getTracks", &[("uris", uri)]).await;
        if let Some(card) = card["tracks"].get(0) {
            assert_eq!(card["likeCount"], dids.len(), "{card}");
        }
        dids
    }

    pub async fn likes(&self, who: usize, uri: &str) -> bool {
        let answer = self.ask("feed.getLikeStatuses", &[("actor", &did(who)), ("uris", uri)]).await;
        answer["statuses"][0]["liked"].as_bool().expect("yes or no")
    }

    pub async fn like_records(&self, who: usize) -> usize {
        self.ask("feed.getActorLikes", &[("actor", &did(who))]).await["likes"].as_array().expect("likes").len()
    }

    pub async fn lists(&self, who: usize) -> usize {
        self.ask("graph.getActorLists", &[("actor", &did(who))]).await["lists"].as_array().expect("lists").len()
    }

    pub async fn is_track_shown(&self, uri: &str) -> bool {
        !self.ask("feed.getTracks", &[("uris", uri)]).await["tracks"].as_array().expect("tracks").is_empty()
    }

    /// Everything that the listener wrote is shown, or nothing of it, before the counts have followed and after.
    pub async fn assert_listener(&mut self, is_shown: bool) {
        for counts_followed in [false, true] {
            let records = if is_shown { (2, 1) } else { (0, 0) };
            assert_eq!(
                (self.like_records(1).await, self.lists(1).await),
                records,
                "counts_followed: {counts_followed}"
            );
            for uri in [track_uri(0, 0), track_uri(2, 0)] {
                assert_eq!(self.likes(1, &uri).await, is_shown, "counts_followed: {counts_followed}");
                assert_eq!(self.likers(&uri).await.contains(&did(1)), is_shown, "counts_followed: {counts_followed}");
            }
            assert_eq!(dump::miscounted(self.pool()).await, Vec::<String>::new());
            self.follow_counts().await;
        }
    }

    pub fn pool(&self) -> &PgPool {
        &self.world.database.pool
    }

    pub async fn connection(&self) -> PgConnection {
        self.pool().acquire().await.expect("a connection").detach()
    }

    pub async fn follow_counts(&self) {
        follow_accounts(&mut self.connection().await, None).await.expect("the database answers");
    }

    /// Reasons of the checks that wait.
    pub async fn checks(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT a.did, c.reason FROM account_checks c JOIN actors a ON a.id = c.actor_id ORDER BY 1")
            .fetch_all(self.pool())
            .await
            .expect("the table is there")
    }

    /// Answers the only check that waits, as the account's server would.
    pub async fn answer(&self, answer: Answer, second: i64) -> Decision {
        let check = self.check_due().await;
        self.answer_late(&check, answer, (second, second)).await
    }

    /// The only check that waits.
    pub async fn check_due(&self) -> AccountCheck {
        let mut connection = self.connection().await;
        let due =
            account_checks::list_due(&mut connection, Clock::system().now().utc(), 10, &[]).await.expect("checks");
        let [check] = due.as_slice() else { panic!("one check should be due: {due:?}") };
        check.clone()
    }

    /// Answers it at the second of these two moments; it was asked at the first.
    pub async fn answer_late(&self, check: &AccountCheck, answer: Answer, (asked, answered): (i64, i64)) -> Decision {
        let answer = Answered { answer, asked_at: moment(asked) };
        let decision = act_on_answer(&mut self.connection().await, check, answer, moment(answered)).await;
        decision.expect("the database answers")
    }

    /// How many rows of records an actor has.
    pub async fn rows_of(&self, who: usize) -> i64 {
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM likes WHERE actor_id = a.id) + (SELECT count(*) FROM lists WHERE actor_id = a.id)
                + (SELECT count(*) FROM profiles WHERE actor_id = a.id)
                + (SELECT count(*) FROM tracks WHERE artist_id = a.id AND title IS NOT NULL)
            FROM actors a WHERE did = $1",
        )
        .bind(did(who))
        .fetch_one(self.pool())
        .await
        .expect("the actor is known")
    }
}
